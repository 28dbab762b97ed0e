# SPDX-License-Identifier: MIT OR Apache-2.0
"""Draws the faces of a picture or video with NumPy: draw.py IN OUT-%03d.png"""

import sys

import numpy
from faces import Gst
from frames import frames

GREEN, YELLOW = (0, 230, 118), (255, 214, 10)


def draw(frame, found):
    for face in found:
        x, y, w, h = face.box
        inside = frame[y + 2:y + h - 2, x + 2:x + w - 2].copy()
        frame[y:y + h, x:x + w] = GREEN
        frame[y + 2:y + h - 2, x + 2:x + w - 2] = inside
        for left, top in numpy.rint(face.landmarks or []).astype(int):
            # They may be outside the frame, where an index below 0 would count from the end.
            rows = slice(max(top - 2, 0), max(top + 3, 0))
            frame[rows, max(left - 2, 0):max(left + 3, 0)] = YELLOW


def save(pictures, change, location):
    """Writes each frame, changed by `change(frame, faces)`, as a PNG."""
    pipeline = Gst.parse_launch("appsrc name=source ! videoconvert ! pngenc ! "
                                f'multifilesink location="{location}"')
    source = pipeline.get_by_name("source")
    source.set_property("format", Gst.Format.TIME)
    pipeline.set_state(Gst.State.PLAYING)
    for frame, found in pictures:
        change(frame, found)
        height, width, _ = frame.shape
        # Rows are whole words in GStreamer.
        rows = numpy.pad(frame.reshape(height, 3 * width), ((0, 0), (0, -3 * width % 4)))
        caps = f"video/x-raw,format=RGB,width={width},height={height},framerate=0/1"
        buffer = Gst.Buffer.new_wrapped(rows.tobytes())
        source.emit("push-sample", Gst.Sample.new(buffer, Gst.Caps.from_string(caps), None, None))
    source.emit("end-of-stream")
    end = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, end)
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(message.parse_error()[0].message)


if __name__ == "__main__":
    save(frames(sys.argv[1]), draw, sys.argv[2])
