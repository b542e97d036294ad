"""Sound from any file, on the clock of its video."""

from __future__ import annotations

import os
import wave as wave_file

import av
import numpy as np
import pytest

from fctfg.media import read_sound, write_wave

RATE = 48_000


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


def test_resampled_sound_is_the_same_sound(tmp_path, sound_file):
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


@pytest.mark.parametrize("name, codec", [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libopus"),
                                         ("a.flac", "flac")])
def test_sound_files_begin_where_they_should(tmp_path, name, codec, sound_file, beep, onset):
    sound = read_sound(sound_file(tmp_path / name, beep(1.0), codec))
    assert onset(sound) == pytest.approx(1.0, abs=2e-3)
    assert len(sound) == pytest.approx(32_000, abs=800)


@pytest.mark.parametrize("first_frame, sound_at", [(0, 0.0), (10, 0.0), (0, 0.4), (10, 0.2), (50, 0.0)])
@pytest.mark.parametrize("name, codec", [("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.mkv", "flac")])
def test_sound_is_counted_from_the_first_frame(tmp_path, name, codec, first_frame, sound_at, film, beep, onset):
    path = film(tmp_path / name, range(first_frame, first_frame + 10), sound=beep(2.5, 3.0), sound_at=sound_at,
                sound_codec=codec)
    assert onset(read_sound(path)) == pytest.approx(2.5 + sound_at - first_frame / 25, abs=2e-3)


def test_a_gap_in_the_sound_is_silent(tmp_path, encoded_sound):
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


def test_a_cut_sound_gives_what_there_is(tmp_path, sound_file, beep, onset):
    path = sound_file(tmp_path / "a.mp3", beep(0.5), "libmp3lame")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    sound = read_sound(path)
    assert onset(sound) == pytest.approx(0.5, abs=2e-3)
    assert 0.8 < len(sound) / 16_000 < 1.2
