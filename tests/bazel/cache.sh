#!/bin/sh
# A second clean build is all cache hits, also after the host was restarted; what is not to be
# cached runs again, and so does what lost its bytes.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening

bazel_remote "$address" build //... || fail "the first build"
ran=$(processes remote)
[ "$ran" -ge 150 ] || fail "actions that ran: $ran"
done=$(counter actions_done)
outputs_of "$links/bin" >first
cp "$links/bin/gen/large.bin" .

again() {
	bazel_clean
	bazel_remote "$address" build //... || fail "$1"
	same "actions that ran, $1" "$(processes remote)" 0
	same "cache hits, $1" "$(processes "remote cache hit")" "$ran"
	outputs_of "$links/bin" >again
	cmp first again || fail "other outputs, $1: $(diff first again)"
}
again "the second build"
expect_counter actions_done "$done"
stop_host
start_listening "$address"
done=$(counter actions_done)
again "after a restart"
expect_counter actions_done "$done"

for try in 1 2; do
	bazel_clean
	bazel_remote "$address" build //odd:not_cached || fail "not_cached"
	same "not_cached, try $try" "$(processes remote)" 1
	expect_counter actions_done $((done + try))
done

# Bytes that the client would not even read: it is told that they are lost, not that all is well.
lost=$(sha256sum <large.bin | cut -c1-64)
find "$RAMET_STATE/cas" -name "$lost*" >blobs
[ -s blobs ] || fail "no blob $lost"
xargs rm -f <blobs
done=$(counter actions_done)
bazel_clean
bazel_remote "$address" build --remote_download_minimal //lib/... //gen:large || fail "a build without one blob"
same "actions that ran, without one blob" "$(processes remote)" 1
expect_counter actions_done $((done + 1))
[ -n "$(find "$RAMET_STATE/cas" -name "$lost")" ] || fail "the blob $lost did not come back"
[ ! -e "$links/bin/gen/large.bin" ] || fail "an output was read that was not wanted"
check_healthy
stop_host
