#!/bin/sh
# ramet doctor tries every way for real, on a host that runs and on a directory that is new.
. "$(dirname "$0")/lib.sh"

ramet doctor >new.out 2>&1 || :
for way in bind overlay clonefile reflink hardlink copy recycle; do
	contains "doctor (no host)" "$(cat new.out)" $way
done
start_host --workers 1
ramet doctor >live.out 2>&1 || :
for way in bind overlay clonefile reflink hardlink copy recycle; do
	contains "doctor (a host runs)" "$(cat live.out)" $way
done
# Each no comes with what to do about it (a Mac has some that nothing can be done about); what ramet
# does without is no "no".
if [ -d /proc/self ]; then
	awk '$1 == "no" { no = $2; next } no != "" && $1 != "->" { print no; exit } { no = "" }' \
	    live.out >unhelped
	same "a no without a remedy" "$(cat unhelped)" ""
	same "image" "$(grep -cE '^(yes|-) *way.image ' live.out)" 1
	same "costs" "$(grep -cE '^ *cost\.[a-z_]+ +[0-9.]+ us: ' live.out)" 15
fi
# The trials leave nothing behind.
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
