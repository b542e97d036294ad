"""Cuts are found; movement is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.prepare.shots import NEIGHBOURS, number_shots


def scene(seed: int, size=(180, 320)) -> np.ndarray:
    """A picture of soft patches, twice as wide as `size`, to look at through a moving window."""
    patches = np.random.default_rng(seed).integers(0, 256, (size[0] // 20 + 1, size[1] // 10 + 1, 3))
    return np.kron(patches, np.ones((20, 20, 1))).astype(np.uint8)[: size[0], : 2 * size[1]]


def pan(picture: np.ndarray, count: int, step: int) -> list[np.ndarray]:
    width = picture.shape[1] // 2
    return [picture[:, step * i:step * i + width] for i in range(count)]


@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_cut_is_found_where_it_is(step):
    frames = pan(scene(0), 20, step) + pan(scene(1), 15, step)
    assert [shot for shot, _ in number_shots(frames)] == [0] * 20 + [1] * 15


def test_the_frames_are_passed_on_as_they_come():
    frames = pan(scene(0), 10, 2)
    assert all(given is frame for (_, given), frame in zip(number_shots(frames), frames, strict=True))


@pytest.mark.parametrize("frames", [
    pytest.param(pan(scene(0), 30, 9), id="fast pan"),
    pytest.param([np.full((90, 160, 3), 8 * i, np.uint8) for i in range(30)], id="fade"),
    pytest.param([np.random.default_rng(i).integers(90, 110, (90, 160, 3), np.uint8) for i in range(30)], id="noise"),
    pytest.param([np.zeros((2, 2, 3), np.uint8)] * 5, id="tiny"),
    pytest.param([np.zeros((720, 5, 3), np.uint8)], id="one narrow frame"),
    pytest.param([], id="none"),
])
def test_no_cut_where_there_is_none(frames):
    assert {shot for shot, _ in number_shots(frames)} <= {0}


def test_few_frames_are_held():
    taken = []

    def frames():
        for frame in pan(scene(0), 50, 1):
            taken.append(1)
            yield frame

    for done, _ in enumerate(number_shots(frames()), start=1):
        assert len(taken) - done <= NEIGHBOURS
