# SPDX-License-Identifier: MIT OR Apache-2.0
"""The measurements of scripts/bench, whose help says what is written where."""

import argparse
import collections
import csv
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import time

import matplotlib
import numpy
import onnxruntime

matplotlib.use("svg")
from matplotlib import pyplot

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/retinaface_mv1_0.25.onnx"
OPENVINO = ROOT / ".cache/onnxruntime-openvino/libonnxruntime.so"
CSV = ROOT / "docs/performance.csv"
PAGE = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/performance.svg"

SIZE = (640, 480)
SCALES = [0.1, 0.4, 1.0, 2.0]
STRIDES = ["8+16+32", "16+32"]
CORES = os.cpu_count()
# What is measured besides native kernels, at scales 0.4 and 1, with one frame in flight per core unless
# it says otherwise.
CPU = "execution-provider=cpu"
OPENVINO_FP32 = "execution-provider=openvino"
OPENVINO_BF16 = "execution-provider=openvino precision=bf16"
OPENVINO_BATCHES = "execution-provider=openvino precision=bf16 in-flight=8 batch-size=4"

# A row of the CSV file. Of these, scripts/bench replaces those that it measured itself.
COLUMNS = ["measured_by", "date", "machine", "onnxruntime", "what", "settings", "input", "scale", "strides",
           "threads", "fps", "p50_ms", "p99_ms", "efficiency", "ratio"]
MEASURED_BY = "scripts/bench"

ELEMENT = "retinafacedetect"
SHIPPED = "ONNX Runtime alone, network as shipped"
REWRITTEN = "ONNX Runtime alone, network rewritten"
NATIVE = "native kernels alone, network rewritten"
REPLACED = "ONNX Runtime alone, network of faster-mobile-retinaface"
REPLACED_MXNET = "faster-mobile-retinaface, MXNet 1.9.1"
REPLACED_GPU = "faster-mobile-retinaface, GTX 1660 Ti"
HAAR = "GStreamer's facedetect (Haar)"
DECODED = "decoding a video"

# What was measured, under which settings. `threads`: how many threads compute.
What = collections.namedtuple("What", "what settings scale strides threads")


def session_ms(path, scale, threads, seconds):
    """Median time of an unmodified network in ONNX Runtime alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    width, height = (round(side * scale) for side in SIZE)
    feed = {session.get_inputs()[0].name: numpy.zeros((1, 3, height, width), numpy.float32)}
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def decoded_fps(video, detector):
    """Frames per second of decoding a video, with or without detection."""
    command = ["gst-launch-1.0", "-v", "filesrc", f"location={video}", "!", "decodebin", "!", *detector.split(),
               *"identity name=count silent=false ! fakesink sync=false".split()]
    output = subprocess.run(command, capture_output=True, text=True, check=True,
                            env={**os.environ, "LC_ALL": "C"}).stdout
    frames = output.count("count: last-message = chain")
    hours, minutes, seconds = re.search(r"Execution ended after (\S+)", output)[1].split(":")
    return frames / (int(hours) * 3600 + int(minutes) * 60 + float(seconds))


def element(in_flight, threads, method="nearest"):
    return f"in-flight={in_flight} threads={threads} scale-method={method}"


def provider(properties):
    in_flight = "" if "in-flight" in properties else f"in-flight={CORES} "
    return f"{in_flight}threads=1 scale-method=nearest {properties}"


def identify(row):
    """What a line of benches/pipeline.rs is about."""
    scale, strides = row["scale"], row.get("strides", "")
    if row["what"] in ("session", "native session"):
        name = REWRITTEN if row["what"] == "session" else NATIVE
        return What(name, "", scale, strides, row["threads"])
    if row["what"] == "retinafacedetect":
        settings = element(row["in_flight"], row["threads"], row["method"])
        return What(ELEMENT, settings, scale, strides, row["in_flight"] * row["threads"])
    if row["what"] == "provider":
        return What(ELEMENT, provider(row["properties"]), scale, strides, CORES)
    return What(HAAR, "", scale, strides, CORES)


def measure(options):
    """The medians over all rounds: {What: {"fps", "p50", "p99"}}, each where it was measured."""
    figures = collections.defaultdict(lambda: collections.defaultdict(list))

    def add(what, **values):
        for name, value in values.items():
            figures[what][name].append(value)

    shared = os.environ.get("RETINAFACE_SHARED")
    networks = {SHIPPED: (MODEL, "8+16+32")}
    if shared and pathlib.Path(shared, "models/16and32.onnx").exists():
        networks[REPLACED] = (pathlib.Path(shared, "models/16and32.onnx"), "16+32")
    else:
        print("Not measured: the networks of faster-mobile-retinaface, which are not here.")
    detectors = {"": "", "threads=1": "retinafacedetect threads=1 !",
                 "in-flight=0": "retinafacedetect in-flight=0 !"}
    for number in range(options.rounds):
        print(f"Round {number + 1} of {options.rounds}", flush=True)
        command = [options.bench, options.clip, *map(str, SIZE), str(options.seconds), str(MODEL)]
        runs = [(command, os.environ), ([*command, CPU], os.environ)]
        if OPENVINO.exists():
            environment = {**os.environ, "ORT_DYLIB_PATH": str(OPENVINO)}
            runs += [([*command, properties], environment)
                     for properties in (OPENVINO_FP32, OPENVINO_BF16, OPENVINO_BATCHES)]
        for command, environment in runs:
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    env=environment, text=True, check=True).stdout
            for line in output.splitlines():
                row = json.loads(line)
                if "ms" in row:
                    row["p50"] = row.pop("ms")
                add(identify(row), **{name: row[name] for name in ("fps", "p50", "p99") if name in row})
        for scale in SCALES:
            for threads in (1, 2):
                for name, (path, strides) in networks.items():
                    ms = session_ms(path, scale, threads, options.seconds / 2)
                    add(What(name, "", scale, strides, threads), p50=ms)
        for settings, detector in detectors.items():
            threads = "" if not settings else 1 if settings == "threads=1" else CORES
            add(What(DECODED, settings, 1.0, "8+16+32", threads), fps=decoded_fps(options.video, detector))
    return {what: {name: statistics.median(values) for name, values in figure.items()}
            for what, figure in figures.items()}


def rows(figures):
    """The figures as rows of the CSV file."""
    fixed = {"measured_by": MEASURED_BY, "date": str(datetime.date.today()), "machine": machine()}

    def time_alone(name, what):
        return figures[What(name, "", what.scale, "8+16+32" if name == SHIPPED else what.strides, 1)]["p50"]

    for what, figure in figures.items():
        fps = figure["fps"] if "fps" in figure else 1000 / figure["p50"]
        efficiency = ratio = ""
        if what.what == ELEMENT and " threads=1 " in what.settings and "execution-provider" not in what.settings:
            efficiency = f"{fps * time_alone(NATIVE, what) / 1000 / what.threads:.2f}"
        if what.what != DECODED:
            ratio = f"{fps * time_alone(SHIPPED, what) / 1000:.2f}"
        runtime = OPENVINO.resolve().name.split(".so.")[1] if "openvino" in what.settings else onnxruntime.__version__
        yield {
            **fixed, **what._asdict(), "scale": f"{what.scale:g}",
            "onnxruntime": "" if what.what == HAAR else runtime,
            "input": "the video's" if what.what == DECODED else "x".join(str(round(s * what.scale)) for s in SIZE),
            "fps": f"{fps:.0f}", **{f"{name}_ms": f"{figure[name]:.2f}" for name in ("p50", "p99") if name in figure},
            "efficiency": efficiency, "ratio": ratio,
        }


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{CORES} cores of {model[1] if model else platform.machine()}"


def find(table, what, settings="", **columns):
    """The one row of the CSV file that these columns name; None if there is none."""
    columns = {"what": what, "settings": settings, **columns}
    for row in table:
        if all(row[name] == str(value) for name, value in columns.items()):
            return row
    return None


def blocks(table):
    """The generated parts of the page: {name: lines}."""
    throughput, latency = element(CORES, 1), element(1, 1)
    about = find(table, ELEMENT, latency, scale="1", strides="8+16+32")
    lines = [f"Measured on {about['date']}: {about['machine']}, ONNX Runtime {about['onnxruntime']}."]

    settings = ["| `scale` | network input | `strides` | finds faces from | frames/s | latency, ms | ratio |",
                "|---|---|---|---|---|---|---|"]
    for scale in SCALES:
        for strides in STRIDES:
            where = {"scale": f"{scale:g}", "strides": strides}
            fast, slow = find(table, ELEMENT, throughput, **where), find(table, ELEMENT, latency, **where)
            smallest = (10 if "8+" in strides else 50) / scale
            settings.append(f"| {scale:g} | {fast['input'].replace('x', '×')} | {strides} | {smallest:.0f} px | "
                            f"{int(fast['fps']):,} | {slow['p50_ms']} | {fast['ratio']} |")

    sessions = ["| `scale` | `strides` | native, ms | ONNX Runtime, ms | ratio |", "|---|---|---|---|---|"]
    for scale in SCALES:
        for strides in STRIDES:
            where = {"scale": f"{scale:g}", "strides": strides, "threads": 1}
            native, runtime = find(table, NATIVE, **where), find(table, REWRITTEN, **where)
            if native and runtime:
                times = float(native["p50_ms"]), float(runtime["p50_ms"])
                sessions.append(f"| {scale:g} | {strides} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.2f} |")

    providers = ["| `scale` | `strides` | native, fp32 | CPU, fp32 | OpenVINO, fp32 | OpenVINO, bf16 |",
                 "|---|---|---|---|---|---|"]
    for scale in ("0.4", "1"):
        for strides in STRIDES:
            found = [find(table, ELEMENT, name, scale=scale, strides=strides)
                     for name in (throughput, provider(CPU), provider(OPENVINO_FP32), provider(OPENVINO_BF16))]
            providers.append(f"| {scale} | {strides} | " + " | ".join(
                f"{int(row['fps']):,} ({row['ratio']})" if row else "not measured" for row in found) + " |")

    modes = ["| settings | `strides` | frames/s | latency, ms: median | 99 % of frames |", "|---|---|---|---|---|"]
    for name, which in (("`in-flight=1 threads=1`", latency), (f"`in-flight=1 threads={CORES}`", element(1, CORES)),
                        (f"`in-flight={CORES} threads=1`", throughput),
                        (f"`in-flight={CORES} threads=1`, OpenVINO, bf16", provider(OPENVINO_BF16)),
                        ("`in-flight=8 batch-size=4 threads=1`, OpenVINO, bf16", provider(OPENVINO_BATCHES))):
        for strides in STRIDES:
            row = find(table, ELEMENT, which, scale="1", strides=strides)
            if row:
                modes.append(f"| {name} | {strides} | {int(row['fps']):,} | {row['p50_ms']} | {row['p99_ms']} |")

    where = {"scale": "0.4", "strides": "16+32"}
    ours = float(find(table, ELEMENT, throughput, **where)["fps"])
    compared = []
    for name, row in (("faster-mobile-retinaface with MXNet on 2 such cores", find(table, REPLACED_MXNET, **where)),
                      ("faster-mobile-retinaface as published, GTX 1660 Ti", find(table, REPLACED_GPU, **where)),
                      ("GStreamer's `facedetect` (Haar), 640×480", find(table, HAAR))):
        if row:
            compared.append(f"- {name}: {row['fps']} frames/s; `retinafacedetect` processes "
                            f"{ours / float(row['fps']):.1f} times as many")
    return {"measured": lines, "settings": settings, "sessions": sessions, "providers": providers, "latency": modes,
            "compared": compared}


def plot(table):
    figure, axes = pyplot.subplots(figsize=(9, 6))

    def line(label, style, colour=None, **columns):
        found = [(scale, find(table, scale=f"{scale:g}", **columns)) for scale in SCALES]
        points = [(scale, float(row["fps"])) for scale, row in found if row]
        if points:
            axes.plot(*zip(*points), style, label=label, color=colour)

    for strides, colour in (("16+32", "tab:blue"), ("8+16+32", "tab:green")):
        for in_flight, style in ((CORES, "o-"), (1, "o--")):
            line(f"retinafacedetect, strides {strides}, in-flight={in_flight}", style, colour,
                 what=ELEMENT, settings=element(in_flight, 1), strides=strides)
    for threads, style in ((2, "s-"), (1, "s--")):
        line(f"ONNX Runtime alone, as shipped, {threads} thread{'s' * (threads > 1)}", style, "tab:gray",
             what=SHIPPED, threads=threads)
    line("faster-mobile-retinaface, published, GTX 1660 Ti", "^:", what=REPLACED_GPU)
    line("faster-mobile-retinaface, MXNet, 2 cores", "v:", what=REPLACED_MXNET)
    line("facedetect (Haar)", "x", "black", what=HAAR)
    axes.set(xscale="log", yscale="log", xlabel="scale of 640×480 frames", ylabel="frames per second",
             title=f"Frames per second on {machine()}")
    axes.set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
    axes.minorticks_off()
    ticks = [30, 100, 300, 1000, 3000, 10000, 30000]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser()
    for name in ("bench", "clip", "video"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()

    with CSV.open(newline="") as file:
        others = [row for row in csv.DictReader(file) if row["measured_by"] != MEASURED_BY]
    measured = list(rows(measure(options)))
    with CSV.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*measured, *others])
    report()


def report():
    """Writes what the CSV file says into the page and the plot."""
    with CSV.open(newline="") as file:
        table = list(csv.DictReader(file))
    text = PAGE.read_text()
    for name, lines in blocks(table).items():
        between = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
        text = between.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text)
        print("\n".join(lines), end="\n\n")
    PAGE.write_text(text)
    plot(table)


if __name__ == "__main__":
    main()
