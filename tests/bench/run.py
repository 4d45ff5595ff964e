#!/usr/bin/env python3
"""Runs the bench programs, prints one table and writes bench.json (make bench).

As root on Linux every volume is an image on tmpfs, mounted in a mount and pid namespace of this
program's own, so that nothing stays mounted or running, however it ends.  As another user the
volume of the build directory is measured.  What the wanted rows do not need is not set up.
"""
import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE_BYTES = 6 << 30
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
GATE_FS = "xfs"
LOOKUP_PROCESSES = [1, 2, 4, 16, 64]
BAZEL_ROW = "bazel/cold-ac"
BAZEL_PAIRS = 5
MIX_FS = "ext4"


def has_namespaces():
    return sys.platform == "linux" and os.geteuid() == 0


# Rows whose ratio, or whose median itself, has an aim; doc/bench.md says why.
AIMS = [
    (r"^stage/cold/.*/hardlink/", "ratio", 1.15),
    (r"^stage/exact/(large_flat|p95_dirs|huge)/(auto|bind)/", "ratio", 0.02),
    (r"^stage/cold/(large_flat|p95_dirs|huge)/(auto|image)/(ext4|xfs|btrfs)$", "ratio",
     0.1 if has_namespaces() else 1.15),
    (r"^stage/cold/.*/auto/tmpfs$", "ratio", 1.15),
    (r"^derived/one_exact/", "ratio", 2.0),
    (r"^derived/cold_links/", "ratio", 0.333),
    (r"^derived/flat/", "ratio", 1.3),
    (r"^whole/(10|100)/exact/.*/auto/", "ratio", 1.3),
    (r"^teardown/action/", "median", 300),
    (r"^gate/", "ratio", 1.02),
    (r"^dispatch/true/1$", "ratio", 2.0),
    (r"^execute/true/1$", "median", 2500),
    (r"^execute/rate/8$", "median", 1170),
    (r"^execute/fetch/same$", "median", 1000),
    (r"^find_missing/", "median", 20000),
    (r"^bazel/", "ratio", 1.0),
    (r"^memory/", "ratio", 1.0),
]


def verdict_of(row):
    """What is aimed at and whether it is missed: "", False where nothing is."""
    for pattern, field, aim in AIMS:
        if re.search(pattern, row["name"]):
            return "%g%s" % (aim, "" if field == "ratio" else " " + row["unit"]), row[field] > aim
    return "", False


def quantile(values, part):
    """As series_quantile of series.h."""
    ordered = sorted(values)
    if part == 0.5:
        return statistics.median(ordered)
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]


# What the planner chose may cost so much of the best single way, in any row.
BEST_AIM = 1.2
WAY_ROW = re.compile(r"^((?:stage|whole|teardown)/.*/)([^/]+)(/[^/]+)$")


def over_best(row):
    return row.get("over_best", 0) > BEST_AIM


def set_beside_best(row, rows):
    """A row of the planner's: the best of the ways that were measured with it, by their ratios."""
    match = WAY_ROW.match(row["name"])
    if not match or match.group(2) != "auto" or match.group(1).startswith("teardown"):
        return
    others = {}
    for other in rows:
        way = WAY_ROW.match(other["name"])
        if way and (way.group(1), way.group(3)) == (match.group(1), match.group(3)):
            others[way.group(2)] = other["ratio"]
    if others:
        row["best"] = min(others, key=others.get)
        row["over_best"] = round(row["ratio"] / others[row["best"]], 3)


def derived(rows):
    """Rows that set one row against another; each by its ratio to the limit that both have."""
    by_name = {row["name"]: row for row in rows}
    for row in rows:
        match = re.match(r"^stage/one/(.*)/auto/(.*)$", row["name"])
        if match:
            yield "one_exact/%s/%s" % match.groups(), row, by_name.get(
                "stage/exact/%s/auto/%s" % match.groups()), "exact"
        match = re.match(r"^whole/10/cold/(.*)/auto/(.*)$", row["name"])
        if match:
            yield "cold_links/%s/%s" % match.groups(), row, by_name.get(
                "whole/10/cold/%s/hardlink/%s" % match.groups()), "hardlink"
        match = re.match(r"^whole/0/exact/huge/auto/(.*)$", row["name"])
        if match:
            yield "flat/%s" % match.group(1), row, by_name.get(
                "whole/0/exact/small_flat/auto/%s" % match.group(1)), "64 files"


def derived_row(name, row, other, limit_name):
    limit = other["median"] * row["limit"] / other["limit"]
    return {"name": "derived/" + name, "unit": row["unit"], "n": row["n"], "median": row["median"],
            "p99": row["p99"], "limit_name": limit_name, "limit": round(limit, 3),
            "ratio": round(row["median"] / limit, 4)}


class Bench:
    def __init__(self, options):
        self.programs = options.programs
        self.rametd = options.rametd
        self.jobs = options.jobs
        self.source = options.source
        self.only = re.compile(options.only)
        self.rows = []
        self.failed = []
        self.directory = None

    def program(self, name):
        return os.path.join(self.programs, "bench_" + name)

    def wanted(self, names):
        return [name for name in names if self.only.search(name)]

    def listed(self, program, *arguments):
        output = subprocess.run([self.program(program), *arguments, "--list"], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        return self.wanted(output.split())

    def measure(self, program, *arguments):
        """Each line is a row as soon as it is there."""
        command = [self.program(program)] if isinstance(program, str) else program
        command = [*command, *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                row = json.loads(line)
                row.setdefault("ratio", row["median"] / row["limit"])
                self.add(row)
        if process.returncode != 0:
            self.failed.append("%s: exit status %d" % (" ".join(command[:4]), process.returncode))

    def add(self, row):
        if self.only.search(row["name"]):
            set_beside_best(row, self.rows)
            self.rows.append(row)
            print_row(row)

    def derive(self):
        for name, row, other, limit_name in list(derived(self.rows)):
            if other is not None:
                row = derived_row(name, row, other, limit_name)
                self.rows.append(row)
                print_row(row)

    def volume(self, fs):
        """A fresh volume; the directory that it is mounted on."""
        where = os.path.join(self.directory, fs)
        os.mkdir(where)
        if not has_namespaces():
            return where
        if fs == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", "size=%d" % IMAGE_BYTES, "tmpfs", where)
            return where
        image = where + ".image"
        with open(image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        run(*MKFS[fs], image)
        run("mount", "-o", "loop", image, where)
        return where

    def volume_gone(self, fs):
        where = os.path.join(self.directory, fs)
        if not has_namespaces():
            remove_tree(where)
            return
        run("umount", where)
        if fs != "tmpfs":
            os.unlink(where + ".image")

    def on_volume(self, fs, program, arguments, names):
        if not names:
            return
        try:
            where = self.volume(fs)
        except OSError as error:
            self.failed.append("%s: left out: %s" % (fs, error))
            return
        state = os.path.join(where, "state")
        os.mkdir(state)
        self.measure(program, "--state", state, *arguments, *names)
        self.volume_gone(fs)
        os.rmdir(where) if os.path.isdir(where) else None

    def lookup(self):
        for processes in LOOKUP_PROCESSES:
            if self.wanted(["lookup/%d" % processes]):
                self.measure("lookup", processes)

    def stage(self):
        for fs in volumes(self.directory):
            for program in ("stage", "recycle"):
                names = self.listed(program, "--fs", fs)
                self.on_volume(fs, program, ["--fs", fs], names)

    def gate(self):
        if sys.platform == "linux":
            fs = GATE_FS if has_namespaces() else volumes(self.directory)[0]
            self.on_volume(fs, "gate", [], self.listed("gate"))
            self.on_volume(fs, "parallel", [], self.listed("parallel"))

    def with_daemon(self, program):
        fs = "tmpfs" if has_namespaces() else volumes(self.directory)[0]
        self.on_volume(fs, program, ["--rametd", self.rametd], self.listed(program))

    def dispatch(self):
        self.with_daemon("dispatch")

    def gateway(self):
        for program in ("gateway_execute", "gateway_blobs", "gateway_memory"):
            self.with_daemon(program)

    def mix(self):
        """Real builds, on a host for each way."""
        names = self.wanted(mix_rows())
        fs = MIX_FS if has_namespaces() else volumes(self.directory)[0]
        command = [sys.executable, os.path.join(HERE, "mix.py"), "--bin",
                   os.path.dirname(self.rametd), "--jobs", self.jobs, "--source", self.source]
        self.on_volume(fs, command, [], names)

    def bazel(self):
        if not self.wanted([BAZEL_ROW]):
            return
        environment = dict(os.environ, TMPDIR=self.directory,
                           RAMET_BIN=os.path.dirname(self.rametd))
        done = subprocess.run(["sh", os.path.join(HERE, "bazel.sh"), str(BAZEL_PAIRS)],
                              env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 77:
            print("bench: %s: left out: %s" % (BAZEL_ROW, done.stdout.strip()), file=sys.stderr)
            return
        if done.returncode != 0:
            self.failed.append("%s: exit status %d" % (BAZEL_ROW, done.returncode))
            return
        took = {"remote": [], "local": []}
        for line in done.stdout.splitlines():
            which, milliseconds = line.split()
            took[which].append(int(milliseconds))
        limit = quantile(took["local"], 0.5)
        median = quantile(took["remote"], 0.5)
        self.add({"name": BAZEL_ROW, "unit": "ms", "n": len(took["remote"]), "median": median,
                  "p99": quantile(took["remote"], 0.99), "limit_name": "linux-sandbox",
                  "limit": limit, "ratio": round(median / limit, 4)})

    def run(self):
        for part in (self.lookup, self.dispatch, self.gateway, self.bazel, self.gate, self.mix,
                     self.stage, self.derive):
            part()


def mix_rows():
    listed = subprocess.run([sys.executable, os.path.join(HERE, "mix.py"), "--list"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    return listed.split()


def volumes(directory):
    if has_namespaces():
        return ["ext4", "xfs", "btrfs", "tmpfs"]
    name = subprocess.run(["stat", "-f", "-c", "%T", directory], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    if sys.platform == "darwin":
        return ["apfs"]
    return ["ext4" if name == "ext2/ext3" else name or "unknown"]


def remove_tree(path):
    """Overlays leave directories that nobody may enter."""
    subprocess.run(["chmod", "-R", "u+rwX", path], check=False)
    shutil.rmtree(path, ignore_errors=True)


def run(*command):
    """Says what a failing command said, and nothing otherwise."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(command), done.stdout.strip()))


FORMAT = "%-44s %4s %6s %11s %11s  %-12s %11s %8s %s"


def print_head():
    print(FORMAT % ("name", "unit", "n", "median", "p99", "limit", "", "ratio", "aim"))


def print_row(row):
    aim, missed = verdict_of(row)
    verdict = aim and "<= %s%s" % (aim, "  MISSED" if missed else "")
    if "best" in row:
        verdict += "%s%.2f of %s%s" % ("; " if verdict else "", row["over_best"], row["best"],
                                       "  MISSED" if over_best(row) else "")
    print(FORMAT % (row["name"], row["unit"], row["n"], "%.1f" % row["median"],
                    "%.1f" % row["p99"], row["limit_name"], "%.1f" % row["limit"],
                    "%.3f" % row["ratio"], verdict), flush=True)


def write_json(path, rows):
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    os.rename(temporary, path)


def measure_all(options):
    bench = Bench(options)
    base = "/dev/shm" if has_namespaces() else os.path.dirname(os.path.abspath(options.json))
    bench.directory = tempfile.mkdtemp(prefix="ramet-bench.", dir=base)
    print_head()
    try:
        if has_namespaces():
            run("mount", "-t", "tmpfs", "-o", "size=90%", "tmpfs", bench.directory)
        bench.run()
    finally:
        if has_namespaces():
            subprocess.run(["umount", "-R", bench.directory], check=False)
        remove_tree(bench.directory)
    if not bench.rows and not bench.failed:
        sys.exit("bench: no row's name matches %r" % options.only)
    write_json(options.json, bench.rows)
    missed = [row for row in bench.rows if verdict_of(row)[1] or over_best(row)]
    print("%d rows, %d over their aim; %s" % (len(bench.rows), len(missed), options.json))
    if bench.failed:
        sys.exit("\n".join("bench: " + text for text in bench.failed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="where the bench_* programs are")
    parser.add_argument("--rametd", required=True, help="the daemon's path")
    parser.add_argument("--jobs", required=True, help="ramet's own build, for ramet batch")
    parser.add_argument("--source", required=True, help="where another build's source is kept")
    parser.add_argument("--json", required=True, help="what to write")
    parser.add_argument("--only", default="", help="regular expression: the rows wanted")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if has_namespaces() and not options.inside:
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                   "--propagation", "private", sys.executable, *sys.argv, "--inside"]
        sys.exit(subprocess.run(command, check=False).returncode)
    measure_all(options)


if __name__ == "__main__":
    main()
