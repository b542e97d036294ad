"""Reading and writing media files, on small real files made here with PyAV."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave as wave_file
import zlib
from fractions import Fraction
from math import floor
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fctfg.errors import BadMedia
from fctfg.media import (VideoWriter, is_picture, probe_video, read_picture, read_sound, read_video, write_wave)
from fctfg.media.container import Clock

NTSC = Fraction(30_000, 1001)
SIZE = 32
RATE = 48_000


def film(path, stamps=range(20), ticks=25, picture=None, codec="libx264", pix_fmt="yuv420p", options=None, sound=None,
         sound_at=0.0, sound_codec="aac", tags=(), container_options=None) -> Path:
    """A video whose frame i has the grey level 10 * i, shown at stamps[i] / ticks seconds; and perhaps `sound` (S,) from
    `sound_at` on."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = container.add_stream(codec, rate=Fraction(ticks), options=options or {})
        video.pix_fmt = pix_fmt
        video.time_base = video.codec_context.time_base = 1 / Fraction(ticks)
        for name, value in tags:
            setattr(video.codec_context, name, value)
        video.height, video.width = (SIZE, SIZE) if picture is None else picture.shape[:2]
        if sound is not None:
            container.mux(encoded_sound(container.add_stream(sound_codec, rate=RATE, layout="mono"), sound, sound_at))
        for i, stamp in enumerate(stamps):
            pixels = np.full((SIZE, SIZE, 3), 10 * (i % 25), np.uint8) if picture is None else picture
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=pix_fmt, dst_colorspace=dict(tags).get("colorspace", 5), src_color_range=2,
                dst_color_range=dict(tags).get("color_range", 1))
            frame.pts, frame.time_base = stamp, 1 / Fraction(ticks)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return Path(path)


def encoded_sound(stream, sound, begin=0.0):
    packets, kind = [], stream.codec_context.format.name
    for place in range(0, len(sound), 1000):
        frame = av.AudioFrame.from_ndarray(sound[None, place:place + 1000].astype(np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        for frame in av.AudioResampler(kind, "mono", RATE).resample(frame):
            if frame is not None:
                frame.pts, frame.time_base = place + round(begin * RATE), Fraction(1, RATE)
                packets += stream.encode(frame)
    return packets + stream.encode(None)


def sound_file(path, sound, codec="pcm_s16le") -> Path:
    with av.open(str(path), "w") as container:
        container.mux(encoded_sound(container.add_stream(codec, rate=RATE, layout="mono"), sound))
    return Path(path)


def beep(at: float, seconds: float = 2.0) -> np.ndarray:
    """Silence, and a tenth of a second of tone that begins at `at`."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    tone = 0.5 * np.sin(np.arange(RATE // 10) * 2 * np.pi * 1000 / RATE)
    sound[round(at * RATE):][:len(tone)] = tone
    return sound


def onset(sound: np.ndarray, rate: int = 16_000) -> float:
    return int(np.argmax(np.abs(sound) > 0.1)) / rate


def assert_alike(picture, wanted, tolerance=2) -> None:
    """Equal but for the edges of patches, where colours run."""
    assert picture.shape == wanted.shape
    assert np.percentile(np.abs(picture.astype(int) - wanted), 85) <= tolerance


def levels(frames) -> list[int]:
    """Which frames of a `film` these are."""
    return [round(float(frame.mean()) / 10) for frame in frames]


def turned(path: Path, matrix) -> Path:
    """The mp4 with the display matrix (a, b, c, d) in its track header."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[place:place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


# --- reading videos ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24_000, 1001), NTSC, Fraction(60)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # mkv rounds to milliseconds
def test_regular_frames_come_out_one_for_one(tmp_path, name, rate):
    path = film(tmp_path / name, ticks=rate, options={"bf": "3"})
    info = probe_video(path)
    assert (info.frame_rate, info.constant_rate, info.num_frames) == (rate, True, 20)
    assert (info.width, info.height, info.rotation, info.has_sound) == (SIZE, SIZE, 0, False)
    assert info.duration == pytest.approx(20 / rate, abs=2e-3)
    frames = read_video(path)
    assert levels(frames) == list(range(20))
    assert frames.problem is None


@pytest.mark.parametrize("ticks, wanted", [(30, 25), (25, 30), (60, 25), (Fraction(24_000, 1001), 25), (25, 10)])
def test_another_rate_shows_what_is_on_screen(tmp_path, ticks, wanted):
    path = film(tmp_path / "a.mp4", ticks=ticks)
    shown = [floor(Fraction(k, wanted) * ticks) for k in range(round(20 * wanted / ticks))]
    assert levels(read_video(path, Fraction(wanted))) == shown


def test_varying_frames_keep_their_moments(tmp_path):
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


def test_frames_are_counted_from_the_first_one(tmp_path):
    path = film(tmp_path / "a.mp4", range(40, 60), ticks=25)
    assert probe_video(path).start == pytest.approx(1.6)
    assert levels(read_video(path)) == list(range(20))
    assert levels(read_video(path, Fraction(50))) == [i // 2 for i in range(40)]


def test_a_gap_is_filled_with_the_frame_before(tmp_path):
    stamps = [*range(30), *range(33, 120)]
    path = film(tmp_path / "a.mp4", stamps, options={"crf": "1"}, picture=np.full((SIZE, SIZE, 3), 9, np.uint8))
    assert probe_video(path).frame_rate == 25
    assert sum(1 for _ in read_video(path)) == 120


def test_repeated_frames_are_arrays_of_their_own(tmp_path):
    frames = read_video(film(tmp_path / "a.mp4"), Fraction(100))
    first = next(frames)
    first[:] = 77
    assert next(frames).max() < 5


def test_closing_lets_go_of_the_file(tmp_path):
    frames = read_video(film(tmp_path / "a.mp4"))
    next(frames)
    frames.close()
    assert list(frames) == []


CORNERS = np.array([[[220, 30, 30], [30, 200, 30]], [[30, 30, 220], [200, 200, 200]]], np.uint8).repeat(24, 0).repeat(32, 1)


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
def test_pictures_stand_upright(tmp_path, matrix, rotation, upright):
    path = turned(film(tmp_path / "a.mp4", range(3), picture=CORNERS, options={"crf": "1"}), matrix)
    wanted = upright(CORNERS).astype(int)
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
def test_colours_are_right(tmp_path, codec, pix_fmt, tags):
    patches = np.array([[[200, 40, 40], [40, 180, 60]], [[50, 60, 190], [190, 150, 130]]], np.uint8).repeat(32, 0).repeat(32, 1)
    path = film(tmp_path / "a.mkv", range(2), codec=codec, pix_fmt=pix_fmt, picture=patches, tags=tags)
    for frame in read_video(path):
        assert_alike(frame, patches, 5 if codec == "mjpeg" else 2)


def test_untagged_large_pictures_are_bt709(tmp_path):
    green = np.full((720, 1280, 3), (40, 180, 60), np.uint8)
    path = film(tmp_path / "a.mkv", range(1), codec="ffv1", pix_fmt="yuv420p", picture=green, tags=[("colorspace", 1)])
    content = path.read_bytes()
    assert content.count(b"\x55\xb1\x81\x01") == 1  # Matroska's MatrixCoefficients
    path.write_bytes(content.replace(b"\x55\xb1\x81\x01", b"\x55\xb1\x81\x02"))
    assert np.abs(next(read_video(path)).astype(int) - green).max() <= 3


def test_odd_sizes_are_kept(tmp_path):
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


def test_a_moving_gif_is_a_video(tmp_path):
    pictures = [Image.fromarray(np.full((SIZE, SIZE, 3), 10 * i, np.uint8)) for i in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert not is_picture(tmp_path / "a.gif")
    assert levels(read_video(tmp_path / "a.gif")) == [0, 1, 2, 3, 4]


def test_a_file_that_states_no_length_is_counted(tmp_path):
    path = film(tmp_path / "a.h264")
    assert probe_video(path).num_frames == 20
    assert levels(read_video(path)) == list(range(20))


# --- damage -----------------------------------------------------------------------------------------------------------------

def noisy_film(path, **options) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    return film(path, range(100), picture=noise, options={"g": "10"}, **options)


def test_a_cut_video_gives_what_there_is_and_says_so(tmp_path):
    path = noisy_film(tmp_path / "a.mp4", container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    frames = read_video(path)
    assert 20 < sum(1 for _ in frames) < 80
    assert "cut short" in frames.problem and str(path) in frames.problem


def test_damage_in_the_middle_is_passed_over(tmp_path):
    path = noisy_film(tmp_path / "a.mkv", codec="mjpeg", pix_fmt="yuvj420p", sound=beep(3.5, 4.0), sound_codec="flac")
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 7):
        content[place] ^= 0x5A
    path.write_bytes(content)
    frames = read_video(path)
    assert sum(1 for _ in frames) == pytest.approx(100, abs=2)
    assert "could not be decoded" in frames.problem or "cut short" in frames.problem


def test_a_video_cut_before_its_index_is_refused(tmp_path):
    path = noisy_film(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(BadMedia, match="cut short or damaged"):
        probe_video(path)


@pytest.mark.parametrize("stamps, times", [
    ([5.0, 5.1, 5.2], [0, 0.1, 0.2]),
    ([5.0, None, None, 5.3], [0, 0.1, 0.2, 0.3]),
    ([5.0, 5.1, 99_999.0, 99_999.1], [0, 0.1, 0.2, 0.3]),
    ([5.0, 5.1, 6.5, 2.0, 2.1], [0, 0.1, 1.5, 1.6, 1.7]),
    ([2.0, 2.1], [-3.0, -2.9]),
])
def test_the_clock_mends_leaping_stamps(stamps, times):
    clock = Clock(5.0, 10.0)
    assert [clock.time(stamp, 0.1) for stamp in stamps] == pytest.approx(times)


@pytest.mark.parametrize("name, content, message", [
    ("a.mp4", None, "There is no file"),
    ("a.mp4", b"", "is empty"),
    ("a.mp4", "folder", "is a folder"),
    ("a.txt", b"one line of text\n" * 100, "neither a video nor a sound"),
    ("a.mp4", b"<!DOCTYPE html><html>not found</html>", "neither a video nor a sound"),
    ("a.mp4", zlib.compress(bytes(range(256)) * 99), "neither a video nor a sound"),
    ("a.m3u8", b"#EXTM3U\n#EXTINF:9,\nhttp://localhost:1/a.ts\n#EXT-X-ENDLIST\n", "neither a video nor a sound"),
    ("a.mp4", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "picture, not a video"),
])
def test_what_is_no_video_is_refused_in_a_line(tmp_path, capfd, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    for use in (probe_video, read_video, read_sound):
        with pytest.raises(BadMedia, match=message) as error:
            use(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    with pytest.raises(BadMedia):
        read_picture(path)
    assert not is_picture(path) or message.startswith("picture")
    assert capfd.readouterr() == ("", "")


def test_a_picture_or_a_sound_is_no_video(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / "a.mp4")
    with pytest.raises(BadMedia, match="is a picture, not a video"):
        probe_video(tmp_path / "a.mp4")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.tga")
    with pytest.raises(BadMedia, match="is a picture, not a video"):
        read_video(tmp_path / "a.tga")
    with pytest.raises(BadMedia, match="holds sound but no video"):
        probe_video(sound_file(tmp_path / "a.wav", beep(0)))
    with pytest.raises(BadMedia, match="has no sound"):
        read_sound(film(tmp_path / "b.mp4"))


def test_cover_art_is_no_video(tmp_path):
    path = sound_file(tmp_path / "a.flac", beep(0.5), "flac")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    png, content = (tmp_path / "a.png").read_bytes(), path.read_bytes()
    art = struct.pack(">II9sI5I", 3, 9, b"image/png", 0, 40, 30, 24, 0, len(png)) + png
    end = 4 + 4 + 34  # of the magic word and the first block
    path.write_bytes(content[:end] + bytes([6]) + len(art).to_bytes(3, "big") + art + content[end:])
    assert len(av.open(str(path)).streams.video) == 1
    with pytest.raises(BadMedia, match="holds sound but no video"):
        probe_video(path)
    assert onset(read_sound(path)) == pytest.approx(0.5, abs=1e-3)


def test_odd_file_names_work(tmp_path):
    path = film(tmp_path / "100% ä %03d '.mp4")
    assert levels(read_video(path)) == list(range(20))


def test_importing_is_light():
    code = "import sys, fctfg.media; print([m for m in ('av', 'PIL', 'torch', 'librosa') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# --- pictures ---------------------------------------------------------------------------------------------------------------

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 128)], -1)
GREY = RAMP[..., None].repeat(3, 2)


@pytest.mark.parametrize("name, picture, wanted", [
    ("rgb.png", Image.fromarray(COLOURS), COLOURS),
    ("rgb.bmp", Image.fromarray(COLOURS), COLOURS),
    ("grey.png", Image.fromarray(RAMP), GREY),
    ("deep.png", Image.fromarray(RAMP.astype(np.uint16) * 257), GREY),
    ("deep.tif", Image.fromarray(RAMP.astype(np.uint16) * 257), GREY),
    ("bits.png", Image.fromarray(RAMP > 99), np.where(GREY > 99, 255, 0)),
    ("palette.gif", Image.fromarray(RAMP).convert("P"), GREY),
    ("cmyk.tif", Image.fromarray(COLOURS).convert("CMYK"), COLOURS),
    ("alpha.png", Image.fromarray(np.dstack([COLOURS, np.full_like(RAMP, 51)])), COLOURS * 0.2 + 255 * 0.8),
    ("grey-alpha.png", Image.fromarray(np.dstack([RAMP, np.full_like(RAMP, 51)])), GREY * 0.2 + 255 * 0.8),
])
def test_pictures_of_every_kind(tmp_path, name, picture, wanted):
    picture.save(tmp_path / name)
    assert is_picture(tmp_path / name)
    pixels = read_picture(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 64, 3)
    assert np.abs(pixels - wanted).max() <= 1


def test_pictures_follow_their_orientation_tag(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(np.rot90(COLOURS)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), COLOURS)


def test_colour_profiles_are_applied(tmp_path):
    from PIL import ImageCms

    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = swapped.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=swapped)
    assert np.abs(read_picture(tmp_path / "a.png").astype(int) - COLOURS[..., ::-1]).mean() < 2
    Image.fromarray(COLOURS).save(tmp_path / "b.png", icc_profile=b"nonsense")
    assert np.array_equal(read_picture(tmp_path / "b.png"), COLOURS)


def test_a_damaged_picture_is_refused(tmp_path):
    Image.effect_noise((200, 200), 90).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:len(content) // 2])
    with pytest.raises(BadMedia, match="is damaged"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(BadMedia, match="is not a picture"):
        read_picture(film(tmp_path / "a.mp4"))


# --- sound ------------------------------------------------------------------------------------------------------------------

def test_waves_keep_every_sample(tmp_path):
    samples = np.random.default_rng(0).integers(-2 ** 15, 2 ** 15, 5000).astype(np.int16)
    write_wave(tmp_path / "a.wav", samples / 2 ** 15)
    with wave_file.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert np.array_equal(np.frombuffer(file.readframes(9999), "<i2"), samples)
    sound = read_sound(tmp_path / "a.wav")
    assert sound.dtype == np.float32
    assert np.array_equal(sound, (samples / 2 ** 15).astype(np.float32))
    write_wave(tmp_path / "b.wav", np.array([2.0, -2.0, 0.0]))
    assert read_sound(tmp_path / "b.wav") == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav"]


def test_resampled_sound_is_the_same_sound(tmp_path):
    path = sound_file(tmp_path / "a.wav", 0.5 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE))
    sound = read_sound(path)
    assert len(sound) == 16_000
    wanted = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    assert np.abs(sound - wanted)[100:-100].max() < 1e-3


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_mixed_without_clipping(tmp_path, channels):
    with wave_file.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.full((2000, channels), 30_000, "<i2").tobytes())
    sound = read_sound(tmp_path / "a.wav")
    assert sound == pytest.approx(30_000 / 2 ** 15, abs=1e-4)


def test_the_two_sides_of_stereo_count_equally(tmp_path):
    with wave_file.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.tile(np.array([16_384, -8192], "<i2"), 2000).tobytes())
    assert read_sound(tmp_path / "a.wav") == pytest.approx(0.125, abs=1e-4)


@pytest.mark.parametrize("name, codec", [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libopus"), ("a.flac", "flac")])
def test_sound_files_begin_where_they_should(tmp_path, name, codec):
    sound = read_sound(sound_file(tmp_path / name, beep(1.0), codec))
    assert onset(sound) == pytest.approx(1.0, abs=2e-3)
    assert len(sound) == pytest.approx(32_000, abs=800)


@pytest.mark.parametrize("first_frame, sound_at", [(0, 0.0), (10, 0.0), (0, 0.4), (10, 0.2), (50, 0.0)])
@pytest.mark.parametrize("name, codec", [("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.mkv", "flac")])
def test_sound_is_counted_from_the_first_frame(tmp_path, name, codec, first_frame, sound_at):
    path = film(tmp_path / name, range(first_frame, first_frame + 10), sound=beep(1.0, 3.0) if first_frame < 50 else beep(2.5, 3.0),
                sound_at=sound_at, sound_codec=codec)
    begin = (1.0 if first_frame < 50 else 2.5) + sound_at - first_frame / 25
    assert onset(read_sound(path)) == pytest.approx(begin, abs=2e-3)


def test_a_gap_in_the_sound_is_silent(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for packet in encoded_sound(stream, np.full(2 * RATE, 0.25, np.float32)):
            if not 0.5 <= packet.pts * packet.time_base < 1.25:
                container.mux(packet)
    sound = read_sound(path)
    assert len(sound) == pytest.approx(32_000, abs=50)
    assert sound[:7900] == pytest.approx(0.25, abs=0.01)
    assert np.abs(sound[8100:19_900]).max() < 1e-3
    assert sound[20_200:-50] == pytest.approx(0.25, abs=0.01)


def test_a_cut_sound_gives_what_there_is(tmp_path):
    path = sound_file(tmp_path / "a.mp3", beep(0.5), "libmp3lame")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    sound = read_sound(path)
    assert onset(sound) == pytest.approx(0.5, abs=2e-3)
    assert 0.8 < len(sound) / 16_000 < 1.2


# --- writing videos ---------------------------------------------------------------------------------------------------------

def grey_frames(count=20, height=SIZE, width=SIZE):
    return [np.full((height, width, 3), 10 * (i % 25), np.uint8) for i in range(count)]


def written(path, frames, frame_rate=Fraction(25), **options) -> Path:
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], frame_rate, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return Path(path)


def packets_of(path, kind) -> list:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(next(s for s in container.streams if s.type == kind)) if packet.size]


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24_000, 1001), Fraction(22_883, 765), Fraction(60), Fraction(1)])
def test_every_frame_is_written_at_its_exact_time(tmp_path, rate):
    path = written(tmp_path / "a.mp4", grey_frames(), rate)
    assert levels(read_video(path)) == list(range(20))
    assert probe_video(path).frame_rate == rate
    stamps = sorted(packet.pts * packet.time_base for packet in packets_of(path, "video"))
    assert stamps == [k / rate for k in range(20)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", rate)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("height, width", [(33, 47), (240, 320), (720, 1280)])
def test_written_pictures_look_the_same(tmp_path, height, width):
    random = np.random.default_rng(0)
    picture = random.integers(20, 235, (height // 16 + 1, width // 16 + 1, 3)).repeat(16, 0).repeat(16, 1)
    picture = picture[:height, :width].astype(np.uint8)
    path = written(tmp_path / "a.mp4", [picture] * 3, crf=1)
    for frame in read_video(path):
        wanted = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(int)
        assert frame.shape == wanted.shape
        assert np.abs(frame - wanted).max() <= 8 and np.abs(frame - wanted).mean() < 1
        assert abs((frame - wanted).mean()) < 0.2
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1 if width > 1024 else 5, 1) or context.colorspace == 6


def test_aac_is_copied_bit_for_bit(tmp_path):
    source = film(tmp_path / "source.mp4", range(60), sound=beep(1.0, 2.4))
    path = written(tmp_path / "a.mp4", grey_frames(60), sound=source)
    before, after = ([bytes(packet) for packet in packets_of(p, "audio")] for p in (source, path))
    assert before == after
    assert np.array_equal(read_sound(path), read_sound(source))


@pytest.mark.parametrize("name, codec, first_frame, sound_at", [
    ("s.mp4", "aac", 10, 0.0), ("s.mp4", "aac", 0, 0.4), ("s.mov", "pcm_s16le", 10, 0.0), ("s.mov", "pcm_s16le", 0, 0.4),
    ("s.mkv", "aac", 10, 0.0), ("s.ts", "aac", 10, 0.0)])
def test_sound_stays_with_the_picture(tmp_path, name, codec, first_frame, sound_at):
    source = film(tmp_path / name, range(first_frame, first_frame + 50), sound=beep(1.0), sound_at=sound_at, sound_codec=codec)
    path = written(tmp_path / "a.mp4", grey_frames(50), sound=source)
    assert onset(read_sound(path)) == pytest.approx(1.0 + sound_at - first_frame / 25, abs=2e-3)


@pytest.mark.parametrize("rate, channels, written_rate", [(8000, 1, 8000), (22_050, 2, 22_050), (44_100, 6, 44_100),
                                                          (37_800, 1, 44_100), (192_000, 2, 96_000)])
def test_other_sound_becomes_aac_at_its_own_rate(tmp_path, rate, channels, written_rate):
    with wave_file.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        tone = 8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)
        file.writeframes(tone[:, None].repeat(channels, 1).astype("<i2").tobytes())
    path = written(tmp_path / "a.mp4", grey_frames(25), sound=tmp_path / "a.wav")
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        assert (context.name, context.sample_rate, context.channels) == ("aac", written_rate, channels)
    sound, source = read_sound(path), read_sound(tmp_path / "a.wav")
    assert len(sound) == pytest.approx(16_000, abs=2100)
    middle = slice(2000, 14_000)
    assert np.corrcoef(sound[middle], source[middle])[0, 1] > 0.99


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_ends_with_the_frames_or_when_asked(tmp_path, codec):
    source = film(tmp_path / "source.mov", range(5), sound=beep(2.5, 3.0), sound_codec=codec)
    frame_of_aac = 1024 / RATE
    for duration, wanted in ((None, 0.8), (0.5, 0.5), (2.0, 2.0), (9.0, 3.0)):
        path = written(tmp_path / "a.mp4", grey_frames(20), sound=source, duration=duration)
        assert len(read_sound(path)) / 16_000 == pytest.approx(wanted, abs=frame_of_aac + 1e-3)
        assert sum(1 for _ in read_video(path)) == 20


def test_sound_and_frames_lie_side_by_side(tmp_path):
    source = sound_file(tmp_path / "a.wav", beep(0, 20.0))
    path = written(tmp_path / "a.mp4", grey_frames(5) * 100, sound=source)
    with av.open(str(path)) as container:
        reached = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.size:
                reached[packet.stream.type] = float(packet.dts * packet.time_base)
                assert abs(reached["video"] - reached["audio"]) < 1.5
    assert min(reached.values()) > 19


def test_tags_can_be_read_back(tmp_path):
    tags = {"comment": "Synthetic: the mouth was drawn by ä machine", "title": "x"}
    assert tags.items() <= probe_video(written(tmp_path / "a.mp4", grey_frames(3), metadata=tags)).metadata.items()
    tags["fctfg"] = '{"recipe": "warp"}'
    assert tags.items() <= probe_video(written(tmp_path / "b.mp4", grey_frames(3), metadata=tags)).metadata.items()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_new(tmp_path, error):
    (tmp_path / "a.mp4").write_text("older")
    source = sound_file(tmp_path / "a.wav", beep(0))
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", SIZE, SIZE, Fraction(25), sound=source) as writer:
        for frame in grey_frames():
            writer.write(frame)
        raise error
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.wav"]
    assert (tmp_path / "a.mp4").read_text() == "older"


def test_the_source_may_be_replaced_by_the_result(tmp_path):
    path = film(tmp_path / "a.mp4", range(25), sound=beep(0.5, 1.0))
    written(path, grey_frames(25), sound=path)
    assert onset(read_sound(path)) == pytest.approx(0.5, abs=2e-3)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_what_cannot_be_written_is_refused_in_a_line(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    for name, message in (("none/a.mp4", "there is no folder"), ("a.avi", "written as .mp4"), ("folder.mp4", "it is a folder"),
                          ("empty.mp4", "it has no frames")):
        with pytest.raises(BadMedia, match=message), VideoWriter(tmp_path / name, SIZE, SIZE, Fraction(25)):
            pass
    with pytest.raises(BadMedia, match="has no sound"):
        VideoWriter(tmp_path / "a.mp4", SIZE, SIZE, Fraction(25), sound=film(tmp_path / "silent.mp4"))
    with pytest.raises(BadMedia, match="there is no folder"):
        write_wave(tmp_path / "none" / "a.wav", np.zeros(9))
    with pytest.raises(ValueError, match="takes frames"), VideoWriter(tmp_path / "a.mp4", 64, SIZE, Fraction(25)) as writer:
        writer.write(grey_frames()[0])
    assert sorted(os.listdir(tmp_path)) == ["folder.mp4", "silent.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("limit", [20_000, 300_000])
def test_a_full_disk_is_refused_in_a_line(tmp_path, limit):
    code = f"""
import resource, sys, numpy as np
from fractions import Fraction
from fctfg.errors import BadMedia
from fctfg.media import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
random = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 128, 128, Fraction(25)) as writer:
        for _ in range(40):
            writer.write(random.integers(0, 255, (128, 128, 3)).astype(np.uint8))
except BadMedia as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mp4")], capture_output=True, text=True)
    assert done.stderr == ""
    assert "a.mp4 cannot be written: File too large" in done.stdout and done.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []


# --- real files -------------------------------------------------------------------------------------------------------------

def shared(kind: str) -> list[Path]:
    root = os.environ.get("FCTFG_DATA")
    return sorted(Path(root, *kind.split("/")).iterdir()) if root else []


@pytest.mark.shared
@pytest.mark.parametrize("path", [*shared("clips/awkward"), *shared("clips/derived"), *shared("clips/real")[::7]],
                         ids=lambda path: path.name)
def test_real_clips(path, capfd):
    try:
        info = probe_video(path)
    except BadMedia as refusal:
        assert "holds sound but no video" in str(refusal)
        assert 11 < len(read_sound(path)) / 16_000 < 12
        return
    own, resampled = read_video(path), read_video(path, Fraction(25))
    count = 0
    for count, frame in enumerate(own, 1):
        assert frame.shape == (info.height, info.width, 3)
    assert own.problem is None
    assert count == pytest.approx(info.num_frames, abs=3)
    assert sum(1 for _ in resampled) == pytest.approx(count / info.frame_rate * 25, abs=1)
    if info.has_sound:
        sound = read_sound(path)
        assert len(sound) / 16_000 == pytest.approx(info.duration, abs=0.25)
        assert np.isfinite(sound).all() and np.abs(sound).max() <= 1
    else:
        with pytest.raises(BadMedia, match="has no sound"):
            read_sound(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
@pytest.mark.parametrize("path", shared("images"), ids=lambda path: path.name)
def test_real_pictures(path):
    assert is_picture(path)
    picture = read_picture(path)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) > 60 and picture.std() > 5


@pytest.mark.shared
@pytest.mark.parametrize("path", shared("audio"), ids=lambda path: path.name)
def test_real_sounds(path):
    sound = read_sound(path)
    with av.open(str(path)) as container:
        assert len(sound) / 16_000 == pytest.approx(container.duration / 1e6, abs=0.06)
    assert 0.02 < np.abs(sound).max() <= 1
