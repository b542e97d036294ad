"""The frames on screen follow a closed form, for every way to fill or cut, without holding the video."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fctfg.pipeline import timeline


def video_of(length):
    """Frames whose pixels say their index."""
    return lambda start: (np.full((2, 2, 3), i, np.uint8) for i in range(start, length))


def shown(length, sounding, **how):
    frames = list(timeline.play(video_of(length), sounding, **how))
    assert all((frame.pixels == frame.index).all() for frame in frames)
    return [frame.index for frame in frames]


@pytest.mark.parametrize(("seconds", "rate", "frames"), [
    (Fraction(10), Fraction(25), 250),
    (Fraction(1001, 100), Fraction(25), 250),  # a quarter of a frame over
    (Fraction(1002, 100), Fraction(25), 251),  # half a frame over
    (Fraction(10), Fraction(30000, 1001), 300),  # 299.7
    (Fraction(1001), Fraction(60000, 1001), 60000),  # exact, where floats would drift
    (Fraction(1, 16000), Fraction(25), 1),
])
def test_frame_count_is_the_nearest_whole_number(seconds, rate, frames):
    assert timeline.frames_in(seconds, rate) == frames


def test_shorter_sound_cuts_or_leaves_silence():
    assert shown(7, 4) == [0, 1, 2, 3]
    assert shown(7, 4, when_shorter="silence") == list(range(7))


def test_equal_length_is_shown_as_it_is():
    for how in ("bounce", "loop", "freeze", "cut"):
        assert shown(5, 5, when_longer=how) == list(range(5))


def test_bounce_shows_no_end_twice():
    assert shown(4, 15) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert shown(2, 5) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
def test_bounce_follows_its_closed_form_in_lots_of_any_size(monkeypatch, at_once):
    monkeypatch.setattr(timeline, "BACKWARDS_BYTES", 12 * at_once)
    period = 2 * 11 - 2
    expected = [min(i % period, period - i % period) for i in range(70)]
    assert shown(11, 70) == expected


def test_bounce_never_holds_the_video(monkeypatch):
    """Each lot is read from where it starts, and no further than it needs."""
    monkeypatch.setattr(timeline, "BACKWARDS_BYTES", 12 * 4)
    reads = []

    def read(start):
        reads.append([start, 0])
        mine = reads[-1]
        for frame in video_of(20)(start):
            mine[1] += 1
            yield frame

    list(timeline.play(read, 60))
    assert reads[0] == [0, 20]
    assert reads[1:6] == [[15, 4], [11, 4], [7, 4], [3, 4], [0, 3]]
    assert reads[6] == [1, 19]


def test_loop_freeze_and_cut():
    assert shown(3, 8, when_longer="loop") == [0, 1, 2, 0, 1, 2, 0, 1]
    assert shown(3, 6, when_longer="freeze") == [0, 1, 2, 2, 2, 2]
    assert shown(3, 8, when_longer="cut") == [0, 1, 2]
    assert shown(3, 8, when_longer="cut", when_shorter="silence") == [0, 1, 2]


@pytest.mark.parametrize("how", ["bounce", "loop", "freeze"])
def test_a_picture_is_a_video_of_one_frame(how):
    assert shown(1, 4, when_longer=how) == [0, 0, 0, 0]


@pytest.mark.parametrize("when_longer", ["bounce", "loop", "freeze", "cut"])
@pytest.mark.parametrize("when_shorter", ["cut", "silence"])
@pytest.mark.parametrize("sounding", [2, 5, 9])
def test_the_number_of_frames_is_known_beforehand(sounding, when_longer, when_shorter):
    frames = shown(5, sounding, when_longer=when_longer, when_shorter=when_shorter)
    assert len(frames) == timeline.frames_shown(5, sounding, when_longer, when_shorter)


def test_no_frame_gives_no_frame():
    assert shown(0, 5) == []
