"""Putting drawn faces back where they belong."""

from __future__ import annotations

from typing import Iterator

import numpy as np

from ..faces import CropProfile, paste
from ..faces.profiles import Fade
from .draw import Picture

RIM = Fade((0.12, 0.12, 0.88, 0.88), (0.02, 0.02, 0.98, 0.98))
"""Of faces that a model may change up to the border of the crop, forehead and brows too."""


class Paster:
    """Blends each drawn face into its frame, or into `canvas`, the picture that a driving video moves."""

    def __init__(self, profile: CropProfile, match_colour: bool, canvas: Picture | None = None):
        self.profile = profile
        self.match_colour = match_colour
        self.canvas = canvas
        self._masks: dict[tuple[Fade, int], np.ndarray] = {}

    def paste(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """`pictures` with their final pixels. A frame that nothing was drawn for keeps its own."""
        for picture in pictures:
            target = self.canvas or picture
            picture.pixels = target.pixels
            if picture.drawn is not None:
                picture.pixels = paste(target.pixels, picture.drawn, target.place.matrix, self._mask(picture),
                                       self.match_colour)
            yield picture

    def _mask(self, picture: Picture) -> np.ndarray:
        """(h, w): how much of the drawn face is shown: where the model changed it, else as the profile has it."""
        alpha = picture.alpha
        if alpha is None:
            return self._faded(self.profile.fade, len(picture.drawn))
        if max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0:  # it would end in a seam
            return alpha * self._faded(RIM, len(alpha))
        return alpha

    def _faded(self, fade: Fade, size: int) -> np.ndarray:
        if (fade, size) not in self._masks:
            self._masks[fade, size] = fade.mask(size)
        return self._masks[fade, size]


def show_crops(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """`pictures` that show what was drawn and nothing around it."""
    for picture in pictures:
        picture.pixels = picture.drawn
        yield picture
