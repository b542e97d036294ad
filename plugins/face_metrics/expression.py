"""Whether the face shows the same action units as the reference."""

from __future__ import annotations

import numpy as np

from fctfg import registry
from fctfg.action_units import MOUTH, NAMES
from fctfg.errors import BadOption
from fctfg.interfaces import Detector, Film, Measurement, Metric, Moments, Quantity
from fctfg.metrics import FrameMeans, demand, unknown

NOBODY = np.full((64, 64, 3), 127, np.uint8), np.linspace(16, 48, 2 * 68, dtype=np.float32).reshape(68, 2)
"""A grey picture, and the points of a face that is not there."""


class ActionUnitMetric(Metric):
    """How far the action units of the face are from the reference's.

    Ekman and Friesen, "Facial Action Coding System", 1978; as the AU error of papers on expression, with the detector
    named: two of them differ by more than two systems do. Intensities are in [0, 1], and units that the detector cannot
    tell do not count.

    Args:
        detector: a detector plugin that knows action units.
        every: looks at every so many frames.
    """

    paper = "Ekman and Friesen, Facial Action Coding System, 1978"
    quantities = (Quantity("au-error", "lower", 0, 1, about="The mean absolute difference over all action units."),
                  Quantity("au-error-mouth", "lower", 0, 1, about="Over those of the mouth: " + ", ".join(MOUTH) + "."))
    blindness = ("It is no better than the detector; the small, quick actions of real faces drown in its noise. Most "
                 "units rest most of the time, so a face that never moves has a small error.")
    needs = frozenset({"face", "reference"})
    test_options = {"every": 25}

    def __init__(self, *, detector: str = "mediapipe", every: int = 5):
        if every < 1:
            raise BadOption(f"metric 'au-error': every {every} looks at no frame; give 1 or more.")
        self.detector, self.every = detector, every
        self._detector: Detector | None = None

    @property
    def protocol(self) -> str:
        return f"{self.detector}'s intensities of {len(NAMES)} action units in [0, 1], every {self.every} frames, mean"

    def load(self, device="cpu") -> None:
        found = registry.build("detector", self.detector)
        if type(found).action_units is Detector.action_units:
            raise BadOption(f"metric 'au-error': detector '{self.detector}' knows nothing of action units; mediapipe "
                            f"does.")
        found.action_units(*NOBODY)  # so that a file that it lacks is missed now
        self._detector = found

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if self._detector is None:
            self.load()
        return FrameMeans(["au-error", "au-error-mouth"], self._look, f"{self.detector} tells no action unit of the "
                          "film and of its reference at once")

    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, "au-error", "au-error-mouth")
        mouth = np.isin(NAMES, MOUTH)
        for place in range(len(moments.frames)):
            if (moments.first + place) % self.every:
                continue
            drawn, true = (self._units(film, place) for film in (moments, moments.reference))
            if drawn is None or true is None:
                continue
            error = np.abs(drawn - true)
            for name, some in (("au-error", error), ("au-error-mouth", error[mouth])):
                if np.isfinite(some).any():
                    found[name][place] = np.nanmean(some)
        return found

    def _units(self, film: Moments, place: int) -> np.ndarray | None:
        points = film.landmarks[place]
        return self._detector.action_units(film.frames[place], points) if np.isfinite(points).all() else None
