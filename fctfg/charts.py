"""Small charts as pictures, drawn with Pillow: lines over a scale, and maps of values over two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = (40, 44, 52), (222, 225, 230), (255, 255, 255)
COLOURS = ((31, 119, 180), (214, 95, 20), (44, 140, 60), (150, 80, 170))
LOW, MIDDLE, HIGH = (178, 24, 43), (247, 247, 247), (33, 102, 172)
"""Of a map: what speaks against, what says nothing, what speaks for."""
LEFT, TOP, RIGHT, BOTTOM = 62, 34, 14, 44
SHARPER = 2  # drawn so much larger, then shrunk


@dataclass
class Panel:
    """One chart: lines by name, or a map beneath them, over the same scales."""

    title: str
    across: str
    """What the horizontal scale says."""
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    """Name -> where (across, up) its points lie; a point that is NaN interrupts it."""
    values: np.ndarray | None = None
    """(rows, columns) from -1 to 1, the first row lowest; NaN is left blank."""
    width: tuple[float, float] | None = None
    """What the horizontal scale goes from and to; wide enough for the lines where it is not said."""
    height: tuple[float, float] | None = None
    """The same of the upright one."""
    marks: Mapping[float, str] = field(default_factory=dict)
    """Upright lines, with a word on each."""


def draw(panels: Sequence[Panel], columns: int = 1, width: int = 520, height: int = 280) -> Image.Image:
    """The panels in rows of `columns`, each of `width` x `height` pixels."""
    rows = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), PAPER)
    for number, panel in enumerate(panels):
        drawn = _draw(panel, SHARPER * width, SHARPER * height).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(drawn, (number % columns * width, number // columns * height))
    return sheet


def _draw(panel: Panel, width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)
    font, small = (ImageFont.load_default(size * SHARPER) for size in (14, 12))
    left, top, right, bottom = SHARPER * LEFT, SHARPER * TOP, width - SHARPER * RIGHT, height - SHARPER * BOTTOM
    (first, last), (low, high) = panel.width or _reach(panel, 0), panel.height or _reach(panel, 1)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - first) / (last - first) * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    if panel.values is not None:
        size = right - left, bottom - top
        picture.paste(_coloured(panel.values).resize(size, Image.Resampling.NEAREST), (left, top))
    for y in ticks(low, high):
        if panel.values is None:
            pen.line([place(first, y), place(last, y)], FAINT, SHARPER)
        pen.text((left - 6 * SHARPER, place(first, y)[1]), f"{y:.6g}", INK, small, "rm")
    for x in ticks(first, last):
        pen.line([place(x, low), (place(x, low)[0], bottom + 4 * SHARPER)], INK, SHARPER)
        pen.text((place(x, low)[0], bottom + 6 * SHARPER), f"{x:.6g}", INK, small, "mt")
    pen.rectangle([left, top, right, bottom], outline=INK, width=SHARPER)
    for x in panel.marks:
        pen.line([place(x, low), place(x, high)], INK, SHARPER)
    for (name, (across, up)), colour in zip(panel.lines.items(), COLOURS * len(panel.lines)):
        for stretch in _unbroken(across, up):
            points = [place(x, min(max(y, low), high)) for x, y in stretch]
            if len(points) > 1:
                pen.line(points, colour, 2 * SHARPER, "curve")
            for x, y in points if len(across) <= 40 else ():
                pen.ellipse([x - 3 * SHARPER, y - 3 * SHARPER, x + 3 * SHARPER, y + 3 * SHARPER], colour)
    for number, (x, word) in enumerate(panel.marks.items()):
        side, away = ("l", 5) if x < (first + last) / 2 else ("r", -5)
        pen.text((place(x, high)[0] + away * SHARPER, top + (5 + 15 * number) * SHARPER), word, INK, small, f"{side}t",
                 stroke_width=SHARPER, stroke_fill=PAPER)
    pen.text((left, 10 * SHARPER), panel.title, INK, font, "lt")
    named = [name for name in panel.lines if name]
    x = right
    for name, colour in reversed(list(zip(panel.lines, COLOURS * len(panel.lines)))):
        if len(named) > 1:
            pen.text((x, 12 * SHARPER), name, colour, small, "rt")
            x -= pen.textlength(name, small) + 12 * SHARPER
    pen.text(((left + right) / 2, height - 6 * SHARPER), panel.across, INK, small, "mb")
    return picture


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, `about` so many."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= raw * 0.999)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(round(number * step, 10)) for number in range(first, last + 1)]


def _reach(panel: Panel, axis: int) -> tuple[float, float]:
    """From the least to the greatest of the lines' points, with a little room above and below."""
    values = np.concatenate([np.asarray(line[axis], float) for line in panel.lines.values()] or [np.array([0.0, 1.0])])
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    room = 0.5 if low == high else axis * 0.05 * (high - low)
    return low - room, high + room


def _unbroken(across: Sequence[float], up: Sequence[float]) -> list[list[tuple[float, float]]]:
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(across, up):
        if np.isfinite(y):
            stretches[-1].append((float(x), float(y)))
        elif stretches[-1]:
            stretches.append([])
    return stretches


def _coloured(values: np.ndarray) -> Image.Image:
    """A pixel for each value, the first row lowest."""
    share = np.nan_to_num(np.clip(values[::-1], -1, 1))[..., None]
    colours = np.where(share < 0, -share * LOW + (1 + share) * MIDDLE, share * HIGH + (1 - share) * MIDDLE)
    colours[np.isnan(values[::-1])] = PAPER
    return Image.fromarray(np.rint(colours).astype(np.uint8))
