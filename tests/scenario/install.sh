#!/bin/sh
# make install puts two programs and two man pages where it is told; uninstall takes them away.
. "$(dirname "$0")/lib.sh"
command -v make >/dev/null || skip "needs make"
[ -f "$top/GNUmakefile" ] || skip "needs the checkout"

make -s -C "$top" BUILD="$top/build" -o all install DESTDIR="$work/dest" PREFIX=/opt/ramet || fail "make install"
for f in bin/ramet bin/rametd share/man/man1/ramet.1 share/man/man8/rametd.8; do
	[ -s "$work/dest/opt/ramet/$f" ] || fail "$f is not installed"
done
same version "$("$work/dest/opt/ramet/bin/ramet" --version)" "$(ramet --version)"
if command -v mandoc >/dev/null; then
	mandoc -T lint -W warning "$work"/dest/opt/ramet/share/man/man?/* || fail "man pages"
fi
# Every counter stands in the man page of the tool that shows it, or where that page says.
make -s -C "$top" BUILD="$top/build" uninstall DESTDIR="$work/dest" PREFIX=/opt/ramet || fail "make uninstall"
same "left behind" "$(find "$work/dest" -type f)" ''
