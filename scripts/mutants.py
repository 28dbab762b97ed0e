# SPDX-License-Identifier: MIT OR Apache-2.0
"""Changes one numeric literal after the other and lists the changes that no test notices.

Called by scripts/mutants, which makes the crate. The crate's sources are put back afterwards.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

# Comments, strings, characters and attributes, in which numbers mean something else.
SKIPPED = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | b?"(?:\\.|[^"\\])*" | b?'(?:\\.[^']*|[^'\\])' | \#!?\[[^\]]*\]""",
    re.VERBOSE | re.DOTALL,
)
# Neither a part of a name nor the field of a tuple.
LITERAL = re.compile(
    r"""(?<![\w]) (?<!(?<!\.)\.)
    (?P<number> \d[\d_]* (?P<fraction> \.\d[\d_]* )? (?P<exponent> [eE][+-]?\d+ )? )
    (?P<suffix> _?(?:[iu](?:8|16|32|64|128|size)|f(?:32|64)) )? (?!\w)""",
    re.VERBOSE,
)
TESTS = re.compile(r"#\[cfg\(test\)\]")
# A mutant may loop for ever.
TIMEOUT_FACTOR = 5


def literals(source: str):
    """Spans of the literals outside tests, with what to put in their place."""
    tests = TESTS.search(source)
    code = source[: tests.start()] if tests else source
    code = SKIPPED.sub(lambda match: " " * len(match.group()), code)
    for match in LITERAL.finditer(code):
        number, suffix = match["number"].replace("_", ""), match["suffix"] or ""
        if match["fraction"] or match["exponent"] or "f" in suffix:
            value = float(number)
            changed = repr(value * 1.25 if value else 1.0)
        else:
            changed = str(int(number) + 1)
        yield match.start(), match.end(), changed + suffix


def test(crate: pathlib.Path, arguments: list[str], timeout: float | None) -> str:
    """What becomes of the crate's tests: passed, failed, does not build, or timeout."""
    command = ["cargo", "test", "--quiet", "--lib", *arguments]
    if subprocess.run([*command, "--no-run"], cwd=crate, capture_output=True).returncode:
        return "does not build"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=crate, start_new_session=True, **quiet) as process:
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            # Cargo would leave the test running.
            os.killpg(process.pid, signal.SIGKILL)
            return "timeout"
    return "failed" if status else "passed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants --literals")
    parser.add_argument("crate", type=pathlib.Path)
    default = [pathlib.Path(path) for path in ("src/families", "src/retinaface", "src/geometry.rs")]
    parser.add_argument("paths", type=pathlib.Path, nargs="*", default=default)
    ours, cargo_arguments = sys.argv[1:], []
    if "--" in ours:
        separator = ours.index("--")
        ours, cargo_arguments = ours[:separator], ours[separator + 1 :]
    arguments = parser.parse_args(ours)
    crate = arguments.crate

    files = []
    for path in arguments.paths:
        path = crate / path
        found = sorted(path.rglob("*.rs")) if path.is_dir() else [path]
        files += [file for file in found if not {"tests", "reference"} & {file.stem, *file.parts}]

    if test(crate, cargo_arguments, None) != "passed":
        sys.exit("scripts/mutants: the tests fail without any change")
    start = time.monotonic()
    test(crate, cargo_arguments, None)
    timeout = TIMEOUT_FACTOR * (time.monotonic() - start) + 10

    count = 0
    survivors = []
    for file in files:
        source = file.read_text()
        for start, end, changed in literals(source):
            line = source.count("\n", 0, start) + 1
            mutant = f"{file.relative_to(crate)}:{line}: {source[start:end]} -> {changed}"
            try:
                file.write_text(source[:start] + changed + source[end:])
                result = test(crate, cargo_arguments, timeout)
            finally:
                file.write_text(source)
            count += 1
            if result == "passed":
                survivors.append(mutant)
                print("SURVIVED", mutant, flush=True)
    print(f"{count} literals changed, {len(survivors)} changes not noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
