#!/usr/bin/env python3
"""Draws the staging rows of a run: plot.py build/bench.json build/bench.svg

A column of panels for each volume, a row of panels for each kind of row.  In a panel: the shapes from
left to right, microseconds on a logarithmic scale, a dot for each way, its line up to the p99, and a
bar for the limit that the ways were measured against.
"""
import json
import math
import re
import sys
from xml.sax.saxutils import escape

SHAPES = ["small_flat", "pcm_cluster", "deep_nested", "medium_flat", "large_flat", "p95_dirs", "huge"]
SHAPE_WORDS = ["64 flat", "219 flat", "200 deep", "635 flat", "1,978 flat", "1,978 dirs", "20,000"]
VOLUMES = ["ext4", "xfs", "btrfs", "tmpfs", "apfs"]
KINDS = ["stage/exact", "stage/one", "stage/ten", "stage/rename", "stage/cold"] + [
    "whole/%d/%s" % (percent, change) for change in ("exact", "one", "cold")
    for percent in (0, 10, 100)]
WORDS = {"exact": "the same tree again", "one": "one file changed", "ten": "ten files changed",
         "rename": "one directory renamed", "cold": "a tree never seen"}
COLOURS = {"auto": "#000000", "bind": "#0072b2", "overlay": "#56b4e9", "image": "#009e73",
           "hardlink": "#d55e00", "reflink": "#cc79a7", "clonefile": "#cc79a7", "copy": "#e0a800"}
ROW = re.compile(r"^((?:stage|whole/\d+)/[^/]+)/([^/]+)/([^/]+)/([^/]+)$")
PANEL_WIDTH, PANEL_HEIGHT, GAP, LEFT, TOP = 330, 150, 34, 70, 96
WIDTH_MIN = 1000


def words_of(kind):
    parts = kind.split("/")
    if parts[0] == "stage":
        return "placing: " + WORDS[parts[1]]
    return "whole, %s %% touched: %s" % (parts[1], WORDS[parts[2]])


class Drawing:
    def __init__(self, width, height):
        self.out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
                    'viewBox="0 0 %d %d" font-family="sans-serif" font-size="10">' % (
                        width, height, width, height),
                    '<rect width="100%" height="100%" fill="white"/>']

    def line(self, x1, y1, x2, y2, colour, width=1.0):
        self.out.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" '
                        'stroke-width="%g"/>' % (x1, y1, x2, y2, colour, width))

    def dot(self, x, y, colour, words, size=3.0):
        self.out.append('<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"><title>%s</title></circle>' % (
            x, y, size, colour, escape(words)))

    def text(self, x, y, words, size=10, anchor="start", colour="#333"):
        self.out.append('<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s">%s'
                        '</text>' % (x, y, size, anchor, colour, escape(words)))

    def done(self):
        return "\n".join(self.out + ["</svg>", ""])


def microseconds(value):
    if value >= 1e6:
        return "%g s" % (value / 1e6)
    return "%g ms" % (value / 1e3) if value >= 1e3 else "%g us" % value


class Panel:
    def __init__(self, drawing, x, y, low, high):
        self.drawing, self.x, self.y = drawing, x, y
        self.low, self.high = low, high

    def height_of(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.y + PANEL_HEIGHT - min(max(part, 0), 1) * PANEL_HEIGHT

    def frame(self, labels):
        for decade in range(self.low, self.high + 1):
            y = self.height_of(10 ** decade)
            self.drawing.line(self.x, y, self.x + PANEL_WIDTH, y, "#ddd")
            if labels:
                self.drawing.text(self.x - 4, y + 3, microseconds(10 ** decade), 9, "end")

    def column(self, index):
        return self.x + (index + 0.5) * PANEL_WIDTH / len(SHAPES)

    def draw(self, rows):
        for index, shape in enumerate(SHAPES):
            there = [way for way in COLOURS if (shape, way) in rows]
            step = PANEL_WIDTH / len(SHAPES) / (len(COLOURS) + 1)
            for place, way in enumerate(there):
                row = rows[shape, way]
                x = self.column(index) + (place - (len(there) - 1) / 2) * step
                self.drawing.line(x, self.height_of(row["median"]), x, self.height_of(row["p99"]),
                                  COLOURS[way], 0.6)
                self.drawing.dot(x, self.height_of(row["median"]), COLOURS[way],
                                 "%s %.0f us, p99 %.0f, %.3f of %s" % (
                                     row["name"], row["median"], row["p99"], row["ratio"],
                                     row["limit_name"]))
            if there:
                y = self.height_of(rows[shape, there[0]]["limit"])
                half = PANEL_WIDTH / len(SHAPES) * 0.46
                self.drawing.line(self.column(index) - half, y, self.column(index) + half, y,
                                  "#888", 2.2)


def sorted_rows(rows):
    """By kind and volume: shape and way to row."""
    out = {}
    for row in rows:
        match = ROW.match(row["name"])
        if match and match.group(1) in KINDS and match.group(2) in SHAPES:
            kind, shape, way, volume = match.groups()
            out.setdefault((kind, volume), {})[shape, way] = row
    return out


def decades(panels, kinds):
    values = [row[field] for (kind, _), rows in panels.items() if kind in kinds
              for row in rows.values() for field in ("median", "p99", "limit")]
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))


def legend(drawing, ways):
    x = LEFT
    for way in ways:
        drawing.dot(x, 46, COLOURS[way], way, 4)
        drawing.text(x + 9, 50, way, 12)
        x += 34 + 7 * len(way)
    drawing.line(x, 46, x + 26, 46, "#888", 2.2)
    drawing.text(x + 32, 50, "the limit: the linkat loop, or the action run in place", 12)


def draw(rows):
    panels = sorted_rows(rows)
    kinds = [kind for kind in KINDS if any(kind == there for there, _ in panels)]
    volumes = [volume for volume in VOLUMES if any(volume == there for _, there in panels)]
    ways = [way for way in COLOURS if any((shape, way) in there for there in panels.values()
                                          for shape in SHAPES)]
    drawing = Drawing(max(LEFT + len(volumes) * (PANEL_WIDTH + GAP), WIDTH_MIN),
                      TOP + len(kinds) * (PANEL_HEIGHT + GAP + 14))
    drawing.text(LEFT, 24, "What it takes to give an action its input tree, by way; files below", 16)
    legend(drawing, ways)
    for down, kind in enumerate(kinds):
        part = kind.split("/")[0]
        low, high = decades(panels, [each for each in kinds if each.split("/")[0] == part])
        for across, volume in enumerate(volumes):
            x = LEFT + across * (PANEL_WIDTH + GAP)
            y = TOP + down * (PANEL_HEIGHT + GAP + 14)
            panel = Panel(drawing, x, y, low, high)
            drawing.text(x, y - 6, "%s, %s" % (volume, words_of(kind)), 11)
            panel.frame(across == 0)
            panel.draw(panels.get((kind, volume), {}))
            for index, words in enumerate(SHAPE_WORDS):
                drawing.text(panel.column(index), y + PANEL_HEIGHT + 12, words, 9, "middle")
    return drawing.done()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = json.load(file)
    if not sorted_rows(rows):
        return
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(rows))


if __name__ == "__main__":
    main()
