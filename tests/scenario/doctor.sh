#!/bin/sh
# ramet doctor tries every way for real, on a host that runs and on a directory that is new.
. "$(dirname "$0")/lib.sh"

ramet doctor >new.out 2>&1 || :
for way in bind clonefile reflink hardlink copy; do
	contains "doctor (no host)" "$(cat new.out)" $way
done
start_host --workers 1
ramet doctor >live.out 2>&1 || :
for way in bind clonefile reflink hardlink copy; do
	contains "doctor (a host runs)" "$(cat live.out)" $way
done
# The trials leave nothing behind.
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
