#!/bin/sh
# The main job in small: compile and link with the real compiler, then again from the cache.
. "$(dirname "$0")/lib.sh"
command -v gcc >/dev/null || skip "needs gcc"

start_host --workers 2
mkdir src
echo 'int two(void); int two(void) { return 2; }' >src/two.c
echo 'int two(void); int main(void) { return two() - 2; }' >src/main.c
cat >job.jsonl <<END
{"name":"two","argv":["gcc","-c","-o","obj/two.o","two.c"],"env":{"PATH":"/usr/bin:/bin"},"input":"$work/src","outputs":["obj/two.o"],"into":"$work/o"}
{"name":"main","argv":["gcc","-c","-o","obj/main.o","main.c"],"env":{"PATH":"/usr/bin:/bin"},"input":"$work/src","outputs":["obj/main.o"],"into":"$work/o"}
{"name":"link","argv":["gcc","-o","prog","obj/two.o","obj/main.o"],"env":{"PATH":"/usr/bin:/bin"},"outputs":["prog"],"into":"$work/bin","needs":["two","main"]}
END
ramet batch job.jsonl >out 2>&1 || fail "$(cat out)"
./bin/prog || fail "the program built does not work"
expect_counter actions_done 3
hits=$(counter cache_hits)
rm -rf o bin
ramet batch job.jsonl >out 2>&1 || fail "again: $(cat out)"
./bin/prog || fail "the program from the cache does not work"
same "hits the second time" "$(($(counter cache_hits) - hits))" 3
check_idle
stop_host
