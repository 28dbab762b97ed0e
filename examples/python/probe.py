# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the faces of a picture or video, from a pad probe: probe.py FILE"""

import sys
from pathlib import Path

from faces import NAMES, Gst, faces


def on_frame(_pad, info):
    buffer = info.get_buffer()
    for face in faces(buffer):
        print(f"face at {face.box}, score {face.score:.3f}")
        for name, (x, y) in zip(NAMES, face.landmarks or []):
            print(f"    {name} at {x:.1f}, {y:.1f}")
    return Gst.PadProbeReturn.OK


def main(file):
    pipeline = Gst.parse_launch(
        f"uridecodebin uri={Path(file).resolve().as_uri()} ! videoconvert ! "
        "retinafacedetect name=detect ! fakesink"
    )
    # Right behind the detector: what comes after may drop scores and landmarks.
    pad = pipeline.get_by_name("detect").get_static_pad("src")
    pad.add_probe(Gst.PadProbeType.BUFFER, on_frame)
    pipeline.set_state(Gst.State.PLAYING)
    end = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, end)
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        error, _details = message.parse_error()
        sys.exit(error.message)


main(sys.argv[1])
