#!/bin/sh
# An action that double-forks, calls setsid and ignores signals leaves nothing alive; it has ended
# when its first process has, whatever still holds its stdout open.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

for isolation in auto none; do
	fresh_state
	start_host --workers 1 --isolation $isolation
	same first "$(ramet run --no-cache -- /bin/sh -c '
	    (setsid sh -c "trap \"\" TERM HUP INT; setsid sleep 8341 & sleep 8342" &) ;
	    (trap "" TERM HUP; sleep 8343 &)
	    sleep 8344 &
	    echo done')" "done"
	for n in 8341 8342 8343 8344; do
		must_wait_for 10 not_running "sleep $n"
	done
	check_idle
	stop_host
done
