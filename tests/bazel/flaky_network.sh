#!/bin/sh
# A network that cuts every connection again and again: the build succeeds, and an action in flight
# runs once.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening

cuts=8
python3 "$top/tests/bazel/cutting_proxy.py" "${address##*:}" $cuts >proxy.out &
proxy=$!
must_wait_for 10 grep -q '^port ' proxy.out
through=grpc://127.0.0.1:$(sed -n 's/^port //p' proxy.out)
cut_count() { grep -c '^cut' proxy.out || :; }
cut_again() { [ "$(cut_count)" -gt "$had" ]; }

bazel_remote "$through" build //... || fail "a build through a bad network, cut $(cut_count) times"
[ "$(cut_count)" -eq $cuts ] || fail "the network was cut only $(cut_count) times"
outputs_of "$links/bin" >flaky
bazel_clean
bazel_remote "$address" build //... || fail "a build through a good network"
same "actions that ran again" "$(processes remote)" 0
outputs_of "$links/bin" >good
cmp flaky good || fail "other outputs: $(diff flaky good)"

# While an action runs: its client finds it again.
done=$(counter actions_done)
bazel_remote "$through" build --define=seconds=984 //odd:slow &
build=$!
must_wait_for 60 is_running "sleep 984"
for try in 1 2 3; do
	had=$(cut_count)
	kill -USR1 $proxy
	must_wait_for 10 cut_again
done
wake 984
wait $build || fail "an action whose connection was cut"
expect_counter actions_done $((done + 1))
kill $proxy
wait $proxy 2>/dev/null || :

check_healthy
stop_host
