# SPDX-License-Identifier: MIT OR Apache-2.0
"""The GStreamer elements of gst-plugin-retinaface, and the faces that they find, in Python.

    import gi
    gi.require_version("Gst", "1.0")
    from gi.repository import Gst
    import gst_retinaface

    Gst.init(None)
    gst_retinaface.enable()
    pipeline = Gst.parse_launch("… ! retinafacedetect ! appsink name=sink")
    …
    for face in gst_retinaface.faces(sample.get_buffer()):
        print(face.box, face.score, face.landmarks)
"""

import ctypes
import functools
import pathlib
from typing import List, NamedTuple, Optional, Tuple

__all__ = ["LANDMARKS", "Face", "enable", "faces", "plugin_path"]

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""What the points of Face.landmarks are. Left is the upright picture's left."""

_PLUGIN = pathlib.Path(__file__).resolve().parent / "plugins" / "libgstretinaface.so"


class Face(NamedTuple):
    """A face in a frame. Places are in pixels of the frame, and may lie outside of it."""

    box: Tuple[float, float, float, float]
    """Left, top, right and bottom edge."""
    score: Optional[float]
    """How sure the network is, from 0 to 1."""
    landmarks: Optional[List[Tuple[float, float]]]
    """Five points, in the order of LANDMARKS; None if the network gives none, or another element,
    such as a scaler, has dropped them."""
    tracking_id: Optional[int] = None
    """The same in all frames with this face, where an element follows faces."""


def plugin_path() -> str:
    """The folder with the plugin file, for the environment variable GST_PLUGIN_PATH."""
    return str(_PLUGIN.parent)


def enable() -> None:
    """Makes the elements known to GStreamer in this process.

    RuntimeError says why they cannot be used."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst

    if not Gst.is_initialized():
        Gst.init(None)
    try:
        Gst.Plugin.load_file(str(_PLUGIN))
    except GLib.Error as err:
        raise RuntimeError(f"GStreamer cannot load {_PLUGIN}: {err.message}") from err


def faces(buffer) -> List[Face]:
    """The faces on a Gst.Buffer, whoever attached them: its regions of interest of type "face"."""
    from gi.repository import Gst

    if not isinstance(buffer, Gst.Buffer):
        raise TypeError(f"faces() takes a Gst.Buffer, such as sample.get_buffer(), not {buffer!r}")
    return [_face(region) for region in _regions(buffer)]


class _Region(ctypes.Structure):
    """GstVideoRegionOfInterestMeta, which Python's bindings give one at a time and by its id only."""

    _fields_ = [
        ("flags", ctypes.c_uint),
        ("info", ctypes.c_void_p),
        ("roi_type", ctypes.c_uint32),
        ("id", ctypes.c_int),
        ("parent_id", ctypes.c_int),
        ("x", ctypes.c_uint),
        ("y", ctypes.c_uint),
        ("w", ctypes.c_uint),
        ("h", ctypes.c_uint),
        ("params", ctypes.c_void_p),
    ]


@functools.lru_cache(maxsize=None)
def _function(library, name, result, *arguments):
    # The libraries that gi has loaded.
    function = getattr(ctypes.CDLL(f"lib{library}.so.0"), name)
    function.restype, function.argtypes = result, arguments
    return function


def _regions(buffer):
    api = _function("gstvideo-1.0", "gst_video_region_of_interest_meta_api_get_type", ctypes.c_size_t)
    iterate = _function(
        "gstreamer-1.0",
        "gst_buffer_iterate_meta_filtered",
        ctypes.POINTER(_Region),
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    quark = _function("glib-2.0", "g_quark_from_string", ctypes.c_uint32, ctypes.c_char_p)
    state, face = ctypes.c_void_p(), quark(b"face")
    # PyGObject's hash of a buffer is its address.
    address = hash(buffer)
    region = iterate(address, ctypes.byref(state), api())
    while region:
        if region.contents.roi_type == face:
            yield region
        region = iterate(address, ctypes.byref(state), api())


def _face(region):
    bounds, detection, landmarks, tracking = (
        _param(region, name) for name in (b"bounds", b"detection", b"landmarks", b"tracking")
    )
    box = _doubles(bounds, "x_min", "y_min", "x_max", "y_max")
    if box is None:
        x, y, w, h = (getattr(region.contents, name) for name in "xywh")
        box = float(x), float(y), float(x + w), float(y + h)
    score = _doubles(detection, "confidence")
    points = _doubles(landmarks, *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"))
    return Face(
        box=box,
        score=score and score[0],
        landmarks=points and list(zip(points[::2], points[1::2])),
        tracking_id=_value(tracking, "id", "uint64", ctypes.c_uint64),
    )


def _param(region, name):
    get = _function(
        "gstvideo-1.0",
        "gst_video_region_of_interest_meta_get_param",
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_char_p,
    )
    return get(region, name)


def _doubles(structure, *names):
    """All of these fields, or None."""
    values = tuple(_value(structure, name, "double", ctypes.c_double) for name in names)
    return None if None in values else values


def _value(structure, name, kind, c_type):
    if structure is None:
        return None
    get = _function(
        "gstreamer-1.0",
        f"gst_structure_get_{kind}",
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_void_p,
    )
    value = c_type()
    return value.value if get(structure, name.encode(), ctypes.byref(value)) else None
