from __future__ import annotations

import numpy as np
import pytest

from fctfg.faces import number_shots
from fctfg.faces.shots import AHEAD


def scenery(seed: int, height: int = 144, width: int = 256) -> np.ndarray:
    """A picture of soft coloured blobs, wider and higher than a frame by half."""
    coarse = np.random.default_rng(seed).integers(20, 236, (9, 14, 3))
    rows, columns = np.linspace(0, 7.99, height * 3 // 2), np.linspace(0, 12.99, width * 3 // 2)
    y, x = rows.astype(int)[:, None], columns.astype(int)
    fy, fx = (rows % 1)[:, None, None], (columns % 1)[None, :, None]
    mixed = [(1 - fx) * coarse[y + k, x] + fx * coarse[y + k, x + 1] for k in (0, 1)]
    return ((1 - fy) * mixed[0] + fy * mixed[1]).astype(np.uint8)


def shot(seed: int, count: int, speed: float = 1.0) -> list[np.ndarray]:
    """A camera that pans over a scene, there and back, with noise."""
    whole, random = scenery(seed), np.random.default_rng(seed)
    frames = []
    for t in range(count):
        left = int(127 - abs(127 - speed * t % 254))
        noise = random.integers(-6, 7, (144, 256, 3))
        frames.append(np.clip(whole[20:164, left:left + 256] + noise, 0, 255).astype(np.uint8))
    return frames


def starts(frames: list[np.ndarray]) -> list[int]:
    numbers = [number for number, _ in number_shots(frames)]
    return [t for t in range(1, len(numbers)) if numbers[t] != numbers[t - 1]]


def test_a_cut_is_found_in_its_frame():
    assert starts(shot(1, 20) + shot(2, 15) + shot(3, 1) + shot(4, 20)) == [20, 35, 36]


@pytest.mark.parametrize("speed", [0, 1, 4, 8])
def test_a_moving_camera_is_no_cut(speed):
    assert starts(shot(1, 40, speed)) == []


def test_a_flash_is_no_cut():
    frames = shot(1, 30)
    frames[14] = np.full_like(frames[14], 255)
    assert starts(frames) == []


def test_a_fade_is_no_cut():
    first, second = shot(1, 30), shot(2, 30)
    parts = np.linspace(0, 1, 30)
    assert starts([((1 - part) * a + part * b).astype(np.uint8) for part, a, b in zip(parts, first, second)]) == []


def test_frames_shown_twice_are_no_cuts():
    assert starts([frame for frame in shot(1, 30, 2) for _ in range(2)]) == []


def test_every_frame_comes_out_once_and_few_are_held():
    frames, taken = shot(1, 12), []

    def taking():
        for t, frame in enumerate(frames):
            taken.append(t)
            yield frame

    for t, (_, frame) in enumerate(number_shots(taking())):
        assert frame is frames[t]
        assert len(taken) <= t + 1 + AHEAD
    assert t == 11


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_frames_are_one_shot(count):
    assert [number for number, _ in number_shots(shot(1, count))] == [0] * count


def test_another_size_is_another_shot():
    assert starts(shot(1, 8) + [frame[:, :200] for frame in shot(1, 8)]) == [8]


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (16, 16)])
def test_any_size_will_do(size):
    assert len(list(number_shots([np.zeros((*size, 3), np.uint8)] * 5))) == 5
