# SPDX-License-Identifier: MIT OR Apache-2.0
"""Cuts an aligned face out of a picture as InsightFace does, with scikit-image alone.

warp.py PICTURE WIDTH HEIGHT SIZE OUT X Y X Y X Y X Y X Y: PICTURE has packed RGB bytes, OUT gets
SIZE × SIZE pixels of them; X and Y are the landmarks.
"""

import sys

import numpy as np
from skimage.transform import SimilarityTransform, warp

# arcface_dst of https://github.com/deepinsight/insightface, python-package/insightface/utils/face_align.py.
ARCFACE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


def main():
    picture, width, height, size, out, *landmarks = sys.argv[1:]
    width, height, size = int(width), int(height), int(size)
    pixels = np.fromfile(picture, np.uint8).reshape(height, width, 3)
    landmarks = np.array(landmarks, float).reshape(5, 2)
    template = ARCFACE * size / 112
    if hasattr(SimilarityTransform, "from_estimate"):
        similarity = SimilarityTransform.from_estimate(landmarks, template)
    else:
        similarity = SimilarityTransform()
        similarity.estimate(landmarks, template)
    face = warp(
        pixels.astype(float), similarity.inverse, output_shape=(size, size), order=1, mode="constant"
    )
    np.rint(face).astype(np.uint8).tofile(out)


main()
