#!/bin/sh
# The workspace of tests/bazel built on a host and with Bazel's own sandbox, in turns:
#   bazel.sh PAIRS
#
# Prints "remote MS" and "local MS" for each build of //... .  Before each, `bazel clean`; before a
# remote one the host's action cache is emptied, its blobs stay.  Both have the --jobs of the
# workspace, and a warm server.  Exit 77 with the reason where there is no Bazel.
. "$(dirname "$0")/../bazel/lib.sh"
bazel_setup
start_listening >&2

now_ms() { date +%s%3N; }
build() { # which, a command that builds
	which=$1
	shift
	before=$(now_ms)
	"$@" build //... || fail "the $which build"
	after=$(now_ms)
	[ "$(processes "$kind")" -ge 150 ] || fail "$which: only $(processes "$kind") actions ran: $(said)"
	[ "$which" = warm ] || echo "$which $((after - before))"
}
remote() {
	kind=remote
	bazel_clean
	find "$RAMET_STATE/ac" -type f -delete
	build "$1" bazel_remote "$address"
}
local_() {
	kind=linux-sandbox
	bazel_at local clean
	build "$1" bazel_local
}

remote warm
local_ warm
pair=0
while [ "$pair" -lt "$1" ]; do
	if [ $((pair % 2)) = 0 ]; then
		remote remote
		local_ local
	else
		local_ local
		remote remote
	fi
	pair=$((pair + 1))
done
expect_counter actions_failed 0 >&2
check_idle >/dev/null
stop_host >&2
