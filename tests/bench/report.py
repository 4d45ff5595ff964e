#!/usr/bin/env python3
"""Puts the tables of a run into doc/bench.md: report.py build/bench.json doc/bench.md

Everything from the heading "## The run" on is replaced.
"""
import datetime
import json
import os
import sys

from run import over_best, verdict_of

SECTIONS = [
    ("Lookup, pin and unpin (ns)", ("lookup/",)),
    ("Dispatch (us) and memory (KiB)", ("dispatch/", "memory/")),
    ("Execute through the gateway (us)", ("execute/",)),
    ("Blobs through the gateway (us)", ("bytestream/", "find_missing/")),
    ("Bazel (ms)", ("bazel/",)),
    ("The gate (us)", ("gate/",)),
    ("Staging the same root again (us)", ("stage/exact/",)),
    ("Staging when one file has changed (us)", ("stage/one/",)),
    ("Staging when ten files have changed (us)", ("stage/ten/",)),
    ("Staging when a directory has another name (us)", ("stage/rename/",)),
    ("Staging a tree never seen (us)", ("stage/cold/",)),
    ("The whole cost, the janitor's deletion included (us)", ("whole/",)),
    ("What the end of an action costs (us)", ("teardown/",)),
    ("Sandboxes used again, where nothing can be mounted (us)", ("recycle/",)),
    ("One row beside another (us)", ("derived/",)),
    ("Trees a second, several workers at once", ("trees_per_s/",)),
    ("Staging in a real build (us; ratio: its share of the time)", ("mix/",)),
]


def line(row):
    aim, missed = verdict_of(row)
    verdict = "**%s missed**" % aim if missed else aim
    if "best" in row:
        beside = "%.2f of %s" % (row["over_best"], row["best"])
        verdict += ("; " if verdict else "") + ("**%s**" % beside if over_best(row) else beside)
    return "| %s | %d | %.5g | %.5g | %.5g | %.3f | %s |" % (
        row["name"], row["n"], row["median"], row["p99"], row["limit"], row["ratio"], verdict)


def table(title, rows):
    limits = ", ".join(dict.fromkeys(row["limit_name"] for row in rows))
    return ["", "### " + title, "", "Limit: %s." % limits, "",
            "| name | n | median | p99 | limit | ratio | aim |", "|---|---|---|---|---|---|---|",
            *map(line, rows)]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = json.load(file)
    system = os.uname()
    day = datetime.date.fromtimestamp(os.stat(sys.argv[1]).st_mtime)
    out = ["## The run", "", "`make bench`, %s, %s %s %s, %d cores." % (
        day, system.sysname, system.release, system.machine, os.cpu_count())]
    for title, prefixes in SECTIONS:
        chosen = [row for row in rows if row["name"].startswith(prefixes)]
        if chosen:
            out += table(title, chosen)
    with open(sys.argv[2], encoding="utf-8") as file:
        text = file.read().split("## The run")[0]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(text + "\n".join(out) + "\n")


if __name__ == "__main__":
    main()
