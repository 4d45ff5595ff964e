#!/bin/sh
# A full volume: the action fails with the reason, the host lives, and goes on when there is room.
own_mounts=1
. "$(dirname "$0")/lib.sh"

mkdir vol
mount -t tmpfs -o size=24m,mode=755 tmpfs vol
export RAMET_STATE="$work/vol/state"
start_host --workers 1 --index-entries 1024
same before "$(ramet run -- /bin/echo before)" before
refuses ramet run --no-cache --into out --output big -- /bin/dd if=/dev/zero of=big bs=1M count=64
# The janitor makes room again.
must_wait_for 20 ramet run --no-cache -- /bin/true
head -c 40000000 /dev/urandom >too_big
refuses ramet cas put too_big
contains refusal "$(cat refused.out)" "No space"
dd if=/dev/zero of=vol/fill bs=1M count=64 2>/dev/null || :
rc=0
ramet run --no-cache -- /bin/sh -c 'echo x' >full.out 2>&1 || rc=$?
[ "$rc" -lt 128 ] || fail "exit $rc on a full volume"
rm -f vol/fill
must_wait_for 20 ramet run --no-cache -- /bin/true
same "room again" "$(ramet run --no-cache -- /bin/echo again)" again
check_idle
expect_counter worker_deaths 0
stop_host
