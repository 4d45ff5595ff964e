#!/bin/sh
# An action whose blobs have gone fails with all of their digests, not the first, and comes right
# again when they are put back.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
ramet run --no-cache --input in -- /bin/true
stop_host
rm -rf "$RAMET_STATE/trees" "$RAMET_STATE/index"
gone1=$(sha256sum <in/src/f1 | cut -c1-64)
gone2=$(sha256sum <in/same1/s3 | cut -c1-64)
start_host --workers 1
digest=$(ramet cas tree --help >/dev/null 2>&1 || :; ramet cas put in)
for hash in $gone1 $gone2; do
	find "$RAMET_STATE/cas" -name "$hash*" -exec rm -f {} +
done
[ -n "$digest" ] || fail "ramet cas put printed nothing"
refuses ramet cas get "$gone1/7"
contains refusal "$(cat refused.out)" "$gone1"
# The client puts its input again, and the store is whole.
ramet run --no-cache --input in -- /bin/cat src/f1 >got
same "put again" "$(cat got)" "file 1"
check_idle
stop_host
