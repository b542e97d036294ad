"""Charts as SVG that stands in a page: lines over a scale, drawn by the page's own style."""

from __future__ import annotations

from html import escape

import numpy as np

from ..charts import COLOURS, Panel, ticks

WIDTH, HEIGHT = 520, 204
LEFT, TOP, RIGHT, BOTTOM = 52, 38, 10, 34
LETTERS = 88
"""Of the line below the title, at most; all of it shows under the pointer."""
POINTS = 700
"""Of a line, at most; of a longer one the least and greatest of each stretch stay."""


def to_svg(panel: Panel, below: str = "", in_seconds: bool = False) -> str:
    """The panel as one `<svg>`, with a line `below` its title. `in_seconds`, it has an upright line that moves as the
    videos play."""
    short = below if len(below) <= LETTERS else below[:LETTERS - 1] + "…"
    (first, last), (low, high) = panel.width or _reach(panel, 0), panel.height or _reach(panel, 1)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return round(LEFT + (value - first) / (last - first) * (right - LEFT), 1)

    def y(value: float) -> float:
        return round(bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - TOP), 1)

    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title, True)}" '
             f'data-first="{first:.6g}" data-last="{last:.6g}" data-left="{LEFT}" data-right="{right}">',
             f'<text class="title" x="{LEFT}" y="14">{escape(panel.title)}</text>',
             f'<text class="below" x="{LEFT}" y="29">{escape(short)}'
             f"<title>{escape(below)}</title></text>"]
    for value in ticks(low, high, 4):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(value)}" y2="{y(value)}"/>'
                     f'<text class="up" x="{LEFT - 5}" y="{y(value) + 3.5}">{value:.6g}</text>')
    for value in ticks(first, last):
        parts.append(f'<text class="across" x="{x(value)}" y="{bottom + 13}">{value:.6g}</text>')
    parts.append(f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>')
    for place, word in panel.marks.items():
        if first <= place <= last:
            parts.append(f'<line class="mark" x1="{x(place)}" x2="{x(place)}" y1="{TOP}" y2="{bottom}"/>'
                         f'<text class="mark" x="{x(place) + 4}" y="{TOP + 11}">{escape(word)}</text>')
    for (name, (across, up)), colour in zip(panel.lines.items(), COLOURS * len(panel.lines)):
        path = "".join(_piece([(x(a), y(b)) for a, b in stretch]) for stretch in _stretches(across, up))
        parts.append(f'<path class="line" stroke="rgb{colour}" d="{path}"><title>{escape(name)}</title></path>')
    parts.append(f'<text class="across" x="{(LEFT + right) / 2}" y="{HEIGHT - 5}">{escape(panel.across)}</text>')
    if in_seconds:
        parts.append(f'<line class="now" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}"/>')
    return "".join([*parts, "</svg>"])


def _piece(points: list[tuple[float, float]]) -> str:
    head, *tail = points
    return f"M{head[0]:g} {head[1]:g}" + ("".join(f"L{a:g} {b:g}" for a, b in tail) if tail else "h0.1")


def _stretches(across, up) -> list[list[tuple[float, float]]]:
    """The points without gaps, thinned."""
    across, up = np.asarray(across, float), np.asarray(up, float)
    if len(up) > POINTS:
        places = set()
        for part in np.array_split(np.arange(len(up)), POINTS // 2):
            known = part[np.isfinite(up[part])]
            places |= {int(known[up[known].argmin()]), int(known[up[known].argmax()])} if len(known) else {int(part[0])}
        across, up = across[sorted(places)], up[sorted(places)]
    stretches: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(across, up):
        if np.isfinite(b):
            stretches[-1].append((float(a), float(b)))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _reach(panel: Panel, axis: int) -> tuple[float, float]:
    values = np.concatenate([np.asarray(line[axis], float) for line in panel.lines.values()] or [np.array([0.0, 1.0])])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = (0.5 * abs(low) or 0.5) if low == high else axis * 0.06 * (high - low)
    return low - room, high + room
