#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""IDF1 and id switches, by py-motmetrics, as JSON: idf1.py TRUTH TRACKS

Each file has lines of frame, id, x, y, width and height."""
import collections
import json
import sys

import motmetrics
import numpy


def read(path):
    """Ids and boxes by frame."""
    frames = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            frame, identity, *box = line.split(",")
            frames[int(frame)].append((int(identity), [float(number) for number in box]))
    return frames


def distance(a, b):
    """1 - IoU; not a number where that is more than 0.5, for no match."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    width = min(ax + aw, bx + bw) - max(ax, bx)
    height = min(ay + ah, by + bh) - max(ay, by)
    common = max(width, 0) * max(height, 0)
    iou = common / (aw * ah + bw * bh - common)
    return 1 - iou if iou >= 0.5 else numpy.nan


truth, tracks = read(sys.argv[1]), read(sys.argv[2])
accumulator = motmetrics.MOTAccumulator(auto_id=True)
for frame in range(max([*truth, *tracks]) + 1):
    distances = [[distance(a, b) for _, b in tracks[frame]] for _, a in truth[frame]]
    accumulator.update(
        [identity for identity, _ in truth[frame]],
        [identity for identity, _ in tracks[frame]],
        numpy.array(distances).reshape(len(truth[frame]), len(tracks[frame])),
    )
summary = motmetrics.metrics.create().compute(accumulator, metrics=["idf1", "num_switches"])
print(json.dumps({"idf1": float(summary["idf1"].iloc[0]), "switches": int(summary["num_switches"].iloc[0])}))
