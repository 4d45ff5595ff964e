#!/bin/sh
# The machine goes down with the host running (here: kill -9, and another boot's id in the index):
# nothing written since its start is trusted before it has been verified, whatever start fails in between.
. "$(dirname "$0")/lib.sh"

make_input in
crash() {
	start_host --workers 1
	ramet run --input in --output o --into out -- /bin/sh -c "cat top >o" || fail "the action"
	host=$(host_pid)
	family=$(descendants "$host")
	kill -KILL "$host"
	# shellcheck disable=SC2086
	must_wait_for 10 all_gone "$host" $family
	printf 'another.' | dd of="$RAMET_STATE/index" bs=1 seek=128 conv=notrunc 2>/dev/null
}
log_has() { grep -q "$1" "$RAMET_STATE/ramet.log"; }
blob=$(printf 'top\n' | sha256sum | cut -c1-64)
torn() { # the blob, as a power cut leaves it: its size, not its bytes
	file=$RAMET_STATE/cas/$(echo "$blob" | cut -c1-2)/$blob
	chmod 644 "$file"
	printf '\0\0\0\0' >"$file"
	chmod 444 "$file"
}

crash
torn
mkdir "$RAMET_STATE/verify" # a start that cannot leave its note
refuses rametd --workers 1
rmdir "$RAMET_STATE/verify"
: >"$RAMET_STATE/ramet.log"
start_host --workers 1
log_has "verified before the first action" || fail "the torn store was trusted after a failed start"
same again "$(ramet run --no-cache --input in -- /bin/cat top)" top
ramet index check || fail "index check"
check_cas
stop_host

# The index itself is torn too.
crash
printf 'XXXXXXXX' | dd of="$RAMET_STATE/index" conv=notrunc 2>/dev/null
torn
: >"$RAMET_STATE/ramet.log"
start_host --workers 1
log_has "verified before the first action" || fail "blobs were trusted because the index was lost"
same again "$(ramet run --no-cache --input in -- /bin/cat top)" top
check_cas
stop_host
