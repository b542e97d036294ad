"""Charts: what is drawn is where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.charts import BOTTOM, COLOURS, HIGH, LEFT, LOW, RIGHT, TOP, Panel, draw, ticks


def places(picture: np.ndarray, colour) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pixels near a colour."""
    return np.nonzero(np.abs(picture.astype(int) - colour).max(-1) < 40)


def test_a_line_runs_where_its_points_are():
    panel = Panel("rising", "x", {"": ([0, 10], [0.0, 1.0])}, width=(0, 10), height=(0, 1))
    picture = np.asarray(draw([panel], 1, 400, 300))
    rows, columns = places(picture, COLOURS[0])
    share = (columns - LEFT) / (400 - LEFT - RIGHT)
    height = (300 - BOTTOM - rows) / (300 - TOP - BOTTOM)
    assert len(rows) > 200 and np.abs(share - height).max() < 0.03


def test_a_map_has_its_first_row_lowest():
    values = np.full((2, 3), np.nan)
    values[0, 0], values[1, 2] = -1, 1
    picture = np.asarray(draw([Panel("map", "x", values=values, width=(0, 3), height=(0, 2))], 1, 400, 300))
    against, favour = places(picture, LOW), places(picture, HIGH)
    assert against[0].min() > favour[0].max() and against[1].max() < favour[1].min()


def test_panels_fill_rows_and_lines_stop_at_gaps():
    panel = Panel("", "x", {"a": (range(3), [1.0, np.nan, 2.0]), "b": ([], [])}, marks={1.0: "here"})
    assert draw([panel] * 5, 2, 200, 120).size == (400, 360)


@pytest.mark.parametrize("low, high, expected", [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (-15, 15, [-15, -10, -5, 0, 5, 10, 15]),
    (0.61, 0.69, [0.62, 0.64, 0.66, 0.68]),
])
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
