#!/bin/sh
# Everything that must say nothing about the sources.  BUILD, CPPFLAGS: from make lint.
# shellcheck disable=SC2317,SC2086,SC2046 # the steps are called by name; lists of names without spaces
set -u

jobs=$(getconf _NPROCESSORS_ONLN)
out=$BUILD/lint
rm -rf "$out"
mkdir -p "$out"
failed=0

c_files=$(git ls-files -co --exclude-standard '*.c')
headers=$(git ls-files -co --exclude-standard '*.h')
scripts=$(git ls-files -co --exclude-standard '*.sh' tests/plan .ci/run)
pages=$(git ls-files -co --exclude-standard '*.[18]')
# The other system's files are compiled by make cross; here their headers do not exist.
own_c=$(echo "$c_files" | grep -v '_darwin\.c$')

step() { # name, then a command whose exit status counts
	name=$1
	shift
	if "$@" >"$out/$name" 2>&1; then
		echo "ok   lint/$name"
	else
		failed=1
		echo "FAIL lint/$name"
		sed 's/^/     | /' "$out/$name" | head -n 80
	fi
}

each() { # command..., over the words of stdin, one at a time, in parallel
	xargs -P "$jobs" -n 1 "$@"
}

formatting() {
	echo "$c_files $headers" | tr ' ' '\n' | xargs clang-format --dry-run -Werror
}

tidy() {
	# shellcheck disable=SC2016 # the inner shell expands it
	echo "$own_c" | CPPFLAGS="$CPPFLAGS" each sh -c \
	    'eval "clang-tidy --quiet \"\$1\" -- -std=gnu17 -DRAMET_FAULTS $CPPFLAGS" 2>/dev/null' tidy
}

# Suppressed: what cppcheck says of X macro tables and of interfaces whose callers are other programs.
#   missingIncludeSystem, unmatchedSuppression: about cppcheck's own view, not the code
#   uninitvar, nullPointerRedundantCheck: it does not know that usage_error() and fail() never return,
#     nor that a failing call's errno is never 0
#   unknownMacro, autoVariables, memleak (tests): <sys/tree.h> is not read; fixtures go to cmocka
check_cpp() {
	cppcheck --quiet -j "$jobs" --std=c11 --enable=warning,performance,portability \
	    --error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem \
	    --suppress=unmatchedSuppression --suppress=uninitvar \
	    --suppress=nullPointerRedundantCheck --suppress=unknownMacro --suppress=autoVariables \
	    --suppress='memleak:tests/*' --suppress='memleakOnRealloc:tests/*' --suppress=preprocessorErrorDirective:/usr/include/* \
	    -D__linux__ -D_GNU_SOURCE -DRAMET_VERSION='"0"' -I. $own_c
}

headers_alone() {
	for cc in gcc clang; do
		# shellcheck disable=SC2016
		echo "$headers" | CPPFLAGS="$CPPFLAGS" each sh -c \
		    "printf '#include \"%s\"\n' \"\$1\" | eval \"$cc -std=gnu17 -Wall -Wextra -Wundef \
		    -Wno-unused-parameter -Werror \$CPPFLAGS -x c -fsyntax-only -\"" alone || return 1
	done
}

# Quiet about: the library that scenarios source by a computed name (SC1091, SC2154), scripts for
# another shell in single quotes (SC2016), variables for that library (SC2034), and A && B || fail, where B cannot fail alone (SC2015).
quiet=SC1091,SC2002,SC2154,SC2016,SC2015,SC2034
shell_scripts() {
	rc=0
	for s in $scripts; do
		sh -n "$s" || rc=1
	done
	shellcheck -x -e "$quiet" $scripts || rc=1
	python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' \
	    tests/run $(git ls-files -co --exclude-standard '*.py') || rc=1
	return $rc
}

man_pages() {
	[ -z "$pages" ] || mandoc -T lint -W warning $pages
}

absent() { # pattern, files...: the pattern must not occur
	pattern=$1
	shift
	! git grep -n -I --untracked -E "$pattern" -- "$@"
}

# Names that promise work, and functions whose safe form this project uses instead.
no_promises() { absent '\b(TODO|FIXME|XXX)\b' ':!mk/lint.sh'; }
banned() {
	absent '\b(strcpy|strcat|sprintf|vsprintf|gets|system|mktemp|tmpnam|strtok|alloca)[ ]?\(' '*.[ch]' ':!tests/*'
}

# Linux-only names outside the files that are for Linux (make cross sees the calls; this, the flags).
system_files() {
	absent '\b(accept4|pipe2|dup3|epoll_|memfd_create|copy_file_range|O_PATH|SOCK_CLOEXEC|MSG_NOSIGNAL)\b' \
	    '*.[ch]' ':!*_linux.c' ':!tests/*'
	os_rc=$?
	absent '#[ ]*if.*__(linux|APPLE)__' '*.c' ':!tests/*' || os_rc=1
	return $os_rc
}

step formatting formatting
step headers_alone headers_alone
step shell_scripts shell_scripts
step man_pages man_pages
step no_promises no_promises
step banned banned
step system_files system_files
step cppcheck check_cpp
step clang-tidy tidy
exit $failed
