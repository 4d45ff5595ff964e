# Of run.sh: the points that take a client of the Remote Execution API.  The gateway dies there, or the
# supervisor at what it does for it; the client goes on with the next one.
# shellcheck shell=sh disable=SC2034

client_rc=0
python3 "$top/tests/crash/client.py" >client.out 2>&1 || client_rc=$?
[ "$client_rc" != 77 ] || skip "$(tail -n 1 client.out)"
same "exit status of the client alone: $(cat client.out)" "$client_rc" 0

flags="--workers 2 --cas-grace 0 --kill-grace 200 --listen grpc://127.0.0.1:0"
address() { grep "^grpc://" "$RAMET_STATE/listening"; }
# What to do, then its words; the answer is in $1.said.
client() {
	client_name=$1
	shift
	timeout 50 python3 "$top/tests/crash/client.py" "$(address)" "$@" >"$client_name.said" 2>"$client_name.err"
}
said() { # client, name
	sed -n "s/^$2=//p" "$1.said"
}
was_hit() { [ -e "$hit" ]; }
is_busy() { counter_at_least actions_running 1; }
gateway_pid() { pgrep -P "$(host_pid)" ramet-gateway; }

# shellcheck disable=SC2086
RAMET_CRASH=$point RAMET_CRASH_ONCE=$hit start_host $flags
first_address=$(address)
mkdir armed
done_before=$(counter actions_done)

case $point in
supervisor_ended_kept)
	host=$(host_pid)
	family=$(descendants "$host")
	client_rc=0
	client one once salt "echo out" || client_rc=$?
	case $client_rc in
	3) ;;
	0) same stdout "$(said one stdout)" out ;; # it had the answer before the gateway died too
	*) fail "exit $client_rc: $(cat one.err)" ;;
	esac
	must_wait_for 10 gone "$host"
	# shellcheck disable=SC2086
	must_wait_for 10 all_gone $family
	was_hit || fail "$point was never passed"
	# shellcheck disable=SC2086
	start_host $flags
	done_before=$(($(counter actions_done) - 1))
	client one run salt "echo out" || fail "after a restart: $(cat one.err)"
	same "answered from the action cache" "$(said one cached)" 1
	;;
gateway_adopting)
	client one run salt "sleep 2.19; echo out" &
	waiting=$!
	must_wait_for 20 is_busy
	kill -KILL "$(gateway_pid)"
	must_wait_for 20 was_hit
	wait $waiting || fail "the client: $(cat one.err)"
	must_wait_for 10 counter_at_least gateway_restarts 2
	same "the name was always known" "$(said one lost)" 0
	;;
upload_written)
	client put put 3000000 || fail "the upload: $(cat put.err)"
	must_wait_for 10 was_hit
	[ "$(said put broken)" -ge 1 ] || fail "no stream broke: $(cat put.said)"
	client one run salt "echo out" || fail "the client: $(cat one.err)"
	;;
gateway_forgot)
	client one run salt "echo out" || fail "the client: $(cat one.err)"
	must_wait_for 20 was_hit
	must_wait_for 10 counter_at_least gateway_restarts 1
	client again wait "$(said one name)" || fail "asking for what is forgotten: $(cat again.err)"
	same "the operation's name" "$(cat again.said)" unknown
	client one run salt "echo out" || fail "the client: $(cat one.err)"
	same "answered from the action cache" "$(said one cached)" 1
	;;
*)
	client one run salt "echo out" || fail "the client: $(cat one.err)"
	was_hit || fail "$point was never passed"
	must_wait_for 10 counter_at_least gateway_restarts 1
	[ "$(said one broken)" -ge 1 ] || fail "no stream broke: $(cat one.said)"
	;;
esac
case $point in
gateway_end_untold) same "the name was always known" "$(said one lost)" 0 ;;
esac
same stdout "$(said one stdout)" out
expect_counter actions_done $((done_before + 1))

case $point in
supervisor_*) ;;
*) same "the address" "$(address)" "$first_address" ;;
esac
client two run other "echo second" || fail "the next action: $(cat two.err)"
same stdout "$(said two stdout)" second
same "times that it broke" "$(said two broken)" 0
must_wait_for 10 counter_is workers_alive 2
check_idle
expect_counter actions_given_up 0
expect_counter worker_deaths 0
stop_host
