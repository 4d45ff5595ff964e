#!/bin/sh
# What cannot be deleted from the trash now goes soon after it can be, though nobody asks for it.
own_mounts=1
. "$(dirname "$0")/lib.sh"

start_host --workers 1
# (Mounted before it lies there: the janitor sweeps whenever it likes.)
mkdir -p "$RAMET_STATE/stuck/inner"
mount -t tmpfs none "$RAMET_STATE/stuck/inner"
mv "$RAMET_STATE/stuck" "$RAMET_STATE/trash/stuck"
ramet run -- /bin/true
must_wait_for 10 grep -q "trash/stuck: cannot be deleted" "$RAMET_STATE/ramet.log"
same "times it is said" "$(grep -c "trash/stuck" "$RAMET_STATE/ramet.log")" 1
umount "$RAMET_STATE/trash/stuck/inner"
must_wait_for 15 trash_is_empty
check_idle
stop_host
