#!/bin/sh
# The same action again is answered from the action cache; not if it failed, not with --no-cache,
# and not when a blob of its result has gone.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
cached() { # "true" or "false" of the last --metrics
	value cached <m.json
}
run() { ramet run --input in --into out --output o --metrics m.json "$@" -- /bin/sh -c 'cat src/f1 >o; echo said'; }

same first "$(run)" said
same "first cached" "$(cached)" false
rm -rf out
same second "$(run)" said
same "second cached" "$(cached)" true
same "the cached output" "$(cat out/o)" "file 1"
expect_counter cache_hits 1
run --no-cache
same "--no-cache" "$(cached)" false

exits 3 ramet run -- /bin/sh -c 'exit 3'
exits 3 ramet run --metrics m.json -- /bin/sh -c 'exit 3'
same "a failure is not cached" "$(cached)" false

# A changed input is another action.
echo changed >in/src/f1
same changed "$(run)" said
same "changed: cached" "$(cached)" false
same "changed: output" "$(cat out/o)" changed

# The output's blob goes: not a hit, and the action runs again.
hash=$(sha256sum <out/o | cut -c1-64)
blob=$(find "$RAMET_STATE/cas" -name "$hash*")
[ -n "$blob" ] || fail "the output $hash is not in the store"
echo elsewhere >in/src/other
# shellcheck disable=SC2086
rm -f $blob
echo changed >in/src/f1
rm -rf out
run
same "incomplete: output" "$(cat out/o)" changed
check_idle
stop_host
