"""Finding the speaker's face in every frame, once for each frame however often it is shown."""

from __future__ import annotations

from itertools import chain
from typing import Iterator

import numpy as np

from .. import registry
from ..errors import BadMedia
from ..faces import CropProfile, FaceTracker, Speaker, TrackedFace, crop
from .draw import Picture, Place
from .footage import Footage
from .timeline import Shown, play


class Finder:
    """Follows the faces of `footage`, picks the speaker's, and cuts it out at `size`."""

    def __init__(self, footage: Footage, detector: str, speaker: str, profile: CropProfile, size: int):
        self.footage = footage
        self.detector = detector
        self._detector = registry.build("detector", detector)
        self.speaker = Speaker.parse(_scaled(speaker, footage.scale), self._detector)
        self.profile = profile
        self.size = size
        self.places: list[Place | None] = []
        """Of every frame of the footage, in order."""
        self._saw_somebody = False

    def find_first(self) -> Picture:
        """The first frame, with its face.

        Raises:
            BadMedia: there is none in it.
        """
        return next(self.find(play(self.footage.read, 1)))

    def find(self, shown: Iterator[Shown]) -> Iterator[Picture]:
        """One picture for each of `shown`, with the speaker's place and crop where there is one.

        Raises:
            BadMedia: no frame has any.
        """
        crops: dict[int, np.ndarray] = {}  # of the latest frame: one that is held is cut out once
        for number, frame in enumerate(self._placed(shown)):
            place = self.places[frame.index]
            if place and frame.index not in crops:
                crops = {frame.index: crop(frame.pixels, place.matrix, self.size)}
            yield Picture(number, frame.pixels, place, crops.get(frame.index))

    def find_start(self) -> Picture:
        """The first frame that shows the face.

        Raises:
            BadMedia: no frame does.
        """
        for picture in self.find(play(self.footage.read, self.footage.expected or 1, when_shorter="silence")):
            if picture.place:
                return picture
        raise self._nobody()

    def _placed(self, shown: Iterator[Shown]) -> Iterator[Shown]:
        """`shown` again, each once its place is known."""
        repeated = []

        def first_showing() -> Iterator[np.ndarray]:
            for number, frame in enumerate(shown):
                if frame.index < number:
                    repeated.append(frame)
                    return
                yield frame.pixels

        tracker = FaceTracker(self._detector)
        for index, (pixels, faces) in enumerate(tracker.track(first_showing())):
            self.places.append(self._place(pixels, faces))
            yield Shown(index, pixels)
        if not any(self.places):
            raise self._nobody()
        yield from chain(repeated, shown)

    def _place(self, pixels: np.ndarray, faces: list[TrackedFace]) -> Place | None:
        self._saw_somebody |= bool(faces)
        face = self.speaker.pick(pixels, faces)
        if face is None:
            return None
        return Place(self.profile.matrices(face.landmarks[None])[0], np.float32(face.landmarks))

    def _nobody(self) -> BadMedia:
        if self._saw_somebody:
            return BadMedia(f"{self.footage.path}: {self.speaker.absence()}; --speaker largest takes whoever is there.")
        others = [plugin.name for plugin in registry.plugins("detector") if plugin.name != self.detector]
        what, where = ("picture", "") if self.footage.is_picture else ("video", f" in {len(self.places)} frames")
        return BadMedia(f"{self.footage.path} has no face that {self.detector} finds{where}; try --detector "
                        f"{' or '.join(others)}, or a {what} that shows one larger and from the front.")


def _scaled(speaker: str, scale: float) -> str:
    """`speaker`, and if it is a pixel of the file, the one of a frame that is `scale` times as large."""
    try:
        return ",".join(f"{scale * float(place):.1f}" for place in speaker.split(",")) if scale != 1 else speaker
    except ValueError:
        return speaker


def hold(pictures: Iterator[Picture], first: Picture) -> Iterator[Picture]:
    """`pictures` where one without a face has that of the one before; those at the beginning have that of `first`."""
    place, seen = first.place, first.crop
    for picture in pictures:
        if picture.place:
            place, seen = picture.place, picture.crop
        picture.place, picture.crop = place, seen
        yield picture


def blend(pictures: Iterator[Picture], others: Iterator[Picture]) -> Iterator[Picture]:
    """`pictures`, each with the one of `others` at its time."""
    for picture, picture.other in zip(pictures, others):
        yield picture
