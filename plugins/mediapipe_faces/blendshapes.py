"""Action units from MediaPipe's 52 blendshapes, by a table.

The channels are those of ARKit, whose correspondence with FACS is Melinda Ozel's "ARKit to FACS" cheat sheet: of two
sides the mean, no weights. AU06, AU09, AU23 and AU25 differ, as the README says.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fctfg.action_units import NAMES

SOURCES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU17": ("mouthShrugLower", "mouthShrugUpper"),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU23": ("mouthPressLeft", "mouthPressRight"),
    "AU26": ("jawOpen",),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""The channels whose mean is the action unit. AU25 is computed: see `lips_parted`. AU06 and AU09 would be cheekSquint
and noseSneer, but the public model leaves these at zero, whatever the face does: they are not known."""


def to_action_units(shapes: Mapping[str, float]) -> np.ndarray:
    """`action_units.NAMES` (17,) float32 in [0, 1] from blendshapes by name; NaN where a channel is lacking."""
    units = np.full(len(NAMES), np.nan, np.float32)
    for name, channels in SOURCES.items():
        units[NAMES.index(name)] = np.mean([shapes.get(channel, np.nan) for channel in channels])
    units[NAMES.index("AU25")] = lips_parted(shapes)
    return np.clip(units, 0, 1)


def lips_parted(shapes: Mapping[str, float]) -> float:
    """How far the lips are apart: twice the jaw's opening less what keeps the lips closed over it, or twice how far the
    lower lip is down, whichever is more. `mouthClose` is a corrective: lips are closed while the jaw is open."""
    opening, closing, left, right = (shapes.get(channel, np.nan) for channel in (
        "jawOpen", "mouthClose", "mouthLowerDownLeft", "mouthLowerDownRight"))
    return 2 * max(opening - closing, (left + right) / 2)
