#!/bin/sh
# tests/run, told to stop, ends the tests that run and removes their directories.
. "$(dirname "$0")/lib.sh"
need_linux "finds processes in /proc"
command -v python3 >/dev/null || skip "there is no python3"

for number in TERM:143 INT:130; do
	rm -f where
	# One that ends when it is told to, with a child that it forgets, and one that does not.
	cat >plan <<-EOF
		runner/polite|me|60|pwd >/dev/null; sleep 6131 & echo "\$TMPDIR" >>$work/where; sleep 6132
		runner/stubborn|me|60|trap '' TERM; echo "\$TMPDIR" >>$work/where; sleep 6133; sleep 6133
		runner/never|me|60|touch $work/never
	EOF
	# (A shell's background processes ignore SIGINT.)
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$top/tests/run" --jobs 2 plan >run.out 2>&1 &
	runner=$!
	for seconds in 6131 6132 6133; do
		must_wait_for 20 is_running "sleep $seconds"
	done
	kill -"${number%:*}" $runner
	rc=0
	wait $runner || rc=$?
	same "exit status of tests/run after $number" "$rc" "${number#*:}"
	contains "what it says" "$(cat run.out)" interrupted
	for seconds in 6131 6132 6133; do
		not_running "sleep $seconds" || fail "sleep $seconds outlives $number"
	done
	same "directories of tests" "$(wc -l <where | tr -d ' ')" 2
	while read -r directory; do
		[ ! -e "$(dirname "$directory")" ] || fail "$directory is left"
	done <where
	[ ! -e never ] || fail "a test was begun after $number"
done
