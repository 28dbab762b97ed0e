# SPDX-License-Identifier: MIT OR Apache-2.0
"""Frames with their faces as NumPy arrays: `for frame, faces in frames("video.mp4")`."""

import sys
from pathlib import Path

import numpy
from faces import Gst, GstVideo, faces


def frames(file):
    """Pairs of an array of height × width × 3 (RGB), to read and write, and a list of Face."""
    pipeline = Gst.parse_launch(
        f"uridecodebin uri={Path(file).resolve().as_uri()} ! videoconvert ! "
        "video/x-raw,format=RGB ! retinafacedetect ! "
        "appsink name=sink sync=false max-buffers=2"
    )
    sink, bus = pipeline.get_by_name("sink"), pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    try:
        while True:
            # Not pull-sample, which waits for ever where there is an error and no frame.
            if sample := sink.emit("try-pull-sample", Gst.SECOND // 10):
                yield array(sample), faces(sample.get_buffer())
            elif error := bus.pop_filtered(Gst.MessageType.ERROR):
                raise RuntimeError(error.parse_error()[0].message)
            elif sink.get_property("eos"):
                return
    finally:
        pipeline.set_state(Gst.State.NULL)


def array(sample):
    info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    buffer = sample.get_buffer()
    # A copy, as the buffer goes back to its pool. Rows are padded to whole words.
    bytes = numpy.frombuffer(buffer.extract_dup(0, buffer.get_size()), numpy.uint8)
    rows = bytes[:info.height * info.stride[0]].reshape(info.height, info.stride[0])
    return rows[:, :3 * info.width].reshape(info.height, info.width, 3).copy()


if __name__ == "__main__":
    for number, (frame, found) in enumerate(frames(sys.argv[1])):
        height, width, _ = frame.shape
        print(f"frame {number}: {width}x{height}, {len(found)} faces")
        for x, y, w, h in (face.box for face in found):
            red, green, blue = frame[y:y + h, x:x + w].mean(axis=(0, 1))
            print(f"    mean color of the face at {x}, {y}: {red:.0f} {green:.0f} {blue:.0f}")
