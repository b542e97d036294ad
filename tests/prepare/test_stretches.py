"""Which stretches of a video are kept, of whom, and why the others are dropped."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.prepare.stretches import Run, Stretch, choose, join

WISHES = {"min_frames": 25, "max_frames": 100, "min_face": 48}


def run(first: int, stop: int, height: float = 100) -> Run:
    face = Run(first)
    for frame in range(first, stop):
        face.add(np.array([0, 0, height, height]), np.full((68, 2), frame))
    return face


def told(stretches: list[Stretch]) -> list[tuple]:
    """(first, stop, why) and, of what is kept, the height of the face for the reason."""
    return [(stretch.first, stretch.stop, stretch.reason or stretch.face.height) for stretch in stretches]


@pytest.mark.parametrize("runs, expected", [
    pytest.param([run(0, 90)], [(0, 90, 100)], id="one face"),
    pytest.param([], [(0, 90, "no face")], id="none"),
    pytest.param([run(30, 90)], [(0, 30, "no face"), (30, 90, 100)], id="comes in"),
    pytest.param([run(0, 90, 200), run(0, 90, 100)], [(0, 90, 200)], id="someone behind"),
    pytest.param([run(0, 90, 120), run(0, 90, 100)], [(0, 90, "several faces")], id="side by side"),
    pytest.param([run(0, 90), run(60, 90)], [(0, 60, 100), (60, 90, "several faces")], id="company comes"),
    pytest.param([run(0, 90), run(40, 44)], [(0, 90, 100)], id="a detector's blip"),
    pytest.param([run(0, 90, 200), run(0, 20, 400)], [(0, 20, "too short"), (20, 90, 200)], id="a larger one leaves"),
    pytest.param([run(0, 40), run(50, 90)], [(0, 40, 100), (40, 50, "no face"), (50, 90, 100)], id="lost and found"),
    pytest.param([run(0, 40), run(40, 90)], [(0, 40, 100), (40, 90, 100)], id="a cut"),
    pytest.param([run(0, 90, 47)], [(0, 90, "small face")], id="far away"),
    pytest.param([run(0, 24)], [(0, 24, "too short"), (24, 90, "no face")], id="too short"),
])
def test_the_video_is_divided(runs, expected):
    assert told(choose(runs, 90, **WISHES)) == expected


def test_a_long_stretch_is_split_evenly():
    stretches = choose([run(10, 261)], 261, **WISHES)[1:]
    assert [(s.first, s.stop) for s in stretches] == [(10, 93), (93, 177), (177, 261)]
    for stretch in stretches:  # each with its own frames' landmarks
        assert stretch.face.landmarks[:, 0, 0].tolist() == list(range(stretch.first, stretch.stop))
        assert stretch.face.first == stretch.first and stretch.face.stop == stretch.stop


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_is_accounted_for_once(seed):
    rng = np.random.default_rng(seed)
    spans = np.sort(rng.integers(0, 1000, (12, 2)))
    runs = [run(first, stop, rng.integers(30, 200)) for first, stop in spans.tolist() if first < stop]
    stretches = choose(runs, 1000, **WISHES)
    assert [frame for s in stretches for frame in range(s.first, s.stop)] == list(range(1000))
    for stretch in stretches:
        assert (stretch.face is None) == bool(stretch.reason)
        assert stretch.face is None or 25 <= stretch.stop - stretch.first <= 100


def test_neighbours_of_one_reason_are_joined():
    stretches = [Stretch(0, 10, reason="no face"), Stretch(10, 20, reason="no face"), Stretch(20, 30, run(20, 30)),
                 Stretch(30, 40, run(30, 40)), Stretch(40, 50, reason="no face"), Stretch(60, 70, reason="no face")]
    assert [(s.first, s.stop) for s in join(stretches)] == [(0, 20), (20, 30), (30, 40), (40, 50), (60, 70)]
