#!/usr/bin/env python3
"""What staging takes of a real build: mix.py --bin DIR --state DIR --jobs FILE --source DIR ROW...

Each ROW, mix/BUILD/WAY, is one build through `ramet batch` on a fresh host whose engine is WAY:
`ramet`, its own sources (mk/selfbuild.sh: every action has the whole tree as its input root), or
`libtomcrypt`, a C library of some four hundred files, each compiled with the headers and its own
directory as inputs, so that two actions seldom have the same root and share most of what is in it.
A row is the staging time of an action (placing and mounting); its limit is the wall time of the
build, times the workers, divided by the actions; its ratio the share that staging has in that.
With --list, the rows that there are.
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
import time

WAYS = ["auto", "bind", "overlay", "image", "hardlink", "copy"]
COMPILER = ["gcc", "-O0", "-g", "-c", "-Isrc/headers", "-DLTC_SOURCE"]
HEADERS = "src/headers"


def sources_below(tree):
    for directory, _, files in sorted(os.walk(os.path.join(tree, "src"))):
        for name in sorted(files):
            if name.endswith(".c"):
                yield os.path.relpath(os.path.join(directory, name), tree)


def beside(tree, keep):
    """The topmost directories that hold nothing of `keep`, and are not above it."""
    out = []
    for directory, below, _ in os.walk(tree):
        for name in sorted(below):
            path = os.path.relpath(os.path.join(directory, name), tree)
            if not any(kept == path or kept.startswith(path + "/") for kept in keep):
                out.append(path)
        below[:] = [name for name in below if os.path.relpath(
            os.path.join(directory, name), tree) not in out + keep]
    return out


def directories_of(tree, source):
    """What it is compiled from: the headers, its own directory, and where it says `../`."""
    own = os.path.dirname(source)
    with open(os.path.join(tree, source), encoding="utf-8", errors="replace") as file:
        includes = re.findall(r'^#include "(\.\./.*)/', file.read(), re.MULTILINE)
    return tuple(sorted({HEADERS, own, *(os.path.normpath(os.path.join(own, include))
                                         for include in includes)}))


def library_jobs(tree):
    """One line for each file."""
    excludes = {}
    for source in sources_below(tree):
        keep = directories_of(tree, source)
        if keep not in excludes:
            excludes[keep] = beside(tree, list(keep))
        out = "obj/" + source[:-2] + ".o"
        yield {"name": source, "argv": COMPILER + ["-o", out, source], "input": ".",
               "exclude": excludes[keep], "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
               "outputs": [out]}


def write_jobs(path, jobs):
    with open(path, "w", encoding="utf-8") as file:
        for job in jobs:
            file.write(json.dumps(job) + "\n")


def build(options, way, where, jobs, state):
    """Seconds and each action's metrics; None where the host does not have the way."""
    host = [os.path.join(options.bin, "rametd"), "--state", state, "--engine", way]
    started = subprocess.run(host, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             check=False)
    if started.returncode != 0:
        print("bench: %s: left out: %s" % (way, started.stdout.strip()), file=sys.stderr)
        return None
    tool = [os.path.join(options.bin, "ramet"), "--state", state]
    metrics = state + ".metrics"
    try:
        begun = time.monotonic()
        subprocess.run(tool + ["batch", "--quiet", "--metrics", metrics, jobs], cwd=where,
                       check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - begun
    finally:
        subprocess.run(tool + ["stop"], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(state, ignore_errors=True)
    with open(metrics, encoding="utf-8") as file:
        return took, [json.loads(line) for line in file]


def row_of(name, took, actions):
    staged = sorted(action["stage_us"] for action in actions)
    wall = took * 1e6 * os.cpu_count() / len(actions)
    if sum(action["fallbacks"] for action in actions) > 0:
        print("bench: %s: %d fall-backs" % (
            name, sum(action["fallbacks"] for action in actions)), file=sys.stderr)
    return {"name": name, "unit": "us", "n": len(staged), "median": statistics.median(staged),
            "p99": staged[max(math.ceil(0.99 * len(staged)) - 1, 0)], "limit_name": "wall",
            "limit": round(wall, 1), "ratio": round(sum(staged) / len(staged) / wall, 5)}


def source_tree(options):
    """The library's source, or None and why not."""
    done = subprocess.run(["sh", os.path.join(os.path.dirname(__file__), "source.sh"),
                           "libtomcrypt", options.source], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        print("bench: mix/libtomcrypt: left out: " + done.stdout.strip(), file=sys.stderr)
        return None
    return os.path.join(os.path.abspath(options.source), "tree")


def places(options, wanted):
    """By build: its working directory and its jobs."""
    out = {}
    if "ramet" in wanted:
        out["ramet"] = (os.getcwd(), os.path.abspath(options.jobs))
    tree = source_tree(options) if "libtomcrypt" in wanted else None
    if tree is not None:
        jobs = os.path.join(os.path.abspath(options.source), "jobs.jsonl")
        write_jobs(jobs, library_jobs(tree))
        out["libtomcrypt"] = (tree, jobs)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", help="where rametd and ramet are")
    parser.add_argument("--state", help="an empty directory on the volume that is measured")
    parser.add_argument("--jobs", help="ramet's own build, as mk/selfbuild.sh writes it")
    parser.add_argument("--source", help="where the library's source is kept")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin or ".")
    if options.list:
        print("\n".join("mix/%s/%s" % (what, way) for what in ("ramet", "libtomcrypt")
                        for way in WAYS))
        return
    wanted = [row.split("/")[1:] for row in options.rows]
    there = places(options, {what for what, _ in wanted})
    for what, way in wanted:
        if what not in there:
            continue
        state = os.path.join(options.state, "%s-%s" % (what, way))
        built = build(options, way, *there[what], state)
        if built is not None:
            print(json.dumps(row_of("mix/%s/%s" % (what, way), *built)), flush=True)


if __name__ == "__main__":
    main()
