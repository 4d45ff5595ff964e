#!/bin/sh
# Many clients at once, the same and different trees: all right, single flight, the gate kept.
. "$(dirname "$0")/lib.sh"

start_host --workers 4 --link-cap 3
make_input a
make_input b
echo other >b/src/f5
pids=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	tree=a
	[ $((i % 2)) = 0 ] || tree=b
	ramet run --no-cache --input $tree --into out$i --output o -- /bin/sh -c \
	    "cat src/f5 src/deep/er/d$i >o" 2>err$i &
	pids="$pids $!"
done
i=0
for pid in $pids; do
	i=$((i + 1))
	wait "$pid" || fail "client $i: $(cat err$i)"
	first="file 5"
	[ $((i % 2)) = 0 ] || first=other
	same "client $i" "$(cat out$i/o)" "$first
deep $i"
done
expect_counter actions_done 12
expect_counter actions_succeeded 12
expect_counter link_gate_cap 3
[ "$(counter link_gate_high_water)" -le 3 ] || fail "over the cap"
expect_counter worker_deaths 0
check_idle
stop_host
