#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the licences of everything that becomes a part of the plugin file: Rust crates and the font."""

import json
import pathlib
import subprocess

NAMES = ("licen", "copying", "notice", "copyright", "hack-regular.txt")


def metadata():
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    (target,) = (line.split()[1] for line in host.splitlines() if line.startswith("host:"))
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def is_macro(package):
    """A procedural macro runs in the compiler."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def linked(graph):
    """The crates that are in the plugin: not those that only build or test it."""
    packages = {package["id"]: package for package in graph["packages"] if not is_macro(package)}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    found, left = {root}, [root]
    while left:
        for dependency in nodes[left.pop()]["deps"]:
            package = dependency["pkg"]
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_linked and package in packages and package not in found:
                found.add(package)
                left.append(package)
    return [packages[package] for package in found - {root}]


def texts(folder):
    """The files with licences of a crate."""
    files = [*folder.iterdir(), *(folder / "fonts").glob("*.txt")]
    return sorted(file for file in files if file.is_file() and file.name.lower().startswith(NAMES))


def main():
    known = {}
    for package in sorted(linked(metadata()), key=lambda package: package["name"]):
        title = f"{package['name']} {package['version']}"
        print(f"{title}: {package['license'] or 'see below'}")
        for file in texts(pathlib.Path(package["manifest_path"]).parent):
            known.setdefault(file.read_text(errors="replace").strip(), []).append(title)
    for text, titles in known.items():
        print(f"\n{'=' * 78}\n{', '.join(titles)}\n{'-' * 78}\n{text}")


main()
