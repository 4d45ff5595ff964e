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
# Two chains of directories, one put below the other: a path longer than any call takes.
chain() { # its name
	name=$(printf '%0200d' 1)
	chain_path=$1
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
		chain_path=$chain_path/$name
	done
	mkdir -p "$chain_path"
	echo deep >"$chain_path/file"
}
chain lower
chain in2
mv lower "$chain_path/lower"
# Too deep for one path name: placed, or refused with a reason; never half.
rc=0
ramet run --no-cache --input in2 -- /bin/true >deep.out 2>&1 || rc=$?
[ "$rc" -lt 126 ] || fail "deep tree: exit $rc: $(cat deep.out)"
[ "$rc" = 0 ] || [ -s deep.out ] || fail "deep tree: refused without a word"
rm -rf in2
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
