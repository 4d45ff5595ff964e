#!/bin/sh
# A small store with no grace: old blobs go, running actions lose nothing, the store stays in size.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

start_host --workers 2 --cas-size 2M --cas-grace 0
make_input in
ramet run --no-cache --input in -- /bin/sh -c 'sleep 3.1; cat src/f1 src/deep/er/d12' >out 2>err &
running=$!
must_wait_for 10 is_running "sleep 3.1"
n=0
while [ $n -lt 24 ]; do
	n=$((n + 1))
	head -c 300000 /dev/urandom >blob
	ramet cas put blob >/dev/null || fail "put $n"
	ramet run --no-cache --into o --output big -- /bin/sh -c 'head -c 200000 /dev/urandom >big' ||
	    fail "action $n"
done
wait $running || fail "the running action: $(cat err)"
same "the running action" "$(cat out)" "file 1
deep 12"
must_wait_for 90 counter_at_least cas_evicted_blobs 1
must_wait_for 90 sh -c '[ "$(ramet stat --json | tr , "\n" | sed -n "s/.*\"cas_bytes\": *//p" | tr -cd 0-9)" -le 3000000 ]'
same "put again" "$(ramet run --no-cache --input in -- /bin/cat src/f2)" "file 2"
check_idle
stop_host
