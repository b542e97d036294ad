"""Whether a film trembles: what neither stays nor moves on evenly from frame to frame."""

from __future__ import annotations

from collections import deque

import numpy as np

from fctfg.errors import CannotMeasure
from fctfg.interfaces import Film, Measurement, Moments, Quantity, Score
from fctfg.metrics import demand

from .pictures import GREY, RegionMetric

LEAST = 3
"""Frames in a row that a second difference needs."""


class JitterMetric(RegionMetric):
    """How much the picture flickers and trembles: the mean second difference over time, in grey levels.

    No paper. x(t - 1) - 2 x(t) + x(t + 1) of the grey face crop, whose place and size follow the smoothed landmarks:
    what stays still or brightens evenly counts nothing, what comes for one frame counts four times. Beside a reference
    also the ratio of both, since real footage is noisy, too, and real faces move.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
    """

    quantities = (
        Quantity("jitter", "near the reference", 0, 1020, "grey levels", "The mean absolute second difference over "
                         "time."),
        Quantity("jitter-ratio", "neither", 0, float("inf"), about="Of the reference's; over 1 it trembles more, under "
                 "1 it is smoother than life. Only beside a reference."))
    blindness = ("Fast speech and quick nods are motion, and count; a frozen film is perfect. Grain and the codec "
                 "count. At another frame rate the same film has another value.")
    pair = False
    needs = frozenset({"face"})

    @property
    def protocol(self) -> str:
        return (f"{self.region}, grey by ITU-R 601, second difference of consecutive frames, absolute, mean; at the "
                "film's rate")

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return _JitterMeasurement(self)


class _JitterMeasurement(Measurement):

    def __init__(self, metric: JitterMetric):
        self.metric = metric
        self._last: deque[tuple[int, np.ndarray]] = deque(maxlen=LEAST)  # the number of a frame, and what it shows
        self._length = 0
        self._found: list[tuple[int, list[float]]] = []

    def see(self, moments: Moments) -> None:
        self._length = moments.first + len(moments.frames)
        for place, *pictures in self.metric.shown(moments):
            number = moments.first + place
            if self._last and self._last[-1][0] != number - 1:
                self._last.clear()
            self._last.append((number, np.stack([picture @ GREY for picture in pictures if picture is not None])))
            if len(self._last) == LEAST:
                (_, before), (_, now), (_, after) = self._last
                self._found.append((number - 1, list(np.abs(before - 2 * now + after).mean((1, 2), dtype=np.float64))))

    def score(self) -> Score:
        if not self._found:
            raise CannotMeasure(f"the face is never seen in {LEAST} frames in a row")
        places = [place for place, _ in self._found]
        found = np.array([values for _, values in self._found])
        curve = np.full(self._length, np.nan, np.float32)
        curve[places] = found[:, 0]
        values = {"jitter": float(found[:, 0].mean())}
        if found.shape[1] > 1:
            # A still reference has none, and then nothing can be a multiple of it.
            if (true := float(found[:, 1].mean())) > 0:
                values["jitter-ratio"] = values["jitter"] / true
        return Score(values, {"jitter": curve})
