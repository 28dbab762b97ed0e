# SPDX-License-Identifier: MIT OR Apache-2.0
"""The measuring of scripts/bench, which says what it takes and writes."""

import argparse
import collections
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
SIZE = (640, 480)
SCALES = [0.1, 0.4, 1.0, 2.0]
# Milliseconds a frame that faster-mobile-retinaface's README gives, for its network of strides 16
# and 32, without landmarks.
PUBLISHED = {
    "GTX 1660 Ti": {0.1: 2.155, 0.4: 2.916, 1.0: 5.413, 2.0: 20.599},
    "Jetson Nano (4.6 inference + 11.4 the rest)": {0.4: 16.0},
}
# The whole of its detection on MXNet 1.9.1, on two cores of the machine that the rest was measured on.
REPLACED_MXNET = {0.4: 1.36, 1.0: 6.2}
OPENVINO = ROOT / ".cache/onnxruntime-openvino/libonnxruntime.so"
# What is measured with it.
OPENVINO_PROPERTIES = ["execution-provider=openvino", "execution-provider=openvino precision=bf16",
                       "execution-provider=openvino precision=bf16 in-flight=8 batch-size=4"]


def session_ms(path, scale, threads, seconds):
    """Median of a network run as it is, in ONNX Runtime alone."""
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
    """Frames a second of a decoded video, and its frames."""
    command = ["gst-launch-1.0", "-v", "filesrc", f"location={video}", "!", "decodebin", "!", *detector.split(),
               *"identity name=count silent=false ! fakesink sync=false".split()]
    output = subprocess.run(command, capture_output=True, text=True, check=True,
                            env={**os.environ, "LC_ALL": "C"}).stdout
    frames = output.count("count: last-message = chain")
    hours, minutes, seconds = re.search(r"Execution ended after (\S+)", output)[1].split(":")
    return frames / (int(hours) * 3600 + int(minutes) * 60 + float(seconds))


def measure(options):
    """Every figure of every round: {what: {name: [value, ...]}}."""
    figures = collections.defaultdict(lambda: collections.defaultdict(list))

    def add(what, **values):
        for name, value in values.items():
            figures[what][name].append(value)

    shared = os.environ.get("RETINAFACE_SHARED")
    replaced = pathlib.Path(shared, "models/16and32.onnx") if shared else None
    if not (replaced and replaced.exists()):
        print("Not measured: the networks of faster-mobile-retinaface, which are not here.")
        replaced = None
    detectors = {"": "", "in-flight=1": "retinafacedetect threads=1 !",
                 "in-flight=0": "retinafacedetect in-flight=0 !"}
    for number in range(options.rounds):
        print(f"Round {number + 1} of {options.rounds}", flush=True)
        command = [options.bench, options.clip, *map(str, SIZE), str(options.seconds), str(MODEL)]
        runs = [(command, os.environ)]
        if OPENVINO.exists():
            openvino = {**os.environ, "ORT_DYLIB_PATH": str(OPENVINO)}
            runs += [([*command, properties], openvino) for properties in OPENVINO_PROPERTIES]
        for command, environment in runs:
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    env=environment, text=True, check=True).stdout
            for line in output.splitlines():
                row = json.loads(line)
                values = {name: row.pop(name) for name in ("fps", "ms", "p50", "p99") if name in row}
                add(tuple(sorted(row.items())), **values)
        for scale in SCALES:
            for threads in (1, 2):
                ms = session_ms(MODEL, scale, threads, options.seconds / 2)
                add(("stock", scale, threads), ms=ms)
                if replaced:
                    ms = session_ms(replaced, scale, threads, options.seconds / 2)
                    add(("replaced", scale, threads), ms=ms)
        for name, detector in detectors.items():
            add(("decoded", name), fps=decoded_fps(options.video, detector))
    return {what: {name: statistics.median(values) for name, values in figure.items()}
            for what, figure in figures.items()}


def key(**row):
    return tuple(sorted(row.items()))


def tables(figures, options):
    cores = os.cpu_count()
    stock = {scale: figures["stock", scale, 1]["ms"] for scale in SCALES}
    others = ""
    if OPENVINO.exists():
        others = f", where nothing else is said (OpenVINO's is {OPENVINO.resolve().name.split('.so.')[1]})"
    lines = [
        f"Measured by `scripts/bench` on {datetime.date.today()}: {cores} cores of "
        f"{cpu()}, ONNX Runtime {onnxruntime.__version__}, CPU provider, f32{others}; 640×480 BGR "
        f"frames held in memory, medians of {options.rounds} rounds in turn. Efficiency: frames a second ÷ (cores used ÷ "
        "time of the same rewritten network alone, one thread). Ratio: to ONNX Runtime alone, network "
        "as shipped, one thread, at the same scale.",
        "",
        "![Frames a second over scale](performance.svg)",
        "",
        "| | scale, input | strides | landmarks | threads | frames/s | ms a frame, p50 / p99 | efficiency | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def row(name, scale, strides, landmarks, threads, fps, latency="", efficiency=""):
        size = "×".join(str(round(side * scale)) for side in SIZE)
        ratio = fps * stock[scale] / 1000
        lines.append(f"| {name} | {scale:g}, {size} | {strides} | {landmarks} | {threads} | {fps:.0f} | "
                     f"{latency} | {efficiency} | {ratio:.2f} |")

    for scale in SCALES:
        for threads in (1, 2):
            ms = figures["stock", scale, threads]["ms"]
            row("ONNX Runtime alone, network as shipped", scale, "8+16+32", "yes", threads, 1000 / ms, f"{ms:.2f}")
        for strides in ("8+16+32", "16+32"):
            session = figures[key(what="session", scale=scale, strides=strides, threads=1)]["ms"]
            row("ONNX Runtime alone, network rewritten", scale, strides, "yes", 1, 1000 / session, f"{session:.2f}")
            for what, figure in figures.items():
                settings = dict(what) if isinstance(what[0], tuple) else {}
                if (settings.get("what"), settings.get("scale"), settings.get("strides")) != (
                        "retinafacedetect", scale, strides):
                    continue
                in_flight, threads = settings["in_flight"], settings["threads"]
                used = in_flight * threads
                efficiency = figure["fps"] / (used / session * 1000)
                row(f"`retinafacedetect in-flight={in_flight} threads={threads} scale-method={settings['method']}`",
                    scale, strides, "yes", used, figure["fps"], f"{figure['p50']:.2f} / {figure['p99']:.2f}",
                    f"{efficiency:.2f}" if threads == 1 else "")
            for properties in OPENVINO_PROPERTIES:
                figure = figures.get(key(what="provider", scale=scale, strides=strides, properties=properties))
                if figure:
                    in_flight = "" if "in-flight" in properties else f"in-flight={cores} "
                    row(f"`retinafacedetect {in_flight}threads=1 scale-method=nearest {properties}`", scale, strides,
                        "yes", cores, figure["fps"], f"{figure['p50']:.2f} / {figure['p99']:.2f}")
        if ("replaced", scale, 1) in figures:
            for threads in (1, 2):
                ms = figures["replaced", scale, threads]["ms"]
                row("faster-mobile-retinaface's network, ONNX Runtime alone", scale, "16+32", "no", threads, 1000 / ms,
                    f"{ms:.2f}")
        if scale in REPLACED_MXNET:
            ms = REPLACED_MXNET[scale]
            row("faster-mobile-retinaface on MXNet 1.9.1 (measured once, two such cores)", scale, "16+32",
                "no", 2, 1000 / ms, f"{ms:.2f}")
        for device, times in PUBLISHED.items():
            if scale in times:
                row(f"faster-mobile-retinaface, published: {device}", scale, "16+32", "no", "GPU", 1000 / times[scale],
                    f"{times[scale]:.2f}")
    haar = figures.get(key(what="facedetect", scale=1.0))
    if haar:
        row("GStreamer's `facedetect` (Haar, OpenCV)", 1.0, "–", "no", cores, haar["fps"])
    one = key(what="retinafacedetect", scale=1.0, strides="8+16+32", in_flight=1, threads=cores, method="nearest")
    session = figures[key(what="session", scale=1.0, strides="8+16+32", threads=cores)]["ms"]
    lines += ["", f"One 640×480 frame, all strides, in-flight=1, {cores} threads: {figures[one]['p50']:.2f} ms in "
              f"the element, {session:.2f} ms in the session alone: {figures[one]['p50'] / session:.2f} of it."]
    plain, single, several = (figures["decoded", name]["fps"] for name in ("", "in-flight=1", "in-flight=0"))
    lines += ["", f"Decoded video ({pathlib.Path(options.video).name}, all strides, at its own size): {plain:.0f} frames/s "
              f"decoded only, {single:.0f} with `retinafacedetect threads=1`, {several:.0f} with "
              "`retinafacedetect in-flight=0`."]
    return lines


def cpu():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()


def plot(figures, path):
    cores = os.cpu_count()
    figure, axes = pyplot.subplots(figsize=(9, 6))

    def line(label, value, style):
        points = [(scale, value(scale)) for scale in SCALES]
        points = [(scale, fps) for scale, fps in points if fps]
        if points:
            axes.plot(*zip(*points), style, label=label)

    for strides, colour in (("16+32", "tab:blue"), ("8+16+32", "tab:green")):
        for in_flight, dash in ((cores, "o-"), (1, "o--")):
            def fps(scale):
                return figures[key(what="retinafacedetect", scale=scale, strides=strides,
                                   in_flight=in_flight, threads=1, method="nearest")]["fps"]
            line(f"retinafacedetect, strides {strides}, in-flight={in_flight}", fps, dash)
            axes.lines[-1].set_color(colour)
    for threads, dash in ((2, "s-"), (1, "s--")):
        line(f"ONNX Runtime alone, as shipped, {threads} thread{'s' * (threads > 1)}",
             lambda scale: 1000 / figures["stock", scale, threads]["ms"], dash)
        axes.lines[-1].set_color("tab:gray")
    published = PUBLISHED["GTX 1660 Ti"]
    line("faster-mobile-retinaface, published, GTX 1660 Ti", lambda scale: 1000 / published[scale], "^:")
    line("faster-mobile-retinaface, MXNet, 2 such cores",
         lambda scale: 1000 / REPLACED_MXNET[scale] if scale in REPLACED_MXNET else None, "v:")
    haar = figures.get(key(what="facedetect", scale=1.0))
    if haar:
        axes.plot([1.0], [haar["fps"]], "kx", label="facedetect (Haar)")
    axes.set(xscale="log", yscale="log", xlabel="scale of 640×480 frames", ylabel="frames a second",
             title=f"Frames a second on {cores} cores ({cpu()})")
    axes.set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
    axes.minorticks_off()
    ticks = [30, 100, 300, 1000, 3000, 10000, 30000]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser()
    for name in ("bench", "clip", "video"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()

    figures = measure(options)
    lines = tables(figures, options)
    page = ROOT / "docs/performance.md"
    text = page.read_text()
    between = re.compile(r"(<!-- bench:begin[^\n]*-->\n).*(<!-- bench:end -->)", re.DOTALL)
    page.write_text(between.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text))
    plot(figures, ROOT / "docs/performance.svg")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
