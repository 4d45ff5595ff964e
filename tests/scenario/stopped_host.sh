#!/bin/sh
# stat, index and ps read the mapping alone: they work on a stopped and on a dead host.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
ramet run --no-cache --input in -- /bin/true
host=$(host_pid)
kill -STOP "$host"
look() {
	expect_counter actions_done 1
	ramet stat >stat.out 2>stat.err && grep -q actions_done stat.out || fail "$1: ramet stat"
	same "$1: ramet stat's stderr" "$(cat stat.err)" ""
	ramet index ls >/dev/null || fail "$1: ramet index ls"
	ramet index check || fail "$1: ramet index check"
	ramet ps >ps.out || fail "$1: ramet ps"
}
look stopped
kill -CONT "$host"
stop_host
expect_counter actions_done 1
contains "dead: ramet stat's stderr" "$(ramet stat 2>&1 >/dev/null)" "no host runs in $RAMET_STATE"
ramet index ls >/dev/null || fail "dead: ramet index ls"
ramet index check || fail "dead: ramet index check"
start_host --workers 1
host=$(host_pid)
kill -KILL "$host"
must_wait_for 5 gone "$host"
expect_counter actions_done 1
ramet index check || fail "killed: ramet index check"
