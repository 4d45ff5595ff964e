#!/bin/sh
# ramet cas: a file and a directory put, read back, printed; a digest that does not match its bytes.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
digest=$(ramet cas put in/src/f1)
same "the digest of a file" "$digest" "$(sha256sum <in/src/f1 | cut -c1-64)/7"
same get "$(ramet cas get "$digest")" "file 1"
ramet cas has "$digest" || fail "has: a blob that is there"
exits 1 ramet cas has "$(printf '%064d' 0)/12" 2>/dev/null
tree=$(ramet cas put in)
same "put again" "$(ramet cas put in)" "$tree"
ramet cas tree "$tree" >tree.out
contains tree "$(cat tree.out)" "src/deep/er/d12"
# Putting leaves the user's file the user's: another inode.
[ "$(stat -c %h in/src/f1)" = 1 ] || fail "a user's file was linked into the store"
echo longer >>in/src/f1
same "the blob after the user wrote" "$(ramet cas get "$digest")" "file 1"
# A blob whose bytes are not its name's is found out when it is read.
blob=$(find "$RAMET_STATE/cas" -name "${digest%/*}")
chmod u+w "$blob"
echo evil >"$blob"
truncate -s 7 "$blob"
refuses ramet cas get "$digest"
ramet cas has "$(sha256sum </dev/null | cut -c1-64)/0" || fail "the empty blob is always there"
stop_host
