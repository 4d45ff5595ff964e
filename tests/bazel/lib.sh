# What every Bazel scenario begins with: . "$(dirname "$0")/lib.sh"
#
# It is ../scenario/lib.sh and
#   bazel_setup                       a workspace, or a skip where Bazel is not installed
#   start_listening [ADDRESS [OPTION...]]   a host that listens there; where it does is then in $address
#   bazel_local COMMAND...            Bazel with its own sandbox
#   bazel_remote ADDRESS COMMAND...   Bazel with a host; its outputs are kept apart from the local ones
#
# What Bazel says goes to $bazel_log, which is shown when the scenario fails.  The outputs of the
# command before are below $links/bin and $links/testlogs.  Bazel's servers end with the scenario.
# shellcheck shell=sh disable=SC2034,SC2154
. "$(dirname "$0")/../scenario/lib.sh"

bazel_setup() {
	for bazel_needs in bazel zip file gcc python3; do
		command -v "$bazel_needs" >/dev/null || skip "$bazel_needs is not installed"
	done
	[ -d /usr/share/bazel/embedded_tools ] || skip "this Bazel is not Debian's"
	bazel_dir=$work/bazel
	bazel_log=$work/bazel.log
	links=$bazel_dir/links
	: >"$bazel_log"
	sh "$top/tests/bazel/make_workspace.sh" "$bazel_dir"
	trap bazel_finish EXIT
}

bazel_finish() {
	bazel_rc=$?
	trap - EXIT
	set +e
	case $bazel_rc in
	0 | 77) ;;
	*) tail -n 40 "$bazel_log" | sed 's/^/bazel: /' >&2 ;;
	esac
	# (To Bazel's server SIGTERM is an orderly shutdown, three times as fast as bazel shutdown.)
	for bazel_base in "$bazel_dir"/out/*; do
		bazel_server=$(cat "$bazel_base/server/server.pid.txt" 2>/dev/null) || continue
		kill "$bazel_server" 2>/dev/null
		wait_for 10 gone "$bazel_server" || kill -KILL "$bazel_server"
		wait_for 10 gone "$bazel_server" || echo "Bazel's server $bazel_server outlives SIGKILL" >&2
	done
	(exit "$bazel_rc")
	finish
}

# Bazel with an output base, and so a server, of its own.
bazel_at() { # name, command...
	printf '\n$ bazel_at %s\n' "$*" >>"$bazel_log"
	bazel_base=$bazel_dir/out/$1
	shift
	(cd "$bazel_dir/ws" && HOME=$bazel_dir exec bazel --nosystem_rc --nohome_rc \
	    --output_base="$bazel_base" "$@") >>"$bazel_log" 2>&1
}
bazel_local() {
	bazel_command=$1
	shift
	bazel_at local "$bazel_command" --config=local "$@"
}
bazel_remote() {
	bazel_remote_address=$1
	bazel_command=$2
	shift 2
	bazel_at remote "$bazel_command" --config=remote --remote_executor="$bazel_remote_address" "$@"
}
bazel_clean() { bazel_at remote clean; }

# How many actions the last command had of a kind: "remote cache hit", "remote", "internal".
processes() {
	processes_n=$(sed -n 's/^INFO: [0-9]* process[es]*: \(.*\)\.$/\1/p' "$bazel_log" | tail -n 1 |
	    tr ',' '\n' | sed -n "s/^ *\([0-9]*\) $1\$/\1/p")
	echo "${processes_n:-0}"
}
# What the last command said.
said() { awk '/^\$ bazel_at/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }' "$bazel_log"; }

# Names, modes and bytes of outputs, those behind links too; not the lists that hold absolute names.
outputs_of() {
	(cd "$1/" && find -L . -name '*.runfiles*' -prune -o ! -type d -printf '%P %y %m\n' | sort &&
	    find -L . -name '*.runfiles*' -prune -o -type f -exec sha256sum {} + | sort)
}

# The same as the scenarios', but with one process for all of the many blobs.
check_cas() {
	(cd "$RAMET_STATE/cas" && find . -path ./tmp -prune -o -type f ! -name usage -exec sha256sum {} + 2>/dev/null) |
	    awk '{ name = $2; sub(/.*\//, "", name); sub(/[.]x$/, "", name) } name != $1 { print $2 }' >bad_blobs
	[ ! -s bad_blobs ] || fail "blobs whose bytes are not their name's: $(cat bad_blobs)"
}

# What a host looks like at the end when no process of it died.
check_healthy() {
	expect_counter gateway_restarts 0
	expect_counter worker_deaths 0
	expect_counter actions_errors 0
	check_idle
}

# //odd:slow sleeps, --define=seconds=, until it is woken.
wake() { running "sleep $1" | xargs kill; }

start_listening() {
	rm -f "$RAMET_STATE/listening"
	start_listening_at=${1:-grpc://127.0.0.1:0}
	[ $# -eq 0 ] || shift
	start_host --workers 2 --listen "$start_listening_at" "$@"
	must_wait_for 10 listens
	address=$(sed -n '/^grpc:/{p;q;}' "$RAMET_STATE/listening")
}
listens() { grep -qs '^grpc://' "$RAMET_STATE/listening"; }
