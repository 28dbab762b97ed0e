#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that no dependency needs a newer Rust than Cargo.toml's rust-version."""

import json
import subprocess
import sys

COMMAND = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]


def version(package):
    parts = [int(part) for part in package["rust_version"].split(".")]
    return parts + [0] * (3 - len(parts))


metadata = json.loads(subprocess.run(COMMAND, check=True, stdout=subprocess.PIPE).stdout)
packages = [package for package in metadata["packages"] if package["rust_version"]]
(ours,) = (package for package in packages if package["id"] in metadata["workspace_members"])
newer = [package for package in packages if version(package) > version(ours)]
for package in newer:
    print(
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}, "
        f"but Cargo.toml says {ours['rust_version']}",
        file=sys.stderr,
    )
sys.exit(bool(newer))
