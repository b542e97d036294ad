"""Metrics of the 68 landmarks beside a reference's: LMD."""

from __future__ import annotations

import numpy as np

from fctfg.errors import BadOption
from fctfg.faces.profiles import STILL, Measures
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity
from fctfg.metrics import FrameMeans, demand, unknown
from fctfg.registry import suggest

MOUTH = slice(48, 68)
FACE_SIDE = 4.6
"""Of the square about the whole head, the crop profile `face`, in distances between the eyes."""
UNITS = {"eyes": "distances between the eyes, those of a frontal face", "face256": "pixels of a face crop of 256 px",
         "pixels": "pixels of the frame"}
ALIGNS = {"none": "not aligned", "centre": "each set of points moved to its own middle",
          "similarity": "brows, nose and eyes laid over the reference's by the nearest similarity"}


class LandmarkMetric(Metric):
    """How far landmarks lie from the reference's: LMD, of the whole face and of the mouth.

    Chen et al., "Lip Movements Generation at a Glance", 2018, arXiv:1803.10404, eq. 10, who measure lips in pixels of
    128 px crops. Papers differ in unit and alignment, and seldom say which: here both are options, and part of the
    protocol. The landmarks are those of the detector that the evaluation runs with.

    Args:
        unit: `eyes`, the distance between the reference's eyes; `face256`, pixels of a face crop of 256 px; or
            `pixels`.
        align: `none`; `centre` moves each set of points to its own middle, as Chen et al. do; `similarity` lays the
            still parts of both faces over each other, so that neither place, size nor tilt of the head counts.
    """

    paper = "Chen et al., Lip Movements Generation at a Glance, 2018, arXiv:1803.10404"
    quantities = (
        Quantity("lmd", "lower", 0, float("inf"), "see protocol", "The mean distance of all 68 points."),
        Quantity("mouth-lmd", "lower", 0, float("inf"), "see protocol", "The mean distance of the 20 points of the "
                         "mouth."))
    blindness = ("It is no better than the detector, whose points tremble by about 0.02 distances between the eyes and "
                 "which sees a plausible mouth in a blurred one. A delay of two frames costs as much as a wrong vowel. "
                 "How the picture looks it does not see.")
    needs = frozenset({"face", "reference"})

    def __init__(self, *, unit: str = "eyes", align: str = "centre"):
        for name, value, known in (("unit", unit, UNITS), ("align", align, ALIGNS)):
            if value not in known:
                raise BadOption(f"metric 'lmd': no {name} '{value}'.{suggest(value, known)} Give one of "
                                f"{', '.join(known)}.")
        self.unit, self.align = unit, align

    @property
    def protocol(self) -> str:
        return f"68 iBUG points, {ALIGNS[self.align]}, in {UNITS[self.unit]}, mean over points and frames"

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return FrameMeans(["lmd", "mouth-lmd"], self._look, "the face is not seen in the film and in its reference at "
            "once")

    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, "lmd", "mouth-lmd")
        drawn, true = moments.landmarks, moments.reference.landmarks
        seen = np.isfinite(drawn).all((1, 2)) & np.isfinite(true).all((1, 2))
        if seen.any():
            drawn, true = drawn[seen].astype(np.float64), true[seen].astype(np.float64)
            for name, points in (("lmd", slice(None)), ("mouth-lmd", MOUTH)):
                found[name][seen] = self.distances(drawn, true, points)
        return found

    def distances(self, drawn: np.ndarray, true: np.ndarray, points: slice) -> np.ndarray:
        """(T,): the mean distances of some `points` of faces `drawn` and `true` (T, 68, 2)."""
        measures = Measures.of(true)
        if self.align == "similarity":
            drawn = laid_over(drawn, true)
        drawn, true = drawn[:, points], true[:, points]
        if self.align == "centre":
            drawn, true = (part - part.mean(1, keepdims=True) for part in (drawn, true))
        unit = {"eyes": measures.unit, "face256": FACE_SIDE * measures.unit / 256, "pixels": 1.0}[self.unit]
        return np.linalg.norm(drawn - true, axis=-1).mean(1) / unit


def laid_over(drawn: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Faces `drawn` (T, 68, 2) moved, scaled and turned so that their still points come nearest to those of `true`."""
    a, b = drawn @ [1, 1j], true @ [1, 1j]
    middles = [points[:, STILL].mean(1, keepdims=True) for points in (a, b)]
    away, wanted = a[:, STILL] - middles[0], b[:, STILL] - middles[1]
    factor = (away.conj() * wanted).sum(1) / np.maximum(np.square(np.abs(away)).sum(1), 1e-12)
    placed = factor[:, None] * (a - middles[0]) + middles[1]
    return np.stack([placed.real, placed.imag], -1)
