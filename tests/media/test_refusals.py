"""What is damaged gives what there is; what is no video is refused in a line."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib

import av
import pytest
from PIL import Image

from fctfg.errors import BadMedia
from fctfg.media import is_picture, probe_video, read_picture, read_sound, read_video
from fctfg.media.container import Clock


def test_a_cut_video_gives_what_there_is_and_says_so(tmp_path, noisy_film):
    path = noisy_film(tmp_path / "a.mp4", container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    frames = read_video(path)
    assert 20 < sum(1 for _ in frames) < 80
    assert "cut short" in frames.problem and str(path) in frames.problem


def test_damage_in_the_middle_is_passed_over(tmp_path, beep, noisy_film):
    path = noisy_film(tmp_path / "a.mkv", codec="mjpeg", pix_fmt="yuvj420p", sound=beep(3.5, 4.0), sound_codec="flac")
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 7):
        content[place] ^= 0x5A
    path.write_bytes(content)
    frames = read_video(path)
    assert sum(1 for _ in frames) == pytest.approx(100, abs=2)
    assert "could not be decoded" in frames.problem or "cut short" in frames.problem


def test_a_video_cut_before_its_index_is_refused(tmp_path, noisy_film):
    path = noisy_film(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(BadMedia, match="cut short or damaged"):
        probe_video(path)


@pytest.mark.parametrize("stamps, times", [
    ([5.0, 5.1, 5.2], [0, 0.1, 0.2]),
    ([5.0, None, None, 5.3], [0, 0.1, 0.2, 0.3]),
    ([5.0, 5.1, 99_999.0, 99_999.5], [0, 0.1, 0.2, 0.7]),
    ([5.0, 5.1, 6.5, 2.0, 2.5], [0, 0.1, 1.5, 1.6, 2.1]),
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


def test_a_picture_or_a_sound_is_no_video(tmp_path, film, sound_file, beep):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / "a.mp4")
    with pytest.raises(BadMedia, match="is a picture, not a video"):
        probe_video(tmp_path / "a.mp4")
    with pytest.raises(BadMedia, match="is a picture, not a video or sound; a .mp4, .mov, .wav or .mp3 would do"):
        read_sound(tmp_path / "a.mp4")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.tga")
    with pytest.raises(BadMedia, match="is a picture, not a video"):
        read_video(tmp_path / "a.tga")
    with pytest.raises(BadMedia, match="holds sound but no video"):
        probe_video(sound_file(tmp_path / "a.wav", beep(0)))
    with pytest.raises(BadMedia, match="has no sound"):
        read_sound(film(tmp_path / "b.mp4"))


def test_cover_art_is_no_video(tmp_path, sound_file, beep, onset):
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


def test_odd_file_names_work(tmp_path, film, levels):
    path = film(tmp_path / "100% ä %03d '.mp4")
    assert levels(read_video(path)) == list(range(20))


def test_importing_is_light():
    code = "import sys, fctfg.media; print([m for m in ('av', 'PIL', 'torch', 'librosa') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
