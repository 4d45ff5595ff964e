#!/bin/sh
# A timeout ends all of the action: SIGTERM, grace, SIGKILL; what it printed is kept.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

start_host --workers 1 --kill-grace 300
began=$(date +%s)
rc=0
ramet run --no-cache --timeout 1 -- /bin/sh -c '
    trap "" TERM; echo before; setsid sleep 8451 & sleep 8452; sleep 8453; sleep 8454' >out 2>err || rc=$?
[ "$rc" -ne 0 ] || fail "a timed out action succeeded"
took=$(($(date +%s) - began))
[ "$took" -le 10 ] || fail "it took $took s"
contains stdout "$(cat out)" before
[ -s err ] || fail "the timeout is not told"
for n in 8451 8452 8453 8454; do
	must_wait_for 5 not_running "sleep $n"
done
expect_counter actions_timed_out 1
# The polite one may clean up in its grace.
rc=0
ramet run --no-cache --timeout 1 -- /bin/sh -c 'trap "echo tidied; exit 0" TERM; sleep 8455 & wait' >out 2>err || rc=$?
[ "$rc" -ne 0 ] || fail "a timed out action succeeded"
contains "grace" "$(cat out)" tidied
expect_counter actions_timed_out 2
check_idle
stop_host
