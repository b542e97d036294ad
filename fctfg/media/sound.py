"""Reading sound from any file, on the clock of the video it belongs to; and writing WAV."""

from __future__ import annotations

import os
import wave as wave_file
from collections.abc import Iterator

import numpy as np

from ..errors import BadMedia
from .container import Clock, decoded, open_media, probe_video, sound_stream, video_stream
from .files import NewFile

# Seconds by which time stamps may stray from the count of samples before they are believed: containers round.
SLACK = 0.03


def read_sound(path: str | os.PathLike, sample_rate: int = 16_000) -> np.ndarray:
    """The sound (S,) float32 of a sound file or a video, mixed to mono.

    Sample 0 is heard when the video's first frame is shown: sound that begins later follows silence, sound that begins
    earlier is cut. Gaps and what cannot be decoded are silent. Stereo is averaged, and no mix goes beyond [-1, 1].

    Raises:
        BadMedia: it is missing, empty, not media, or has no sound.
    """
    # A bytearray grows in place, so that the whole sound is in memory once.
    samples = bytearray()
    with Sound(path) as sound:
        for piece in sound.pieces(sample_rate, "mono"):
            samples += piece.tobytes()
    if not samples:
        raise BadMedia(f"No sound of {path} can be decoded; it is damaged or empty. Name another file that has sound.")
    return np.frombuffer(samples, np.float32)


class Sound:
    """The sound of a file, opened. `start` is the moment in the container's clock from which samples are counted."""

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.container = open_media(path)
        self.stream = sound_stream(self.container)
        if self.stream is None:
            self.container.close()
            raise BadMedia(f"{path} has no sound. Name a file that has some, such as a .wav, a .mp3 or another video.")
        self.start = self._first_frame_shown()

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()

    @property
    def length(self) -> float | None:
        """Seconds from `start` to where the container says that it ends."""
        if not self.container.duration:
            return None
        return (self.container.duration + (self.container.start_time or 0)) / 1e6 - (self.start or 0.0)

    def _first_frame_shown(self) -> float | None:
        """By the video's clock; None, for the first sample, where there is no video that can be decoded."""
        if video_stream(self.container) is None:
            return None
        try:
            return probe_video(self.path).start
        except BadMedia:
            return None

    def pieces(self, sample_rate: int, layout: str) -> Iterator[np.ndarray]:
        """The sound (C, n) float32 from `start` on, without gaps, at `sample_rate` and in the channels of `layout`."""
        reached = 0
        for place, samples in self._placed(sample_rate, layout):
            while reached < place:
                silence = min(place - reached, sample_rate)
                yield np.zeros((len(samples), silence), np.float32)
                reached += silence
            fresh = samples[:, reached - place:]
            if fresh.size:
                yield fresh.astype(np.float32) / 2 ** 31
                reached += fresh.shape[1]

    def _placed(self, sample_rate: int, layout: str) -> Iterator[tuple[int, np.ndarray]]:
        """The sample at which each piece belongs, which may be before 0 or overlap; and the piece (C, n) int32."""
        clock, stretch, setup, due = Clock(self.start, self.length), None, None, 0.0
        for frame in decoded(self.container, self.stream):
            if frame is None:
                continue
            lasts = frame.samples / frame.sample_rate
            begin = clock.time(frame.time, lasts)
            shape = frame.format.name, frame.layout.name, frame.sample_rate
            if shape != setup or abs(begin - due) > SLACK:
                if stretch is not None:
                    yield from stretch.add(None)
                stretch, setup, due = _Stretch(round(begin * sample_rate), sample_rate, layout), shape, begin
            due += lasts
            yield from stretch.add(frame)
        if stretch is not None:
            yield from stretch.add(None)


class _Stretch:
    """Sound of one format without a break, being resampled; `place` is the sample at which it goes on."""

    def __init__(self, place: int, sample_rate: int, layout: str):
        from av.audio.resampler import AudioResampler

        self.place = place
        # Fixed point, since FFmpeg then scales a mix of channels to where it cannot clip.
        self._resampler = AudioResampler("s32p", layout, sample_rate)

    def add(self, frame) -> Iterator[tuple[int, np.ndarray]]:
        """What comes out by adding a decoded frame, or None at the end."""
        for resampled in self._resampler.resample(frame):
            if resampled is not None:
                samples = resampled.to_ndarray()
                yield self.place, samples
                self.place += samples.shape[1]


def write_wave(path: str | os.PathLike, wave: np.ndarray, sample_rate: int = 16_000) -> None:
    """Write mono sound (S,) in [-1, 1] as a 16-bit WAV file; what is louder is clipped.

    Raises:
        BadMedia: the folder is missing or cannot be written to.
    """
    samples = np.clip(np.rint(np.asarray(wave, np.float64) * 2 ** 15), -2 ** 15, 2 ** 15 - 1).astype("<i2")
    with NewFile(path) as temporary, wave_file.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
