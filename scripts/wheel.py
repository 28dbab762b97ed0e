#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packs the plugin file and the module in python/ into a wheel, which pip installs without network.

The plugin is for all versions of Python, and for the systems whose glibc has all that it needs."""

import argparse
import base64
import email.message
import hashlib
import json
import pathlib
import platform
import re
import subprocess
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "gst_plugin_retinaface"
MODULE = "gst_retinaface"
LICENCES = ["LICENSE-MIT", "LICENSE-APACHE", "third-party-notices.txt"]


def glibc_needed(plugin):
    """The newest minor version of glibc from which the file takes a function."""
    symbols = subprocess.run(["objdump", "-T", plugin], check=True, capture_output=True, text=True)
    return max(int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", symbols.stdout))


def wheel_tag(plugin):
    # Nothing older has a name of this form.
    minor = max(glibc_needed(plugin), 17)
    return f"py3-none-manylinux_2_{minor}_{platform.machine()}"


def metadata(package):
    fields = email.message.Message()
    fields["Metadata-Version"] = "2.4"
    fields["Name"] = package["name"]
    fields["Version"] = package["version"]
    fields["Summary"] = package["description"]
    fields["Keywords"] = ",".join(package["keywords"])
    fields["License-Expression"] = package["license"]
    for file in LICENCES:
        fields["License-File"] = file
    fields["Requires-Python"] = ">=3.6"
    fields["Description-Content-Type"] = "text/markdown"
    fields.set_payload((ROOT / "python/README.md").read_text())
    return fields.as_string()


def contents(package, plugin, notices, tag):
    """The files of the wheel but the last, by name."""
    info = f"{NAME}-{package['version']}.dist-info"
    for file in sorted((ROOT / "python" / MODULE).glob("*.py")):
        yield f"{MODULE}/{file.name}", file.read_bytes()
    yield f"{MODULE}/plugins/{plugin.name}", plugin.read_bytes()
    for file in LICENCES:
        source = notices if file == notices.name else ROOT / file
        yield f"{info}/licenses/{file}", source.read_bytes()
    yield f"{info}/METADATA", metadata(package).encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: scripts/wheel.py\nRoot-Is-Purelib: false\nTag: {tag}\n"
    yield f"{info}/WHEEL", wheel.encode()


def record_line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def write(folder, package, plugin, notices):
    tag = wheel_tag(plugin)
    files = dict(contents(package, plugin, notices, tag))
    record = f"{NAME}-{package['version']}.dist-info/RECORD"
    lines = [record_line(name, data) for name, data in files.items()]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    wheel = folder / f"{NAME}-{package['version']}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            # The same files make the same wheel at any time.
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def package_of_cargo():
    """What Cargo.toml says."""
    command = ["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"]
    metadata = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    (package,) = json.loads(metadata)["packages"]
    return package


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plugin", type=pathlib.Path, help="libgstretinaface.so, a release build")
    parser.add_argument("notices", type=pathlib.Path, help="what scripts/notices.py has printed")
    parser.add_argument("folder", type=pathlib.Path, help="where to write the wheel")
    args = parser.parse_args()
    print(write(args.folder, package_of_cargo(), args.plugin, args.notices))


main()
