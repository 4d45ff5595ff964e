#!/bin/sh
# The zero-byte digest never asks the store; long names and long paths are handled or refused.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
mkdir in
: >in/zero
: >in/zero_tool
chmod 755 in/zero_tool
long=$(printf '%0255d' 7)
echo long >"in/$long"
ramet run --no-cache --input in -- /bin/sh -c "cat $long && [ -x zero_tool ] && [ ! -x zero ]" || fail "long name"
counter_at_least zero_digest_files 2 || fail "zero_digest_files"
[ -z "$(find "$RAMET_STATE/cas" -name 'e3b0c442*')" ] || fail "the empty blob is stored"
refuses ramet run --output "${long}x" -- /bin/true
d=in2
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	d=$d/$(printf '%0200d' 1)
	mkdir -p in2
done
(cd in2 && for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do
	name=$(printf '%0200d' 1)
	mkdir "$name" && cd "$name" || exit 1
done && echo deep >file) || fail "cannot make a deep tree"
# Too deep for one path name: placed, or refused with a reason; never half.
rc=0
ramet run --no-cache --input in2 -- /bin/true >deep.out 2>&1 || rc=$?
[ "$rc" -lt 126 ] || fail "deep tree: exit $rc: $(cat deep.out)"
[ "$rc" = 0 ] || [ -s deep.out ] || fail "deep tree: refused without a word"
rm -rf in2
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
