#!/bin/sh
# tests/crash/run.sh POINT: a process dies (SIGKILL) at that point of base/crash_points.def, once.
# Whatever it held is given back, the action succeeds in the end, the state is whole, and the next
# action works.  That the point was really passed is checked too.
. "$(dirname "$0")/../scenario/lib.sh"
need_linux "looks into /proc"

point=${1:?usage: run.sh POINT}
grep -q "^CRASH($point," "$top/base/crash_points.def" || fail "$point is no crash point"
hit=$work/armed/hit
case $point in
gateway_* | upload_* | supervisor_ended_kept)
	# shellcheck source=tests/crash/gateway.sh
	. "$top/tests/crash/gateway.sh"
	exit
	;;
esac

# Enough of everything: a tree worth caching, outputs, and a store and an index small enough that
# the janitor has to evict.
make_input in
flags="--workers 2 --cas-grace 0 --kill-grace 200"
case $point in
worker_result_stored) cacheless= ;;
recycle_*) flags="$flags --workers 1 --isolation none" ;;
ahead_*) flags="$flags --workers 1 --stage-ahead yes" ;;
blob_evict*) flags="$flags --cas-size 1M" ;;
evict_*) flags="$flags --index-entries 64 --index-bytes 1 --cas-size 1M" ;;
esac
start=start_host
case $point in
evict_* | suspect_* | tree_*) start=start_host_with_trees ;;
esac
act() { # its name, further flags
	# shellcheck disable=SC2086
	ramet run ${cacheless-"--no-cache"} --input in --into "out$1" --output o --output d -- /bin/sh -c \
	    "cat src/f1 src/deep/er/d2 >o; mkdir d; echo $1 >d/x; printf out; head -c 100000 /dev/urandom >d/r" \
	    >"said$1" 2>"err$1"
}
check_out() {
	same "output of $1" "$(cat "out$1/o")" "file 1
deep 2"
	same "directory of $1" "$(cat "out$1/d/x")" "$1"
	same "stdout of $1" "$(cat "said$1")" out
}
was_hit() { [ -e "$hit" ]; }

# What fills the store and the index, for the janitor's points.
fill() {
	fill_n=0
	while [ $fill_n -lt 30 ] && ! was_hit; do
		fill_n=$((fill_n + 1))
		mkdir -p "fill/t$fill_n/a/b"
		head -c 120000 /dev/urandom >"fill/t$fill_n/a/b/f"
		for f in 1 2 3 4 5 6 7 8 9 10; do
			echo "$fill_n $f" >"fill/t$fill_n/a/f$f"
		done
		ramet run --no-cache --input "fill/t$fill_n" -- /bin/true || fail "filling: $fill_n"
	done
}

# Only the host is to die of it, and only at work: not the client, nor what the host tries at start
# (the file that says "once" cannot be made before its directory exists).
# Somebody writes to a blob, in place: it goes, and the trees that link to it.
spoil_blob() {
	spoilt_hash=$(echo "deep 2" | sha256sum | cut -c1-64)
	spoilt=$RAMET_STATE/cas/$(echo "$spoilt_hash" | cut -c1-2)/$spoilt_hash
	chmod 644 "$spoilt"
	printf DEEP | dd of="$spoilt" conv=notrunc 2>/dev/null
	chmod 444 "$spoilt"
}

start_doomed() {
	# shellcheck disable=SC2086
	RAMET_CRASH=$point RAMET_CRASH_ONCE=$hit $start $flags
	mkdir armed
}
case $point in
supervisor_worker_reaped)
	# A worker must die for it: kill one in an action.
	start_doomed
	ramet run --no-cache -- /bin/sh -c "sleep 9012" >/dev/null 2>&1 &
	client=$!
	must_wait_for 10 is_running "sleep 9012"
	host=$(host_pid)
	family=$(descendants "$host")
	for pid in $family; do
		[ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f2)" != "$host" ] ||
		    kill -KILL "$pid" 2>/dev/null || : # gone with the supervisor by then
	done
	must_wait_for 10 gone "$host"
	# shellcheck disable=SC2086
	must_wait_for 10 all_gone $family
	must_wait_for 5 not_running "sleep 9012"
	wait $client && fail "an action without a host succeeded"
	;;
supervisor_*)
	start_doomed
	host=$(host_pid)
	family=$(descendants "$host")
	! act first || fail "the supervisor died and nobody noticed"
	[ -s errfirst ] || fail "the client of a dead host said nothing"
	must_wait_for 10 gone "$host"
	# shellcheck disable=SC2086
	must_wait_for 10 all_gone $family
	;;
ahead_*)
	# One that runs, and two that wait for it: the worker dies while the first runs, or when the
	# second is about to.
	start_doomed
	ramet run --no-cache --input in -- /bin/sleep 0.5 &
	sleeper=$!
	act again &
	again=$!
	act first || fail "the action: $(cat errfirst)"
	wait $again || fail "the other: $(cat erragain)"
	wait $sleeper || fail "the one that ran"
	check_out first
	check_out again
	;;
*)
	start_doomed
	act first || fail "the action: $(cat errfirst)"
	check_out first
	;;
esac

case $point in
supervisor_*)
	was_hit || fail "$point was never passed"
	# shellcheck disable=SC2086
	start_host $flags
	;;
*evict*)
	fill
	must_wait_for 80 was_hit
	must_wait_for 20 counter_at_least janitor_restarts 1
	;;
recycle_installed)
	act again || fail "the action whose sandbox is another's: $(cat erragain)"
	check_out again
	must_wait_for 30 was_hit
	must_wait_for 10 counter_at_least slot_repairs 1
	;;
suspect_*)
	spoil_blob
	check_finds --deep
	must_wait_for 30 was_hit
	must_wait_for 20 counter_at_least janitor_restarts 1
	must_wait_for 20 no_suspects
	counter_at_least trees_damaged 1 || fail "no tree was found damaged"
	[ ! -e "$spoilt" ] || fail "the spoilt blob is still there"
	ramet index check --deep >out || fail "afterwards: $(cat out)"
	;;
*)
	must_wait_for 30 was_hit
	must_wait_for 10 counter_at_least slot_repairs 1
	;;
esac
case $point in
blob_temp_written | blob_renamed)
	# What the dead worker was writing goes with the round that its death brings.
	must_wait_for 10 no_temporaries
	# The command line passes it too: it dies, and the host does not care.
	head -c 100000 /dev/urandom >blob
	exits 137 env RAMET_CRASH="$point" ramet cas put blob
	[ "$point" = blob_renamed ] || [ -n "$(ls -A "$RAMET_STATE/cas/tmp")" ] ||
	    fail "nothing was being written"
	ramet cas put blob >/dev/null || fail "putting it again"
	;;
esac
act second || fail "the next action: $(cat errsecond)"
check_out second
act third || fail "the action after it: $(cat errthird)"
check_out third
must_wait_for 10 counter_is workers_alive "$(counter workers_configured)"
case $point in
blob_temp_written)
	# What a command was writing stays until the round of each minute.
	temporaries_may_stay=1
	;;
esac
check_idle
expect_counter actions_given_up 0

case $point in
recycle_*)
	# What is kept belongs to the worker that lives, not to the dead one.
	counter_at_least recycle_hits 1 || fail "nothing was recycled after it"
	same "kept folders" "$(find "$RAMET_STATE/recycled" -mindepth 1 -maxdepth 1 | wc -l)" 1
	;;
esac

# A clean stop and a new host find the same whole state.
stop_host
same "kept after a clean stop" "$(ls -A "$RAMET_STATE/recycled")" ""
start_host --workers 2
act fourth || fail "after a restart: $(cat errfourth)"
check_out fourth
check_idle
stop_host
