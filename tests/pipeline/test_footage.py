"""A face is read from any frame on, the same frames every time."""

from __future__ import annotations

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from fctfg import media
from fctfg.pipeline.footage import Footage

RATE = Fraction(30000, 1001)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_video_is_read_from_any_frame_on(tmp_path, suffix):
    random = np.random.default_rng(0)
    with media.VideoWriter(tmp_path / f"video{suffix}", 32, 32, RATE) as writer:
        for i in range(130):  # more than two key frames
            writer.write(np.clip(random.integers(0, 60, (32, 32, 3)) + i, 0, 255).astype(np.uint8))
    footage = Footage(tmp_path / f"video{suffix}", Fraction(25))
    assert (footage.width, footage.height, footage.frame_rate, footage.expected) == (32, 32, RATE, 130)
    whole = list(footage.read())
    assert len(whole) == 130 and footage.problem is None
    for start in (1, 59, 60, 61, 100, 129):
        rest = list(footage.read(start))
        assert len(rest) == 130 - start and all(map(np.array_equal, whole[start:], rest))
    assert list(footage.read(130)) == []


def test_what_is_read_is_let_go_at_once(tmp_path):
    """Frames are megabytes in few objects, which the garbage collector would let pile up."""
    with media.VideoWriter(tmp_path / "video.mp4", 32, 32, RATE) as writer:
        for _ in range(5):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    gc.collect()
    gc.disable()
    try:
        assert len(list(Footage(tmp_path / "video.mp4", Fraction(25)).read())) == 5
        assert not [held for held in gc.get_objects() if type(held) is av.VideoFrame]
    finally:
        gc.enable()


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    footage = Footage(tmp_path / "red.png", Fraction(30))
    assert (footage.width, footage.height, footage.frame_rate, footage.expected) == (20, 10, 30, 1)
    frame, = footage.read()
    assert frame.shape == (10, 20, 3) and (frame == [255, 0, 0]).all()
    assert list(footage.read(1)) == []


def test_a_large_picture_is_shrunk_to_what_players_play(tmp_path):
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "wide.png")
    footage = Footage(tmp_path / "wide.png", Fraction(25))
    assert (footage.width, footage.height) == (1920, 480)
    assert next(footage.read()).shape == (480, 1920, 3) and "1920" in footage.problem
