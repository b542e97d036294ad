"""Lip sync by an expert that was trained here, as `fctfg sync-check` asks it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fctfg.errors import BadRun, CannotMeasure
from fctfg.faces import crop, find_profile
from fctfg.interfaces import FRAME_RATE, Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand
from fctfg.synccheck import SyncChecker, open_judge, weigh

REACH = 15
"""Frames by which the sound is tried early and late."""
STRETCH = 250
"""Frames that are judged at once: ten seconds."""
LEAST = 25
"""Frames in a row that show the face, from which on they are judged."""


class SyncExpertMetric(Metric):
    """Whether picture and sound agree, by an expert of your own: a critic `mouth-sync`, `sync` or `syncnet` of a run.

    Chung and Zisserman, "Out of time", 2016, for the idea; the odds and what they come to are those of `fctfg
    sync-check`. Trained in minutes on your own data, and independent of what a system was trained against.

    Args:
        run: a run folder of fctfg with such a critic.
        weights: a public file instead: syncnet_v2.model or lipsync_expert.pth.
    """

    paper = "Chung and Zisserman, Out of time: automated lip sync in the wild, 2016"
    quantities = (
        Quantity("sync-odds", "higher", -float("inf"), float("inf"), about="The mean log odds of mouth and sound being "
                 "of one moment as they are; 0 is in two minds."),
        Quantity("sync-agreement", "higher", 0, 1, about="The probability that they agree as they are, to one frame."),
        Quantity("sync-offset", "near zero", -REACH, REACH, "frames", "By how many frames of 25 a second the sound is "
                 "early at the likeliest offset; below 0 it is late. Left out where no offset is likelier than not."),
        Quantity("sync-confidence", "higher", 0, 1, about="The probability that the true offset is that one, to one "
                                                          "frame."))
    blindness = ("It knows what it was taught: an expert of few speakers takes a stranger's mouth for out of step. Two "
                 "runs are two scales; compare numbers of one run only. A system that was trained against the same "
                 "expert, or on the same critic, scores too well.")
    needs = frozenset({"face", "sound"})
    frame_rate = FRAME_RATE

    def __init__(self, *, run: str | None = None, weights: str | None = None):
        self._run, self._weights = run, weights
        self._checker: SyncChecker | None = None
        self._recipe = None

    @property
    def protocol(self) -> str:
        return (f"expert of {self._run or self._weights or 'no run yet'}: 25 fps, one followed face in the expert's "
                f"own crop, stretches of {STRETCH} frames, +-{REACH} frames")

    def load(self, device: str | torch.device = "cpu") -> None:
        if not (self._run or self._weights):
            raise BadRun("metric 'sync-expert' asks an expert, and none was named: give option run=RUN, trained by "
                         "fctfg train --recipe sync-expert-small; or weights=syncnet_v2.model or lipsync_expert.pth. "
                         "Metric 'openness' needs neither")
        judge, self._recipe = open_judge(self._run, self._weights, lambda _: None)
        self._checker = SyncChecker(judge, self._recipe, reach=REACH, device=device)

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if self._checker is None:
            self.load()
        if film.num_frames < LEAST:
            raise CannotMeasure(f"it is too short: {film.num_frames} frames, and the expert wants {LEAST} in a row")
        return _Judged(self._checker, self._recipe, film)


class _Stretch:
    """Consecutive crops in memory, as a clip file would hold them."""

    def __init__(self, first: int, size: int):
        self.first, self.size = first, (size, size)
        self._frames: list[np.ndarray] = []
        self._landmarks: list[np.ndarray] = []

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    def add(self, frame: np.ndarray, landmarks: np.ndarray, matrix: np.ndarray) -> None:
        size = self.size[0]
        self._frames.append(crop(frame, matrix, size))
        away = landmarks - matrix[:, 2]
        self._landmarks.append(away @ np.linalg.inv(matrix[:, :2]).T * size)

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([self._frames[index] for index in indices])

    def landmarks(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([self._landmarks[index] for index in indices]).astype(np.float32)


class _Judged(Measurement):

    def __init__(self, checker: SyncChecker, recipe, film: Film):
        self._checker, self._film = checker, film
        self._profile, self._size = find_profile(recipe.crop), recipe.size
        self._stretch: _Stretch | None = None
        self._longest = 0
        self._judged: list[tuple[np.ndarray, np.ndarray]] = []

    def see(self, moments: Moments) -> None:
        seen = np.isfinite(moments.landmarks).all((1, 2))
        matrices = iter(self._profile.matrices(moments.landmarks[seen]) if seen.any() else ())
        for place, frame in enumerate(moments.frames):
            if not seen[place]:
                self._judge()
                continue
            if self._stretch is None:
                self._stretch = _Stretch(moments.first + place, self._size)
            self._stretch.add(frame, moments.landmarks[place].astype(np.float64), next(matrices))
            if self._stretch.num_frames == STRETCH:
                self._judge()

    def score(self) -> Score:
        self._judge()
        if not self._judged:
            raise CannotMeasure(f"the face is seen for {self._longest} frames in a row at the most; the expert wants "
                                f"{LEAST}" if self._longest else NO_FACE)
        times, log_odds = (np.concatenate(parts) for parts in zip(*self._judged))
        verdict = weigh(log_odds, times, self._checker.judge.window)
        values = {"sync-odds": float(verdict.scores[REACH]), "sync-agreement": verdict.agreement,
                  "sync-confidence": verdict.confidence}
        if verdict.confidence > 0.5:
            values["sync-offset"] = float(verdict.offset)
        curve = np.full(self._film.num_frames, np.nan, np.float32)
        curve[np.rint(times * FRAME_RATE).astype(int)] = verdict.probability()
        return Score(values, {"log odds over offset": verdict.scores[::-1].copy(), "agreement": curve})

    def _judge(self) -> None:
        stretch, self._stretch = self._stretch, None
        if stretch is None:
            return
        self._longest = max(self._longest, stretch.num_frames)
        if stretch.num_frames >= LEAST:
            self._judged.append(self._checker.judge_clip(stretch, stretch.first, self._film.wave))
