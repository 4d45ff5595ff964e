#!/bin/sh
# ramet run --show-writes says what an action wrote beside its outputs, and nothing when it wrote
# nothing; the inputs stay as they are.
. "$(dirname "$0")/lib.sh"
need_linux "overlay"

make_input in
start_host --workers 1
writes() { ramet run --show-writes --input in --output src/o --into out "$@" 2>said || :; }
writes -- /bin/sh -c 'echo more >>src/f1; rm src/f2; mkdir -p new/dir; mv top src/top; : >src/o'
! grep -q "cannot tell" said || skip "$(cat said)"
sed 's/^ramet: //' said | sort >lines
cat >expected <<'LINES'
changed src/f1
deleted src/f2
deleted top
made new/
made src/top
LINES
cmp expected lines || fail "$(diff expected lines)"
# The result is kept as any; asked again, it is run again all the same.
writes -- /bin/sh -c 'echo more >>src/f1; rm src/f2; mkdir -p new/dir; mv top src/top; : >src/o'
sed 's/^ramet: //' said | sort | cmp expected - || fail "the second time: $(cat said)"
writes -- /bin/sh -c 'cat src/f1 >src/o'
same "wrote nothing" "$(cat said)" "ramet: wrote nothing but its outputs"
same "its output" "$(cat out/src/o)" "file 1"
# An action that fails is told about, too.
writes -- /bin/sh -c 'rm -r same1; exit 3'
same "a failing one" "$(cat said)" "ramet: deleted same1/"
same "the inputs" "$(ramet run --no-cache --input in -- /bin/cat top src/f2)" "top
file 2"
check_idle
stop_host

# Without namespaces the host says that it cannot tell.
fresh_state
start_host --workers 1 --isolation none
writes -- /bin/true
contains "no overlay" "$(cat said)" "cannot tell"
stop_host
