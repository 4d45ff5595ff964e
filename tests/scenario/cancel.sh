#!/bin/sh
# A client that goes takes its action with it, running or queued.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

start_host --workers 1 --kill-grace 200
ramet run --no-cache -- /bin/sleep 8561 &
client=$!
must_wait_for 10 is_running "/bin/sleep 8561"
ramet run --no-cache -- /bin/sleep 8562 &
queued=$!
must_wait_for 10 counter_is actions_queued 1
kill -KILL $queued
must_wait_for 10 counter_is actions_queued 0
kill -KILL $client
must_wait_for 10 not_running "/bin/sleep 8561"
must_wait_for 10 counter_is actions_running 0
counter_at_least actions_cancelled 1 || fail "actions_cancelled"
same after "$(ramet run -- /bin/echo fine)" fine
not_running "/bin/sleep 8562" || fail "the queued action was run for nobody"
check_idle
stop_host
