# SPDX-License-Identifier: MIT OR Apache-2.0
"""The faces on a GStreamer buffer, for the other examples: `from faces import faces`."""

from dataclasses import dataclass

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402

Gst.init(None)

# Left and right are those of the picture, not the person's.
NAMES = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]
REGIONS = GstVideo.video_region_of_interest_meta_api_get_type()


@dataclass
class Face:
    box: tuple  # left, top, width, height: whole pixels inside the frame
    score: float | None
    landmarks: list | None  # five pairs (x, y) of floats, in the order of NAMES


def faces(buffer):
    """A list of Face. Score and landmarks are None where a scaler or converter has dropped them."""
    return [face(region) for region in regions(buffer)
            if GLib.quark_to_string(region.roi_type) == "face"]


def regions(buffer):
    """Python finds regions by their ids, which are small numbers."""
    left, number = buffer.get_n_meta(REGIONS), 0
    while left > 0 and number < 10_000:
        region = GstVideo.buffer_get_video_region_of_interest_meta_id(buffer, number)
        if region:
            left -= 1
            yield region
        number += 1


def face(region):
    detection, landmarks = region.get_param("detection"), region.get_param("landmarks")
    return Face(
        box=(region.x, region.y, region.w, region.h),
        score=detection and detection.get_value("confidence"),
        landmarks=landmarks and [
            (landmarks.get_value(f"{name}_x"), landmarks.get_value(f"{name}_y")) for name in NAMES
        ],
    )
