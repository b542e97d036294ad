"""Drawn faces end without a seam, whatever the model says of where it changed the picture."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.faces import find_profile
from fctfg.pipeline.draw import Picture, Place
from fctfg.pipeline.paste import Paster

MATRIX = np.array([[64.0, 0.0, 18.0], [0.0, 64.0, 18.0]])


@pytest.fixture
def pasted():
    """What becomes of a black frame (100, 100, 3), on which a white crop is pasted with an alpha (64, 64)."""
    def run(alpha):
        picture = Picture(0, np.zeros((100, 100, 3), np.uint8), Place(MATRIX, np.zeros((68, 2), np.float32)),
                          drawn=np.full((64, 64, 3), 255, np.uint8), alpha=np.float32(alpha))
        return next(Paster(find_profile("wav2lip"), False).paste(iter([picture]))).pixels[..., 0].astype(int)

    return run


def test_a_face_changed_up_to_the_border_fades_there_and_nowhere_else(pasted):
    frame = pasted(np.full((64, 64), 0.5))
    assert np.abs(np.diff(frame, axis=0)).max() < 40 and np.abs(np.diff(frame, axis=1)).max() < 40
    inside = frame[28:72, 28:72]  # the brows are changed as the mouth is
    assert inside.min() >= 127 and inside.max() <= 128


def test_an_alpha_that_ends_before_the_border_is_taken_as_it_is(pasted):
    alpha = np.zeros((64, 64))
    alpha[2:62, 2:62] = 1
    frame = pasted(alpha)
    assert (frame[20:80, 20:80] == 255).all() and frame.sum() == 255 * 60 * 60
