from __future__ import annotations

import numpy as np
import pytest

from fctfg.errors import FctfgError
from fctfg.faces import PROFILES, find_profile
from fctfg.faces.profiles import Measures

EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
MOUTH = slice(48, 68)


def inside(profile, points: np.ndarray) -> np.ndarray:
    """`points` (68, 2) of a frame in the unit square of their own crop."""
    matrix = profile.matrices(points[None])[0]
    return np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_an_unknown_profile_suggests_the_nearest():
    known = r"There are: arcface112, face, ffhq, syncnet, voxceleb, wav2lip\."
    with pytest.raises(FctfgError, match=r"No crop profile called 'wav2lips'\. Did you mean 'wav2lip'\? " + known):
        find_profile("wav2lips")


@EVERY
def test_a_crop_moves_and_grows_with_the_face(profile, face):
    matrix = profile.matrices(face[None])[0]
    moved = profile.matrices((70 * face + [310, 220])[None])[0]
    assert moved.dtype == np.float64
    np.testing.assert_allclose(moved[:, :2], 70 * matrix[:, :2], atol=1e-9)
    np.testing.assert_allclose(moved[:, 2], 70 * matrix[:, 2] + [310, 220], atol=1e-9)


@EVERY
def test_each_frame_is_cut_as_if_it_were_alone(profile, face, open_mouth):
    frames = np.stack([50 * turned(open_mouth(face, 0.1 * t), 3 * t) + [10 * t, -t] for t in range(6)])
    alone = [profile.matrices(frame[None])[0] for frame in frames]
    np.testing.assert_allclose(profile.matrices(frames), alone, atol=1e-9)


@pytest.mark.parametrize("profile", [profile for name, profile in PROFILES.items() if name != "voxceleb"])
def test_a_crop_does_not_pump_with_the_mouth(profile, face, open_mouth):
    mouths = 80 * np.stack([open_mouth(face, by) for by in (0, 0.2, 0.6)])
    matrices = profile.matrices(mouths)
    np.testing.assert_allclose(matrices, matrices[:1].repeat(3, 0), atol=1e-9)


@EVERY
@pytest.mark.parametrize("degrees", [-20, 0, 20])
def test_the_face_fills_its_crop(profile, degrees, face):
    points = inside(profile, turned(face, degrees))
    if profile.name == "arcface112":
        points = points[17:]  # the chin lies at its edge, and may lie beyond
    assert (points > -0.03).all() and (points < 1.03).all()


def test_the_lower_half_holds_the_whole_mouth_and_no_eyes(face, open_mouth):
    profile = find_profile("wav2lip")
    for degrees in (-15, 0, 15):
        for by in (0, 0.3, 0.6):
            points = inside(profile, turned(open_mouth(face, by), degrees))
            assert points[MOUTH, 1].min() > 0.52 and points[MOUTH, 1].max() < 1
            assert points[36:48, 1].max() < 0.5


def test_the_tight_box_goes_from_jaw_to_jaw(face):
    points = inside(find_profile("wav2lip"), face)
    np.testing.assert_allclose([points[:17, 0].min(), points[:17, 0].max()], [0, 1], atol=1e-9)
    assert 0.9 < points[8, 1] < 0.98, "the chin, with some room below"


def test_the_square_leaves_room_for_the_jaw(face, open_mouth):
    profile = find_profile("face")
    matrix = profile.matrices(face[None])[0]
    assert matrix[0, 0] == matrix[1, 1]
    assert inside(profile, open_mouth(face, 0.5))[8, 1] < 1


@EVERY
@pytest.mark.parametrize("size", [16, 96, 256])
def test_masks_fade_to_nothing_at_the_border(profile, size):
    mask = profile.mask(size)
    assert mask.shape == (size, size) and mask.dtype == np.float32
    assert mask.max() == 1 and mask.min() == 0
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
    assert np.abs(np.diff(mask, axis=0)).max() < 16 / size and np.abs(np.diff(mask, axis=1)).max() < 16 / size


@EVERY
def test_the_whole_mouth_is_drawn(profile, face, open_mouth):
    mask = profile.mask(96)
    for by in (0, 0.3) if profile.name != "arcface112" else (0,):  # which ends at the chin
        columns, rows = (96 * inside(profile, turned(open_mouth(face, by), 10))[MOUTH]).astype(int).T
        assert mask[rows, columns].min() > 0.9


def test_wav2lip_keeps_the_upper_face():
    assert not find_profile("wav2lip").mask(96)[:46].any()


@pytest.mark.parametrize("degrees", [0, -30])
def test_arcface112_aligns_as_insightface_does(degrees, face, open_mouth):
    """Against scikit-image's estimate of Umeyama's transform, which insightface takes."""
    from skimage.transform import SimilarityTransform

    points = turned(60 * open_mouth(face, 0.2), degrees) * [1, 0.9] + [200, 150]
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    wanted = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    theirs = SimilarityTransform.from_estimate(five - 0.5, np.array(wanted))  # both count from the first pixel's middle
    ours = 112 * inside(find_profile("arcface112"), points)
    np.testing.assert_allclose(ours, theirs(points - 0.5) + 0.5, atol=1e-9)


def test_voxceleb_is_the_box_of_its_authors(face):
    points = turned(60 * face, 10) + [200, 150]
    (left, top), (right, bottom) = points.min(0), points.max(0)
    size = max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2 - size / 6
    matrix = find_profile("voxceleb").matrices(points[None])[0]
    np.testing.assert_allclose(matrix, [[2 * size, 0, x - size], [0, 2 * size, y - size]])


@pytest.mark.parametrize("narrow", [0.6, 1.0])
def test_ffhq_is_the_quadrilateral_of_its_authors(narrow, face):
    """Point by point: half a side is twice the distance of the eyes or 1.8 times that to the mouth, if that is more."""
    points = turned(60 * face * [narrow, 1], 25) + [200, 150]
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    eyes, mouth = (right_eye + left_eye) / 2, (points[48] + points[54]) / 2
    middle = eyes + 0.1 * (mouth - eyes)
    half = max(2 * np.hypot(*(left_eye - right_eye)), 1.8 * np.hypot(*(mouth - eyes)))
    along = half * np.array([np.cos(np.radians(25)), np.sin(np.radians(25))])
    down = np.array([-along[1], along[0]])
    matrix = find_profile("ffhq").matrices(points[None])[0]
    for (u, v), corner in {(0, 0): middle - along - down, (1, 0): middle + along - down, (0, 1): middle - along + down,
                           (1, 1): middle + along + down}.items():
        np.testing.assert_allclose(matrix @ [u, v, 1], corner)


def test_measures_go_there_and_back(face):
    frames = np.stack([40 * turned(face, 25) + 100, face])
    measures = Measures.of(frames)
    np.testing.assert_allclose(measures.unit[0], 40 * measures.unit[1])
    np.testing.assert_allclose(measures.turned(frames)[0], measures.turned(frames)[1], atol=1e-9)
    np.testing.assert_allclose(measures.frame(measures.turned(frames)), frames, atol=1e-9)
