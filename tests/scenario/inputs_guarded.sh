#!/bin/sh
# A hostile action writes to, chmods, renames, replaces and deletes its inputs: the cache is the
# same before and after, and the next action sees what was put in.  Every engine and isolation.
. "$(dirname "$0")/lib.sh"

make_input in
find in -printf '%P %y %l\n' | sort >names
(cd in && find . -type f -exec sha256sum {} + | sort) >sums

hostile='
exec 2>/dev/null
for f in top src/f1 src/tool src/deep/er/d1 same1/s1 src/zero; do
	echo evil >>$f; echo evil >$f; chmod 777 $f; echo evil >>$f; touch -d @1 $f
	: >$f; mv $f $f.moved; echo evil >$f; ln $f.moved $f.linked; echo evil >>$f.linked; rm -f $f.moved
done
chmod 777 src src/deep/er same1 .; rm -rf src/deep same1/s2; mkdir src/evil; echo e >src/evil/e
ln -s /etc/passwd same2/s3x; truncate -s 0 src/f2; dd if=/dev/zero of=src/f3 bs=1 count=1 conv=notrunc
exit 0'

try() { # rametd flags
	fresh_state
	rametd --workers 1 "$@" >start.log 2>&1 || {
		# What this system cannot do is refused with a reason, not replaced in silence.
		[ -s start.log ] || fail "rametd $*: refused without a word"
		echo "note: rametd $*: $(tail -n 1 start.log)"
		return 0
	}
	tried="$tried $*;"
	ramet run --no-cache --input in -- /bin/true || fail "$*: warm"
	ramet run --no-cache --input in -- /bin/true || fail "$*: warm"
	cache_of >before
	ramet run --no-cache --input in -- /bin/sh -c "$hostile" || :
	ramet run --no-cache --guard=off --input in --output src -- /bin/sh -c "$hostile" || :
	check_cas
	# Nothing of what was there has changed; the hostile action may have added no input's blob.
	cache_of >after
	lost=$(comm -23 before after)
	# Links forced where daemon and action share a uid have no guard: what was changed is found
	# afterwards, said, and dropped; no other engine may change anything.
	case "$*" in
	*hardlink*) ! grep -q unguarded "$RAMET_STATE/ramet.log" || lost= ;;
	esac
	[ -z "$lost" ] || fail "$*: the cache changed: $lost"
	ramet run --no-cache --input in -- /usr/bin/find . -printf '%P %y %l\n' | sort >names.now
	cmp names names.now || fail "$*: the next action sees other names: $(diff names names.now)"
	ramet run --no-cache --input in -- /bin/sh -c 'find . -type f -exec sha256sum {} +' |
	    sort >sums.now
	cmp sums sums.now || fail "$*: the next action sees other bytes: $(diff sums sums.now)"
	check_idle
	stop_host
}
tried=
for isolation in auto root user none; do
	try --isolation $isolation
done
for engine in bind overlay reflink hardlink copy clonefile; do
	try --engine $engine
done
try --engine copy --isolation none
try --engine hardlink --isolation none
try --engine hardlink --isolation user
contains "what was tried" "$tried" "--isolation auto"
contains "what was tried" "$tried" "--isolation none"
contains "what was tried" "$tried" "--engine copy"
