"""Where the action units of a prepared folder come from: a detector that sees them, or tables of another program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from .. import registry
from ..action_units import NAMES
from ..actionunits import find_table, read_action_units
from ..errors import BadData, UnknownPlugin
from ..interfaces import FRAME_RATE, Detector
from ..media import VideoInfo
from .sources import Source


class UnitReader(ABC):
    """Says the action units of one video after another."""

    def open(self, source: Source, info: VideoInfo) -> None:
        """Turn to the frames of `source`.

        Raises:
            BadMedia: its action units cannot be had.
        """

    @abstractmethod
    def read(self, number: int, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Those (17,) of the face with `landmarks` (68, 2) in frame `number`, NaN for those not known."""


class SeenUnits(UnitReader):
    """Those that a detector sees."""

    def __init__(self, detector: Detector):
        self.detector = detector

    def read(self, number: int, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        units = self.detector.action_units(frame, landmarks)
        return np.full(len(NAMES), np.nan, np.float32) if units is None else units


class ListedUnits(UnitReader):
    """Those of tables: one for each video, in a folder, or one for all of them."""

    def __init__(self, place: Path):
        self.place = place

    def open(self, source: Source, info: VideoInfo) -> None:
        path = find_table(self.place, source.shown) if self.place.is_dir() else self.place
        self.rows = read_action_units(path, max(1, round(info.duration * FRAME_RATE)), FRAME_RATE, info.frame_rate)

    def read(self, number: int, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        return self.rows[min(number, len(self.rows) - 1)]  # a video may last a frame longer than it says


def check_source(source: str) -> None:
    """See that `source` is one, before anything is prepared.

    Raises:
        BadData: it is neither a detector that sees action units, nor a folder or file of tables.
        MissingExtra: the detector needs a package that is not installed.
    """
    detectors = [plugin.name for plugin in registry.plugins("detector")]
    try:
        cls = registry.find("detector", source).load()
    except UnknownPlugin:
        if not Path(source).exists():
            raise BadData(f"Action units cannot come from '{source}': it is neither a file or folder of tables nor a "
                          f"detector.{registry.suggest(source, detectors)}") from None
        return
    if cls.action_units is Detector.action_units:
        raise BadData(f"Detector '{source}' sees no action units; mediapipe does, and tables of OpenFace, py-feat or "
                      "LibreFace can be given instead.")


def open_units(source: str | None) -> UnitReader | None:
    """What reads action units from `source`; None where none are wanted."""
    if not source:
        return None
    try:
        registry.find("detector", source)
    except UnknownPlugin:
        return ListedUnits(Path(source))
    return SeenUnits(registry.build("detector", source))
