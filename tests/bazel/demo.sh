#!/bin/sh
# What make demo-bazel does: demo.sh STATE DIR builds the workspace, in DIR, on the host of STATE.
set -eu

listening=$1/listening
dir=$2
for program in bazel zip file; do
	command -v $program >/dev/null || {
		echo "demo-bazel: $program is not installed: apt-get install bazel-bootstrap zip file" >&2
		exit 1
	}
done
address=$(sed -n '/^grpc:/{p;q;}' "$listening" 2>/dev/null) || :
[ -n "$address" ] || {
	echo "demo-bazel: no host listens for Bazel ($listening): make run starts one" >&2
	exit 1
}

echo "A workspace of 80 C files, in $dir/ws"
sh "$(dirname "$0")/make_workspace.sh" "$dir"
dir=$(cd "$dir" && pwd)
cd "$dir/ws"
run() {
	printf '\n$ bazel %s\n' "$*"
	rm -f "$dir/failed"
	{ HOME=$dir bazel --nosystem_rc --nohome_rc "$@" 2>&1 || touch "$dir/failed"; } |
	    sed -e '/^WARNING: The following rc files/d' -e '/^\/etc\/bazel/d'
	[ ! -e "$dir/failed" ]
}
# What it made can then be deleted by make clean.
trap 'run shutdown; chmod -R u+w "$dir/out"' EXIT
remote="--config=remote --remote_executor=$address"
# shellcheck disable=SC2086 # two words
demo() {
	run clean
	run build $remote //...
}
# The second time all comes from the action cache.
demo
demo
# shellcheck disable=SC2086
run test $remote //...
