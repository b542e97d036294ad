"""Moving the sound: the picture keeps its bits, the sound its length."""

from __future__ import annotations

import av
import numpy as np
import pytest

from fctfg import media
from fctfg.errors import BadMedia


def packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


@pytest.mark.parametrize("seconds", [0.2, -0.13, 0.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_comes_later_or_earlier_and_the_picture_stays(film, tmp_path, seconds, suffix):
    moment = np.arange(2 * 48_000) / 48_000
    sound = 0.4 * np.sin(2 * np.pi * (200 + 300 * moment) * moment) * (0.3 + moment / 3)
    source, out = film("film.mp4", stamps=range(50), sound=sound), tmp_path / f"moved{suffix}"
    media.shift_sound(source, out, seconds)
    assert packets(out) == packets(source)
    before, after = media.read_sound(source), media.read_sound(out)
    assert len(after) == pytest.approx(len(before), abs=1100)  # AAC ends with a block
    moved = round(seconds * 16_000)
    expected = np.pad(before, (max(0, moved), max(0, -moved)))[max(0, -moved):][:len(before)]
    common = min(len(after), len(before)) - 1100
    assert np.abs(after[:common] - expected[:common]).mean() < 0.01  # a sample off, it would be 0.03
    one, two = media.probe_video(source), media.probe_video(out)
    assert (one.frame_rate, one.width) == (two.frame_rate, two.width) and two.start == pytest.approx(0, abs=1e-3)


def test_what_cannot_be_written_is_refused(film, tmp_path):
    source = film("film.mp4", sound=np.zeros(9600))
    with pytest.raises(BadMedia, match=r"videos are written as \.mp4"):
        media.shift_sound(source, tmp_path / "moved.avi", 0.1)
    with pytest.raises(BadMedia, match="it is an input"):
        media.shift_sound(source, source, 0.1)
    with pytest.raises(BadMedia, match="has no sound"):
        media.shift_sound(film("mute.mp4"), tmp_path / "moved.mp4", 0.1)
    vp8 = film("vp8.webm", codec="libvpx", sound=np.zeros(9600), sound_codec="libopus")
    with pytest.raises(BadMedia, match="vp8; give a name that ends in .mkv"):
        media.shift_sound(vp8, tmp_path / "moved.mp4", 0.1)
    assert not list(tmp_path.glob("*moved*"))
