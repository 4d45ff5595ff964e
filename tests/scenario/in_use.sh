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
