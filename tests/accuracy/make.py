#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Computes what examples/accuracy/independent.rs expects: expected.json and ground_truth/*.mat.

    python3 -m venv .cache/accuracy
    .cache/accuracy/bin/pip install numpy==2.2.6 scipy==1.17.1 pycocotools==2.0.11 \\
        mean-average-precision==2024.1.5.0
    .cache/accuracy/bin/python tests/accuracy/make.py

Shares no code with the tool. Faces and detections come from a generator that both sides have.
Written here from the formulas: WIDER FACE's protocol, PASCAL VOC's average precision, NME and box
voting. Beside them, on faces that do not overlap (where all rules of matching agree):
mean-average-precision for boxes of pixels, pycocotools' matching for boxes of edges.
"""

import contextlib
import io
import json
import pathlib

import numpy
import scipy.io
from mean_average_precision import MetricBuilder
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = pathlib.Path(__file__).resolve().parent
LEVELS = {"easy": 3, "medium": 2, "hard": 1, "all": 0}
# Boxes are whole numbers, so overlaps are the same to the last bit on both sides.
IOUS = (0.35, 0.503, 0.757)


class Generator:
    """Knuth's MMIX linear congruential generator, its upper 31 bits."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % limit


def generate(seed, count, crowded):
    """Pictures: a name, faces and detections, all numbers whole but the scores."""
    random = Generator(seed)
    pictures = []
    for index in range(count):
        faces, detections = [], []
        for face in range(random.below(8)):
            if crowded:
                x, y = random.below(60), random.below(60)
            else:
                x = 100 * (face % 4) + random.below(40)
                y = 100 * (face // 4) + random.below(40)
            width, height = 20 + random.below(40), 20 + random.below(40)
            points = [(x + random.below(width), y + random.below(height)) for _ in range(5)]
            box = (x, y, x + width, y + height)
            faces.append({"box": box, "points": points, "level": random.below(4)})
            for _ in range(random.below(3)):
                found = tuple(edge + random.below(17) - 8 for edge in box)
                moved = [(x + random.below(5), y + random.below(5)) for x, y in points]
                score = (1 + random.below(2**20)) / 2**20
                detections.append({"box": found, "points": moved, "score": score})
        for _ in range(random.below(3)):
            x, y = random.below(300), random.below(150)
            box = (x, y, x + 20 + random.below(40), y + 20 + random.below(40))
            score = (1 + random.below(2**20)) / 2**20
            detections.append({"box": box, "points": None, "score": score})
        pictures.append({"name": f"{index % 3}--Event/{index}", "faces": faces, "found": detections})
    scores = [found["score"] for picture in pictures for found in picture["found"]]
    assert len(set(scores)) == len(scores), "two scores are the same: take another seed"
    return pictures


def overlaps(box, others, last):
    """Intersection over union; `last` is 1 where the last pixel belongs to a box."""
    box, others = numpy.asarray(box, float), numpy.asarray(others, float).reshape(-1, 4)
    sides = numpy.minimum(box[2:], others[:, 2:]) - numpy.maximum(box[:2], others[:, :2]) + last
    both = sides.clip(0).prod(axis=1)
    area = (box[2:] - box[:2] + last).prod()
    areas = (others[:, 2:] - others[:, :2] + last).prod(axis=1)
    return both / (area + areas - both)


def under(recall, precision):
    """The area under a curve whose precision never rises with recall."""
    falling = numpy.maximum.accumulate(numpy.asarray(precision)[::-1])[::-1]
    return float((numpy.diff(recall, prepend=0) * falling).sum())


def wider(pictures, level, iou):
    scores = numpy.array([found["score"] for picture in pictures for found in picture["found"]])
    low, high = scores.min(), scores.max()
    proposals, hits, total = numpy.zeros(1000), numpy.zeros(1000), 0
    for picture in pictures:
        faces = [face["box"] for face in picture["faces"]]
        counts = [face["level"] >= level for face in picture["faces"]]
        total += sum(counts)
        if not faces:
            continue
        found = sorted(picture["found"], key=lambda found: -found["score"])
        proposed, new, taken = [], [], set()
        for detection in found:
            overlap = overlaps(detection["box"], faces, 1)
            best = int(overlap.argmax())
            enough = overlap[best] >= iou
            proposed.append(not enough or counts[best])
            new.append(enough and counts[best] and best not in taken)
            if new[-1]:
                taken.add(best)
        normal = numpy.array([(detection["score"] - low) / (high - low) for detection in found])
        for step in range(1000):
            over = int((normal >= 1 - (step + 1) / 1000).sum())
            proposals[step] += sum(proposed[:over])
            hits[step] += sum(new[:over])
    return under(hits / total, hits / numpy.maximum(proposals, 1))


def match(pictures, level, iou, last):
    """From the best score down, whether each detection is right, and which face it found; those
    of faces that do not count are left out."""
    order = sorted(
        ((picture, found) for picture in pictures for found in picture["found"]),
        key=lambda pair: -pair[1]["score"],
    )
    taken, results = set(), []
    for picture, found in order:
        overlap = overlaps(found["box"], [face["box"] for face in picture["faces"]], last)
        face = None
        if overlap.size and overlap.max() >= iou:
            face = picture["faces"][int(overlap.argmax())]
            if face["level"] < level:
                continue
        right = face is not None and id(face) not in taken
        taken.add(id(face))
        results.append((right, face, found))
    return results


def faces_that_count(pictures, level):
    return sum(face["level"] >= level for picture in pictures for face in picture["faces"])


def of_matches(right, total):
    right = numpy.array(right, float)
    hits = right.cumsum()
    return under(hits / total, hits / numpy.arange(1, len(right) + 1))


def voc(pictures, level, iou, last):
    right = [right for right, _, _ in match(pictures, level, iou, last)]
    return of_matches(right, faces_that_count(pictures, level))


def nme(pictures, level, iou, last, norm):
    errors = []
    for right, face, found in match(pictures, level, iou, last):
        if right and found["points"]:
            expected, points = numpy.array(face["points"]), numpy.array(found["points"])
            x_min, y_min, x_max, y_max = face["box"]
            eyes = numpy.linalg.norm(expected[0] - expected[1])
            length = {"box": ((x_max - x_min) * (y_max - y_min)) ** 0.5, "eyes": eyes}[norm]
            if length:
                errors.append(numpy.linalg.norm(points - expected, axis=1).mean() / length)
    return float(numpy.mean(errors))


def vote(pictures, iou):
    """Boxes of all pictures, merged, in one number."""
    total = 0.0
    for picture in pictures:
        rows = numpy.array([(*found["box"], found["score"]) for found in picture["found"]], float)
        rows = rows.reshape(-1, 5)
        rows = rows[numpy.argsort(-rows[:, 4])]
        while len(rows):
            group = overlaps(rows[0, :4], rows[:, :4], 1) >= iou
            chosen, rows = rows[group], rows[~group]
            if len(chosen) == 1 and len(rows):
                continue
            box = (chosen[:, :4] * chosen[:, 4:]).sum(axis=0) / chosen[:, 4].sum()
            total += float(box @ [1, 2, 3, 4]) * chosen[:, 4].max()
    return total


def by_package(pictures, iou):
    """mean-average-precision: boxes of pixels; all faces count."""
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=1)
    for picture in pictures:
        found = [(*found["box"], 0, found["score"]) for found in picture["found"]]
        faces = [(*face["box"], 0, 0, 0) for face in picture["faces"]]
        metric.add(numpy.array(found, float).reshape(-1, 6), numpy.array(faces, float).reshape(-1, 7))
    # It keeps 32 bits.
    return float(metric.value(iou_thresholds=[iou])[iou][0]["ap"])


def by_coco(pictures, iou):
    """pycocotools' matching: boxes of edges; all faces count."""
    def rectangle(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    annotations, results = [], []
    for image, picture in enumerate(pictures, 1):
        for face in picture["faces"]:
            bbox = rectangle(face["box"])
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                "bbox": bbox, "area": bbox[2] * bbox[3],
            })
        for found in picture["found"]:
            results.append({
                "image_id": image, "category_id": 1, "bbox": rectangle(found["box"]),
                "score": found["score"],
            })
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        images = [{"id": image + 1} for image in range(len(pictures))]
        categories = [{"id": 1, "name": "face"}]
        coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.iouThrs = numpy.array([iou])
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
    matched = []
    for image in filter(None, evaluation.evalImgs):
        matched += zip(image["dtScores"], image["dtMatches"][0] > 0)
    right = [right for _, right in sorted(matched, reverse=True)]
    return of_matches(right, faces_that_count(pictures, 0))


def cells(values):
    array = numpy.empty((len(values), 1), dtype=object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


def write_ground_truth(pictures):
    """The files of WIDER FACE's toolkit: saved in each of the ways that MATLAB has."""
    events = sorted({picture["name"].split("/")[0] for picture in pictures})
    grouped = [[p for p in pictures if p["name"].startswith(event)] for event in events]
    folder = HERE / "ground_truth"
    folder.mkdir(exist_ok=True)
    for level, (compressed, kind) in {
        "easy": (False, numpy.float64),
        "medium": (True, numpy.float64),
        "hard": (True, numpy.int32),
    }.items():
        def rectangles(picture):
            boxes = numpy.array([face["box"] for face in picture["faces"]], kind).reshape(-1, 4)
            return numpy.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])

        def counting(picture):
            counts = [face["level"] >= LEVELS[level] for face in picture["faces"]]
            return numpy.flatnonzero(counts).astype(float).reshape(-1, 1) + 1

        def files(picture):
            return picture["name"].split("/")[1]

        def lists(of):
            return cells([cells([of(picture) for picture in group]) for group in grouped])

        variables = {
            "event_list": cells(events),
            "file_list": lists(files),
            "face_bbx_list": lists(rectangles),
            "gt_list": lists(counting),
            # As MATLAB's files may have more than what is read.
            "other": {"a": 1.0},
        }
        path = folder / f"wider_{level}_val.mat"
        scipy.io.savemat(path, variables, do_compression=compressed)
        # Without the date and the machine.
        header = b"MATLAB 5.0 MAT-file".ljust(116)
        path.write_bytes(header + path.read_bytes()[116:])


def main():
    rows = []

    def expect(of, measure, level, iou, value, by="make.py"):
        rows.append({"set": of, "measure": measure, "subset": level, "iou": iou, "value": value, "by": by})

    for name, crowded in (("apart", False), ("crowded", True)):
        pictures = generate(1, 60, crowded)
        for level, number in LEVELS.items():
            for iou in IOUS:
                expect(name, "wider", level, iou, wider(pictures, number, iou))
                for measure, last in (("pixels", 1), ("edges", 0)):
                    expect(name, measure, level, iou, voc(pictures, number, iou, last))
        for iou in IOUS:
            if not crowded:
                expect(name, "edges", "all", iou, by_coco(pictures, iou), "pycocotools")
                value = by_package(pictures, iou)
                expect(name, "pixels", "all", iou, value, "mean-average-precision")
            for norm in ("box", "eyes"):
                expect(name, f"nme-{norm}", "all", iou, nme(pictures, 0, iou, 0, norm))
            expect(name, "vote", "all", iou, vote(pictures, iou))
    text = ",\n".join(map(json.dumps, rows))
    (HERE / "expected.json").write_text(f"[\n{text}\n]\n")
    write_ground_truth(generate(2, 9, False))


if __name__ == "__main__":
    main()
