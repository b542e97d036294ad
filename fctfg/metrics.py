"""What metrics share: which part of the frames they look at, and the mean of what they find in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import BadOption, BadWeights, CannotMeasure
from .faces import PROFILES, crop
from .faces.profiles import Measures
from .interfaces import Film, Measurement, Metric, Moments, Score
from .registry import suggest
from .weights import find, how_to_get, located

WHOLE, MOUTH = "frame", "mouth"
MOUTH_SIDE = 1.5
"""Of the square about the lips, in distances between the eyes: from the nose to the chin."""
MOUTH_SIZE = 128
NO_FACE = "no face is seen in any frame"


class Shown(NamedTuple):
    """A part of one frame, and the same part of the reference's."""

    place: int
    """Of the frame among its moments."""
    picture: np.ndarray
    """(h, w, 3) uint8 RGB"""
    reference: np.ndarray | None


class Region:
    """The part of every frame that is looked at, by name: `frame` for all of it; `mouth`, a square about the lips; or a
    crop profile. Beside a reference both are cut where the reference's face is, so that a face that was drawn in the
    wrong place does not take its crop along.

    Raises:
        BadOption: there is no such region, or it cannot have that size.
    """

    def __init__(self, name: str, size: int | None = None):
        names = (WHOLE, MOUTH, *PROFILES)
        if name not in names:
            raise BadOption(f"No region '{name}'.{suggest(name, names)} There are: {', '.join(names)}.")
        if size is not None and (name == WHOLE or size < 16):
            raise BadOption(f"size {size}: a whole frame keeps its size, and a crop has 16 pixels or more.")
        self.name = name
        own = {WHOLE: None, MOUTH: MOUTH_SIZE, **{profile.name: profile.size for profile in PROFILES.values()}}
        self.size = size or own[name]

    @property
    def needs(self) -> frozenset[str]:
        """What a film must have."""
        return frozenset() if self.name == WHOLE else frozenset({"face"})

    def __str__(self) -> str:
        return "whole frame" if self.name == WHOLE else f"{self.name} crop at {self.size} px"

    def show(self, moments: Moments) -> Iterator[Shown]:
        """The parts of those frames in which the face is seen that says where they lie."""
        reference = moments.reference
        if self.name == WHOLE:
            for place, frame in enumerate(moments.frames):
                yield Shown(place, frame, None if reference is None else reference.frames[place])
            return
        landmarks = (reference or moments).landmarks
        seen = np.flatnonzero(np.isfinite(landmarks).all((1, 2)))
        for place, matrix in zip(seen, self._matrices(landmarks[seen])):
            cut = [crop(film.frames[place], matrix, self.size) for film in (moments, reference) if film is not None]
            yield Shown(int(place), cut[0], cut[1] if reference is not None else None)

    def _matrices(self, landmarks: np.ndarray) -> np.ndarray:
        if self.name != MOUTH:
            return PROFILES[self.name].matrices(landmarks)
        points = np.asarray(landmarks, np.float64)
        side = MOUTH_SIDE * Measures.of(points).unit
        matrices = np.zeros((len(points), 2, 3))
        matrices[:, 0, 0] = matrices[:, 1, 1] = side
        matrices[:, :, 2] = points[:, 48:68].mean(1) - side[:, None] / 2
        return matrices


def demand(metric: Metric, film: Film) -> None:
    """Refuse a film without the sound or the reference that `metric` needs.

    Raises:
        CannotMeasure: it lacks one.
    """
    if "sound" in metric.needs and (film.wave is None or not len(film.wave)):
        raise CannotMeasure("there is no sound")
    if "reference" in metric.needs and film.reference is None:
        raise CannotMeasure("there is no reference to compare it with")


class FrameMeans(Measurement):
    """The means of what is found in single frames, with the curves that they are means of.

    Args:
        names: of the quantities.
        look: from moments to (T,) values by name, NaN for a frame of which nothing can be said.
        lacking: why no frame had a value, where none had one.
    """

    def __init__(self, names: Sequence[str], look: Callable[[Moments], dict[str, np.ndarray]], lacking: str):
        self._look, self._lacking = look, lacking
        self._found: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def see(self, moments: Moments) -> None:
        for name, values in self._look(moments).items():
            self._found[name].append(np.asarray(values, np.float32))

    def score(self) -> Score:
        nothing = np.empty(0, np.float32)
        curves = {name: np.concatenate([nothing, *found]) for name, found in self._found.items()}
        known = {name: curve[~np.isnan(curve)].astype(np.float64) for name, curve in curves.items()}
        values = {name: float(found.mean()) for name, found in known.items() if len(found)}
        if not values:
            raise CannotMeasure(self._lacking)
        return Score(values, {name: curves[name] for name in values})


def unknown(moments: Moments, *names: str) -> dict[str, np.ndarray]:
    """A NaN for each frame, by name, to be filled with what is found."""
    return {name: np.full(len(moments.frames), np.nan, np.float32) for name in names}


def weight_file(metric: str, given: str | None, name: str) -> Path:
    """The file `given`, or else the one called `name` that `fctfg weights` keeps.

    Raises:
        BadWeights: there is none; the message says how to get it.
    """
    path = located(given) if given else find(name)
    if path is None:
        hint = how_to_get(name)
        raise BadWeights(f"metric '{metric}' looks through {name}, which is not there{': ' if hint else ''}{hint}; or "
                         f"give it as --metric {metric}:weights=FILE")
    return path
