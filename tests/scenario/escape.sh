#!/bin/sh
# Outputs, or parents of outputs, that the action made symlinks to a host directory: collecting does
# not follow them.  Run as root in a mount namespace whose root is thrown away.
own_mounts=1
. "$(dirname "$0")/lib.sh"

# /etc here is an overlay's: whatever goes wrong is gone with the namespace.
mkdir upper overlay_work precious
mount -t tmpfs tmpfs upper
mkdir upper/u upper/w
mount -t overlay overlay -o "lowerdir=/etc,upperdir=upper/u,workdir=upper/w" /etc ||
    skip "no overlay over /etc here"
echo keep >precious/file
for isolation in auto none; do
	fresh_state
	start_host --workers 1 --isolation $isolation
	before=$(find /etc "$work/precious" | sort | sha256sum)
	for target in /etc "$work/precious" /etc/passwd ../../../../../../../../../../etc; do
		rc=0
		ramet run --no-cache --into "got" --output d -- /bin/sh -c "ln -s $target d" \
		    >esc.out 2>&1 || rc=$?
		[ "$rc" -ne 0 ] || same "an output that is a symlink" "$(readlink got/d)" "$target"
		rm -rf got
		ramet run --no-cache --into "got" --output p/q/passwd --output p/q/file -- /bin/sh -c \
		    "rm -rf p; mkdir p; ln -s $target p/q" >esc.out 2>&1 || :
		[ ! -e got/p/q/passwd ] && [ ! -e got/p/q/file ] || fail "$target: collected from the host"
		rm -rf got
		same "the host after $target" "$(find /etc "$work/precious" | sort | sha256sum)" "$before"
	done
	same precious "$(cat precious/file)" keep
	[ "$(stat -c %h precious/file)" = 1 ] || fail "a host file was linked"
	check_idle
	stop_host
done
