#!/bin/sh
# A state directory on a read-only volume: said at once, nothing made.
own_mounts=1
. "$(dirname "$0")/lib.sh"

mkdir vol
mount -t tmpfs tmpfs vol
mkdir vol/state
mount -o remount,ro vol
export RAMET_STATE="$work/vol/state"
refuses rametd --workers 1
contains refusal "$(cat refused.out)" "vol/state"
contains refusal "$(cat refused.out)" "ead-only"
refuses ramet run -- /bin/true
same "left there" "$(ls -A vol/state)" ''
