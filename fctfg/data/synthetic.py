"""Drawn people who talk: footage whose every motion is known, for tests, for trying things out, and as ground truth."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from ..action_units import BLINK, NAMES
from ..faces import find_profile
from ..interfaces import FRAME_RATE, SAMPLE_RATE
from ..recipe import Recipe
from .clipfile import decode_jpeg, encode_jpeg
from .heads import Look, Pose, Shape, turned
from .painting import paint
from .voice import CONTROL_RATE, Speech, speak
from .windows import ClipWindows, Span, Split, shortest_span

SPEAKERS = 32
SECONDS = 6.0  # of each speaker


@dataclass
class TalkingHead:
    """Person number `identity` of the world `seed`, talking for `seconds`. Equal arguments give equal footage.

    A frame shows the middle of its time: frame k of the video what sounds at (k + 1/2) / frame_rate.
    """

    seed: int = 0
    identity: int = 0
    seconds: float = 4.0
    width: int = 256
    height: int = 256
    frame_rate: Fraction | int = FRAME_RATE

    def __post_init__(self):
        who = np.random.Generator(np.random.PCG64([self.seed % 2**64, self.identity, 0]))
        self.look = Look.of(who)
        pitch = who.uniform(90, 240)
        what = np.random.Generator(np.random.PCG64([self.seed % 2**64, self.identity, 1]))
        self.speech: Speech = speak(what, self.seconds, pitch, tract=0.9 + 0.2 * (pitch - 90) / 150)
        self.num_frames = round(self.seconds * self.frame_rate)
        self.poses: list[Pose] = _moves(what, self.speech, (np.arange(self.num_frames) + 0.5) / float(self.frame_rate))
        unit = 0.185 * min(self.width, self.height)
        self.to_frame = np.array([[unit, 0, 0.5 * self.width], [0, unit, 0.46 * self.height]])

    @property
    def opening(self) -> np.ndarray:
        """(T,) in [0, 1]: how far the mouth is open."""
        return np.array([pose.opening for pose in self.poses])

    @property
    def spread(self) -> np.ndarray:
        """(T,) in [-1, 1]: from rounded lips to lips drawn apart."""
        return np.array([pose.spread for pose in self.poses])

    @cached_property
    def landmarks(self) -> np.ndarray:
        """The iBUG points (T, 68, 2) in pixels of the frame."""
        points = np.stack([turned(Shape(self.look, pose).landmarks, pose) for pose in self.poses])
        return points @ self.to_frame[:, :2].T + self.to_frame[:, 2]

    def frame(self, index: int) -> np.ndarray:
        """The whole picture (H, W, 3) uint8 RGB."""
        return paint(self.look, self.poses[index], self.to_frame, self.width, self.height)

    def crop(self, index: int, matrix: np.ndarray, size: int) -> np.ndarray:
        """The part (size, size, 3) uint8 RGB that a crop profile's `matrix` (2, 3) takes; drawn so, not resampled."""
        return paint(self.look, self.poses[index], _into_crop(matrix, size) @ _square(self.to_frame), size, size)


class HeadFootage:
    """A talking head cut by a crop profile: what a clip file of it would hold. Frames are drawn once, kept as JPEG."""

    def __init__(self, head: TalkingHead, crop: str, size: int):
        self.head, self.size = head, (size, size)
        self.matrices = find_profile(crop).matrices(head.landmarks)
        self._drawn: dict[int, bytes] = {}

    @property
    def num_frames(self) -> int:
        return self.head.num_frames

    def frames(self, indices: Sequence[int], size: int | None = None) -> np.ndarray:
        """Pictures (n, H, W, 3) uint8 RGB."""
        return np.stack([decode_jpeg(self._encoded(int(index)), size) for index in indices])

    def landmarks(self, indices: Sequence[int]) -> np.ndarray:
        """iBUG points (n, 68, 2) float32 in pixels of the crop."""
        into = np.stack([_into_crop(self.matrices[index], self.size[0]) for index in indices])
        points = self.head.landmarks[list(indices)] @ into[:, :, :2].transpose(0, 2, 1) + into[:, None, :, 2]
        return points.astype(np.float32)

    def action_units(self, indices: Sequence[int]) -> np.ndarray:
        """(n, 17) float32 in [0, 1]; NaN for the muscles that a drawn face does not have."""
        units = np.full((len(indices), len(NAMES)), np.nan, np.float32)
        for row, index in zip(units, indices):
            pose = self.head.poses[index]
            parted = min(1.0, 2 * pose.opening)  # the lips are apart before the jaw has dropped far
            drawn = {"AU01": pose.brows, "AU02": pose.brows, "AU20": max(0.0, pose.spread), "AU25": parted,
                     "AU26": pose.opening, BLINK: pose.blink}
            row[[NAMES.index(name) for name in drawn]] = list(drawn.values())
        return units

    def wave(self, start: int, num: int) -> np.ndarray:
        """(num,) float32 in [-1, 1]; silence beyond the ends."""
        whole = self.head.speech.wave
        before, after = max(0, -start), max(0, start + num - len(whole))
        return np.pad(whole[max(0, start):max(0, start + num)], (min(before, num), min(after, num)))[:num]

    def _encoded(self, index: int) -> bytes:
        if index not in self._drawn:
            self._drawn[index] = encode_jpeg(self.head.crop(index, self.matrices[index], self.size[0]))
        return self._drawn[index]


class SyntheticClips(ClipWindows):
    """Samples of `speakers` drawn people, of whom about `recipe.held_out` are seen only in split "held-out".

    Every process draws for itself what it shows, once: the first round is slower than those after it.
    """

    def __init__(self, recipe: Recipe, split: Split = "train", num_samples: int | None = None, seed: int | None = None,
                 context: tuple[float, float] = (0.0, 0.2), least_shift: int = 1, speakers: int = SPEAKERS,
                 seconds: float = SECONDS):
        find_profile(recipe.crop)  # an unknown one is refused before anything is drawn
        self.seconds = max(seconds, 2 * shortest_span(recipe, least_shift) / FRAME_RATE)
        kept_back = min(max(1, round(recipe.held_out * speakers)), speakers - 1)
        numbers = range(kept_back, speakers) if split == "train" else range(kept_back)
        spans = [Span(number, 0, round(self.seconds * FRAME_RATE)) for number in numbers]
        super().__init__(recipe, spans, split, context, seed, num_samples, least_shift, has_action_units=True)

    def footage(self, clip: int) -> HeadFootage:
        return _footage(self.key[0], clip, self.seconds, self.recipe.crop, self.recipe.size)

    def label(self, clip: int) -> str:
        return f"drawn speaker {clip}"


@lru_cache(maxsize=1024)
def _footage(seed: int, identity: int, seconds: float, crop: str, size: int) -> HeadFootage:
    """Shared by every dataset of a process, so that each evaluation finds its speakers drawn."""
    return HeadFootage(TalkingHead(seed, identity, seconds), crop, size)


def write_synthetic_video(path: str | Path, seed: int = 0, seconds: float = 2.0, width: int = 320, height: int = 320,
                          frame_rate: Fraction | int = FRAME_RATE, identity: int = 0) -> TalkingHead:
    """Write a video of a talking head with its sound, and give the head with everything known about it."""
    from ..media import VideoWriter, write_wave

    head = TalkingHead(seed, identity, seconds, width, height, frame_rate)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "voice.wav")
        write_wave(sound, head.speech.wave, SAMPLE_RATE)
        with VideoWriter(path, width, height, Fraction(frame_rate), sound=sound) as video:
            for index in range(head.num_frames):
                video.write(head.frame(index))
    return head


def _moves(rng: np.random.Generator, speech: Speech, times: np.ndarray) -> list[Pose]:
    """How a head is held at `times`: it sways, nods with its words, blinks and looks about."""

    def sway(most: float, slowest: float = 0.08, fastest: float = 0.5) -> np.ndarray:
        rates, phases = rng.uniform(slowest, fastest, 4), rng.uniform(0, 2 * np.pi, 4)
        return most * np.sin(2 * np.pi * rates * times[:, None] + phases).mean(1) * 1.6

    opening, spread = speech.mouth(times)
    stress = np.interp(times, np.arange(len(speech.loudness)) / CONTROL_RATE, speech.loudness)
    yaw, pitch, roll = sway(0.2), sway(0.08) + 0.03 * stress, sway(0.07)
    x, y, scale = sway(0.12), sway(0.07), 1 + sway(0.04)
    brows = np.clip(0.3 * stress + sway(0.4), 0, 1)

    seconds = times[-1] if len(times) else 0.0
    shut = np.cumsum(rng.uniform(1.2, 4.5, int(seconds / 1.2) + 2))
    blink = np.clip(1.4 - np.abs(times[:, None] - shut).min(1) / 0.075, 0, 1)
    glances = np.cumsum(rng.uniform(0.4, 2.0, int(seconds / 0.4) + 2))
    targets = rng.uniform(-1, 1, (len(glances) + 1, 2)) * (rng.random((len(glances) + 1, 1)) < 0.4)
    gaze = targets[np.searchsorted(glances, times)]

    tracks = zip(yaw, pitch, roll, x, y, scale, opening, spread, blink, brows)
    return [Pose(*(float(value) for value in row), gaze=tuple(look)) for row, look in zip(tracks, gaze)]


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.concatenate([matrix, [[0, 0, 1]]])


def _into_crop(matrix: np.ndarray, size: int) -> np.ndarray:
    """(2, 3): from pixels of the frame to pixels of the crop, where `matrix` goes from the unit square to the frame."""
    return np.diag([size, size, 1.0])[:2] @ np.linalg.inv(_square(matrix))
