#!/bin/sh
# Without mount namespaces a finished sandbox becomes the next action's: outputs gone, inputs as they
# should be, whatever the action before did; and kill -9 of anybody leaves nothing.
. "$(dirname "$0")/lib.sh"
need_linux "finds workers in /proc"

kept_folders() { find "$RAMET_STATE/recycled" -mindepth 1 -maxdepth 1 | wc -l; }
kept_roots() { find "$RAMET_STATE/recycled" -mindepth 2 -maxdepth 2 | wc -l; }
worker_pid() { ramet ps | awk '$1 == "worker" { print $3 }'; }
none_kept() { [ "$(kept_folders)" = 0 ]; }
tree='find . -printf "%P %y %m %l\n" | sort; find . -type f -exec sha256sum {} + | sort'
act() { # input, command
	ramet run --no-cache --input "$1" --output out/o --into "into" -- /bin/sh -c "$2"
}

# Those inputs as an action sees them, each placed anew.
make_input a
cp -a a b
echo changed >b/src/f1
rm b/src/deep/er/d3
echo more >b/src/deep/more
rm -r b/same2
start_host --workers 1 --isolation none --recycle no
act a "$tree" >a.placed
act b "$tree" >b.placed
expect_counter recycle_tries 0
same "nothing is kept" "$(kept_roots)" 0
stop_host

start_host --workers 1 --isolation none
act a "$tree; mkdir out/litter; echo x >out/litter/x; echo o >out/o" >seen
same "first" "$(cat seen)" "$(cat a.placed)"
act a "$tree; echo o >out/o" >seen
same "the same again" "$(cat seen)" "$(cat a.placed)"
expect_counter recycle_hits 1
act b "$tree" >seen
same "another tree" "$(cat seen)" "$(cat b.placed)"
expect_counter recycle_hits 2
counter_at_least stage_recycle_files 40 || fail "files: $(counter stage_recycle_files)"
# Whatever the action may do to what it was given.
act b "chmod -R u+w . 2>/dev/null; echo harm >top; rm -rf src/deep same1 2>/dev/null; ln -s /etc hosts; mv src was; :" \
    >/dev/null 2>&1
act b "$tree" >seen
same "after a vandal" "$(cat seen)" "$(cat b.placed)"
act a "$tree" >seen
same "and the other one" "$(cat seen)" "$(cat a.placed)"
expect_counter recycle_hits 5
expect_counter recycle_given_up 0
expect_counter cas_corrupt 0
same "kept by one worker" "$(kept_folders)" 1
check_idle

# A worker is killed while a batch runs: what it kept goes, and the next one keeps its own.
n=0
while [ $n -lt 60 ]; do
	n=$((n + 1))
	echo "{\"name\":\"$n\",\"input\":\"$work/$([ $((n % 2)) = 0 ] && echo a || echo b)\"," \
	    "\"argv\":[\"/bin/sh\",\"-c\",\"sleep 0.05; cat src/f1; : $n\"]}"
done >batch.jsonl
ramet batch batch.jsonl >batch.out 2>&1 &
client=$!
must_wait_for 20 counter_at_least recycle_hits 15
before=$(find "$RAMET_STATE/recycled" -mindepth 1 -maxdepth 1)
kill -KILL "$(worker_pid)"
must_wait_for 10 counter_at_least worker_deaths 1
wait $client || fail "batch: $(tail batch.out)"
[ ! -e "$before" ] || fail "$before: the dead worker's"
must_wait_for 10 counter_at_least recycle_hits 40
same "kept by one worker" "$(kept_folders)" 1
act a "$tree" >seen
same "after the death" "$(cat seen)" "$(cat a.placed)"
check_idle

# All of it is killed: what was kept is nobody's, and the next host sweeps it away.
host=$(host_pid)
family=$(descendants "$host")
same "something is kept" "$([ "$(kept_roots)" -gt 0 ] && echo yes)" yes
# shellcheck disable=SC2086
kill -KILL "$host" $family
# shellcheck disable=SC2086
must_wait_for 10 all_gone $family
[ "$(kept_roots)" -gt 0 ] || fail "a dead host cleaned up"
start_host --workers 1 --isolation none
must_wait_for 20 none_kept
check_idle
stop_host
same "after a clean stop" "$(kept_folders)" 0
