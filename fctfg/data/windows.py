"""What one training sample is: a window of frames with its sound, pictures of the person, and a moment out of step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..action_units import NAMES
from ..errors import BadData
from ..faces import hide_mouth
from ..interfaces import FRAME_RATE, SAMPLE_RATE, Clip
from ..recipe import Recipe

Split = Literal["train", "held-out"]
SPLITS = ("train", "held-out")
SAMPLES_A_FRAME = SAMPLE_RATE // FRAME_RATE
ATTEMPTS = 20  # draws before a sample is given up because clip after clip cannot be read

Sample = dict[str, Tensor]
"""One sample as it crosses from a loader process: the fields of Clip without B, pictures still bytes (n, 3, H, W)."""


class Footage(Protocol):
    """One clip that windows are cut from: a ClipFile, or a drawn head."""

    @property
    def size(self) -> tuple[int, int]: ...
    def frames(self, indices: Sequence[int], size: int | None = None) -> np.ndarray: ...
    def landmarks(self, indices: Sequence[int]) -> np.ndarray: ...
    def action_units(self, indices: Sequence[int]) -> np.ndarray | None: ...
    def wave(self, start: int, num: int) -> np.ndarray: ...


class Span(NamedTuple):
    """The frames `first` <= f < `last` of clip number `clip` that a split may show."""

    clip: int
    first: int
    last: int


class Window(NamedTuple):
    """Which frames a sample shows: its first, its references, and the first of the moment it is out of step with."""

    clip: int
    start: int
    references: np.ndarray
    other: int
    hides_mouth: bool


class ClipWindows(Dataset):
    """Samples of the clips in `spans`, as many as one likes: sample i is drawn from (seed, split, i) alone.

    Every window of the data is as likely as any other, so a clip counts by its length. References are drawn as
    `recipe.references` says, windows of them starting at another frame, at least `apart` away. `other_wave` is the
    sound of a window of the same clip that starts at least `least_shift` frames away: one frame is enough, as in
    Wav2Lip (Prajwal et al., 2020, arXiv:2008.10010). Sound reaches `context` seconds before the moment a frame begins
    and after it, beyond the ends of a clip it is silence; S and `times` are the same for every sample.

    With `has_action_units` every sample has them, those that a clip lacks marked as unknown; else none has.

    A clip that cannot be read is noted in `skipped` (file: why) and another one is drawn.

    Raises:
        BadData: no span is long enough for a window, its references and another moment.
    """

    def __init__(self, recipe: Recipe, spans: Sequence[Span], split: Split, context: tuple[float, float],
                 seed: int | None, num_samples: int | None, least_shift: int, has_action_units: bool = False):
        if least_shift < 1:
            raise ValueError(f"least_shift is {least_shift} frames; sound that is not shifted is not out of step")
        self.recipe = recipe
        self.key = [(recipe.seed if seed is None else seed) % 2**64, SPLITS.index(split)]
        self.least_shift = least_shift
        self.skipped: dict[str, str] = {}
        self.has_action_units = has_action_units
        self.notes: list[str] = []
        """What a user should know of this data, in sentences."""

        shortest = shortest_span(recipe, least_shift)
        self.spans = [span for span in spans if span.last - span.first >= shortest]
        if not self.spans:
            raise BadData(f"None of {len(spans)} {split} clips is as long as {shortest} frames "
                          f"({shortest / FRAME_RATE:.2f} s), which a sample of recipe '{recipe.name}' takes; "
                          "prepare longer videos or set clip_frames lower.")
        if too_short := len(spans) - len(self.spans):
            which = f"{too_short} of {len(spans)} {split} clips"
            self.notes.append(f"{which} are shorter than {shortest} frames and are left out.")
        self.starts = np.array([span.last - span.first - recipe.clip_frames + 1 for span in self.spans])
        self.starts_until = np.cumsum(self.starts)
        self.num_samples = int(self.starts_until[-1]) if num_samples is None else num_samples

        before, after = context[0], max(context[1], 1 / FRAME_RATE)
        self.margin = _samples(before)
        self.num_wave = self.margin + (recipe.clip_frames - 1) * SAMPLES_A_FRAME + _samples(after)
        self.times = self.margin / SAMPLE_RATE + torch.arange(recipe.clip_frames) / FRAME_RATE

    def __len__(self) -> int:
        """How many samples one round has, by default one for each window there is; any i from 0 on can be drawn."""
        return self.num_samples

    @abstractmethod
    def footage(self, clip: int) -> Footage:
        """Clip number `clip`."""

    @abstractmethod
    def label(self, clip: int) -> str:
        """What to call clip number `clip` in a message."""

    def __getitem__(self, index: int) -> Sample:
        """Sample number `index`.

        Raises:
            BadData: the clips drawn cannot be read, again and again.
        """
        for attempt in range(ATTEMPTS):
            window = self.draw(index, attempt)
            if self.label(window.clip) not in self.skipped:
                try:
                    return self._read(window)
                except BadData as error:
                    self.skipped[self.label(window.clip)] = str(error)
        raise BadData(f"{ATTEMPTS} clips drawn one after the other cannot be read, {self.label(window.clip)} the last: "
                      f"{self.skipped[self.label(window.clip)]} Prepare the folder again.")

    def draw(self, index: int, attempt: int = 0) -> Window:
        """Where sample `index` looks; where `attempt` counts the clips before that could not be read."""
        rng = np.random.Generator(np.random.PCG64([*self.key, index, attempt]))
        place = rng.integers(self.starts_until[-1])
        which = int(np.searchsorted(self.starts_until, place, side="right"))
        span = self.spans[which]
        frames, length = self.recipe.clip_frames, span.last - span.first
        start = int(self.starts[which] - self.starts_until[which] + place)
        other = rng.choice(_apart(start, length - frames, self.least_shift))
        wanted = self.recipe.references
        if wanted.draw == "window":
            first = rng.choice(_apart(start, length - wanted.count, max(1, wanted.apart)))
            references = np.arange(first, first + wanted.count)
        else:
            choices = _apart(start, length - 1, wanted.apart)
            references = rng.choice(choices, wanted.count, replace=len(choices) < wanted.count)
        hides_mouth = bool(rng.random() < self.recipe.hide_mouth)
        return Window(span.clip, span.first + start, span.first + references, span.first + int(other), hides_mouth)

    def _read(self, window: Window) -> Sample:
        footage, count = self.footage(window.clip), self.recipe.references.count
        shown = np.arange(window.start, window.start + self.recipe.clip_frames)
        pictures = footage.frames([*window.references, *shown], self.recipe.size)
        pictures = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        landmarks = footage.landmarks(shown) * np.divide(2, footage.size, dtype=np.float32) - 1
        sample = {
            "source": pictures[:count],
            "frames": pictures[count:],
            "wave": footage.wave(window.start * SAMPLES_A_FRAME - self.margin, self.num_wave),
            "other_wave": footage.wave(window.other * SAMPLES_A_FRAME - self.margin, self.num_wave),
            "landmarks": landmarks,
            "hides_mouth": np.array(window.hides_mouth),
        }
        if self.has_action_units:
            units = footage.action_units(shown)
            units = np.full((len(shown), len(NAMES)), np.nan, np.float32) if units is None else units
            known = np.isfinite(units)
            sample |= {"action_units": np.where(known, units, np.float32(0)), "action_units_known": known}
        return {name: torch.from_numpy(value) for name, value in sample.items()}

    def collate(self, samples: list[Sample]) -> Clip:
        """The batch that a model takes."""
        return self.to_clip(stack(samples))

    def to_clip(self, stacked: Sample, device: torch.device | str | None = None) -> Clip:
        """A stacked batch with its pictures in [-1, 1], on `device`; they travel as bytes and become numbers there."""
        there = {name: value.to(device, non_blocking=True) for name, value in stacked.items()}
        for name in ("source", "frames"):
            there[name] = there[name].float().div_(127.5).sub_(1)
        hides = there.pop("hides_mouth")
        driving = None
        if self.recipe.hide_mouth:
            frames = there["frames"]
            driving = torch.where(hides[:, None, None, None, None], hide_mouth(frames, there["landmarks"]), frames)
        return Clip(**there, driving=driving, times=self.times.to(device))


def stack(samples: list[Sample]) -> Sample:
    """Samples as one, with B in front."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def shortest_span(recipe: Recipe, least_shift: int = 1) -> int:
    """The fewest frames in which every window finds its references and another moment."""
    wanted = recipe.references
    with_other = recipe.clip_frames - 1 + 2 * least_shift
    with_references = wanted.count - 1 + 2 * max(1, wanted.apart) if wanted.draw == "window" else 2 * wanted.apart
    return max(with_other, with_references)


def _apart(start: int, last: int, least: int) -> np.ndarray:
    """The numbers from 0 to `last` that are at least `least` from `start`."""
    every = np.arange(last + 1)
    return every[np.abs(every - start) >= least]


def _samples(seconds: float) -> int:
    return math.ceil(seconds * SAMPLE_RATE - 1e-6)
