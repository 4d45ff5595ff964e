#!/bin/sh
# bazel build //... on a host: what comes out is what a local build makes, to the byte.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening

bazel_remote "$address" build //... || fail "the remote build"
[ "$(processes remote)" -ge 150 ] || fail "actions on the host: $(processes remote)"
same "actions elsewhere" "$(processes linux-sandbox)" 0
contains "an action's stdout and stderr" "$(said)" "said on stderr"
outputs_of "$links/bin" >remote
same "the program runs" "$("$links/bin/app/user" | wc -w)" 3

bazel_local build //... || fail "the local build"
outputs_of "$links/bin" >local
[ "$(wc -l <local)" -ge 300 ] || fail "few outputs: $(wc -l <local)"
diff local remote || fail "local (<) and remote (>) outputs differ"

expect_counter actions_failed 0
check_healthy
stop_host
