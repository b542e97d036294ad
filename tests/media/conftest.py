"""Small real files, made with PyAV, and ways to recognise what was put into them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SIZE = 32
RATE = 48_000


def _film(path, stamps=range(20), ticks=25, picture=None, codec="libx264", pix_fmt="yuv420p", options=None, sound=None,
          sound_at=0.0, sound_codec="aac", tags=(), container_options=None) -> Path:
    """A video whose frame i has the grey level 10 * (i % 25), shown at stamps[i] / ticks seconds; with `sound` (S,)."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = container.add_stream(codec, rate=Fraction(ticks), options=options or {})
        video.pix_fmt = pix_fmt
        video.time_base = video.codec_context.time_base = 1 / Fraction(ticks)
        for name, value in tags:
            setattr(video.codec_context, name, value)
        video.height, video.width = (SIZE, SIZE) if picture is None else picture.shape[:2]
        if sound is not None:
            container.mux(_encoded_sound(container.add_stream(sound_codec, rate=RATE, layout="mono"), sound, sound_at))
        for i, stamp in enumerate(stamps):
            pixels = np.full((SIZE, SIZE, 3), 10 * (i % 25), np.uint8) if picture is None else picture
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=pix_fmt, dst_colorspace=dict(tags).get("colorspace", 5), src_color_range=2,
                dst_color_range=dict(tags).get("color_range", 1))
            frame.pts, frame.time_base = stamp, 1 / Fraction(ticks)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return Path(path)


def _encoded_sound(stream, sound, begin=0.0) -> list:
    """The packets of `sound` (S,), which begins at `begin` seconds."""
    packets, kind = [], stream.codec_context.format.name
    for place in range(0, len(sound), 1000):
        frame = av.AudioFrame.from_ndarray(sound[None, place:place + 1000].astype(np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        for frame in av.AudioResampler(kind, "mono", RATE).resample(frame):
            if frame is not None:
                frame.pts, frame.time_base = place + round(begin * RATE), Fraction(1, RATE)
                packets += stream.encode(frame)
    return packets + stream.encode(None)


def _noisy_film(path, **options) -> Path:
    """Four seconds that make a file large enough to be cut."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    return _film(path, range(100), picture=noise, options={"g": "10"}, **options)


def _sound_file(path, sound, codec="pcm_s16le") -> Path:
    """A file of `sound` (S,) alone."""
    with av.open(str(path), "w") as container:
        container.mux(_encoded_sound(container.add_stream(codec, rate=RATE, layout="mono"), sound))
    return Path(path)


def _beep(at: float, seconds: float = 2.0) -> np.ndarray:
    """Silence, and a tenth of a second of tone that begins at `at`."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    tone = 0.5 * np.sin(np.arange(RATE // 10) * 2 * np.pi * 1000 / RATE)
    sound[round(at * RATE):][:len(tone)] = tone
    return sound


def _onset(sound: np.ndarray, rate: int = 16_000) -> float:
    """When a `beep` begins to be heard, in seconds."""
    return int(np.argmax(np.abs(sound) > 0.1)) / rate


def _levels(frames) -> list[int]:
    """Which frames of a `film` these are."""
    return [round(float(frame.mean()) / 10) for frame in frames]


def _assert_alike(picture, wanted, tolerance=2) -> None:
    """Equal but for the edges of patches, where colours run."""
    assert picture.shape == wanted.shape
    assert np.percentile(np.abs(picture.astype(int) - wanted), 85) <= tolerance


def _offered(function):
    """A fixture that is the function itself, since test files do not import each other."""
    return pytest.fixture(lambda: function)


def _offered_in_tmp_path(function):
    """The same for one that writes a file: a bare name lies in tmp_path, never where pytest was started."""

    @pytest.fixture
    def offered(tmp_path):
        return lambda name, *arguments, **options: function(tmp_path / name, *arguments, **options)

    return offered


film, noisy_film, sound_file = map(_offered_in_tmp_path, (_film, _noisy_film, _sound_file))
encoded_sound = _offered(_encoded_sound)
beep, onset, levels, assert_alike = map(_offered, (_beep, _onset, _levels, _assert_alike))
