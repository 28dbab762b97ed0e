# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs a pipeline in a Python that has imported NumPy before or after GStreamer: tests/imports.rs.

    imports.py gi|numpy|libstdc++ PROPERTY=VALUE...
"""

import ctypes
import sys

if sys.argv[1] == "numpy":
    import numpy
elif sys.argv[1] == "libstdc++":
    # Comes with NumPy and OpenCV from PyPI; Debian's NumPy brings libgcc_s only.
    ctypes.CDLL("libstdc++.so.6")
import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

Gst.init(None)
if sys.argv[1] == "gi":
    import numpy

pipeline = Gst.parse_launch(
    "videotestsrc num-buffers=1 ! video/x-raw,width=64,height=64 ! retinafacedetect name=detect ! fakesink"
)
detect = pipeline.get_by_name("detect")
for setting in sys.argv[2:]:
    Gst.util_set_object_arg(detect, *setting.split("=", 1))
pipeline.set_state(Gst.State.PLAYING)
end = pipeline.get_bus().timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.ERROR | Gst.MessageType.EOS)
if end.type == Gst.MessageType.ERROR:
    print("ERROR", end.parse_error()[0].message)
else:
    print("DETECTED", detect.get_property("active-execution-provider"))
pipeline.set_state(Gst.State.NULL)
