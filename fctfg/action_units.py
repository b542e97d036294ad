"""The facial action units that fctfg speaks of: how strongly muscles of the face are drawn, each in [0, 1].

Their order is that of OpenFace's intensities, whose 0 to 5 are divided by 5 here. One that is not known is NaN in numpy
arrays and masked in tensors; it is never 0, which means a muscle at rest.
"""

from __future__ import annotations

NAMES = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23",
         "AU25", "AU26", "AU45")
MEANINGS = ("inner brow raised", "outer brow raised", "brow lowered", "upper lid raised", "cheek raised", "lid tightened",
            "nose wrinkled", "upper lip raised", "lip corner pulled", "dimple", "lip corner lowered", "chin raised",
            "lip stretched", "lip tightened", "lips parted", "jaw dropped", "blink")
MOUTH = ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
"""Those that speech moves; the others belong to the upper face."""
BLINK = "AU45"
