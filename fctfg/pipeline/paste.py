"""Putting drawn faces back where they belong."""

from __future__ import annotations

from typing import Iterator

import numpy as np

from ..faces import CropProfile, paste
from .draw import Picture


class Paster:
    """Blends each drawn face into its frame, or into `canvas`, the picture that a driving video moves."""

    def __init__(self, profile: CropProfile, match_colour: bool, canvas: Picture | None = None):
        self.profile = profile
        self.match_colour = match_colour
        self.canvas = canvas
        self._masks: dict[int, np.ndarray] = {}

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
        if picture.alpha is not None:
            return picture.alpha
        size = len(picture.drawn)
        if size not in self._masks:
            self._masks[size] = self.profile.mask(size)
        return self._masks[size]


def show_crops(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """`pictures` that show what was drawn and nothing around it."""
    for picture in pictures:
        picture.pixels = picture.drawn
        yield picture
