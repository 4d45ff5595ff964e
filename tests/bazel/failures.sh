#!/bin/sh
# What fails says why: an action's stderr and exit code, a test's log, a timeout with its log.
# What is interrupted ends.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening grpc://127.0.0.1:0 --orphan-grace 500

exits 1 bazel_remote "$address" build //odd:fails
contains "the exit code" "$(said)" "(Exit 43)"
contains "stderr" "$(said)" "this action fails"
# A failed action is not served from the cache.
failed=$(counter actions_failed)
exits 1 bazel_remote "$address" build //odd:fails
expect_counter actions_failed $((failed + 1))

exits 3 bazel_remote "$address" test --test_timeout=2 //odd:hangs_test //odd:fails_test
contains "a failed test" "$(said)" "FAIL: //odd:fails_test"
contains "its log" "$(cat "$links/testlogs/odd/fails_test/test.log")" "this test fails"
contains "a test that hangs" "$(said)" "TIMEOUT: //odd:hangs_test"
contains "its log" "$(cat "$links/testlogs/odd/hangs_test/test.log")" "this test hangs"
must_wait_for 10 not_running "sleep 997"

bazel_remote "$address" build --define=seconds=993 //odd:slow &
build=$!
must_wait_for 60 is_running "sleep 993"
descendants $build | xargs kill
! wait $build || fail "an interrupted build succeeds"
must_wait_for 60 not_running "sleep 993"

# The same server goes on.
bazel_remote "$address" build //gen:script || fail "a build after failures"
check_healthy
stop_host
