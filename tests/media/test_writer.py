"""Writing videos: exact times, the sound beside them, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import wave as wave_file
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from fctfg.errors import BadMedia
from fctfg.media import VideoWriter, probe_video, read_sound, read_video, write_wave
from fctfg.media.files import NewFile

NTSC = Fraction(30_000, 1001)
SIZE = 32
RATE = 48_000


def grey_frames(count=20, height=SIZE, width=SIZE):
    return [np.full((height, width, 3), 10 * (i % 25), np.uint8) for i in range(count)]


def written(path, frames, frame_rate=Fraction(25), **options) -> Path:
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], frame_rate, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return Path(path)


class Packet(NamedTuple):
    place: int
    kind: str
    decoded: Fraction
    shown: Fraction
    content: bytes


def packets_of(path, *kinds) -> list[Packet]:
    """In the order in which they lie in the file."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type in kinds]
        return sorted(Packet(packet.pos, packet.stream.type, packet.dts * packet.time_base,
                             packet.pts * packet.time_base, bytes(packet))
                      for packet in container.demux(streams) if packet.size)


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24_000, 1001), Fraction(22_883, 765), Fraction(60),
                                  Fraction(1)])
def test_every_frame_is_written_at_its_exact_time(tmp_path, rate, levels):
    path = written(tmp_path / "a.mp4", grey_frames(), rate)
    assert levels(read_video(path)) == list(range(20))
    assert probe_video(path).frame_rate == rate
    stamps = sorted(packet.shown for packet in packets_of(path, "video"))
    assert stamps == [k / rate for k in range(20)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == rate
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


def test_aac_is_copied_bit_for_bit(tmp_path, film, beep):
    source = film(tmp_path / "source.mp4", range(60), sound=beep(1.0, 2.4))
    path = written(tmp_path / "a.mp4", grey_frames(60), sound=source)
    before, after = ([packet.content for packet in packets_of(p, "audio")] for p in (source, path))
    assert before == after
    assert np.array_equal(read_sound(path), read_sound(source))


@pytest.mark.parametrize("name, codec, first_frame, sound_at", [
    ("s.mp4", "aac", 10, 0.0), ("s.mp4", "aac", 0, 0.4), ("s.mov", "pcm_s16le", 10, 0.0),
    ("s.mov", "pcm_s16le", 0, 0.4),
    ("s.mkv", "aac", 10, 0.0), ("s.ts", "aac", 10, 0.0), ("s.ts", "aac", 0, 0.4009)])
def test_sound_stays_with_the_picture(tmp_path, name, codec, first_frame, sound_at, film, beep, onset):
    source = film(tmp_path / name, range(first_frame, first_frame + 50), sound=beep(1.0), sound_at=sound_at,
                  sound_codec=codec)
    path = written(tmp_path / "a.mp4", grey_frames(50), sound=source)
    begins = onset(read_sound(path, RATE), RATE)
    assert begins == pytest.approx(1.0 + sound_at - first_frame / 25, abs=2e-3)
    assert begins == pytest.approx(onset(read_sound(source, RATE), RATE), abs=1e-3 if name == "s.mkv" else 1e-4)
    # A player that ignores edit lists is out of step by no more than two packets.
    assert -2 * 1024 / RATE <= min(packet.shown for packet in packets_of(path, "audio"))


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
def test_sound_ends_with_the_frames_or_when_asked(tmp_path, codec, film, beep):
    source = film(tmp_path / "source.mov", range(5), sound=beep(2.5, 3.0), sound_codec=codec)
    frame_of_aac = 1024 / RATE
    for duration, wanted in ((None, 0.8), (0.5, 0.5), (2.0, 2.0), (9.0, 3.0)):
        path = written(tmp_path / "a.mp4", grey_frames(20), sound=source, duration=duration)
        assert len(read_sound(path)) / 16_000 == pytest.approx(wanted, abs=frame_of_aac + 1e-3)
        assert sum(1 for _ in read_video(path)) == 20


def test_sound_and_frames_lie_side_by_side(tmp_path, sound_file, beep):
    source = sound_file(tmp_path / "a.wav", beep(0, 20.0))
    path = written(tmp_path / "a.mp4", grey_frames(5) * 100, sound=source)
    reached = {"video": 0.0, "audio": 0.0}
    for packet in packets_of(path, "video", "audio"):
        reached[packet.kind] = float(packet.decoded)
        assert abs(reached["video"] - reached["audio"]) < 1.5
    assert min(reached.values()) > 19


def test_tags_can_be_read_back(tmp_path):
    tags = {"comment": "Synthetic: the mouth was drawn by ä machine", "title": "x"}
    assert tags.items() <= probe_video(written(tmp_path / "a.mp4", grey_frames(3), metadata=tags)).metadata.items()
    tags["fctfg"] = '{"recipe": "warp"}'
    assert tags.items() <= probe_video(written(tmp_path / "b.mp4", grey_frames(3), metadata=tags)).metadata.items()


@pytest.mark.parametrize("error, raised", [(RuntimeError, RuntimeError), (KeyboardInterrupt, KeyboardInterrupt),
                                           (OSError(28, "No space left on device"), BadMedia)])
def test_a_new_file_is_whole_or_absent(tmp_path, error, raised):
    with NewFile(tmp_path / "a") as temporary:
        temporary.write_text("first")
        assert not (tmp_path / "a").exists()
    with pytest.raises(raised), NewFile(tmp_path / "a") as temporary:
        temporary.write_text("half of the sec")
        raise error
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_new(tmp_path, error, sound_file, beep):
    (tmp_path / "a.mp4").write_text("older")
    source = sound_file(tmp_path / "a.wav", beep(0))
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", SIZE, SIZE, Fraction(25), sound=source) as writer:
        for frame in grey_frames():
            writer.write(frame)
        raise error
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.wav"]
    assert (tmp_path / "a.mp4").read_text() == "older"


def test_a_finished_video_takes_no_more_frames(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", SIZE, SIZE, Fraction(25)) as writer:
        writer.write(grey_frames()[0])
        writer.close()
        with pytest.raises(ValueError, match="is finished"):
            writer.write(grey_frames()[0])
    assert probe_video(tmp_path / "a.mp4").num_frames == 1


def test_the_source_may_be_replaced_by_the_result(tmp_path, film, beep, onset):
    path = film(tmp_path / "a.mp4", range(25), sound=beep(0.5, 1.0))
    written(path, grey_frames(25), sound=path)
    assert onset(read_sound(path)) == pytest.approx(0.5, abs=2e-3)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_what_cannot_be_written_is_refused_in_a_line(tmp_path, film):
    (tmp_path / "folder.mp4").mkdir()
    for name, message in (("none/a.mp4", "there is no folder"), ("a.avi", "written as .mp4"),
                          ("folder.mp4", "it is a folder"), ("empty.mp4", "it has no frames")):
        with pytest.raises(BadMedia, match=message), VideoWriter(tmp_path / name, SIZE, SIZE, Fraction(25)):
            pass
    with pytest.raises(BadMedia, match="has no sound"):
        VideoWriter(tmp_path / "a.mp4", SIZE, SIZE, Fraction(25), sound=film(tmp_path / "silent.mp4"))
    with pytest.raises(BadMedia, match="there is no folder"):
        write_wave(tmp_path / "none" / "a.wav", np.zeros(9))
    with VideoWriter(tmp_path / "a.mp4", 64, SIZE, Fraction(25)) as writer:
        writer.write(grey_frames(1, SIZE, 64)[0])
        with pytest.raises(ValueError, match="takes frames"):
            writer.write(grey_frames()[0])
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "folder.mp4", "silent.mp4"]


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
