#!/bin/sh
# kill -9 of a worker during an action: the action is tried again and succeeds, a new worker comes,
# nothing is held for the dead; an action that kills its worker each time is given up with a reason.
. "$(dirname "$0")/lib.sh"
need_linux "finds workers in /proc"

start_host --workers 1
make_input in
mark=8123
# The first try waits to be killed; those after it find the mark and go on.
ramet run --no-cache --input in -- /bin/sh -c "sleep $mark" >out 2>err &
client=$!
must_wait_for 10 is_running "sleep $mark"
worker() { # the child of the host that is an ancestor of pid $1
	worker_at=$1
	while :; do
		worker_up=$(sed 's/.*) //' "/proc/$worker_at/stat" | cut -d' ' -f2)
		[ "$worker_up" != "$(host_pid)" ] || break
		[ "$worker_up" -gt 1 ] || fail "the action is not below the host"
		worker_at=$worker_up
	done
	echo "$worker_at"
}
for try in 1 2 3; do
	must_wait_for 20 is_running "sleep $mark"
	action=$(running "sleep $mark")
	victim=$(worker "$action")
	contains "the process title" "$(tr '\0' ' ' <"/proc/$victim/cmdline")" "worker 0"
	contains "ramet ps" "$(ramet ps | grep " $victim ")" "worker 0 "
	kill -KILL "$victim"
	must_wait_for 10 gone "$action"
	must_wait_for 10 counter_at_least worker_deaths $try
done
rc=0
wait $client || rc=$?
[ "$rc" -ne 0 ] || fail "an action given up must fail"
contains "why it was given up" "$(cat err)" "worker 0 (pid $victim)"
contains "the log" "$(cat "$RAMET_STATE/ramet.log")" "worker 0 (pid $victim) was killed by signal 9"
expect_counter actions_retried 2
expect_counter actions_given_up 1
must_wait_for 20 counter_is workers_alive 1
not_running "sleep $mark" || fail "something of the action lives"

# Once only: the second try goes through.
ramet run --no-cache --input in -- /bin/sh -c "sleep 2.5; echo survived" >out 2>err &
client=$!
must_wait_for 10 is_running "sleep 2.5"
victim=$(worker "$(running "sleep 2.5")")
kill -KILL "$victim"
wait $client || fail "retried action: $(cat err)"
same retried "$(cat out)" survived
expect_counter actions_retried 3
counter_at_least worker_restarts 4 || fail "worker_restarts: $(counter worker_restarts)"
counter_at_least slot_repairs 4 || fail "slot_repairs: $(counter slot_repairs)"
check_idle
stop_host
