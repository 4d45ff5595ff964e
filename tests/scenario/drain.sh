#!/bin/sh
# SIGTERM and ramet stop --drain finish what runs and is queued; a second SIGTERM stops now.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

start_host --workers 1 --kill-grace 200
ramet run --no-cache -- /bin/sh -c 'sleep 1.7; echo first' >out1 2>err1 &
one=$!
must_wait_for 10 is_running "sleep 1.7"
ramet run --no-cache -- /bin/echo second >out2 2>err2 &
two=$!
must_wait_for 10 counter_is actions_queued 1
host=$(host_pid)
ramet stop --drain
wait $one || fail "drained action: $(cat err1)"
wait $two || fail "queued action: $(cat err2)"
same first "$(cat out1)" first
same second "$(cat out2)" second
must_wait_for 10 gone "$host"

start_host --workers 1 --kill-grace 200
ramet run --no-cache -- /bin/sleep 8671 >out1 2>err1 &
one=$!
must_wait_for 10 is_running "/bin/sleep 8671"
host=$(host_pid)
kill -TERM "$host"
# Draining: new work is refused or goes to nobody, the running action stays.
# (Two signals of a kind that wait together are one: the first has to be seen.)
must_wait_for 10 grep -q "SIGTERM: draining" "$RAMET_STATE/ramet.log"
alive "$host" || fail "the first SIGTERM must wait for the action"
is_running "/bin/sleep 8671" || fail "the first SIGTERM killed the action"
kill -TERM "$host"
must_wait_for 10 gone "$host"
must_wait_for 5 not_running "/bin/sleep 8671"
! wait $one || fail "a stopped action succeeded"
