"""A verdict as a picture: the score over the offset, and over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..charts import Panel, draw
from ..files import replacing
from ..interfaces import FRAME_RATE
from .evidence import SURE, Verdict

SMOOTH = 25
"""Windows, a second of them, that are averaged to be shown over time: one alone says little."""
WIDTH, HEIGHT = 560, 300


def plot(verdicts: Mapping[str, Verdict], path: str | Path) -> None:
    """Write a PNG with a row for each of `verdicts`, by the name of its video.

    On the left the mean log odds over the offset; in the middle the same over time, blue where an offset fits; on the
    right the probability over time that picture and sound agree, as they are and at the best offset.
    """
    panels = [panel for name, verdict in verdicts.items() for panel in _panels(name, verdict)]
    with replacing(path) as temporary:
        draw(panels, 3, WIDTH, HEIGHT).save(temporary, format="PNG")


def _panels(name: str, verdict: Verdict) -> list[Panel]:
    offsets, reach = verdict.offsets, len(verdict.scores) // 2
    scale = "frames that the sound is early"
    marks = {0.0: "as it is", 1.0 * verdict.offset: "best"} if verdict.offset else {0.0: "as it is, and best"}
    times, smooth = _even(verdict)
    end = times[-1] + 1 / FRAME_RATE
    most = max(1e-6, float(np.nanmax(np.abs(smooth))))
    probability = 1 / (1 + np.exp(-smooth))
    lines = {"as it is": (times, probability[:, reach])}
    if verdict.offset:
        lines[f"sound moved by {verdict.offset:+d}"] = (times, probability[:, reach + verdict.offset])
    return [
        Panel(f"{Path(name).name}: {describe(verdict)}", scale, {"": (offsets, verdict.scores)}, marks=marks),
        Panel("offset over time, a second's mean", "seconds", values=smooth.T / most,
              width=(times[0], end), height=(-reach - 0.5, reach + 0.5)),
        Panel("probability", "seconds", lines, width=(times[0], end), height=(0.0, 1.0))]


def _even(verdict: Verdict) -> tuple[np.ndarray, np.ndarray]:
    """Moments (L,) from the first window to the last, a frame apart, and the log odds (L, 2 R + 1) smoothed there; NaN
    where nothing was judged."""
    frames = np.rint(verdict.times * FRAME_RATE).astype(int)
    length = frames[-1] - frames[0] + 1
    whole = np.full((length, verdict.log_odds.shape[1]), np.nan)
    whole[frames - frames[0]] = verdict.log_odds
    there = np.isfinite(whole)
    kernel = np.ones(min(SMOOTH, length))

    def spread(values: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(np.convolve, 0, values, kernel, "same")

    weight = spread(there.astype(float))
    mean = np.divide(spread(np.where(there, whole, 0)), weight, out=np.full_like(whole, np.nan), where=weight > 0)
    return (frames[0] + np.arange(length)) / FRAME_RATE, np.where(there.any(1, keepdims=True), mean, np.nan)


def describe(verdict: Verdict) -> str:
    """In a few words: `sound 3 frames early`."""
    if verdict.confidence < SURE:
        return "no offset stands out"
    if not verdict.offset:
        return "in step"
    frames = abs(verdict.offset)
    return f"sound {frames} frame{'s' if frames > 1 else ''} {'early' if verdict.offset > 0 else 'late'}"
