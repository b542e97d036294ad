from __future__ import annotations

import numpy as np
import pytest

from fctfg.faces import crop, find_profile, paste

TURNS = pytest.mark.parametrize("degrees", [0, 12, -35])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()[:320, :400].copy()


def laid(width: float, height: float, left: float, top: float, degrees: float = 0.0) -> np.ndarray:
    """A crop's matrix: a box turned about its upper left corner."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[width * cos, -height * sin, left], [width * sin, height * cos, top]])


def ramp(height: int = 200, width: int = 260) -> np.ndarray:
    """A frame whose channels grow with x, with y and against both; at pixel middles x + 0.5, y + 0.5."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.rint(np.stack([0.8 * x, y, 250 - 0.5 * x - 0.5 * y], axis=-1)).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


def test_a_crop_of_whole_pixels_is_those_pixels(photo):
    np.testing.assert_array_equal(crop(photo, laid(96, 96, 120, 40), 96), photo[40:136, 120:216])


@TURNS
@pytest.mark.parametrize("size", [24, 64, 150])
def test_pixels_are_taken_from_exactly_where_the_matrix_says(degrees, size):
    matrix = laid(70.3, 61.7, 92.4, 80.9, degrees)
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    x, y = np.tensordot(matrix, np.stack([u, v, np.ones_like(u)]), 1)
    wanted = np.stack([0.8 * x, y, 250 - 0.5 * x - 0.5 * y], axis=-1)
    away = crop(ramp(), matrix, size) - wanted
    assert np.abs(away).max() < 1.4 and np.abs(away.mean((0, 1))).max() < 0.1, "but for rounding"


@TURNS
def test_shrinking_does_not_alias(degrees):
    board = (np.indices((300, 300)).sum(0) % 2 * 255).astype(np.uint8)
    small = crop(np.repeat(board[..., None], 3, -1), laid(160, 160, 100.3, 90.6, degrees), 32)
    assert np.abs(small.astype(int) - 127).max() < 8


@TURNS
def test_the_edge_of_the_frame_goes_on_outside(degrees):
    frame = ramp()
    outside = crop(frame, laid(60, 60, -200, -150, degrees), 20)
    assert np.abs(outside.astype(int) - frame[0, 0]).max() <= 1
    half = crop(frame, laid(80, 80, 220, 60), 40)
    assert np.abs(half[20, 20:].astype(int) - frame[101, 259]).max() <= 1


@TURNS
@pytest.mark.parametrize("name", ["wav2lip", "face"])
@pytest.mark.parametrize("size", [180, 256])
@pytest.mark.parametrize("match_colour", [False, True])
def test_pasting_back_what_was_cut_out_changes_nothing(photo, degrees, name, size, match_colour):
    matrix, mask = laid(150.3, 170.7, 130.4, 60.8, degrees), find_profile(name).mask(size)
    pasted = paste(photo, crop(photo, matrix, size), matrix, mask, match_colour)
    corners = matrix @ [[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    (left, top), (right, bottom) = np.clip(corners.min(1), 0, None).astype(int), corners.max(1).astype(int)
    assert psnr(pasted[top:bottom, left:right], photo[top:bottom, left:right]) > 40


@TURNS
def test_where_the_mask_is_0_every_bit_stays(photo, degrees):
    matrix, mask = laid(150.3, 170.7, 130.4, 60.8, degrees), find_profile("wav2lip").mask(96)
    pasted = paste(photo, np.zeros((96, 96, 3), np.uint8), matrix, mask, match_colour=False)
    assert np.shares_memory(pasted, photo) is False
    y, x = np.mgrid[:320, :400] + 0.5
    u, v = np.linalg.solve(matrix[:, :2], np.stack([x.ravel(), y.ravel()]) - matrix[:, 2:]).reshape(2, 320, 400)
    upper = (v < 0.46) | (v > 1) | (u < 0) | (u > 1)
    np.testing.assert_array_equal(pasted[upper], photo[upper])
    middle = (np.abs(u - 0.5) < 0.2) & (np.abs(v - 0.75) < 0.05)
    assert pasted[middle].max() == 0, "and where it is 1 nothing of the frame is left"


@pytest.mark.parametrize("place", [(-60, -40), (330, 200), (-70, 230), (900, 900)])
@TURNS
def test_a_crop_may_reach_beyond_the_frame(photo, place, degrees):
    matrix, mask = laid(150.3, 170.7, *place, degrees), find_profile("face").mask(128)
    pasted = paste(photo, np.full((128, 128, 3), 255, np.uint8), matrix, mask, match_colour=False)
    assert pasted.shape == photo.shape
    assert (pasted >= photo).all() and (pasted != photo).any() == (place != (900, 900))


def test_colours_are_matched_by_what_both_show(photo):
    matrix, mask = laid(150.3, 170.7, 130.4, 60.8), find_profile("wav2lip").mask(128)
    whole = crop(photo, matrix, 128)
    drawn = 0.94 * whole.astype(np.float32) + [12, -9, 5]
    drawn[70:112, 30:98] = [120, 30, 40]  # a mouth that is not the photo's must not count
    wanted = whole.copy()
    wanted[70:112, 30:98] = np.clip((np.array([120, 30, 40]) - [12, -9, 5]) / 0.94, 0, 255)
    matched = paste(photo, drawn, matrix, mask)
    pure = paste(photo, wanted, matrix, mask, match_colour=False)
    unmatched = paste(photo, drawn, matrix, mask, match_colour=False)
    assert np.abs(matched.astype(int) - pure).mean() < 0.25 * np.abs(unmatched.astype(int) - pure).mean()
    assert np.abs(matched.astype(int) - pure).max() <= 5


def test_matched_colours_do_not_flicker(photo):
    """A still face drawn with another mouth and other noise in every frame: its cheek keeps its colour."""
    matrix, mask = laid(150.3, 170.7, 130.4, 60.8), find_profile("wav2lip").mask(96)
    whole, random = crop(photo, matrix, 96).astype(np.float32) + [10, 0, -10], np.random.default_rng(0)
    cheeks = []
    for t in range(12):
        drawn = whole + random.normal(0, 4, whole.shape)
        drawn[60:60 + 2 * t, 25:70] = [90, 20, 20]
        cheeks.append(paste(photo, drawn, matrix, mask)[170:180, 150:160].mean((0, 1)))
    assert np.std(cheeks, axis=0).max() < 0.7


def test_a_mask_without_a_border_leaves_the_colours_alone(photo):
    drawn = np.full((64, 64, 3), 200, np.uint8)
    pasted = paste(photo, drawn, laid(64, 64, 100, 100), np.ones((64, 64), np.float32))
    assert (pasted[100:164, 100:164] == 200).all()


def test_drawn_faces_may_be_bytes_or_floats(photo):
    matrix, mask = laid(150.3, 170.7, 130.4, 60.8), find_profile("face").mask(96)
    drawn = crop(photo, matrix, 96)
    floats = paste(photo, drawn.astype(np.float32), matrix, mask)
    np.testing.assert_array_equal(paste(photo, drawn, matrix, mask), floats)
