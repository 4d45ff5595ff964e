#!/bin/sh
# The main job: ramet's own build as actions for `ramet batch`, one JSON object a line.
#
#   mk/selfbuild.sh OS COMPILER FLAG... -- LIBRARY...
#
# protoc-c runs first; every C file is compiled in a sandbox whose input root is the whole source
# tree (and what protoc-c made); two last actions link.  What an action needs is put into its input
# root where the action that made it had it.  Outputs are written below build/self.
set -eu

quote() { # a word as a JSON string
	printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"
}
list() { # words as a JSON array
	list_comma=
	printf '['
	for word in "$@"; do
		printf '%s' "$list_comma"
		quote "$word"
		list_comma=,
	done
	printf ']'
}

os=$1
compiler=$2
shift 2
case $os in linux) other=darwin ;; *) other=linux ;; esac
flags=
while [ "$1" != -- ]; do
	flags="$flags,$(quote "$1")"
	shift
done
shift
libraries=$(list "$@")
libraries=${libraries#[}

path='"/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin"'
common="\"env\":{\"PATH\":$path},\"into\":\"build/self\""
tree='"input":".","exclude":[".git","build","var"]'

made=
for proto in proto/*.proto; do
	base=build/gen/${proto%.proto}
	made="$made $base.pb-c.c $base.pb-c.h"
done
# shellcheck disable=SC2086 # names without spaces, all of ours
printf '{"name":"protoc-c","argv":%s,%s,%s,"outputs":%s}\n' \
    "$(list protoc-c --proto_path=. --c_out=build/gen proto/*.proto)" "$tree" "$common" "$(list $made)"

compile() { # source
	object=obj/${1%.c}.o
	printf '{"name":%s,"argv":[%s%s,"-c","-o","%s","%s"],%s,%s,"outputs":["%s"],"needs":["protoc-c"]}\n' \
	    "$(quote "$1")" "$(quote "$compiler")" "$flags" "$object" "$1" "$tree" "$common" "$object"
}

daemon=
tool=
for source in base/*.c shm/*.c ipc/*.c cas/*.c $(echo "$made" | tr ' ' '\n' | grep '\.c$') \
    workers/*.c janitor/*.c supervisor/*.c tools/*.c; do
	case $source in *_$other.c) continue ;; esac
	compile "$source"
	case $source in
	tools/*) tool="$tool $source" ;;
	workers/* | janitor/* | supervisor/*) daemon="$daemon $source" ;;
	*) tool="$tool $source" && daemon="$daemon $source" ;;
	esac
done

link() { # program, sources
	program=$1
	shift
	objects=
	for source in "$@"; do
		objects="$objects,\"obj/${source%.c}.o\""
	done
	printf '{"name":"link %s","argv":[%s,"-pthread","-o","bin/%s"%s,%s,%s,"outputs":["bin/%s"],"needs":%s}\n' \
	    "$program" "$(quote "$compiler")" "$program" "$objects" "$libraries" "$common" "$program" \
	    "$(list "$@")"
}
# shellcheck disable=SC2086
link rametd $daemon
# shellcheck disable=SC2086
link ramet $tool
