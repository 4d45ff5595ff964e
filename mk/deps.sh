#!/bin/sh
# Installs the packages that a target needs and that are missing: mk/deps.sh run|check|ci|bench.
# SKIP=bazel leaves out what only Bazel's tests need.
# Quiet and quick when nothing is missing.  A plain user without sudo is told the one command.
set -eu

need_run='gcc make pkg-config libc6-dev libbsd-dev libmsgpack-dev libevent-dev libssl-dev
libjansson-dev libprotobuf-c-dev protobuf-c-compiler libgrpc-dev libzstd-dev'
need_check="$need_run clang libclang-rt-14-dev libcmocka-dev python3 mandoc git util-linux e2fsprogs
xfsprogs btrfs-progs python3-grpcio python3-protobuf python3-zstandard openssl"
case " ${SKIP-} " in *" bazel "*) ;; *) need_check="$need_check bazel-bootstrap zip file" ;; esac
need_ci="$need_check clang-format clang-tidy cppcheck shellcheck python3-venv"
# A plain user's bench makes no volumes.
need_bench="$need_run python3"
[ "$(id -u)" != 0 ] || need_bench="$need_bench e2fsprogs xfsprogs btrfs-progs util-linux dpkg-dev"
brew_run='pkgconf libbsd msgpack libevent openssl@3 jansson protobuf-c grpc zstd'
brew_check="$brew_run cmocka"
brew_ci="$brew_check llvm cppcheck shellcheck mandoc"

missing_debian() {
	have=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || :) "
	for p in "$@"; do
		case $have in *" $p:installed "*) ;; *) echo "$p" ;; esac
	done
}

missing_brew() {
	have=" $(brew list --formula -1 | tr '\n' ' ') "
	for p in "$@"; do
		case $have in *" $p "*) ;; *) echo "$p" ;; esac
	done
}

case ${1-} in
run) need=$need_run brew=$brew_run ;;
check) need=$need_check brew=$brew_check ;;
ci) need=$need_ci brew=$brew_ci ;;
bench) need=$need_bench brew=$brew_run ;;
*)
	echo "usage: mk/deps.sh run|check|ci|bench" >&2
	exit 2
	;;
esac

if command -v dpkg-query >/dev/null; then
	# shellcheck disable=SC2086 # a list of words
	missing=$(missing_debian $need)
	[ -n "$missing" ] || exit 0
	missing=$(echo "$missing" | tr '\n' ' ')
	missing=${missing% }
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		as_root='sudo -n'
	else
		echo "ramet: missing packages; install them with:" >&2
		echo "  sudo apt-get install $missing" >&2
		exit 1
	fi
	echo "ramet: installing $missing"
	export DEBIAN_FRONTEND=noninteractive
	# The lists may be missing, or older than the archive: then, and only then, fetch them.
	# shellcheck disable=SC2086
	$as_root apt-get -qq -y --no-install-recommends install $missing </dev/null >/dev/null 2>&1 || {
		$as_root apt-get -qq update </dev/null
		$as_root apt-get -qq -y --no-install-recommends install $missing </dev/null >/dev/null
	}
elif command -v brew >/dev/null; then
	# shellcheck disable=SC2086
	missing=$(missing_brew $brew)
	[ -n "$missing" ] || exit 0
	echo "ramet: installing $(echo "$missing" | tr '\n' ' ')"
	# shellcheck disable=SC2086
	brew install --quiet $missing
else
	# Another system: see whether what matters is there.
	absent=
	for p in libbsd-overlay libevent_core jansson libprotobuf-c libcrypto; do
		pkg-config --exists "$p" 2>/dev/null || absent="$absent $p"
	done
	command -v protoc-c >/dev/null || absent="$absent protoc-c"
	[ -z "$absent" ] || {
		echo "ramet: neither apt-get nor brew is here; install by hand:$absent" >&2
		exit 1
	}
fi
