# What every scenario begins with: . "$(dirname "$0")/lib.sh"
#
# A scenario starts the real programs on a state directory of its own ($RAMET_STATE, in $TMPDIR),
# acts, and compares output and counters.  It waits for conditions, never for time: wait_for.  Its
# first wrong thing ends it.  Whatever it started is gone when it ends.
# A scenario that mounts says own_mounts=1 before it: it is then run (again) in a mount namespace.
# shellcheck shell=sh disable=SC2034,SC2020
set -eu

if [ -n "${own_mounts-}" ] && [ -z "${RAMET_OWN_MOUNTS-}" ]; then
	[ "$(id -u)" = 0 ] && [ -d /proc/self ] || {
		echo "skip: needs root on Linux: mounts"
		exit 77
	}
	RAMET_OWN_MOUNTS=1 exec unshare -m --propagation private sh "$0" "$@"
fi

top=$(cd "$(dirname "$0")/../.." && pwd)
case ${RAMET_BIN:=build/bin} in /*) ;; *) RAMET_BIN=$top/$RAMET_BIN ;; esac
PATH=$RAMET_BIN:/usr/sbin:/usr/bin:/sbin:/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/ramet-test.XXXXXX")
chmod 755 "$work"
RAMET_STATE=$work/state
export PATH RAMET_STATE
cd "$work"

fail() {
	echo "FAIL: $*" >&2
	[ ! -f "$RAMET_STATE/ramet.log" ] || tail -n 30 "$RAMET_STATE/ramet.log" >&2
	exit 1
}
skip() {
	echo "skip: $*"
	exit 77
}
is_root() { [ "$(id -u)" = 0 ]; }
need_root() { is_root || skip "needs root: $*"; }
need_linux() { [ -d /proc/self ] || skip "needs Linux: $*"; }

finish() {
	rc=$?
	trap - EXIT
	host=$(host_pid)
	if [ -n "$host" ] && alive "$host"; then
		kill -CONT "$host" 2>/dev/null || :
		kill -KILL "$host" 2>/dev/null || :
		wait_for 5 gone "$host" || echo "the host $host outlives SIGKILL" >&2
	fi
	cd /
	[ -z "${own_mounts-}" ] || awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo |
	    sort -r | xargs -r umount -l
	chmod -R u+rwX "$work" 2>/dev/null || :
	rm -rf "$work" || :
	exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Processes.

alive() {
	if [ -d /proc/self ]; then
		[ -r "/proc/$1/stat" ] && case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in
		Z* | X* | '') false ;;
		esac
	else
		kill -0 "$1" 2>/dev/null
	fi
}
gone() { ! alive "$1"; }
all_gone() {
	for gone_pid in "$@"; do
		gone "$gone_pid" || return 1
	done
}
# Every process below PID.
descendants() {
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '
	{ pid = $1; sub(/.*\) /, ""); parent[pid] = $2 }
	END { for (p in parent) { q = p
		while (q in parent && q != root && q > 1) q = parent[q]
		if (q == root && p != root) print p } }'
}
# Pids whose command line begins with these words.
running() {
	running_words=$(printf '%s' "$1" | sed 's/[.]/\\./g; s/ /\\x00/g')
	grep -laP "^$running_words\x00" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3
}
is_running() { [ -n "$(running "$1")" ]; }
not_running() { [ -z "$(running "$1")" ]; }

# wait_for SECONDS COMMAND...: until the command succeeds; fails when it does not in time.
wait_for() {
	wait_deadline=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$wait_deadline" ] || return 1
		sleep 0.02
	done
}
must_wait_for() {
	must_seconds=$1
	shift
	wait_for "$must_seconds" "$@" || fail "in $must_seconds s it never came: $*"
}

# The host.

# A state directory of its own: one that was refused may still be closing.
fresh_state() {
	fresh_n=$((${fresh_n:-0} + 1))
	RAMET_STATE=$work/state$fresh_n
}
host_pid() { cat "$RAMET_STATE/ramet.pid" 2>/dev/null | tr -cd 0-9; }
start_host() { rametd "$@" || fail "rametd $* did not start"; }
# A host that builds trees at once, also where those never seen would be images at first.
start_host_with_trees() {
	! rametd --probe 2>/dev/null | grep -q '"item":"way.image","works":true' ||
	    set -- --engine bind "$@"
	start_host "$@"
}
stop_host() {
	stop_pid=$(host_pid)
	ramet stop "$@" || fail "ramet stop $*"
	must_wait_for 20 gone "$stop_pid"
}
value() { # JSON text on stdin, a member's name: its number
	tr ',{}' '\n\n\n' | sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\"]*\)\"\{0,1\} *\$/\1/p"
}
counter() {
	counter_value=$(ramet stat --json 2>/dev/null | value "$1")
	[ -n "$counter_value" ] || fail "ramet stat --json has no counter $1"
	echo "$counter_value"
}
counter_at_least() { [ "$(counter "$1")" -ge "$2" ]; }
counter_is() { [ "$(counter "$1")" -eq "$2" ]; }

# Comparisons.

same() { # what, got, expected
	[ "$2" = "$3" ] || fail "$1: got '$2', expected '$3'"
}
expect_counter() { same "counter $1" "$(counter "$1")" "$2"; }
contains() { # what, text, part
	case $2 in *"$3"*) ;; *) fail "$1: '$3' is not in: $2" ;; esac
}
exits() { # status, command...
	exits_expected=$1
	shift
	exits_rc=0
	"$@" || exits_rc=$?
	same "exit status of $*" "$exits_rc" "$exits_expected"
}
# Fails, in any way but by a signal.
refuses() {
	refuses_rc=0
	"$@" >refused.out 2>&1 || refuses_rc=$?
	[ "$refuses_rc" -ne 0 ] || fail "$*: was not refused"
	[ "$refuses_rc" -lt 128 ] || fail "$*: exit $refuses_rc: $(cat refused.out)"
}
# Names, modes, link targets and bytes of a tree, as one text.
tree_of() {
	(cd "$1" && find . -printf '%P %y %m %l\n' | sort && find . -type f -exec sha256sum {} + | sort)
}
# The bytes and modes of every blob and cached tree.
cache_of() {
	(cd "$RAMET_STATE" && find cas trees -path cas/tmp -prune -o -path cas/usage -prune -o \
	    -type f -printf '%p %m\n' &&
	    find cas trees -path cas/tmp -prune -o -path cas/usage -prune -o \
		-type f -exec sha256sum {} +) | sort
}
# Every blob's bytes are those its name says.
check_cas() {
	(cd "$RAMET_STATE/cas" && find . -path ./tmp -prune -o -type f ! -name usage -print |
	    while read -r blob; do
		name=$(basename "$blob")
		# shellcheck disable=SC2094
		sum=$(sha256sum "$blob" 2>/dev/null | cut -c1-64)
		# (The janitor may take one away meanwhile.)
		[ "$sum" = "${name%.x}" ] || [ ! -e "$blob" ] || echo "$blob"
	    done) >bad_blobs
	[ ! -s bad_blobs ] || fail "blobs whose bytes are not their name's: $(cat bad_blobs)"
}
trash_is_empty() { [ -z "$(ls -A "$RAMET_STATE/trash")" ]; }
no_temporaries() { [ -z "$(ls -A "$RAMET_STATE/cas/tmp")" ]; }
no_sandboxes() { [ -z "$(ls -A "$RAMET_STATE/sandboxes")" ]; }
# Nothing stuck: what a host looks like when it has nothing to do.
check_idle() {
	ramet index check || fail "ramet index check"
	must_wait_for 10 counter_is actions_running 0
	must_wait_for 10 no_sandboxes
	must_wait_for 10 trash_is_empty
	[ -n "${temporaries_may_stay-}" ] || must_wait_for 10 no_temporaries
	check_cas
}

# The check must find something; what it says is in ./out.
check_finds() { # flags and arguments of ramet index check
	finds_rc=0
	ramet index check "$@" >out 2>err || finds_rc=$?
	[ "$finds_rc" -eq 1 ] || fail "ramet index check $*: exit $finds_rc: $(cat out err)"
}
no_suspects() { [ -z "$(ls -A "$RAMET_STATE/suspect")" ]; }

# So many files that the directory is worth caching whatever a bind costs here today.
fill() { # directory
	for fill_n in $(seq 400); do echo "filler $fill_n" >"$1/filler$fill_n"; done
}

# A small input tree: nested, shared and empty directories, modes, a symlink, an empty file.
make_input() { # directory
	mkdir -p "$1/src/deep/er" "$1/same1" "$1/same2" "$1/empty"
	for make_n in 1 2 3 4 5 6 7 8 9 10 11 12; do
		echo "file $make_n" >"$1/src/f$make_n"
		echo "deep $make_n" >"$1/src/deep/er/d$make_n"
		echo "same $make_n" | tee "$1/same1/s$make_n" >"$1/same2/s$make_n"
	done
	: >"$1/src/zero"
	printf '#!/bin/sh\necho tool "$@"\n' >"$1/src/tool"
	chmod 755 "$1/src/tool"
	ln -s f1 "$1/src/link"
	echo top >"$1/top"
}
