"""Feeding the model: consecutive frames with a face go through it together, each at its own moment of the sound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import FctfgError
from ..faces import hide_mouth
from ..interfaces import SAMPLE_RATE, Clip, Output
from ..model import TalkingFace


@dataclass(frozen=True)
class Place:
    """A face in a frame, as the model is shown it."""

    matrix: np.ndarray
    """(2, 3): from the unit square of the crop to pixels of the frame."""
    landmarks: np.ndarray
    """(68, 2) float32: the iBUG points in pixels of the frame."""


@dataclass
class Picture:
    """A frame on its way through the stages; each fills in its part."""

    number: int
    """Of the frame in the result; it is on screen from number / frame rate on."""
    pixels: np.ndarray
    """(H, W, 3) uint8 RGB"""
    place: Place | None = None
    """None where there is no face, or not the speaker's; such a frame passes through."""
    crop: np.ndarray | None = None
    """(size, size, 3) uint8 RGB: what the model sees of it."""
    drawn: np.ndarray | None = None
    """(h, w, 3) uint8 RGB: what the model made of it."""
    alpha: np.ndarray | None = None
    """(h, w) float32 in [0, 1]: where the model changed it, if the model says."""
    action_units: np.ndarray | None = None
    """(17,) float32: those that it is to show, NaN where sound decides; once drawn, those that were drawn."""
    other: Picture | None = None
    """A frame of another driving video at the same time, whose motion is blended in."""


class Artist:
    """Draws faces in batches; where memory runs out, in smaller ones from then on."""

    def __init__(self, model: TalkingFace, wave: np.ndarray, frame_rate: Fraction, device: torch.device, batch: int,
                 person: np.ndarray | None = None, own_reference: bool = True, hides_mouth: bool = False):
        """`wave` (S,) is the whole sound at 16 kHz. The reference is each frame itself, or else `person` (size, size,
        3) uint8, or, without one, the first face there is. `hides_mouth` from the encoder, so that sound moves it."""
        self.model = model
        self.wave = wave
        self.frame_rate = frame_rate
        self.device = device
        self.batch = batch
        self.notes: list[str] = []
        self.own_reference = own_reference
        self.hides_mouth = hides_mouth
        self.by_action_units = is_moved_by_action_units(model)
        self._person = None if person is None else self._tensor([person])

    def draw(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Every one of `pictures` in order, those with a place drawn."""
        with torch.inference_mode():
            for before, lot, after in lots(pictures, self.batch, self.model.fusion.reach):
                self._draw(*([picture for picture in some if picture.place] for some in (before, lot, after)))
                while lot:
                    yield lot.pop(0)  # not held here while the next stage has it

    def _draw(self, before: list[Picture], faces: list[Picture], after: list[Picture]) -> None:
        reach, around = self.model.fusion.reach, before + faces + after
        done = 0
        while done < len(faces):
            first, last = len(before) + done, len(before) + min(done + self.batch, len(faces))
            start = max(0, first - reach)
            if self._fits(around[start:last + reach], slice(first - start, last - start)):
                done += last - first
            else:
                self._take_fewer(last - first)

    def _fits(self, faces: list[Picture], wanted: slice) -> bool:
        """Draw the `wanted` ones among consecutive `faces` at once; False where memory ran out over it."""
        try:
            clip = self.clip(faces)
            output = self.model(clip)
            frames = unblended(output, clip.source) if self.model.decoder.blends else output.frames
            drawn = ((frames[0, wanted].clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            alpha = None if output.alpha is None else output.alpha[0, wanted, 0].clamp(0, 1).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            return False
        units = output.latent.codes[0, wanted, 0].float().cpu().numpy() if self.by_action_units else None
        for i, picture in enumerate(faces[wanted]):
            picture.drawn = drawn[i]
            picture.action_units = None if units is None else units[i]
            picture.alpha = None if alpha is None else alpha[i]
        return True

    def _take_fewer(self, tried: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried == 1:
            raise FctfgError(f"The memory of {self.device} is too small for a single frame; free some, or use "
                             "--device cpu.")
        self.batch = tried // 2
        self.notes.append(f"the memory of {self.device} did not hold {tried} frames at once; went on with {self.batch}")

    def clip(self, faces: list[Picture]) -> Clip:
        """The model's view of `faces`: B is 1, T their number; the sound reaches as far as the model hears."""
        frames = self._tensor([picture.crop for picture in faces])
        if not self.own_reference and self._person is None:
            self._person = frames[:, :1]
        wave, times = self._sound([picture.number for picture in faces])
        landmarks = self._landmarks(faces) if "landmarks" in self.model.visual_encoder.needs or self.hides_mouth else None
        others = [picture.other for picture in faces if picture.other]
        units, known = self._action_units(faces) if self.by_action_units else (None, None)
        return Clip(frames if self.own_reference else self._person, frames, wave, times, landmarks=landmarks,
                    action_units=units, action_units_known=known,
                    driving=self._driving(faces) if self.hides_mouth else None,
                    other_driving=self._driving(others) if others else None)

    def _driving(self, faces: list[Picture]) -> Tensor:
        """What the encoder sees of them."""
        frames = self._tensor([picture.crop for picture in faces])
        return hide_mouth(frames, self._landmarks(faces)) if self.hides_mouth else frames

    def _action_units(self, faces: list[Picture]) -> tuple[Tensor, Tensor]:
        """What is wanted of them, (1, T, 17), and which of it anybody wants."""
        units = torch.from_numpy(np.stack([picture.action_units for picture in faces])).to(self.device)[None]
        return units.nan_to_num(), ~units.isnan()

    def _landmarks(self, faces: list[Picture]) -> Tensor:
        """(1, T, 68, 2) in [-1, 1] of the crop"""
        landmarks = np.stack([crop_coordinates(picture.place) for picture in faces])
        return torch.from_numpy(landmarks).to(self.device)[None]

    def _tensor(self, crops: list[np.ndarray]) -> Tensor:
        """(1, T, 3, size, size) in [-1, 1]"""
        return torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2)[None].float() / 127.5 - 1

    def _sound(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """The sound around frames `numbers` (1, S), silence beyond its ends, and when in it each begins (T,)."""
        before, after = self.model.audio_encoder.context
        first, last = (Fraction(number) / self.frame_rate for number in (numbers[0], numbers[-1]))
        start = math.floor((first - Fraction(before)) * SAMPLE_RATE)
        count = math.ceil((last - first + Fraction(before) + Fraction(after)) * SAMPLE_RATE) + 1
        heard = np.zeros(count, np.float32)
        inside = self.wave[max(0, start):max(0, start + count)]
        heard[max(0, -start):][:len(inside)] = inside
        times = [float(number / self.frame_rate - Fraction(start, SAMPLE_RATE)) for number in numbers]
        return torch.from_numpy(heard).to(self.device)[None], torch.tensor(times, device=self.device)


def unblended(output: Output, pictures: Tensor) -> Tensor:
    """What was drawn over `pictures` (B, K, 3, H, W), K being 1 or T, before alpha blended the two; where alpha leaves
    nothing of it, whatever."""
    return pictures + (output.frames - pictures) / output.alpha.clamp(min=1 / 255)


def is_moved_by_action_units(model: TalkingFace) -> bool:
    """Whether action units say how its faces move, so that they can be asked for one by one."""
    return "action_units" in model.visual_encoder.needs


def lots(items: Iterator[Picture], count: int, reach: int) -> Iterator[tuple[list[Picture], list[Picture], list[Picture]]]:
    """`items` in lists of `count`, the last one shorter, each with the `reach` ones before it and after it."""
    before: list[Picture] = []
    coming: list[Picture] = []
    while lot := coming + list(islice(items, max(count, reach) - len(coming))):
        coming = list(islice(items, reach))
        next_before = (before + lot)[-reach:] if reach else []
        yield before, lot, coming
        before = next_before


def crop_coordinates(place: Place) -> np.ndarray:
    """The landmarks in the crop, (68, 2) float32: -1 is its left or upper edge, 1 the other."""
    linear, offset = place.matrix[:, :2], place.matrix[:, 2]
    return (2 * np.linalg.solve(linear, (place.landmarks - offset).T).T - 1).astype(np.float32)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether `error` is of that kind on any device; only CUDA has a type of its own for it."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)
