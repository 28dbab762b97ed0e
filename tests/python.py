# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of the Python module, whose folder with the plugin file inside is the first argument. The
second is the checkout. tests/python.rs and scripts/test-packages run them."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

# Before anything of GStreamer, which looks into these folders otherwise.
os.environ["GST_PLUGIN_PATH"] = ""

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

FOLDER, ROOT = (pathlib.Path(argument) for argument in sys.argv[1:3])
sys.path.insert(0, str(FOLDER))
import gst_retinaface

PICTURE = ROOT / ".cache/media/astronaut.png"
# What tests/golden/make.py finds with NumPy and ONNX Runtime's Python package.
GOLDEN = json.loads((ROOT / "tests/golden/mobilenet025.json").read_text())
(EXPECTED,) = next(case for case in GOLDEN if case["picture"] == PICTURE.name)["faces"]


def faces(detector, after=""):
    """The faces on four copies of the picture beside and below each other, with what is between."""
    pipeline = Gst.parse_launch(
        f"filesrc location={PICTURE} ! pngdec ! tee name=picture "
        "compositor name=all sink_1::xpos=512 sink_2::ypos=512 sink_3::xpos=512 sink_3::ypos=512 ! "
        f"video/x-raw,width=1024,height=1024 ! videoconvert ! {detector} ! {after} appsink name=sink "
        + "picture. ! queue ! all. " * 4
    )
    pipeline.set_state(Gst.State.PLAYING)
    sample = pipeline.get_by_name("sink").emit("pull-sample")
    error = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if error:
        raise error.parse_error()[0]
    return sorted(gst_retinaface.faces(sample.get_buffer()), key=lambda face: [edge // 256 for edge in face.box[1::-1]])


class Module(unittest.TestCase):
    def assert_near(self, found, expected):
        self.assertEqual(len(found), len(expected))
        for one, other in zip(found, expected):
            self.assertAlmostEqual(one, other, delta=3)

    def test_four_faces_are_four_faces(self):
        gst_retinaface.enable()
        found = faces("retinafacedetect scale=1 max-size=0")
        self.assertEqual(len(found), 4)
        for face, offset in zip(found, [(0, 0), (512, 0), (0, 512), (512, 512)]):
            self.assert_near(face.box, [e + o for e, o in zip(EXPECTED["box"], offset * 2)])
            self.assertAlmostEqual(face.score, EXPECTED["score"], delta=0.01)
            points = [value for point in face.landmarks for value in point]
            self.assert_near(points, [e + o for e, o in zip(EXPECTED["landmarks"], offset * 5)])
            self.assertIsNone(face.tracking_id)
        self.assertEqual(len(gst_retinaface.LANDMARKS), len(found[0].landmarks))

    def test_what_a_scaler_has_dropped_is_none(self):
        gst_retinaface.enable()
        after = "videoscale ! video/x-raw,width=512,height=512 !"
        found = faces("retinafacedetect scale=1 max-size=0", after)
        self.assertEqual(len(found), 4)
        if found[0].score is None:
            self.assertIsNone(found[0].landmarks)
        # Whole pixels around the box, and of the scaled frame.
        self.assert_near(found[0].box, [edge / 2 for edge in EXPECTED["box"]])

    def test_a_buffer_without_faces_has_none(self):
        Gst.init(None)
        self.assertEqual(gst_retinaface.faces(Gst.Buffer.new()), [])

    def test_what_is_no_buffer_is_an_error(self):
        Gst.init(None)
        for other in [None, Gst.Sample.new(Gst.Buffer.new(), None, None, None)]:
            with self.assertRaisesRegex(TypeError, "takes a Gst.Buffer"):
                gst_retinaface.faces(other)

    def test_the_elements_are_those_of_the_module(self):
        gst_retinaface.enable()
        # Again changes nothing.
        gst_retinaface.enable()
        plugin = Gst.Registry.get().find_plugin("retinaface")
        self.assertEqual(pathlib.Path(plugin.get_filename()).parent, pathlib.Path(gst_retinaface.plugin_path()))

    def test_the_program_prints_the_folder(self):
        command = [sys.executable, "-m", "gst_retinaface"]
        output = subprocess.check_output(command, cwd=str(FOLDER), universal_newlines=True)
        self.assertEqual(output.strip(), gst_retinaface.plugin_path())

    def test_a_plugin_that_does_not_load_is_an_error_that_says_why(self):
        missing = pathlib.Path("/nowhere/libgstretinaface.so")
        whole, gst_retinaface._PLUGIN = gst_retinaface._PLUGIN, missing
        self.addCleanup(setattr, gst_retinaface, "_PLUGIN", whole)
        with self.assertRaisesRegex(RuntimeError, f"cannot load {missing}: ."):
            gst_retinaface.enable()


unittest.main(argv=sys.argv[:1])
