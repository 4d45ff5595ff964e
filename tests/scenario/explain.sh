#!/bin/sh
# ramet explain says what will be done, and then that is done; what it says it changes nothing by.
. "$(dirname "$0")/lib.sh"

make_input in/all
for n in $(seq 200); do echo "many $n" >in/all/src/n"$n"; done
exits 1 ramet explain "$(printf '%064d/1' 0)" 2>err
contains "before a host has run" "$(cat err)" "start a host"
exits 2 ramet explain
exits 2 ramet explain nothing
start_host --workers 1
digest=$(ramet cas put in | tail -n 1)
explain() { ramet explain "$@" >explained || fail "explain $*: $(cat explained)"; }
line_of() { grep -E "  $1 +[^ ]*$2( |\$)" explained; }

explain "$digest"
contains "its root" "$(cat explained)" "input root $digest"
line_of made '\.' >/dev/null || fail "no root: $(cat explained)"
contains "cold" "$(cat explained)" "not cached"
contains "what else" "$(cat explained)" "not taken:"
same "trees by explaining" "$(counter index_trees)" 0
# Where nothing can be mounted all is placed file by file, and nothing is ever cached.
if line_of 'file by file' all; then
	explain --guard=off "$digest"
	stop_host
	exit 0
fi

# What was said is what is done.
ramet run --no-cache --input in --metrics m.json -- /bin/true
if line_of image all; then
	[ "$(value image_files <m.json)" -ge 200 ] || fail "no image: $(cat m.json)"
	ramet run --no-cache --input in -- /bin/true
	must_wait_for 20 counter_at_least trees_granted 1
else
	line_of 'build, bind' all || fail "neither image nor tree: $(cat explained)"
	same "built" "$(value subtrees_built <m.json)" 1
fi
explain "$digest"
line_of bind all || fail "not bound: $(cat explained)"
case $(cat explained) in *"not cached (+"*) fail "it is cached: $(cat explained)" ;; esac
ramet run --no-cache --input in --metrics m.json -- /bin/true
[ "$(value bind_files <m.json)" -ge 200 ] || fail "not bound: $(cat m.json)"

# Near to what is cached: what differs is named.
cp -a in near
echo changed >near/all/src/deep/er/d3
rm near/all/src/deep/er/d4
echo new >near/all/src/deep/er/d99
digest=$(ramet cas put near | tail -n 1)
explain "$digest"
contains "nearest" "$(cat explained)" "nearest: trees/"
for difference in '! ([a-z]+/)*d3' '- ([a-z]+/)*d4' '[+] ([a-z]+/)*d99'; do
	grep -qE "^ +$difference\$" explained || fail "what differs, $difference: $(cat explained)"
done

# An action: where it writes is made for real; and as a writer.
ramet run --no-cache --input near --output all/src/o -- /bin/sh -c 'echo x >all/src/o; exec sleep 351' >/dev/null 2>&1 &
client=$!
must_wait_for 20 is_running "sleep 351"
ramet ps --json >ps.json
action=$(grep -oE '"action": *"[0-9a-f]{64}[/-][0-9]+"' ps.json | head -n 1 | cut -d'"' -f4)
explain "$action"
contains "its program" "$(cat explained)" "of /bin/sh"
line_of made all >/dev/null || fail "not on the way to an output: $(cat explained)"
line_of made src >/dev/null || fail "an output's directory: $(cat explained)"
kill "$client"
wait "$client" || :
must_wait_for 20 not_running "sleep 351"
explain --guard=off "$digest"
contains "as a writer" "$(cat explained)" "input root $digest"

# A Directory that is not there.
exits 1 ramet explain "$(printf '%064d/77' 1)" >missing 2>&1
contains "what is missing" "$(cat missing)" "missing: $(printf '%064d/77' 1)"
check_idle
stop_host
# Without a host, from what it kept; and without an index, which is made anew at the next start.
mv "$RAMET_STATE/index" kept_index
explain "$digest"
contains "nothing is cached" "$(cat explained)" "never seen"
mv kept_index "$RAMET_STATE/index"
explain "$digest"
