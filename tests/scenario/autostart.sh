#!/bin/sh
# ramet run starts a host when none runs, says so, and finds it the next time.
. "$(dirname "$0")/lib.sh"

same stdout "$(ramet run -- /bin/echo first 2>said)" first
[ -s said ] || fail "it did not say that it started a host"
first=$(host_pid)
alive "$first" || fail "no host runs"
same stdout "$(ramet run -- /bin/echo second 2>said)" second
same "said the second time" "$(cat said)" ''
same "the host" "$(host_pid)" "$first"
stop_host
refuses ramet stop
