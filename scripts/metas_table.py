#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the lines of tests/metas.py, one for each GStreamer, as the table of docs/metas.md."""

import json
import sys

with open(sys.argv[1]) as file:
    rows = [json.loads(line) for line in file]
print("| behind | " + " | ".join(row["version"] for row in rows) + " |")
print("|---" * (len(rows) + 1) + "|")
for name in rows[0]:
    if name != "version":
        cells = ("?" if row.get(name) is None else row[name] or "–" for row in rows)
        print(f"| {name} | " + " | ".join(cells) + " |")
