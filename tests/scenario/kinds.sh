#!/bin/sh
# Which kinds of actions write into their inputs is learnt, kept over restarts, shown and forgotten;
# a failure of a proved kind is run once.
. "$(dirname "$0")/lib.sh"
need_linux "overlay"

make_input in
start_host --workers 2
rametd --probe 2>/dev/null | grep -q '"item":"way.overlay","works":true' || skip "no overlay here"
act() { # label, script
	ramet run --no-cache --input in --name "$1" --output o --into out -- /bin/sh -c "$2"
}
writes='echo more >>src/f1 && cp src/f1 o'
act "Gen //a:b" "$writes" 2>err || fail "a writer: $(cat err)"
same "its output" "$(cat out/o)" "file 1
more"
expect_counter kinds_tried 1
contains "ramet index kinds" "$(ramet index kinds)" "/bin/sh Gen //a:b"
contains "its state" "$(ramet index kinds | grep Gen)" writer
contains "the log" "$(cat "$RAMET_STATE/ramet.log")" '"/bin/sh Gen //a:b" writes into its inputs'
act "Gen //a:b" "$writes" || fail "known as a writer"
expect_counter kinds_tried 1
expect_counter kinds_writer_runs 1

# A failure of its own: of a kind that is proved, once.
act Test "true" || fail "a reader"
contains "a reader" "$(ramet index kinds | grep Test)" guarded
exits 3 act Test "echo ran >>/dev/stderr; exit 3" 2>err
same "it ran once" "$(grep -c ran err)" 1
expect_counter kinds_tried 1
# What is made of a failure the second time is what the client hears.
exits 4 act New "test -w src/f1 && exit 4; exit 3"
expect_counter kinds_tried 2
expect_counter kinds_tried_in_vain 1
contains "not proved" "$(ramet index kinds | grep New)" unproved

# Kept; a damaged file is none.
stop_host
start_host --workers 1
act "Gen //a:b" "$writes" || fail "after a restart"
expect_counter kinds_tried 2
stop_host
for file in "$RAMET_STATE"/kinds/*; do
	! grep -q "Gen" "$file" || printf 'x' >>"$file"
done
start_host --workers 1
act "Gen //a:b" "$writes" || fail "with a damaged file"
expect_counter kinds_tried 3
expect_counter kinds_damaged 1
refuses ramet index kinds --forget nobody
ramet index kinds --forget "/bin/sh Gen //a:b" || fail "forget one"
! ramet index kinds | grep -q Gen || fail "not forgotten"
act "Gen //a:b" "$writes" || fail "learnt anew"
expect_counter kinds_tried 4
ramet index kinds --forget all
same "all forgotten" "$(ramet index kinds | tail -n 1)" "0 kinds"
same "inputs" "$(ramet run --no-cache --input in -- /bin/cat src/f1)" "file 1"
check_idle
stop_host

# Not where it is not wanted.
start_host --workers 1 --guard-learning no
exits 2 act "Gen //a:b" "(echo more >>src/f1) 2>/dev/null || exit 2"
expect_counter kinds_tried 4
stop_host
