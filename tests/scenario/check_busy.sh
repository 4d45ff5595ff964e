#!/bin/sh
# `ramet index check` on a host that builds, uses and evicts trees all the while: nothing is a fault,
# deep or not.
. "$(dirname "$0")/lib.sh"

# More trees than the index may hold.
start_host_with_trees --workers 3 --index-entries 64 --cas-size 1M --cas-grace 0
i=0
while [ $i -lt 40 ]; do
	i=$((i + 1))
	mkdir -p "in$i/d/e" "in$i/f"
	head -c 9000 /dev/urandom >"in$i/d/e/r"
	for j in 1 2 3 4 5; do
		echo "$i $j" | tee "in$i/d/x$j" "in$i/f/x$j" >/dev/null
		echo "same $j" >"in$i/f/y$j"
	done
done
run_one() {
	ramet run --no-cache --input "in$1" -- /bin/sh -c 'cat d/e/r d/x1 f/y2 >/dev/null' || echo "$1" >>failed
}
is_enough() {
	[ $n -ge 50 ] || return 1
	[ "$(counter trees_built)" -eq 0 ] || [ "$(counter trees_evicted)" -ge 20 ] || [ "$(date +%s)" -ge $end ]
}
run_all() {
	n=0
	end=$(($(date +%s) + 40))
	until is_enough; do
		n=$((n + 1))
		run_one $((n % 40 + 1))
	done
	: >all_run
}
run_all >run.out 2>&1 &
runner=$!
checks=0
deep=
while [ ! -e all_run ]; do
	checks=$((checks + 1))
	# shellcheck disable=SC2086
	ramet index check $deep >out 2>&1 || fail "check $checks $deep: $(cat out)"
	contains "check $checks" "$(cat out)" " 0 faults"
	if [ -z "$deep" ]; then deep=--deep; else deep=; fi
done
wait $runner
[ ! -e failed ] || fail "actions failed: $(cat failed run.out)"
[ $checks -ge 4 ] || fail "only $checks checks while the actions ran"
[ "$(counter trees_built)" -eq 0 ] || counter_at_least trees_evicted 1 || fail "nothing was evicted"
counter_at_least actions_succeeded 50 || fail "only $(counter actions_succeeded) actions"
expect_counter trees_damaged 0
echo "note: $checks checks while $(counter actions_succeeded) actions ran, $(counter trees_built) trees were built and $(counter trees_evicted) evicted"
check_idle
stop_host
