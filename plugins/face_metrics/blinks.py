"""How often and how long the eyes shut, from landmarks."""

from __future__ import annotations

import numpy as np

from fctfg.errors import CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand

SHUT = 0.7
"""Of the opening that the eyes have when they are open, under which they are shut: landmark models seldom close
them."""
OPEN = 80
"""The percentile of the eyes' opening that is taken for open."""
SHORTEST, LONGEST = 0.05, 0.6
"""Seconds that a blink takes; what is shut for longer are closed or lowered eyes."""
LEAST = 2.0
"""Seconds with a face from which on a rate is given."""


class BlinkMetric(Metric):
    """How often the eyes blink, how long, and how open they are.

    By the eye aspect ratio of Soukupova and Cech, "Real-Time Eye Blink Detection using Facial Landmarks", 2016: an
    eye's height over its width, the mean of both eyes. A blink is where it falls under 0.7 of the film's own open eyes
    for 0.05 to 0.6 s. People blink 10 to 20 times a minute, less while they read.
    """

    paper = "Soukupova and Cech, Real-Time Eye Blink Detection using Facial Landmarks, 2016"
    quantities = (
        Quantity("blink-rate", "near the reference", 0, float("inf"), "1/min", "Blinks a minute."),
        Quantity("blink-length", "near the reference", SHORTEST, LONGEST, "s", "The mean length of a blink. Only where "
                 "there is one."),
        Quantity("eye-opening", "near the reference", 0, float("inf"), about="The mean aspect ratio of the eyes."))
    blindness = ("It sees as many blinks as the landmarks show: quick ones fall between frames or under the tracker's "
                 "smoothing, and glances downwards count. A film of some seconds has one blink or none.")
    needs = frozenset({"face"})

    @property
    def protocol(self) -> str:
        return (f"eye aspect ratio of the 68 points, both eyes; shut under {SHUT:g} of the film's {OPEN}th percentile "
                f"for {SHORTEST:g} to {LONGEST:g} s; at the film's rate")

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return _BlinkMeasurement(film)


class _BlinkMeasurement(Measurement):
    """Keeps one number a frame."""

    def __init__(self, film: Film):
        self.film = film
        self._ratios: list[np.ndarray] = []

    def see(self, moments: Moments) -> None:
        self._ratios.append(aspect_ratios(moments.landmarks))

    def score(self) -> Score:
        ratios = np.concatenate(self._ratios) if self._ratios else np.empty(0)
        rate = float(self.film.frame_rate)
        seconds = np.isfinite(ratios).sum() / rate
        if not seconds:
            raise CannotMeasure(NO_FACE)
        if seconds < LEAST:
            raise CannotMeasure(f"the face is seen for {seconds:.1f} s, too short for a rate; {LEAST:g} s are needed")
        lengths = blinks(ratios, rate)
        values = {"blink-rate": float(60 * len(lengths) / seconds), "eye-opening": float(np.nanmean(ratios))}
        if len(lengths):
            values["blink-length"] = float(np.mean(lengths))
        return Score(values, {"eye opening": ratios.astype(np.float32)})


def aspect_ratios(landmarks: np.ndarray) -> np.ndarray:
    """(T,): how high the eyes of faces (T, 68, 2) are for their width; NaN where the face is not seen."""
    found = []
    for eye in (range(36, 42), range(42, 48)):
        points = landmarks[:, list(eye)].astype(np.float64)
        heights = np.linalg.norm(points[:, [1, 2]] - points[:, [5, 4]], axis=-1).mean(1)
        found.append(heights / np.maximum(np.linalg.norm(points[:, 3] - points[:, 0], axis=-1), 1e-6))
    return np.mean(found, 0)


def blinks(ratios: np.ndarray, rate: float) -> np.ndarray:
    """The lengths in seconds of the blinks in a film of `rate` frames a second. One that is cut off does not count."""
    shut = np.nan_to_num(ratios, nan=np.inf) < SHUT * np.nanpercentile(ratios, OPEN)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]])))
    starts, ends = edges[::2], edges[1::2]
    whole = (starts > 0) & (ends < len(ratios))
    lengths = (ends - starts)[whole] / rate
    return lengths[(lengths >= min(SHORTEST, 1.5 / rate)) & (lengths <= LONGEST)]
