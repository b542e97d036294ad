"""Reading videos: every frame, upright, at its moment, in its colours."""

from __future__ import annotations

import struct
from fractions import Fraction
from math import floor
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fctfg.media import is_picture, probe_video, read_video

NTSC = Fraction(30_000, 1001)
SIZE = 32


def turned(path: Path, matrix) -> Path:
    """The mp4 with the display matrix (a, b, c, d) in its track header."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[place:place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24_000, 1001), NTSC, Fraction(60)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # mkv rounds to milliseconds
def test_regular_frames_come_out_one_for_one(tmp_path, name, rate, film, levels):
    path = film(tmp_path / name, ticks=rate, options={"bf": "3"})
    info = probe_video(path)
    assert (info.frame_rate, info.constant_rate, info.num_frames) == (rate, True, 20)
    assert (info.width, info.height, info.rotation, info.has_sound) == (SIZE, SIZE, 0, False)
    assert info.duration == pytest.approx(20 / rate, abs=2e-3)
    frames = read_video(path)
    assert levels(frames) == list(range(20))
    assert frames.problem is None


@pytest.mark.parametrize("ticks, wanted", [(30, 25), (25, 30), (60, 25), (Fraction(24_000, 1001), 25), (25, 10)])
def test_another_rate_shows_what_is_on_screen(tmp_path, ticks, wanted, film, levels):
    path = film(tmp_path / "a.mp4", ticks=ticks)
    shown = [floor(Fraction(k, wanted) * ticks) for k in range(round(20 * wanted / ticks))]
    assert levels(read_video(path, Fraction(wanted))) == shown


def test_varying_frames_keep_their_moments(tmp_path, film, levels):
    stamps = [0, 1, 2, 6, 7, 9, 10, 15, 16, 18, 20, 21]
    path = film(tmp_path / "a.mp4", stamps, ticks=30)
    info = probe_video(path)
    assert not info.constant_rate
    on_screen = [max(i for i, stamp in enumerate(stamps) if stamp <= k) for k in range(22)]
    assert levels(read_video(path, Fraction(30))) == on_screen
    own = levels(read_video(path))
    assert len(own) == round(22 / 30 * info.frame_rate)
    for k, level in enumerate(own):
        assert level == max(i for i, stamp in enumerate(stamps) if stamp / 30 * info.frame_rate <= k + 0.5)


def test_frames_are_counted_from_the_first_one(tmp_path, film, levels):
    path = film(tmp_path / "a.mp4", range(40, 60), ticks=25)
    assert probe_video(path).start == pytest.approx(1.6)
    assert levels(read_video(path)) == list(range(20))
    assert levels(read_video(path, Fraction(50))) == [i // 2 for i in range(40)]


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.avi", "ffv1")])  # the ticks of avi are whole frames
def test_a_gap_is_filled_with_the_frame_before(tmp_path, name, codec, film, levels):
    path = film(tmp_path / name, [*range(30), *range(31, 80)], codec=codec)
    assert probe_video(path).frame_rate == 25
    assert levels(read_video(path)) == [i % 25 for i in [*range(30), 29, *range(30, 79)]]


def test_repeated_frames_are_arrays_of_their_own(tmp_path, film):
    frames = read_video(film(tmp_path / "a.mp4"), Fraction(100))
    first = next(frames)
    first[:] = 77
    assert next(frames).max() < 5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("rate", [None, Fraction(30)])
def test_reading_can_start_anywhere(tmp_path, name, rate, film, levels):
    path = film(tmp_path / name, range(10, 85), options={"bf": "3", "g": "12"})
    whole = levels(read_video(path, rate))
    assert len(whole) == (75 if rate is None else 90)
    for start in (1, 11, 12, 13, 40, len(whole) - 1, len(whole), len(whole) + 9):
        assert levels(read_video(path, rate, start)) == whole[start:]


def test_closing_lets_go_of_the_file(tmp_path, film):
    frames = read_video(film(tmp_path / "a.mp4"))
    next(frames)
    frames.close()
    assert list(frames) == []


PATCHES = np.array([[[200, 40, 40], [40, 180, 60]], [[50, 60, 190], [190, 150, 130]]], np.uint8)
PATCHES = PATCHES.repeat(32, 0).repeat(48, 1)


@pytest.mark.parametrize("matrix, rotation, upright", [
    ((1, 0, 0, 1), 0, lambda p: p),
    ((0, 1, -1, 0), 90, lambda p: np.rot90(p, -1)),
    ((-1, 0, 0, -1), 180, lambda p: np.rot90(p, 2)),
    ((0, -1, 1, 0), 270, lambda p: np.rot90(p)),
    ((-1, 0, 0, 1), 0, lambda p: p[:, ::-1]),
    ((1, 0, 0, -1), 0, lambda p: p[::-1]),
    ((0, 1, 1, 0), 90, lambda p: p.swapaxes(0, 1)),
    ((0, -1, -1, 0), 270, lambda p: np.rot90(p, 2).swapaxes(0, 1)),
])
def test_pictures_stand_upright(tmp_path, matrix, rotation, upright, film, assert_alike):
    path = turned(film(tmp_path / "a.mp4", range(3), picture=PATCHES, options={"crf": "1"}), matrix)
    wanted = upright(PATCHES).astype(int)
    info = probe_video(path)
    assert info.rotation == rotation
    assert (info.height, info.width) == wanted.shape[:2]
    for frame in read_video(path):
        assert frame.flags.c_contiguous and frame.flags.writeable
        assert_alike(frame, wanted)


@pytest.mark.parametrize("codec, pix_fmt, tags", [
    ("ffv1", "yuv444p", [("colorspace", 1), ("color_range", 1)]),
    ("ffv1", "yuv444p", [("colorspace", 5), ("color_range", 1)]),
    ("ffv1", "yuv444p", [("colorspace", 1), ("color_range", 2)]),
    ("ffv1", "yuv444p", []),
    ("ffv1", "yuv420p10le", [("colorspace", 1), ("color_range", 1)]),
    ("ffv1", "bgr0", []),
    ("mjpeg", "yuvj444p", [("color_range", 2)]),
])
def test_colours_are_right(tmp_path, codec, pix_fmt, tags, film, assert_alike):
    path = film(tmp_path / "a.mkv", range(2), codec=codec, pix_fmt=pix_fmt, picture=PATCHES, tags=tags)
    for frame in read_video(path):
        assert_alike(frame, PATCHES, 5 if codec == "mjpeg" else 2)


def test_untagged_large_pictures_are_bt709(tmp_path, film):
    green = np.full((720, 1280, 3), (40, 180, 60), np.uint8)
    path = film(tmp_path / "a.mkv", range(1), codec="ffv1", pix_fmt="yuv420p", picture=green, tags=[("colorspace", 1)])
    content = path.read_bytes()
    assert content.count(b"\x55\xb1\x81\x01") == 1  # Matroska's MatrixCoefficients
    path.write_bytes(content.replace(b"\x55\xb1\x81\x01", b"\x55\xb1\x81\x02"))
    assert np.abs(next(read_video(path)).astype(int) - green).max() <= 3


def test_odd_sizes_are_kept(tmp_path, film, assert_alike):
    picture = np.random.default_rng(0).integers(60, 200, (5, 7, 3)).repeat(5, 0).repeat(7, 1).astype(np.uint8)
    path = film(tmp_path / "a.mp4", range(2), picture=picture, pix_fmt="yuv444p", options={"crf": "1"})
    assert picture.shape == (25, 49, 3)
    for frame in read_video(path):
        assert_alike(frame, picture, 4)


def test_pixels_become_square(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(1, 2)
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
    info = probe_video(path)
    assert (info.width, info.height) == (32, 32)
    assert next(read_video(path)).shape == (32, 32, 3)


def test_a_moving_gif_is_a_video(tmp_path, levels):
    pictures = [Image.fromarray(np.full((SIZE, SIZE, 3), 10 * i, np.uint8)) for i in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert not is_picture(tmp_path / "a.gif")
    assert levels(read_video(tmp_path / "a.gif")) == [0, 1, 2, 3, 4]


def test_a_file_that_states_no_length_is_counted(tmp_path, film, levels):
    path = film(tmp_path / "a.h264")
    assert probe_video(path).num_frames == 20
    assert levels(read_video(path)) == list(range(20))
