#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Renders models/catalogue.toml into models/README.md, for developers; needs Python 3.11.

    catalogue.py            writes the tables
    catalogue.py --check    says what is wrong with the catalogue, the tables, scripts/fetch.py's pins or
                            the files in models/
"""

import argparse
import hashlib
import pathlib
import re
import sys
import tomllib

import fetch

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
README = MODELS / "README.md"
BEGIN = "<!-- From catalogue.toml, by scripts/catalogue.py -->\n"
END = "<!-- End of what scripts/catalogue.py writes -->\n"

REQUIRED = {"name", "family", "origin", "licence", "input"}
OPTIONAL = {"sha256", "package", "wider", "wider_at", "ap", "nme", "ms", "note"}


def rows(header, lines):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def accuracy(network):
    def values(key, count):
        return " / ".join([*network.get(key, []), *["–"] * count][:count]) if key in network else "–"

    size = f" at {network['wider_at']}" if "wider_at" in network else ""
    return [
        f"`{network['name']}`",
        network["licence"],
        values("wider", 3) + size,
        values("ap", 2),
        network.get("nme", "–"),
        values("ms", 2),
    ]


def origin(network):
    note = network.get("note")
    return [
        f"`{network['name']}`",
        network["family"],
        network["origin"] + (f" ({note})" if note else ""),
        network["input"],
        "`--model`, from " + network["package"] if "package" in network else "–",
        f"`{network['sha256']}`" if "sha256" in network else "–",
    ]


def render(networks):
    measured = "AP@0.5, own size / 640", "NME", "ms, ONNX Runtime / OpenVINO"
    tables = [
        rows(["network", "licence", "WIDER FACE", *measured], map(accuracy, networks)),
        rows(["network", "family", "origin", "input", "download", "SHA-256"], map(origin, networks)),
    ]
    return "\n".join(tables)


def with_tables(readme, tables):
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"{README} lacks the lines\n{BEGIN}{END}")
    return before + BEGIN + "\n" + tables + "\n" + END + after


def pin(name):
    """Package and hash as scripts/fetch.py has them."""
    network = fetch.NETWORKS.get(name)
    return network and (f"{network.package.name} {network.package.version}", network.sha256)


def mistakes(networks):
    names = [network.get("name") for network in networks]
    for name in sorted(set(fetch.NETWORKS) - set(names)):
        yield f"scripts/fetch.py downloads {name}, which the catalogue does not have"
    for network in networks:
        name, sha256 = network.get("name"), network.get("sha256")
        for key in sorted(REQUIRED - network.keys()):
            yield f"{name} has no {key}"
        for key in sorted(network.keys() - REQUIRED - OPTIONAL):
            yield f"{name} has {key}, which is no key"
        if names.count(name) > 1:
            yield f"{name} is there {names.count(name)} times"
        if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
            yield f"{name}: {sha256} is no SHA-256"
        if pin(name) != (("package" in network or None) and (network["package"], sha256)):
            yield f"{name}: scripts/fetch.py downloads {pin(name)}"
        file = MODELS / f"{name}.onnx"
        if sha256 and file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            yield f"{file} is not the file with the SHA-256 in the catalogue"


def main():
    parser = argparse.ArgumentParser(description="Renders models/catalogue.toml into models/README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is wrong")
    check = parser.parse_args().check
    text = (MODELS / "catalogue.toml").read_text(encoding="utf-8")
    # Numbers stay as they are written.
    networks = tomllib.loads(text, parse_float=str)["network"]
    wrong = list(mistakes(networks))
    if wrong:
        sys.exit("\n".join(wrong))
    readme = README.read_text(encoding="utf-8")
    rendered = with_tables(readme, render(networks))
    if not check:
        README.write_text(rendered, encoding="utf-8")
    elif rendered != readme:
        sys.exit(f"{README} is not what the catalogue says: run scripts/catalogue.py.")


if __name__ == "__main__":
    main()
