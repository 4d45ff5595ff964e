#!/bin/sh
# kill -9 of the supervisor leaves no worker, no janitor and no action; the next host is warm.
. "$(dirname "$0")/lib.sh"
need_linux "finds processes in /proc"

start_host --workers 2
make_input in
ramet run --no-cache --input in -- /bin/true
ramet run --no-cache --input in -- /bin/sh -c "sleep 8231" >out 2>err &
client=$!
ramet run --no-cache -- /bin/sh -c "setsid sleep 8232 & sleep 8233" >out2 2>err2 &
client2=$!
must_wait_for 10 is_running "sleep 8231"
must_wait_for 10 is_running "sleep 8232"
host=$(host_pid)
family=$(descendants "$host")
[ "$(echo "$family" | wc -l)" -ge 4 ] || fail "too few processes below the host: $family"
kill -KILL "$host"
# shellcheck disable=SC2086
must_wait_for 10 all_gone "$host" $family
for n in 8231 8232 8233; do
	must_wait_for 5 not_running "sleep $n"
done
! wait $client || fail "the client of a dead host succeeded"
! wait $client2 || fail "the client of a dead host succeeded"
[ -s err ] || fail "the client said nothing"

# The mapping of a dead host can be read.
[ "$(ramet stat --json | value actions_done)" -ge 1 ] || fail "ramet stat on a dead host"
ramet index check || fail "ramet index check on a dead host"
ramet index ls >ls.out || fail "ramet index ls on a dead host"
ramet ps >/dev/null || :

start_host --workers 2
hits=$(counter index_hits)
same restarted "$(ramet run --no-cache --input in -- /bin/cat top)" top
[ "$(counter index_hits)" -gt "$hits" ] || fail "not warm: index_hits stays $hits"
check_idle
stop_host
