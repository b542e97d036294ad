from __future__ import annotations

import numpy as np
import pytest

from fctfg.faces.smoothing import smooth

UPPER, MOUTH = slice(17, 48), slice(48, 68)


def smoothed(landmarks: np.ndarray) -> np.ndarray:
    return np.stack([smooth(landmarks, at) for at in range(len(landmarks))])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_steady_motion_is_kept_to_the_last_digit(face, count):
    t = np.arange(count)[:, None, None]
    landmarks = 60 * face + 100 + t * [5.0, -3.0] + t**2 * [0.2, 0.1]
    np.testing.assert_allclose(smoothed(landmarks), landmarks, atol=1e-8)


def test_a_head_that_turns_and_comes_nearer_is_followed(face):
    t = np.arange(30)
    factor = 60 * np.exp(0.02 * t) * np.exp(1j * np.radians(2.0 * t))
    points = factor[:, None] * (face[:, 0] + 1j * face[:, 1])
    landmarks = np.stack([points.real, points.imag], axis=-1) + 200
    assert np.abs(smoothed(landmarks) - landmarks).max() < 0.05


def test_noise_is_halved(face):
    noise = np.random.default_rng(0).normal(0, 1, (200, 68, 2))
    left = smoothed(60 * face + noise) - 60 * face
    assert left[:, UPPER].std() < 0.75
    assert left[:, UPPER].mean(1).std() < 0.55 * noise[:, UPPER].mean(1).std(), "the head as a whole"


def test_there_is_no_lag(face):
    """A nodding head, noisy: the smoothed motion lies on the true one, not a frame behind or ahead."""
    t = np.arange(120)
    motion = 25 * np.sin(2 * np.pi * t / 24)
    landmarks = 60 * face + np.stack([np.zeros(120), motion], axis=-1)[:, None]
    landmarks = landmarks + np.random.default_rng(0).normal(0, 1, landmarks.shape)
    found = smoothed(landmarks)[..., 1].mean(1) - 60 * face[:, 1].mean()
    errors = {shift: np.square(np.roll(found, -shift)[10:-10] - motion[10:-10]).mean() for shift in (-1, 0, 1)}
    assert errors[0] < 0.3 < 20 < min(errors[-1], errors[1])


def test_a_quick_mouth_is_not_smeared(face, open_mouth):
    landmarks = 60 * np.stack([open_mouth(face, 0.5 * (t % 8 == 4)) for t in range(24)])
    np.testing.assert_allclose(smoothed(landmarks)[:, MOUTH], landmarks[:, MOUTH], atol=1e-8)


def test_a_face_reduced_to_a_point_does_not_break_it():
    assert np.isfinite(smoothed(np.zeros((5, 68, 2)))).all()
