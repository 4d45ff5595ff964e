#!/bin/sh
# ramet workers N and SIGHUP grow and shrink the pool, also under load.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

echo "workers 2" >conf
start_host -c "$work/conf"
must_wait_for 10 counter_is workers_alive 2
ramet workers 5
must_wait_for 10 counter_is workers_alive 5
ramet run --no-cache -- /bin/sh -c 'sleep 1.3; echo kept' >out 2>err &
one=$!
must_wait_for 10 is_running "sleep 1.3"
ramet workers 1
must_wait_for 20 counter_is workers_alive 1
wait $one || fail "an action was lost by shrinking: $(cat err)"
same kept "$(cat out)" kept
echo "workers 3" >conf
kill -HUP "$(host_pid)"
must_wait_for 10 counter_is workers_alive 3
expect_counter workers_configured 3
expect_counter worker_deaths 0
check_idle
stop_host
