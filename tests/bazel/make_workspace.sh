#!/bin/sh
# Writes a Bazel workspace that needs no network: make_workspace.sh DIR
#
#   DIR/ws      the workspace: C libraries, programs and tests, generated files, odd outputs
#   DIR/stubs   three repositories in the place of those that Bazel would download
#   DIR/out     all that Bazel writes
#   DIR/links   to the outputs of the last build: bin, testlogs
#
# What fails, hangs or is slow is tagged manual: //... leaves it out.
set -eu

[ $# -eq 1 ] || {
	echo "usage: make_workspace.sh DIR" >&2
	exit 2
}
mkdir -p "$1"
dir=$(cd "$1" && pwd)
ws=$dir/ws
stubs=$dir/stubs
out=$dir/out

libraries='base text list tree pack host'
sources='1 2 3 4 5 6 7 8 9 10 11'

# Stubs.

stub() { # repository, package, native rules: macros that call them
	mkdir -p "$stubs/$1/$2"
	: >"$stubs/$1/WORKSPACE"
	: >"$stubs/$1/$2/BUILD"
	for rule in $3; do
		printf 'def %s(**kwargs):\n    native.%s(**kwargs)\n\n' "$rule" "$rule"
	done >"$stubs/$1/$2/defs.bzl"
}
stub rules_cc cc 'cc_library cc_binary cc_test cc_import cc_toolchain cc_toolchain_suite objc_library
    cc_proto_library'
stub rules_java java 'java_library java_binary java_import java_test java_plugin java_runtime
    java_toolchain java_package_configuration java_proto_library'
mkdir -p "$stubs/remote_coverage_tools" "$ws" "$out" "$dir/links"
: >"$stubs/remote_coverage_tools/WORKSPACE"
cat >"$stubs/remote_coverage_tools/BUILD" <<-END
	filegroup(name = "coverage_report_generator", srcs = [], visibility = ["//visibility:public"])
END

# Flags, with those of Debian's own bazelrc that it needs: the system's and the user's are not read.
# The server ends by itself when nobody shuts it down.

cat >"$ws/.bazelrc" <<-END
	startup --output_user_root=$out
	startup --max_idle_secs=60
	startup --host_jvm_args=-Xmx768m --host_jvm_args=-XX:-UsePerfData
	startup --host_jvm_args=-XX:TieredStopAtLevel=1 --host_jvm_args=-XX:+UseSerialGC
	startup --host_jvm_args=-Djava.io.tmpdir=$out
	startup --install_base=/usr/share/bazel --trust_install_base
	build --host_javabase=@local_jdk//:jdk
	build --repository_cache=$out/repositories
	build --override_repository=rules_cc=$stubs/rules_cc
	build --override_repository=rules_java=$stubs/rules_java
	build --override_repository=remote_coverage_tools=$stubs/remote_coverage_tools
	build --incompatible_strict_action_env
	build --jobs=8 --color=no --curses=no --noshow_progress --noshow_loading_progress
	build --symlink_prefix=$dir/links/ --define=seconds=5
	test --test_output=errors
	build:local --spawn_strategy=linux-sandbox
	build:remote --spawn_strategy=remote --noremote_local_fallback
END

# Libraries: each file has its function, each library calls the one before it.

cat >"$ws/WORKSPACE" <<-END
	workspace(name = "ramet_bazel")
END

header() { # name, line...
	guard=$(echo "$1" | tr 'a-z/.' 'A-Z__')
	shift
	printf '#ifndef %s\n#define %s\n' "$guard" "$guard"
	printf '%s\n' "$@"
	printf '#endif\n'
}

library() { # library, the one below it
	below=${2:+$2_all(n)}
	mkdir -p "$ws/lib/$1/include/$1/parts" "$ws/lib/$1/src"
	calls=
	for n in $sources; do
		header "$1/parts/f$n.h" "int $1_f$n(int n);" >"$ws/lib/$1/include/$1/parts/f$n.h"
		cat >"$ws/lib/$1/src/f$n.c" <<-END
			#include "$1/$1.h"
			#include "$1/parts/f$n.h"

			static const char name[] = "$1/f$n";

			int
			$1_f$n(int n)
			{
			    unsigned sum = $n;
			    for (unsigned i = 0; i < sizeof(name) - 1; i++)
			        sum = sum * 31 + (unsigned char)name[i] + (unsigned)n;
			    return (int)(sum % 1000);
			}
		END
		calls="$calls + $1_f$n(n)"
	done
	header "$1/$1.h" "${2:+#include \"$2/$2.h\"}" "int $1_all(int n);" >"$ws/lib/$1/include/$1/$1.h"
	{
		printf '#include "%s/%s.h"\n' "$1" "$1"
		for n in $sources; do
			printf '#include "%s/parts/f%s.h"\n' "$1" "$n"
		done
		printf '\nint\n%s_all(int n)\n{\n    return (%s%s) %% 10000;\n}\n' "$1" "${below:-0}" "$calls"
	} >"$ws/lib/$1/src/all.c"
	# One library's headers reach the others through a directory of links.
	where='includes = ["include"],'
	[ "$1" != text ] || where='strip_include_prefix = "include",'
	cat >"$ws/lib/$1/BUILD" <<-END
		cc_library(
		    name = "$1",
		    srcs = glob(["src/*.c"]),
		    hdrs = glob(["include/**/*.h"]),
		    $where
		    visibility = ["//visibility:public"],
		    deps = [${2:+"\"//lib/$2\""}],
		)

		cc_test(
		    name = "${1}_test",
		    size = "small",
		    srcs = ["test.c"],
		    data = ["numbers.txt"],
		    deps = [":$1"],
		)
	END
	echo 1 2 3 5 8 13 >"$ws/lib/$1/numbers.txt"
	cat >"$ws/lib/$1/test.c" <<-END
		#include <stdio.h>
		#include "$1/$1.h"

		int
		main(void)
		{
		    FILE *f = fopen("lib/$1/numbers.txt", "r");
		    int n, count = 0;
		    if (f == NULL)
		        return 2;
		    while (fscanf(f, "%d", &n) == 1 && $1_all(n) >= 0)
		        count++;
		    printf("$1: %d numbers\n", count);
		    fclose(f);
		    return count == 6 ? 0 : 1;
		}
	END
}
below=
for l in $libraries; do
	library "$l" "$below"
	below=$l
done

# Programs; one makes sources for another, one is linked dynamically.

mkdir -p "$ws/app"
cat >"$ws/app/maker.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include "text/text.h"

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        printf("#define VALUE_%d %d\n", i, text_all(atoi(argv[i])));
    return 0;
}
END
cat >"$ws/app/user.c" <<'END'
#include <stdio.h>
#include "app/values.h"
#include "host/host.h"

int
main(void)
{
    printf("%d %d %d\n", VALUE_1, VALUE_2, host_all(VALUE_3));
    return 0;
}
END
cat >"$ws/app/BUILD" <<'END'
package(default_visibility = ["//visibility:public"])

cc_binary(name = "maker", srcs = ["maker.c"], deps = ["//lib/text"])

genrule(
    name = "values",
    outs = ["values.h"],
    cmd = "$(location :maker) 10 20 30 > $@",
    exec_tools = [":maker"],
)

cc_binary(name = "user", srcs = ["user.c", ":values"], deps = ["//lib/host"])

cc_binary(name = "user_dynamic", srcs = ["user.c", ":values"], linkstatic = False, deps = ["//lib/host"])

cc_binary(name = "libshared.so", srcs = ["//lib/base:src/all.c"], linkshared = True, deps = ["//lib/base"])
END
echo 'exports_files(["src/all.c"])' >>"$ws/lib/base/BUILD"

# Outputs of many forms.

mkdir -p "$ws/gen/data"
for n in 1 2 3; do
	echo "data $n" >"$ws/gen/data/d$n.txt"
done
seq 1 400000 >"$ws/gen/large.txt"
cat >"$ws/gen/rules.bzl" <<'END'
"""Outputs that are directories and links."""

def _tree_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [out],
        inputs = ctx.files.srcs,
        command = """
out=$1 && shift
mkdir -p "$out/deep/er" "$out/same1" "$out/same2"
for n in 1 2 3 4 5 6 7 8 9; do echo "file $n" > "$out/deep/f$n"; done
cp "$@" "$out/deep/er"
echo same | tee "$out/same1/s" > "$out/same2/s"
: > "$out/empty"
printf '#!/bin/sh\necho tool\n' > "$out/tool"
chmod 755 "$out/tool"
ln -s deep/f1 "$out/link"
""",
        arguments = [out.path] + [f.path for f in ctx.files.srcs],
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

tree = rule(implementation = _tree_impl, attrs = {"srcs": attr.label_list(allow_files = True)})

def _listing_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.run_shell(
        outputs = [out],
        inputs = ctx.files.tree,
        command = 'cd "$1" && find -L . -type f | sort | xargs cksum > "$OLDPWD/$2"',
        arguments = [ctx.files.tree[0].path, out.path],
    )
    return [DefaultInfo(files = depset([out]))]

listing = rule(implementation = _listing_impl, attrs = {"tree": attr.label()})

def _alias_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = out, target_file = ctx.file.of)
    return [DefaultInfo(files = depset([out]))]

link_to = rule(implementation = _alias_impl, attrs = {"of": attr.label(allow_single_file = True)})
END
cat >"$ws/gen/BUILD" <<'END'
load(":rules.bzl", "link_to", "listing", "tree")

tree(name = "tree", srcs = glob(["data/*"]))

listing(name = "listing", tree = ":tree")

link_to(name = "linked", of = ":listing")

genrule(
    name = "many",
    outs = ["many/%d/%d.txt" % (i, j) for i in range(4) for j in range(5)],
    cmd = "for i in 0 1 2 3; do for j in 0 1 2 3 4; do echo $$i $$j > $(RULEDIR)/many/$$i/$$j.txt; done; done",
)

genrule(
    name = "script",
    outs = ["script.sh"],
    cmd = "printf '#!/bin/sh\\necho script \"$$@\"\\n' > $@ && chmod 755 $@",
    executable = True,
)

genrule(
    name = "run_script",
    outs = ["run_script.txt"],
    cmd = "$(location :script) a 'b c' > $@",
    exec_tools = [":script"],
)

genrule(
    name = "output",
    srcs = [":many"],
    outs = ["output.txt"],
    cmd = "$(location //app:user) > $@ && cat $(SRCS) >> $@ && echo said on stdout && echo said on stderr >&2",
    exec_tools = ["//app:user"],
)

genrule(name = "symlink", outs = ["target.txt", "symlink.txt"], cmd = "cd $(RULEDIR) && echo target > target.txt && ln -s target.txt symlink.txt")

genrule(name = "empty", outs = ["empty.txt"], cmd = ": > $@")

genrule(name = "large", srcs = ["large.txt"], outs = ["large.bin"], cmd = "cat $< $< > $@")

sh_test(
    name = "data_test",
    size = "small",
    srcs = ["data_test.sh"],
    data = glob(["data/*"]) + [":tree", ":run_script", "//app:user_dynamic"],
)
END
cat >"$ws/gen/data_test.sh" <<'END'
#!/bin/sh
set -eu
[ "$(cat gen/data/d2.txt)" = "data 2" ]
[ "$(cat gen/run_script.txt)" = "script a b c" ]
[ "$(cat gen/tree/link)" = "file 1" ]
[ "$(gen/tree/tool)" = tool ]
app/user_dynamic
echo written >"$TEST_TMPDIR/file"
echo kept >"$TEST_UNDECLARED_OUTPUTS_DIR/kept.txt"
END
chmod 755 "$ws/gen/data_test.sh"

# What must not succeed, or not soon, or not from a cache.

mkdir -p "$ws/odd"
cat >"$ws/odd/BUILD" <<'END'
genrule(name = "fails", outs = ["fails.txt"], tags = ["manual"], cmd = "echo this action fails >&2; exit 43")

genrule(name = "slow", outs = ["slow.txt"], tags = ["manual"], cmd = "sleep $(seconds) || true; echo slow > $@")

genrule(name = "not_cached", outs = ["not_cached.txt"], tags = ["manual", "no-cache"], cmd = "echo again > $@")

[sh_test(name = name + "_test", srcs = [name + "_test.sh"], tags = ["manual"]) for name in ["fails", "hangs"]]
END
printf '#!/bin/sh\necho this test fails\nexit 7\n' >"$ws/odd/fails_test.sh"
printf '#!/bin/sh\necho this test hangs\nexec sleep 997\n' >"$ws/odd/hangs_test.sh"
chmod 755 "$ws/odd/fails_test.sh" "$ws/odd/hangs_test.sh"
