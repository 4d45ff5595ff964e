#!/bin/sh
# A state directory has one host at a time; the second is told so and harms nothing.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
first=$(host_pid)
refuses rametd --workers 1
contains "who has it" "$(cat refused.out)" "$first"
same "the pid file" "$(host_pid)" "$first"
same after "$(ramet run -- /bin/echo fine)" fine
stop_host
start_host --workers 1
stop_host

# The directory is deleted and made anew under a running host: its end harms nothing of the next.
start_host --workers 1
old=$(host_pid)
rm -rf "$RAMET_STATE"
start_host --workers 1
new=$(host_pid)
[ "$new" != "$old" ] || fail "the second host is the first"
kill -TERM "$old"
must_wait_for 20 gone "$old"
same "the new pid file" "$(host_pid)" "$new"
same "the new host" "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
