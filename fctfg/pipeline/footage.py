"""A face on its way in: a video that can be read again from any frame, or a picture as a video of one frame."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image

from .. import media

LARGEST_PICTURE = 1920
"""Pixels on the longer side of an animated picture. Cameras take larger ones than browsers play."""


class Footage:
    """What was taken of a face, upright, at a constant frame rate.

    Raises:
        BadMedia: the file is missing, or is neither a video nor a picture.
    """

    def __init__(self, path: str | Path, frame_rate_of_pictures: Fraction, resampled: bool = False):
        """A video keeps its own frame rate, unless it is to be `resampled` to that of pictures."""
        self.path = Path(path)
        self.resampled = resampled
        self.problem: str | None = None
        """What is to be known of how it was read, in one sentence."""
        self.scale = 1.0
        """How large its frames are, to the file's."""
        self.start = 0
        """The frame of the file that it begins with; set before it is read."""
        self.is_picture = media.is_picture(path)
        if self.is_picture:
            self._picture = self._shrunk(media.read_picture(path))
            self.height, self.width = self._picture.shape[:2]
            self.frame_rate, self.expected = frame_rate_of_pictures, 1
        else:
            info = media.probe_video(path)
            self.width, self.height = info.width, info.height
            self.frame_rate = frame_rate_of_pictures if resampled else info.frame_rate
            self.expected = info.num_frames

    def read(self, start: int = 0) -> Iterator[np.ndarray]:
        """The frames (H, W, 3) uint8 RGB from the `start`-th on, the same ones every time."""
        start += self.start
        if self.is_picture:
            yield from [self._picture][start:]
            return
        with closing(media.read_video(self.path, self.frame_rate if self.resampled else None, start)) as frames:
            yield from frames
            self.problem = self.problem or frames.problem

    def _shrunk(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        self.scale = min(1.0, LARGEST_PICTURE / max(height, width))
        if self.scale == 1:
            return picture
        self.problem = f"{self.path} is shrunk from {width}x{height} pixels to {LARGEST_PICTURE} on the longer side"
        size = round(self.scale * width), round(self.scale * height)
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
