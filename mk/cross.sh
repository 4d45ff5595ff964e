#!/bin/sh
# Compiles every C file but the *_linux.c and the tests for macOS, both processors, and checks that
# whatever the objects leave undefined is there on a Mac.  BUILD, VERSION: from make cross.
# shellcheck disable=SC2086 # lists of names without spaces
set -eu

dir=$BUILD/cross
venv=$dir/venv
include=$dir/include
jobs=$(getconf _NPROCESSORS_ONLN)
mkdir -p "$dir"

[ -x "$venv/bin/zig-ready" ] || {
	echo "ramet: installing ziglang into $venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" -q --disable-pip-version-check install ziglang
	ln -sf /bin/true "$venv/bin/zig-ready"
}
ZIG_GLOBAL_CACHE_DIR=$(cd "$dir" && pwd)/zig-cache
ZIG_LOCAL_CACHE_DIR=$ZIG_GLOBAL_CACHE_DIR
export ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR

# The libraries' own headers, and none of this system's: what Homebrew would put in one place.
rm -rf "$include" "$dir/seed"
mkdir -p "$include" "$dir/seed"
multiarch=$(gcc -print-multiarch)
for name in msgpack.h msgpack event2 openssl protobuf-c jansson.h jansson_config.h bsd \
    grpc zstd.h zstd_errors.h; do
	for from in /usr/include /usr/include/"$multiarch"; do
		[ ! -e "$from/$name" ] || cp -rL "$from/$name" "$include/"
	done
done

# Of libbsd's overlay keep what adds to the system's own headers; the rest (string.h, stdio.h, ...)
# declares again, and otherwise, what a Mac's C library has had all along.
for header in "$include"/bsd/*.h; do
	case ${header##*/} in stdlib.h | unistd.h | libutil.h | stringlist.h) ;; *) rm "$header" ;; esac
done
# It must come before the cross compiler's own headers, as -isystem does not here.
find "$include/bsd" -name '*.h' -exec sed -i '1i #pragma GCC system_header' {} +

flags="-std=gnu17 -O1 -D_GNU_SOURCE -DRAMET_FAULTS -I. -I$BUILD/gen -DLIBBSD_OVERLAY \
-I$include/bsd -isystem $include -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror \
-Wno-unknown-warning-option -Wno-gnu-include-next"

# The check must be able to fail: these calls are Linux's alone.
cat >"$dir/seed/linux_only.c" <<'SEED'
int memfd_create(const char *name, unsigned flags);
int epoll_create1(int flags);
int seed(void);
int
seed(void)
{
	return memfd_create("", 0) + epoll_create1(0);
}
SEED

sources=$(git ls-files -co --exclude-standard '*.c' | grep -v -e '_linux\.c$' -e '^tests/')
generated=$(find "$BUILD/gen" -name '*.c')
for target in aarch64-macos x86_64-macos; do
	out=$dir/$target
	rm -rf "$out"
	# shellcheck disable=SC2016 # the inner shell expands it
	printf '%s\n' $sources $generated "$dir/seed/linux_only.c" |
	    FLAGS="$flags" VERSION="$VERSION" OUT="$out" PYTHON="$venv/bin/python" TARGET="$target" \
	    xargs -P "$jobs" -n 1 sh -c '
		object=$OUT/${1%.c}.o
		mkdir -p "${object%/*}"
		$PYTHON -m ziglang cc -target "$TARGET" $FLAGS -DRAMET_VERSION="\"$VERSION\"" \
		    -c -o "$object" "$1"' compile || {
		echo "FAIL cross/$target: it does not compile"
		exit 1
	}
	"$venv/bin/python" mk/cross_symbols.py --target "$target" --seed "$out/$dir/seed/linux_only.o" \
	    --expect memfd_create --expect epoll_create1 "$out"
done
