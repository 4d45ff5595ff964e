#!/bin/sh
# A tree never seen comes from an image, without a link made; seen again, the janitor builds it. An
# image that was tampered with is never mounted; what an action sees is the tree, whatever it tries.
. "$(dirname "$0")/lib.sh"
need_linux "images"

make_input in/all
for n in $(seq 300); do
	mkdir -p in/all/many/d$((n % 20))
	echo "many $n" >in/all/many/d$((n % 20))/n"$n"
done
chmod 755 in/all/many/d1/n1
ln -s ../d2/n2 in/all/many/d1/link
rametd --probe >probe.json 2>/dev/null || :
grep -q '"item":"way.image","works":true' probe.json ||
    skip "no images here: $(grep way.image probe.json)"
start_host --workers 1
tree_of in/all >want
[ "$(grep -c '' <"$RAMET_STATE/costs")" -ge 10 ] || fail "costs: $(cat "$RAMET_STATE/costs")"

run() { ramet run --no-cache --input in --output out --metrics m.json "$@"; }
show='cd all && find . -printf "%P %y %m %l\n" | sort >../out && find . -type f -exec sha256sum {} + | sort >>../out'
looks_right() {
	run -- /bin/sh -c "$show" || fail "$1: it failed"
	# Input modes are what a cached tree has: no write for anybody.
	sed -E 's/ f 6[0-7]*/ f 444/; s/ f 7[0-7]*/ f 555/; s/ d 7[0-7]*/ d 755/' want >expected
	diff expected out >difference || fail "$1: the tree differs: $(cat difference)"
	rm -f out
}

looks_right cold
expect_counter images_built 1
expect_counter trees_built 0
expect_counter stage_hardlink_files 0
[ "$(counter stage_image_files)" -gt 300 ] || fail "not by image: $(cat m.json)"

# Nobody can write there, nor into the store through it.
run -- /bin/sh -c 'cd all; for f in many/d1/n1 many/d3/n3 src/f1; do
	{ echo x >>$f || chmod 777 $f || rm $f || mv $f elsewhere || ln $f linked; } 2>/dev/null && exit 1
done; echo fine >../out' || fail "an input could be changed"
check_cas

# Forged: another file's bytes, or rubbish; it is written anew, and the action sees the tree.
image=$(echo "$RAMET_STATE"/images/*)
damaged=0
stop_host
start_host --workers 1 --engine image # or what the janitor has built meanwhile would be bound
for how in short rubbish swapped; do
	case $how in
	short) head -c 5000 "$image" >forged ;;
	rubbish) head -c "$(stat -c %s "$image")" /dev/urandom >forged ;;
	swapped) LC_ALL=C sed 's/n100/n999/' "$image" >forged ;;
	esac
	cmp -s forged "$image" && fail "$how: not forged"
	mv forged "$image"
	exits 1 ramet index check >checked
	contains "what the check says" "$(cat checked)" "images/"
	must_wait_for 20 counter_at_least trees_dropped $((damaged + 1))
	looks_right "$how"
	damaged=$((damaged + 1))
done
# Mended without asking anybody, where an action comes first.
image=$(echo "$RAMET_STATE"/images/*)
head -c 5000 "$image" >forged
mv forged "$image"
looks_right "met by an action"
expect_counter images_damaged 1
ramet index check --deep >checked || fail "deep: $(cat checked)"
check_idle
stop_host
start_host --workers 1

# What has come again is built, and bound from then on.
must_wait_for 20 counter_at_least trees_granted 1
before=$(counter stage_image_files)
looks_right again
same "files by image" "$(counter stage_image_files)" "$before"
[ "$(value bind_files <m.json)" -gt 300 ] || fail "not bound: $(cat m.json)"

# Forced: every time an image, the trees being there or not.
stop_host
start_host --workers 2 --engine image
looks_right forced
[ "$(value image_files <m.json)" -gt 300 ] || fail "not by image: $(cat m.json)"
expect_counter stage_image_fallbacks 0

# Its worker killed in the middle: nothing is left of it, and the next try has it all.
ramet run --no-cache --input in --output out -- /bin/sh -c "cat all/many/d1/n1 && exec sleep 349" >/dev/null 2>&1 &
client=$!
must_wait_for 20 is_running "sleep 349"
victim=$(running "sleep 349")
while up=$(sed 's/.*) //' "/proc/$victim/stat" | cut -d' ' -f2) && [ "$up" != "$(host_pid)" ]; do
	victim=$up
done
kill -KILL "$victim"
must_wait_for 20 counter_at_least worker_deaths 1
must_wait_for 20 is_running "sleep 349"
grep -q erofs /proc/mounts && fail "its mounts are the host's"
kill "$client"
must_wait_for 20 not_running "sleep 349"
wait "$client" 2>/dev/null || :
# A blob that is gone is said to be missing, not found out by the action.
blob=$(sha256sum in/all/many/d7/n7 | cut -c1-64)
rm -f "$RAMET_STATE/cas/$(echo "$blob" | cut -c1-2)/$blob"
digest=$(ramet cas put in 2>/dev/null | tail -n 1)
[ -n "$digest" ] || fail "ramet cas put"
rm -f "$RAMET_STATE/cas/$(echo "$blob" | cut -c1-2)/$blob"
refuses ramet run --no-cache --input-digest "$digest" -- /bin/cat all/many/d7/n7
contains "what it says" "$(cat refused.out)" "$blob"
must_wait_for 10 counter_is actions_running 0
check_idle
stop_host
