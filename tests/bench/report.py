#!/usr/bin/env python3
"""Puts the tables of a run into doc/bench.md: report.py build/bench.json doc/bench.md

Everything from the heading "## The run" on is replaced.
"""
import datetime
import json
import os
import sys

from run import over_best, verdict_of

WAYS = ("bind", "overlay", "image", "hardlink", "reflink", "clonefile", "copy", "auto")

# Rows named KIND/SHAPE/WAY/VOLUME stand side by side; the others have a line each.
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


def table(rows):
    limits = ", ".join(dict.fromkeys(row["limit_name"] for row in rows))
    return ["", "Limit: %s." % limits, "",
            "| name | n | median | p99 | limit | ratio | aim |", "|---|---|---|---|---|---|---|",
            *map(line, rows)]


def split(name):
    """(KIND, SHAPE/VOLUME, WAY), or None."""
    parts = name.split("/")
    if parts[0] not in ("stage", "whole", "teardown"):
        return None
    *kind, shape, way, volume = parts
    return "/".join(kind), shape + "/" + volume, way


def number(value):
    return "%d" % value if value >= 10 else "%.3g" % value


def cell(row):
    if row is None:
        return ""
    text = number(row["median"])
    return "**%s**" % text if verdict_of(row)[1] or over_best(row) else text


def beside_line(place, ways, rows):
    some = next(iter(rows.values()))
    auto = rows.get("auto", {})
    return "| %s | %s | %s | %s | %s | %s |" % (
        place, number(some["limit"]), " | ".join(cell(rows.get(way)) for way in ways),
        number(auto["p99"]) if auto else "", "%.3f" % auto["ratio"] if auto else "",
        "%.2f of %s" % (auto["over_best"], auto["best"]) if "best" in auto else "")


def beside_tables(rows):
    """A table for each KIND: a line for each shape and volume, a column for each way."""
    kinds = {}
    for row in rows:
        kind, place, way = split(row["name"])
        kinds.setdefault(kind, {}).setdefault(place, {})[way] = row
    out = []
    for kind, places in kinds.items():
        ways = [way for way in WAYS if any(way in found for found in places.values())]
        limit = next(iter(next(iter(places.values())).values()))["limit_name"]
        aims = dict.fromkeys(verdict_of(row)[0] for found in places.values()
                             for row in found.values() if verdict_of(row)[0])
        out += ["", "`%s`%s" % (kind, ", aim " + ", ".join(aims) if aims else ""), "",
                "| | %s | %s | auto, p99 | auto to limit | auto to best |" % (
                    limit, " | ".join(ways)), "|---" * (len(ways) + 5) + "|"]
        out += [beside_line(place, ways, found) for place, found in places.items()]
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = json.load(file)
    system = os.uname()
    day = datetime.date.fromtimestamp(os.stat(sys.argv[1]).st_mtime)
    where = (day, system.sysname, system.release, system.machine, os.cpu_count())
    out = ["## The run", "", "`make bench`, %s, %s %s %s, %d cores. Where ways stand side by side "
           "there are medians, **bold** where an aim is missed." % where]
    for title, prefixes in SECTIONS:
        chosen = [row for row in rows if row["name"].startswith(prefixes)]
        if not chosen:
            continue
        out += ["", "### " + title]
        out += beside_tables(chosen) if split(chosen[0]["name"]) else table(chosen)
    with open(sys.argv[2], encoding="utf-8") as file:
        text = file.read().split("## The run")[0]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(text + "\n".join(out) + "\n")


if __name__ == "__main__":
    main()
