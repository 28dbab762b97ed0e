# SPDX-License-Identifier: MIT OR Apache-2.0
"""GStreamer's own elements follow and draw our faces, and draw nothing where there is none. Arguments: the folder
with the Python module, and the checkout. scripts/test-newer-gstreamer runs it with GStreamer 1.24 and newer.

The frames are written as a picture as well: out/analytics-VERSION.png."""

import pathlib
import sys

import gi
import numpy

gi.require_version("Gst", "1.0")
from gi.repository import Gst

FOLDER, ROOT = (pathlib.Path(argument) for argument in sys.argv[1:3])
sys.path.insert(0, str(FOLDER))
import gst_retinaface

PICTURE = ROOT / ".cache/media/astronaut.png"
SIZE = 512
COUNT = 5


def frames(elements):
    """A picture with a face some times, then black as many times, behind these elements: luminance, and the box
    of the face where it is on the buffer."""
    caps = f"video/x-raw,format=I420,width={SIZE},height={SIZE},framerate=25/1"
    pipeline = Gst.parse_launch(
        f"concat name=both ! {elements} appsink name=sink sync=false "
        f"filesrc location={PICTURE} ! pngdec ! imagefreeze num-buffers={COUNT} ! videoconvert ! {caps} ! both. "
        f"videotestsrc pattern=black num-buffers={COUNT} ! {caps} ! both. "
    )
    pipeline.set_state(Gst.State.PLAYING)
    sink = pipeline.get_by_name("sink")
    # Counted, as objectdetectionoverlay does not pass on the end of the stream in GStreamer 1.24.2. After an error
    # there is no frame to wait for.
    for _ in range(2 * COUNT):
        sample = sink.emit("try-pull-sample", 60 * Gst.SECOND)
        if sample is None:
            break
        buffer = sample.get_buffer()
        data = numpy.frombuffer(buffer.extract_dup(0, SIZE * SIZE), numpy.uint8)
        yield data.reshape(SIZE, SIZE), gst_retinaface.faces(buffer)
    error = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if error:
        raise error.parse_error()[0]


def save(luminance):
    """Several frames beside each other, as a picture to look at."""
    wide = numpy.ascontiguousarray(numpy.hstack(luminance))
    version = ".".join(map(str, Gst.version()[:3]))
    pipeline = Gst.parse_launch(
        "appsrc name=source format=time caps=video/x-raw,format=GRAY8,framerate=1/1,"
        f"width={wide.shape[1]},height={wide.shape[0]} ! pngenc ! filesink location={ROOT}/out/analytics-{version}.png"
    )
    pipeline.set_state(Gst.State.PLAYING)
    source = pipeline.get_by_name("source")
    source.emit("push-buffer", Gst.Buffer.new_wrapped(wide.tobytes()))
    source.emit("end-of-stream")
    pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)


def drawn_box(changed):
    """The rectangle around the pixels that the overlay has changed."""
    rows, columns = numpy.flatnonzero(changed.any(1)), numpy.flatnonzero(changed.any(0))
    return columns[0], rows[0], columns[-1], rows[-1]


def main():
    gst_retinaface.enable()
    plain = [frame for frame, _ in frames("")]
    overlay = "objectdetectionoverlay draw-labels=false !"
    # Since GStreamer 1.28.
    tracker = "ioutracker !" if Gst.ElementFactory.find("ioutracker") else ""
    drawn = list(frames(f"retinafacedetect ! {tracker} {overlay}"))
    save([frame for frame, _ in drawn])
    assert len(drawn) == 2 * COUNT, f"{len(drawn)} frames"
    for index, ((frame, faces), before) in enumerate(zip(drawn, plain)):
        changed = numpy.abs(frame.astype(int) - before) > 20
        if index >= COUNT:
            assert not faces and not changed.any(), f"frame {index} shows a box, and no face"
            continue
        (face,) = faces
        assert changed.any(), f"frame {index} shows no box"
        edges = zip(drawn_box(changed), face.box)
        assert all(abs(edge - expected) <= 5 for edge, expected in edges), f"{drawn_box(changed)}, {face.box}"
    print(f"RIGHT BOXES from retinafacedetect ! {tracker} objectdetectionoverlay")


main()
