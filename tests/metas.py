# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints what is left of a face's metas behind elements that convert video, with the GStreamer that runs
this: a line of JSON that scripts/metas_table.py makes a column of docs/metas.md of. Arguments: the folder
with the Python module, and the checkout. scripts/test-newer-gstreamer runs it in several systems.

For each conversion a word of letters: R for the rectangle of the region of interest meta, P for its params
(box and landmarks), A for the object in the analytics meta, K for the landmarks there. Lower case: it is
there, but says where the face was before the conversion. Missing: it is gone. Null: an element is not there."""

import json
import pathlib
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

try:
    gi.require_version("GstAnalytics", "1.0")
    from gi.repository import GstAnalytics
except ValueError:
    GstAnalytics = None

FOLDER, ROOT = (pathlib.Path(argument) for argument in sys.argv[1:3])
sys.path.insert(0, str(FOLDER))
import gst_retinaface

PICTURE = ROOT / ".cache/media/astronaut.png"
SIZE = 512


def same(x, y):
    return x, y


# Elements, and where they put a pixel of a picture of 512 × 512.
CONVERSIONS = {
    "videoconvert": ("videoconvert ! video/x-raw,format=YUY2", same),
    "videoscale": ("videoscale ! video/x-raw,width=256,height=384", lambda x, y: (x / 2, y * 0.75)),
    "videorate": ("videorate ! video/x-raw,framerate=10/1", same),
    "videobalance": ("videobalance brightness=0.1", same),
    "videocrop": ("videocrop left=64 top=32", lambda x, y: (x - 64, y - 32)),
    "videobox": ("videobox left=-64 top=-32", lambda x, y: (x + 64, y + 32)),
    "videoflip": ("videoflip method=horizontal-flip", lambda x, y: (SIZE - x, y)),
    "videoflip, a quarter turn": ("videoflip method=clockwise", lambda x, y: (SIZE - y, x)),
    "compositor": ("mix. compositor name=mix sink_0::xpos=64 ! video/x-raw,width=640,height=512", lambda x, y: (x + 64, y)),
    "x264enc ! avdec_h264": ("x264enc ! h264parse ! avdec_h264", same),
    "jpegenc ! jpegdec": ("jpegenc ! jpegdec", same),
}


def buffer_behind(elements):
    pipeline = Gst.parse_launch(
        f"filesrc location={PICTURE} ! pngdec ! videoconvert ! video/x-raw,format=I420 ! "
        f"retinafacedetect ! {elements} ! appsink name=sink"
    )
    pipeline.set_state(Gst.State.PLAYING)
    # After an error there is none to wait for.
    sample = pipeline.get_by_name("sink").emit("try-pull-sample", 60 * Gst.SECOND)
    error = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if error:
        raise error.parse_error()[0]
    return sample.get_buffer()


def rectangles(buffer):
    for region in gst_retinaface._regions(buffer):
        x, y, w, h = (getattr(region.contents, name) for name in "xywh")
        yield x, y, x + w, y + h


def params(buffer):
    """The box in the params; the landmarks are with it or nowhere."""
    for region in gst_retinaface._regions(buffer):
        bounds = gst_retinaface._param(region, b"bounds")
        if bounds is not None:
            yield gst_retinaface._doubles(bounds, "x_min", "y_min", "x_max", "y_max")


def analytics(buffer):
    """What GstAnalytics has of objects and points: pairs of boxes and points."""
    meta = GstAnalytics and GstAnalytics.buffer_get_analytics_relation_meta(buffer)
    objects, points = [], []
    for index in range(GstAnalytics.relation_get_length(meta) if meta else 0):
        found, detected = meta.get_od_mtd(index)
        if found:
            _, x, y, w, h, _ = detected.get_location()
            objects.append((x, y, x + w, y + h))
        elif hasattr(meta, "get_keypoint_mtd"):
            found, point = meta.get_keypoint_mtd(index)
            if found:
                points.append(tuple(point.get_position()[1:3]))
    return objects, points


def near(found, expected):
    return all(abs(one - other) <= 3 for one, other in zip(found, expected))


def moved(box, move):
    (left, top), (right, bottom) = move(*box[:2]), move(*box[2:])
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def letter(name, found, before, move):
    """What became of the only box or of a point."""
    if not found:
        return ""
    after = moved(before, move) if len(before) == 4 else move(*before)
    if near(found[0], after):
        return name
    return name.lower()


def main():
    gst_retinaface.enable()
    plain = buffer_behind("identity")
    (face,) = gst_retinaface.faces(plain)
    row = {"version": ".".join(map(str, Gst.version()[:3]))}
    for name, (elements, move) in {"nothing": ("identity", same), **CONVERSIONS}.items():
        try:
            buffer = buffer_behind(elements)
        except GLib.Error as err:
            if not err.matches(Gst.ParseError.quark(), Gst.ParseError.NO_SUCH_ELEMENT):
                raise
            row[name] = None
            continue
        objects, points = analytics(buffer)
        row[name] = (
            letter("R", list(rectangles(buffer)), face.box, move)
            + letter("P", list(params(buffer)), face.box, move)
            + letter("A", objects, face.box, move)
            + (letter("K", points, analytics(plain)[1][0], move) if points else "")
        )
    print(json.dumps(row))


main()
