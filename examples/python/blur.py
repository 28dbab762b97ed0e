# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes the faces of a picture or video unrecognisable: blur.py IN OUT-%03d.png"""

import sys

from draw import save
from frames import frames


def blur(frame, found):
    for x, y, w, h in (face.box for face in found):
        face = frame[y:y + h, x:x + w]
        size = max(1, max(w, h) // 8)
        for top in range(0, h, size):
            for left in range(0, w, size):
                block = face[top:top + size, left:left + size]
                block[:] = block.mean(axis=(0, 1))


if __name__ == "__main__":
    save(frames(sys.argv[1]), blur, sys.argv[2])
