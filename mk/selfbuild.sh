#!/bin/sh
# The main job: ramet's own build as actions for `ramet batch`, one JSON object a line.
#
#   mk/selfbuild.sh OS COMPILER FLAG... -- LIBRARY... -- GATEWAY_LIBRARY...
#
# protoc-c runs first; every C file is compiled in a sandbox whose input root is the whole source
# tree (and what protoc-c made); three last actions link.  What an action needs is put into its input
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
quoted() { # words as ,"word","word"
	for word in "$@"; do
		printf ','
		quote "$word"
	done
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
libraries=
while [ "$1" != -- ]; do
	libraries="$libraries,$(quote "$1")"
	shift
done
shift
gateway_libraries=$(quoted "$@")

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
schemas=build/gen/descriptors
printf '{"name":"descriptors","argv":%s,%s,%s,"outputs":%s}\n' \
    "$(list sh mk/descriptors.sh protoc-c $schemas.bin $schemas.c proto/*.proto)" "$tree" "$common" \
    "$(list $schemas.bin $schemas.c)"

compile() { # source
	object=obj/${1%.c}.o
	needs=protoc-c
	[ "$1" != $schemas.c ] || needs=descriptors
	printf '{"name":%s,"argv":[%s%s,"-c","-o","%s","%s"],%s,%s,"outputs":["%s"],"needs":["%s"]}\n' \
	    "$(quote "$1")" "$(quote "$compiler")" "$flags" "$object" "$1" "$tree" "$common" "$object" "$needs"
}

daemon=
gateway=
tool=
for source in base/*.c shm/*.c ipc/*.c cas/*.c $(echo "$made" | tr ' ' '\n' | grep '\.c$') $schemas.c \
    workers/*.c janitor/*.c gateway/*.c supervisor/*.c tools/*.c; do
	case $source in *_$other.c) continue ;; esac
	compile "$source"
	case $source in
	tools/*) tool="$tool $source" ;;
	gateway/* | "$schemas.c") gateway="$gateway $source" ;;
	workers/* | janitor/* | supervisor/*) daemon="$daemon $source" ;;
	*) tool="$tool $source" && daemon="$daemon $source" && gateway="$gateway $source" ;;
	esac
done

link() { # program, its own libraries quoted, sources
	program=$1
	own=$2
	shift 2
	objects=
	for source in "$@"; do
		objects="$objects,\"obj/${source%.c}.o\""
	done
	printf '{"name":"link %s","argv":[%s,"-pthread","-o","bin/%s"%s%s%s],%s,%s,"outputs":["bin/%s"],"needs":%s}\n' \
	    "$program" "$(quote "$compiler")" "$program" "$objects" "$own" "$libraries" "$tree" "$common" \
	    "$program" "$(list "$@")"
}
# shellcheck disable=SC2086
link rametd "" $daemon
# shellcheck disable=SC2086
link ramet-gateway "$gateway_libraries" $gateway
# shellcheck disable=SC2086
link ramet "" $tool
