#!/bin/sh
# An index that is corrupted, truncated, foreign or empty is set aside with a word, never trusted.
. "$(dirname "$0")/lib.sh"

make_input in
start_host --workers 1
ramet run --no-cache --input in -- /bin/true
stop_host
cp "$RAMET_STATE/index" good
spoil() { # what
	case $1 in
	empty) : >"$RAMET_STATE/index" ;;
	truncated) head -c 5000 good >"$RAMET_STATE/index" ;;
	foreign) head -c 100000 /dev/urandom >"$RAMET_STATE/index" ;;
	magic) printf 'XXXXXXXX' | dd of="$RAMET_STATE/index" conv=notrunc 2>/dev/null ;;
	header) head -c 128 /dev/zero | tr '\0' '\377' |
	    dd of="$RAMET_STATE/index" bs=1 seek=8 conv=notrunc 2>/dev/null ;;
	esac
}
count() { find "$RAMET_STATE" -maxdepth 1 -name 'index.bad.*' | wc -l; }
n=0
for what in empty truncated foreign magic header; do
	rm -f "$RAMET_STATE"/index.bad.*
	cp good "$RAMET_STATE/index"
	spoil $what
	# Tools say so and do not crash.
	refuses ramet stat
	refuses ramet index ls
	start_host --workers 1
	same "$what: set aside" "$(count)" 1
	same "$what: works" "$(ramet run --no-cache --input in -- /bin/cat top)" top
	ramet index check || fail "$what: index check"
	stop_host
	n=$((n + 1))
done
same tried $n 5
