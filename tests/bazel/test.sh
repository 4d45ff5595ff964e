#!/bin/sh
# bazel test //... on a host: tests with data, with a directory among it, with outputs of their own.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening

bazel_remote "$address" test //... || fail "the remote tests"
contains summary "$(said)" "Executed 7 out of 7 tests: 7 tests pass"
same "tests elsewhere" "$(processes linux-sandbox)" 0
contains "a test's log" "$(cat "$links/testlogs/lib/list/list_test/test.log")" "list: 6 numbers"
contains "a test's XML" "$(cat "$links/testlogs/lib/list/list_test/test.xml")" '<testsuite name="lib/list/list_test"'
unzip_list() { python3 -m zipfile -l "$links/testlogs/gen/data_test/test.outputs/outputs.zip"; }
contains "what a test kept" "$(unzip_list)" kept.txt

# From the action cache, into a clean output base.
bazel_clean
bazel_remote "$address" test //... || fail "the tests again"
same "tests that ran again" "$(processes remote)" 0
contains "again" "$(said)" "7 tests pass"

# Another instance, a priority, and a platform that nobody has: it runs.
bazel_remote "$address" test --remote_instance_name=some/where --remote_execution_priority=-3 \
    --remote_default_exec_properties=no-such=property //lib/base:base_test || fail "a test with properties"
contains "with properties" "$(said)" "1 test passes"
same "tests elsewhere" "$(processes linux-sandbox)" 0

expect_counter actions_failed 0
check_healthy
stop_host
