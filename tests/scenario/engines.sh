#!/bin/sh
# Each --engine places the same tree, and the counters say that it was this engine that did.
. "$(dirname "$0")/lib.sh"

make_input in
find in -mindepth 1 -printf '%P %y %l\n' | sort >names
way_of() { # engine: files or subtrees that it placed, from the counters
	echo $(($(counter "stage_$1_files") + $(counter "stage_$1_subtrees")))
}
for engine in bind overlay reflink hardlink copy clonefile; do
	fresh_state
	if ! rametd --workers 1 --engine $engine >start.log 2>&1; then
		[ -s start.log ] || fail "--engine $engine: refused without a word"
		contains refusal "$(cat start.log)" $engine
		echo "note: $(tail -n 1 start.log)"
		continue
	fi
	ramet run --no-cache --input in --metrics m.json -- /usr/bin/find . -mindepth 1 -printf '%P %y %l\n' |
	    sort >names.now
	cmp names names.now || fail "$engine: $(diff names names.now)"
	same "$engine: exec bit" "$(ramet run --no-cache --input in -- src/tool 1)" "tool 1"
	same "$engine: zero file" "$(ramet run --no-cache --input in -- /bin/sh -c 'wc -c <src/zero')" 0
	[ "$(way_of $engine)" -gt 0 ] || fail "$engine placed nothing: $(ramet stat)"
	counter_at_least zero_digest_files 1 || fail "$engine: the empty file was not made on the spot"
	[ "$(counter link_gate_high_water)" -le "$(counter link_gate_cap)" ] || fail "over the cap"
	check_idle
	stop_host
done
