"""How numbers, and what is missing, are worded, the same on the terminal, in LaTeX and on the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .results import Cell, Column, Results

ARROWS = {"higher": "↑", "lower": "↓", "near zero": "→ 0", "near the reference": "≈ reference", "neither": ""}


def number(value: float) -> str:
    """Four digits that count: 0.9731, 31.25, 1204."""
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(6, max(0, 3 - size))}f}"


def told(cell: Cell) -> str:
    """A mean with its interval: `7.412 [7.011, 7.730]`."""
    if cell.mean is None:
        return "–"
    return number(cell.mean) + (f" [{number(cell.low)}, {number(cell.high)}]" if cell.low is not None else "")


def counted(cell: Cell) -> str:
    """`9 of 10`; where the mean is of fewer, for comparison, that too."""
    text = f"{cell.n_scored} of {cell.n_given}"
    return text if cell.n_mean in (cell.n_scored, 0) else f"{text}, mean of {cell.n_mean}"


def heading(results: Results, column: Column) -> str:
    """Of its means: what should be near zero is averaged without signs, and says so."""
    return column.title + (", absolute" if results.is_absolute(column) else "")


def difference_heading(column: Column) -> str:
    """Of paired differences, which are of sizes where what is compared should be near zero."""
    return column.title + (", absolute" if column.quantity.better == "near zero" else "")


def remarks(results: Results) -> Iterator[str]:
    """What was not measured, and why; what was not run; what else is to be known."""
    for (system, why, clips), labels in _unmeasured(results).items():
        yield f"{system}: {_of(clips, results)} not measured by {', '.join(labels)}: {why}"
    for column in results.columns:
        for system in results.systems:
            rows = {clip: results.row(system, column.metric, clip) for clip in results.clips}
            if clips := [clip for clip, row in rows.items()
                         if row and row.state == "scored" and not results.has(row, column)]:
                yield f"{system}: {_of(clips, results)} measured, and gave no {column.title}"
    for name, why in results.absent.items():
        yield f"not run: {name}: {why}"
    yield from results.notes


def _unmeasured(results: Results) -> dict[tuple[str, str, tuple[str, ...]], list[str]]:
    """The metrics that could not measure the same clips of a system for the same reason."""
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for label in results.facts:
        for system in results.systems:
            reasons: dict[str, list[str]] = {}
            for clip in results.clips:
                row = results.row(system, label, clip)
                if row is None or row.state != "scored":
                    reasons.setdefault(row.why if row else "no film of this clip", []).append(clip)
            for why, clips in reasons.items():
                found.setdefault((system, why, tuple(clips)), []).append(label)
    return found


def _of(clips: Sequence[str], results: Results) -> str:
    """`2 of 7 (one, two)`."""
    return f"{len(clips)} of {len(results.clips)} ({', '.join(clips[:3])}{', ...' if len(clips) > 3 else ''})"
