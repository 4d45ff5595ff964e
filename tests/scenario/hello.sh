#!/bin/sh
# One action: its output, its exit code, its environment and what ended it.
. "$(dirname "$0")/lib.sh"

start_host --workers 2
same stdout "$(ramet run -- /bin/echo hello)" hello
same stderr "$(ramet run -- /bin/sh -c 'echo oops >&2' 2>&1 >/dev/null)" oops
exits 0 ramet run -- /bin/true
exits 7 ramet run -- /bin/sh -c 'exit 7'
exits 255 ramet run -- /bin/sh -c 'exit 255'
exits 137 ramet run -- /bin/sh -c 'kill -KILL $$'
exits 134 ramet run -- /bin/sh -c 'kill -ABRT $$'
exits 127 ramet run -- /no/such/program
same environment "$(ramet run --env A=b --env C='d e' -- /usr/bin/env)" "A=b
C=d e"
same arguments "$(ramet run -- /usr/bin/printf '[%s]' a 'b c' '' '*')" '[a][b c][][*]'
same "a bare name is looked up in PATH" "$(ramet run --env PATH=/bin:/usr/bin -- echo found)" found

make_input in
same "relative argv[0]" "$(ramet run --input in --cwd src -- ./tool x)" "tool x"
same "working directory" "$(ramet run --input in --cwd src/deep -- /bin/ls)" er
same stdin "$(echo secret | ramet run -- /bin/cat)" ''
# Binary output comes out as it went in.
ramet run -- /bin/sh -c 'printf "\000\377\n\001"' >out
same bytes "$(od -An -tx1 out | tr -d ' \n')" 00ff0a01

expect_counter actions_errors 0
counter_at_least actions_failed 5 || fail "failed actions are not counted"
ramet run --metrics m.json -- /bin/echo measured
same exit_code "$(value exit_code <m.json)" 0
[ -n "$(value exec_us <m.json)" ] || fail "no exec_us in $(cat m.json)"
[ "$(value worker <m.json)" -le 1 ] || fail "two workers are 0 and 1: $(cat m.json)"
[ "$(value max_rss <m.json)" -gt 0 ] || fail "no max_rss in $(cat m.json)"
check_idle
stop_host
