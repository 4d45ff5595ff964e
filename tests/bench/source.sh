#!/bin/sh
# The source of a Debian package, unpacked: tests/bench/source.sh PACKAGE DIRECTORY
#
# apt-get fetches it with the machine's own list of archives, of which it takes the sources for once,
# in a state of its own below DIRECTORY: nothing of the system's is changed.  DIRECTORY/tree is the
# source as its authors had it.  What is there already is not fetched again.  77: it cannot be had.
set -eu

package=$1
mkdir -p "$2"
cd "$2"
[ ! -d tree ] || exit 0
here=$PWD

if ! command -v apt-get >/dev/null || ! command -v dpkg-source >/dev/null; then
	echo "$package: needs apt-get and dpkg-source (dpkg-dev)"
	exit 77
fi
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$here/none" -o Dir::Etc::sourceparts="$here/parts" \
	    -o Dir::State::lists="$here/lists" -o Dir::Cache="$here/cache" \
	    -o APT::Sandbox::User=root "$@"
}
rm -rf parts lists cache files
mkdir -p parts lists/partial cache/archives/partial files
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
	[ ! -f "$list" ] || sed -n 's/^deb /deb-src /p' "$list" >>parts/source.list
done
for list in /etc/apt/sources.list.d/*.sources; do
	[ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"parts/$(basename "$list")"
done
if ! apt update || ! (cd files && apt --download-only source "$package"); then
	echo "$package: its source cannot be fetched"
	exit 77
fi
if ! said=$(dpkg-source --skip-patches -x files/*.dsc unpacked 2>&1); then
	echo "$said"
	exit 77
fi
mv unpacked tree
rm -rf parts lists cache files ./*.tar.*
