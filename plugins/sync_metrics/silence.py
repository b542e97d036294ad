"""Whether the lips keep still where nobody speaks."""

from __future__ import annotations

import numpy as np

from fctfg.errors import CannotMeasure
from fctfg.interfaces import FRAME_RATE, Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand

from .openness import loudness, opening

BELOW = 30.0
"""dB under the loud parts of the film, under which nobody speaks."""
QUIET = -60.0
"""dB of full scale under which nobody speaks, however quiet the film."""
AROUND = 3
"""Frames on either side of a silent one that are silent too: lips close before and open ahead of the voice."""
LEAST = 5
"""Steps from one silent frame to the next that a film must have: 0.2 s."""


class SilentLipsMetric(Metric):
    """How much the lips move where nothing is said, a fault that users of lip-sync systems name often.

    No paper. The mouth's opening is the distance of the lips' outer edges, in distances between the eyes; its change
    from frame to frame is averaged over the frames in silence, which is 30 dB under the loud parts of the film.
    """

    quantities = (
        Quantity("silent-motion", "lower", 0, float("inf"), "eyes/s", "How fast the mouth opens and closes in silence, "
                 "in distances between the eyes a second. Landmarks alone tremble by 0.1 or so."),
        Quantity("silent-share", "lower", 0, float("inf"), about="The same as a part of how fast it does so in "
                         "speech."))
    blindness = ("A smile, a breath and a yawn are motion, too. Behind music or noise there is no silence, and a film "
                 "without 0.2 s of it is not measured. Mouths that never move are perfect.")
    needs = frozenset({"face", "sound"})
    frame_rate = FRAME_RATE

    @property
    def protocol(self) -> str:
        return (f"25 fps, outer lips of the 68 points over the distance between the eyes, silence {BELOW:g} dB under "
                f"the 95th percentile of the loudness or {QUIET:g} dBFS, {AROUND} frames away from any sound")

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return SilenceMeasurement(film)


class SilenceMeasurement(Measurement):
    """Keeps one number a frame."""

    def __init__(self, film: Film):
        self.film = film
        self._openings: list[np.ndarray] = []

    def see(self, moments: Moments) -> None:
        self._openings.append(opening(moments.landmarks))

    def score(self) -> Score:
        mouth = np.concatenate(self._openings) if self._openings else np.empty(0)
        if not np.isfinite(mouth).any():
            raise CannotMeasure(NO_FACE)
        quiet = silent(self.film.wave, len(mouth))
        speed = np.abs(np.diff(mouth)) * FRAME_RATE
        at_rest = np.isfinite(speed) & quiet[1:] & quiet[:-1]
        if at_rest.sum() < LEAST:
            raise CannotMeasure(f"its silence with a face in sight lasts {at_rest.sum() / FRAME_RATE:.2f} s, and "
                                f"{LEAST / FRAME_RATE:.2f} s are needed")
        values = {"silent-motion": float(speed[at_rest].mean())}
        speaking = np.isfinite(speed) & ~(quiet[1:] | quiet[:-1])
        if speaking.sum() >= LEAST and speed[speaking].mean() > 0:
            values["silent-share"] = values["silent-motion"] / float(speed[speaking].mean())
        return Score(values, {"opening": mouth.astype(np.float32), "silence": quiet.astype(np.float32)})


def silent(wave: np.ndarray, num_frames: int) -> np.ndarray:
    """(T,) bool: the frames of which nobody speaks, of 25 a second. Beyond the end of the sound nobody does."""
    decibels = 10 * np.log10(np.nan_to_num(loudness(wave, num_frames)) + 1e-12)
    quiet = decibels < max(QUIET, float(np.percentile(decibels, 95)) - BELOW)
    padded = np.pad(quiet, AROUND, constant_values=True)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1).all(1)
