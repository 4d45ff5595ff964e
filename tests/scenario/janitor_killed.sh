#!/bin/sh
# kill -9 of the janitor: a new one comes and the trash is emptied.
. "$(dirname "$0")/lib.sh"
need_linux "finds the janitor in /proc"

start_host --workers 1
before=$(descendants "$(host_pid)")
restarts=$(counter janitor_restarts)
# Janitor and worker are the host's children; the worker is the one that ramet ps lists.
killed=0
for pid in $before; do
	case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
	*janitor*)
		kill -KILL "$pid"
		killed=1
		must_wait_for 5 gone "$pid"
		;;
	esac
done
same "janitors found" "$killed" 1
must_wait_for 15 counter_at_least janitor_restarts $((restarts + 1))
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
