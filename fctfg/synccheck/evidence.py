"""From what an expert says of each moment to what holds for a whole video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..interfaces import FRAME_RATE

NEAR = 1
"""Frames by which picture and sound may be apart and still agree: 40 ms, which nobody sees."""
LEAST = 5
"""Windows that an offset must have been tried in to count."""
SHARED = 2.0
"""Windows' lengths within which they count as one: they share frames, and beyond these speech goes on as it was.
Measured on held-out speakers, of whom the confidence is about right with this much."""


SURE = 0.5
"""The confidence from which on an offset is worth naming, and a sound is moved by it."""


@dataclass(frozen=True)
class Verdict:
    """What was found out about one video. An offset is how many frames, of 25 a second, the sound is early; below 0 it
    is late. Played so much later, it is in step.

    Windows are W moments of the video, each judged at 2 R + 1 offsets.
    """

    agreement: float
    """The probability that picture and sound agree as they are, to one frame."""
    offset: int
    """The best offset."""
    seconds: float
    """The same, between frames: the summit of a parabola through the best scores."""
    confidence: float
    """The probability that the true offset is the best one, to one frame."""
    unrelated: float
    """The probability that no offset fits: other words, another speaker, or nobody speaking."""
    scores: np.ndarray
    """(2 R + 1,): the mean log odds of the windows at the offsets -R to R; NaN where too few could be tried."""
    times: np.ndarray
    """(W,): when the windows begin, in seconds."""
    log_odds: np.ndarray
    """(W, 2 R + 1): of mouth and sound being of one moment; NaN where the sound would have been beyond its ends."""

    @property
    def offsets(self) -> np.ndarray:
        """(2 R + 1,): -R to R."""
        reach = len(self.scores) // 2
        return np.arange(-reach, reach + 1)

    def probability(self, offset: int = 0) -> np.ndarray:
        """(W,): what each window says of that offset alone; NaN where it could not be tried."""
        return 1 / (1 + np.exp(-self.log_odds[:, offset + len(self.scores) // 2]))

    def to_dict(self) -> dict:
        """Plain values, as `fctfg sync-check --json` writes them."""
        def rounded(values: np.ndarray) -> list[float | None]:
            return [None if np.isnan(value) else round(float(value), 4) for value in values]

        return {"agreement": round(self.agreement, 4), "offset_frames": self.offset,
                "offset_ms": round(1000 * self.seconds), "confidence": round(self.confidence, 4),
                "unrelated": round(self.unrelated, 4), "offsets": self.offsets.tolist(), "scores": rounded(self.scores),
                "windows": {"seconds": [round(float(time), 3) for time in self.times],
                            "agreement": rounded(self.probability()),
                            "agreement_at_offset": rounded(self.probability(self.offset))}}


def weigh(log_odds: np.ndarray, times: np.ndarray, window: int) -> Verdict:
    """The verdict on the `log_odds` (W, 2 R + 1) of windows of so many frames, NaN where nothing could be heard.

    Either no offset fits, or one of them does; both are as likely before anything was seen, and the offsets among each
    other. The windows' log odds are evidence for each offset.
    """
    tried = np.isfinite(log_odds)
    counts = tried.sum(0)
    enough = counts >= min(LEAST, len(log_odds))
    scores = np.where(enough, np.where(tried, log_odds, 0).sum(0) / np.maximum(counts, 1), np.nan)
    evidence = np.where(enough, scores * len(log_odds) / (SHARED * window), -np.inf)
    # The last is that of no offset: with even odds on each side, the offsets share theirs.
    logs = np.append(evidence - np.log(max(enough.sum(), 1)), 0.0)
    probabilities = np.exp(logs - np.logaddexp.reduce(logs))
    reach = log_odds.shape[1] // 2
    best = int(np.nanargmax(scores))
    return Verdict(_near(probabilities[:-1], reach), best - reach, (best - reach + _summit(scores, best)) / FRAME_RATE,
                   _near(probabilities[:-1], best), float(probabilities[-1]), scores, np.asarray(times), log_odds)


def _near(probabilities: np.ndarray, place: int) -> float:
    """The sum of what lies within NEAR of a place."""
    return float(min(1.0, probabilities[max(0, place - NEAR):place + NEAR + 1].sum()))


def _summit(scores: np.ndarray, best: int) -> float:
    """Where, from -0.5 to 0.5 beside the `best` of `scores`, a parabola through it and its neighbours is highest."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    before, top, after = scores[best - 1:best + 2]
    bend = before - 2 * top + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0  # NaN beside it is no bend
