#!/bin/sh
# What the user gets wrong is said in words, with a non-zero exit, and leaves nothing behind.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
refuses ramet run --input no_such_dir -- /bin/true
contains "missing input" "$(cat refused.out)" no_such_dir
refuses ramet run --output ../escape -- /bin/true
refuses ramet run --output /etc/passwd -- /bin/true
refuses ramet run --cwd ../.. -- /bin/true
refuses ramet cas get "$(printf '%064d' 0)/12"
refuses ramet cas get not-a-digest
refuses ramet index show not-a-digest
mkdir in
mkfifo in/pipe
refuses ramet run --input in -- /bin/true
contains "a fifo as input" "$(cat refused.out)" pipe
rm in/pipe

# 2 for bad usage, with a word on stderr and nothing on stdout.
usage() {
	exits 2 "$@" >usage.out 2>usage.err
	[ -s usage.err ] || fail "$*: said nothing"
	[ ! -s usage.out ] || fail "$*: spoke on stdout"
	contains "$*" "$(cat usage.err)" "$(basename "$1")"
}
usage ramet
usage ramet frobnicate
usage ramet run
usage ramet run --no-such-option -- /bin/true
usage ramet stat --no-such-option
usage ramet batch
usage ramet workers nonsense
usage rametd --engine nonsense
usage rametd --workers none
usage rametd --no-such-option
usage rametd stray
for program in ramet rametd; do
	$program --help >help.out 2>&1 || fail "$program --help"
	contains "$program --help" "$(cat help.out)" usage
	contains "$program --version" "$($program --version)" "$(cat "$top/VERSION")"
done
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
