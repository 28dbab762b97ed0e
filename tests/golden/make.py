#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Computes mobilenet025.json: the faces that tests/golden.rs expects.

    ./scripts/setup
    python3 -m venv .cache/golden
    .cache/golden/bin/pip install numpy==2.2.6 onnxruntime==1.32.0 pillow==13.0.0
    .cache/golden/bin/python tests/golden/make.py

Shares no code with the plugin. It follows biubug6/Pytorch_Retinaface:
layers/functions/prior_box.py (priors), utils/box_utils.py (decoding),
utils/nms/py_cpu_nms.py (suppression), data/config.py (sizes and variances).

Every result is checked to be stable: no score and no overlap that decides anything
is so close to its threshold that another build of ONNX Runtime, or another
execution provider in fp32, could decide otherwise.
"""

import json
import pathlib

import numpy
import onnxruntime
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/retinaface_mv1_0.25.onnx"
MEDIA = ROOT / ".cache/media"
OUTPUT = pathlib.Path(__file__).with_name("mobilenet025.json")

# data/config.py: "steps", "min_sizes" and "variance".
ANCHOR_SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
# What the network was trained with: subtracted from blue, green and red.
MEAN = (104, 117, 123)

# How far scores and overlaps stay from their thresholds.
SCORE_MARGIN, OVERLAP_MARGIN = 0.002, 0.002


def settings(scale, method, strides, score, iou):
    """A setting in the words of retinafacedetect's properties."""
    return {
        "scale": scale,
        "scale-method": method,
        "strides": strides,
        "score-threshold": score,
        "iou-threshold": iou,
    }


# The usual settings, on every picture.
USUAL = [
    settings(1.0, "bilinear", "8+16+32", 0.6, 0.4),
    settings(1.0, "bilinear", "16+32", 0.6, 0.4),
    settings(0.5, "nearest", "8+16+32", 0.6, 0.4),
    settings(0.7, "bilinear", "8+16+32", 0.6, 0.4),
]
# Low thresholds, so that many small boxes overlap and the pixel that suppression adds to
# each side decides which of them stay.
LOW = {
    "astronaut.png": [settings(0.25, "bilinear", "8+16+32", 0.055, 0.71)],
    "camera.png": [
        settings(0.25, "nearest", "8+16+32", 0.045, 0.67),
        settings(0.5, "nearest", "8+16+32", 0.15, 0.73),
    ],
}


def network_input(picture, scale, method):
    """The picture (BGR) resized and normalised: [1, 3, height, width]."""
    rows, columns = (axis(size, scale, method) for size in picture.shape[:2])
    pixels = picture.astype(numpy.float64)
    for dimension, (near, far, weight) in enumerate((rows, columns)):
        shape = [1, 1, 1]
        shape[dimension] = -1
        weight = weight.reshape(shape)
        pixels = pixels.take(near, dimension) * (1 - weight) + pixels.take(far, dimension) * weight
    return (pixels - MEAN).astype(numpy.float32).transpose(2, 0, 1)[None].copy()


def axis(size, scale, method):
    """For each output position the two input positions to mix, and the second one's share."""
    target = int(size * scale + 0.5)
    position = numpy.arange(target)
    if method == "nearest":
        near = position * size // target
        return near, near, numpy.zeros(target)
    # Pixel centres aligned.
    source = numpy.clip((position + 0.5) * size / target - 0.5, 0, size - 1)
    near = numpy.floor(source).astype(int)
    return near, numpy.minimum(near + 1, size - 1), source - near


def priors(width, height):
    """Centre, side and stride of every anchor, in the order of the network's outputs."""
    return numpy.array([
        ((x + 0.5) * stride, (y + 0.5) * stride, side, stride)
        for stride, sides in ANCHOR_SIDES.items()
        for y in range(-(-height // stride))
        for x in range(-(-width // stride))
        for side in sides
    ])


def overlap(one, others):
    """Intersection over union of boxes whose corners are their first and last pixels."""
    def area(box):
        return (box[..., 2] - box[..., 0] + 1) * (box[..., 3] - box[..., 1] + 1)

    sides = numpy.minimum(one[2:], others[:, 2:]) - numpy.maximum(one[:2], others[:, :2]) + 1
    both = sides.clip(0).prod(axis=1)
    return both / (area(one) + area(others) - both)


def suppress(boxes, scores, threshold):
    """Which boxes are kept, by falling score."""
    kept = []
    for index in numpy.argsort(-scores, kind="stable"):
        overlaps = overlap(boxes[index], boxes[kept]) if kept else numpy.zeros(1)
        most = overlaps.max()
        assert abs(most - threshold) > OVERLAP_MARGIN, f"an overlap of {most:.4f}: move the threshold"
        if most <= threshold:
            kept.append(index)
    return kept


def detect(session, picture, wanted):
    """The faces in a picture (BGR), in its pixels."""
    tensor = network_input(picture, wanted["scale"], wanted["scale-method"])
    height, width = tensor.shape[2:]
    outputs = session.run(["loc", "conf", "landmarks"], {session.get_inputs()[0].name: tensor})
    boxes, scores, points = (output[0].astype(numpy.float64) for output in outputs)
    scores = scores[:, 1]

    anchors = priors(width, height)
    chosen = numpy.isin(anchors[:, 3], [int(stride) for stride in wanted["strides"].split("+")])
    distance = abs(scores[chosen] - wanted["score-threshold"]).min()
    assert distance > SCORE_MARGIN, f"a score is {distance:.4f} off the threshold: move it"
    chosen &= scores > wanted["score-threshold"]
    anchors, boxes, points, scores = anchors[chosen], boxes[chosen], points[chosen], scores[chosen]

    centres, sides = anchors[:, :2], anchors[:, 2:3]
    middles = centres + boxes[:, :2] * CENTRE_VARIANCE * sides
    halves = sides * numpy.exp(boxes[:, 2:] * SIZE_VARIANCE) / 2
    boxes = numpy.hstack([middles - halves, middles + halves])
    points = centres[:, None] + points.reshape(-1, 5, 2) * CENTRE_VARIANCE * sides[:, None]

    to_picture = numpy.array([picture.shape[1] / width, picture.shape[0] / height])
    return [
        {
            "box": (boxes[i].reshape(2, 2) * to_picture).round(3).ravel().tolist(),
            "score": round(float(scores[i]), 5),
            "landmarks": (points[i] * to_picture).round(3).ravel().tolist(),
        }
        for i in suppress(boxes, scores, wanted["iou-threshold"])
    ]


def main():
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    results = []
    for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        picture = numpy.asarray(Image.open(MEDIA / name).convert("RGB"))[:, :, ::-1]
        for wanted in USUAL + LOW.get(name, []):
            faces = detect(session, picture, wanted)
            print(name, " ".join(f"{k}={v}" for k, v in wanted.items()), len(faces))
            # JPEG decoders differ by a level or two, which moves faces but makes none.
            assert not (faces and name.endswith(".jpg")), f"{name}: a face in a JPEG picture"
            results.append({"picture": name, "properties": wanted, "faces": faces})
    OUTPUT.write_text("[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n")


if __name__ == "__main__":
    main()
