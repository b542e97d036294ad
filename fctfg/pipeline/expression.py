"""What a face is to express besides what is heard: kept from the video that moves, blinked, or as the user wants it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from .. import registry
from ..action_units import BLINK, MOUTH, NAMES
from ..errors import BadMedia, BadRecipe
from ..files import replacing
from ..interfaces import Detector
from .draw import Picture

UPPER = np.array([name not in MOUTH for name in NAMES])
CLOSING, SHUT, OPENING = 0.08, 0.04, 0.16
"""Seconds of a blink's parts; lids fall faster than they rise."""
APART = 2.0, 6.0
"""Seconds between the beginnings of blinks, as likely anywhere between."""


@dataclass(frozen=True)
class Expression:
    """What a user asks of a face that action units move. What nobody asks for is heard.

    Of those who say something of an action unit the later one here wins; blinks only ever close the eyes further.
    """

    detector: str | None = None
    """A detector that sees action units: the upper face then keeps those of the video that moves."""
    table: str | Path | None = None
    """A file of action units, a row for each frame, as OpenFace and others write it, or an `attributes.txt`; NaN leaves one
    to the sound."""
    blink: int | None = None
    """Adds blinks, at moments that are drawn by this seed."""
    wanted: Sequence[str] = ()
    """`AU12=0.8`: an action unit that is held throughout."""

    def __bool__(self) -> bool:
        return bool(self.detector or self.table or self.wanted) or self.blink is not None


class Director:
    """Tells each picture, before it is drawn, which action units it is to show.

    Raises:
        BadMedia: an action unit that nobody knows or a value beyond [0, 1]; a table that cannot be read or ends before
            the video does.
        BadRecipe: the detector does not see action units.
    """

    def __init__(self, expression: Expression, rate: Fraction, num_frames: int):
        self.rate = rate
        self.wanted = dict(_parse(text) for text in expression.wanted)
        self.blinks = None if expression.blink is None else Blinks(expression.blink)
        self.table = self._read(expression.table, num_frames) if expression.table else None
        self.detector = registry.build("detector", expression.detector) if expression.detector else None
        if self.detector and type(self.detector).action_units is Detector.action_units:
            raise BadRecipe(f"detector '{expression.detector}' sees no action units; --action-units mediapipe does.")

    def direct(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """`pictures` with their action units (17,), NaN for those that sound decides."""
        for picture in pictures:
            if picture.place:
                picture.action_units = self.of(picture)
            yield picture

    def of(self, picture: Picture) -> np.ndarray:
        units = np.full(len(NAMES), np.nan, np.float32)
        if self.detector:
            seen = self.detector.action_units(picture.pixels, picture.place.landmarks)
            if seen is not None:
                units[UPPER] = seen[UPPER]
        if self.table is not None:
            row = self.table[min(picture.number, len(self.table) - 1)]  # how many frames there will be is an estimate
            units = np.where(np.isnan(row), units, row)
        if self.blinks:
            place = NAMES.index(BLINK)
            units[place] = np.fmax(units[place], self.blinks.at(float(picture.number / self.rate)))
        for place, value in self.wanted.items():
            units[place] = value
        return units

    def _read(self, path: str | Path, num_frames: int) -> np.ndarray:
        from ..actionunits import read_action_units, read_attributes

        if Path(path).suffix.lower() != ".txt":
            return read_action_units(path, num_frames, self.rate)
        units = read_attributes(path).action_units
        if units is None:
            raise BadMedia(f"{path} says what is heard at each frame and no action units; give the sound with --audio.")
        if len(units) < num_frames:
            raise BadMedia(f"{path} has {len(units)} rows; {num_frames} frames are to be drawn, and each takes one.")
        return units


def _parse(text: str) -> tuple[int, float]:
    name, _, value = (part.strip() for part in text.partition("="))
    if name.upper() not in NAMES:
        raise BadMedia(f"--au {text}: no action unit '{name}'.{registry.suggest(name.upper(), NAMES)} There are: "
                       f"{', '.join(NAMES)}.")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise BadMedia(f"--au {text}: give a strength from 0, at rest, to 1, as in {name.upper()}=0.8.")
    return NAMES.index(name.upper()), number


class Blinks:
    """Blinks at moments that a seed decides. Sound says nothing of when eyes close."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self._starts = [float(self._random.uniform(0, APART[1]))]

    def at(self, seconds: float) -> float:
        """How far the eyes are closed then, from 0 to 1."""
        while self._starts[-1] <= seconds:
            self._starts.append(self._starts[-1] + float(self._random.uniform(*APART)))
        latest = bisect_right(self._starts, seconds) - 1
        since = seconds - self._starts[latest] if latest >= 0 else np.inf
        times = [0, CLOSING, CLOSING + SHUT, CLOSING + SHUT + OPENING]
        return float(np.interp(since, times, [0, 1, 1, 0]))


class Chart:
    """Remembers what was drawn, and plots it: each action unit over time, and where the picture was changed."""

    def __init__(self, rate: Fraction):
        self.rate = rate
        self.times: list[float] = []
        self.units: list[np.ndarray] = []
        self._changed: np.ndarray | None = None

    def watch(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            if picture.drawn is not None:
                self.times.append(float(picture.number / self.rate))
                self.units.append(picture.action_units)
                if picture.alpha is not None:
                    self._changed = picture.alpha + (0 if self._changed is None else self._changed)
            yield picture

    def save(self, path: str | Path) -> None:
        """Write the plot, a PNG."""
        from ..charts import Panel, draw

        units = np.stack(self.units, 1)
        groups = {"mouth": [NAMES.index(name) for name in ("AU25", "AU26", "AU12", "AU17")],
                  "mouth, less often": [NAMES.index(name) for name in ("AU10", "AU14", "AU15", "AU20")],
                  "brows": [NAMES.index(name) for name in ("AU01", "AU02", "AU04", "AU05")],
                  "eyes": [NAMES.index(name) for name in ("AU06", "AU07", "AU45")]}
        panels = [Panel(title, "seconds", {NAMES[place]: (self.times, units[place].tolist()) for place in places},
                        height=(0.0, 1.0)) for title, places in groups.items()]
        if self._changed is not None:
            share = self._changed / len(self.times)
            panels.append(Panel("where it is redrawn: blue changed, red left", "", values=2 * share[::-1] - 1,
                                width=(0, share.shape[1]), height=(0, share.shape[0])))
        with replacing(path) as temporary:
            draw(panels, columns=2).save(temporary, format="PNG")
