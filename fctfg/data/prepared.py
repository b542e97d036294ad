"""Samples from a prepared folder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

from ..errors import BadData
from ..interfaces import FRAME_RATE, SAMPLE_RATE
from ..recipe import Recipe
from .clipfile import ClipFile
from .manifest import read_manifest
from .windows import ClipWindows, Span, Split

OPEN_CLIPS = 64  # files that a process keeps open
LAST_PART = 0.2  # of each clip, held out where there is a single speaker


class PreparedClips(ClipWindows):
    """Samples of the folder `root` that `fctfg prepare` wrote.

    About `recipe.held_out` of the speakers, at least one where there are two, are seen only in split "held-out"; which
    ones depends on their names alone. Of a single speaker the last fifth of each clip is held out. Where `recipe.split`
    is "time", it is the last `recipe.held_out` of each clip, whoever speaks.

    Raises:
        BadData: the folder is not there, not prepared, of another crop profile than the recipe's, or has no clip that
            is long enough.
    """

    def __init__(self, root: str | Path, recipe: Recipe, split: Split = "train", num_samples: int | None = None,
                 seed: int | None = None, context: tuple[float, float] = (0.0, 0.2), least_shift: int = 1):
        self.root = Path(root)
        manifest = read_manifest(self.root)
        if manifest.crop != recipe.crop:
            raise BadData(f"{root} was prepared with crop '{manifest.crop}', recipe '{recipe.name}' takes "
                          f"'{recipe.crop}': prepare it again with --crop {recipe.crop}, or train with --set "
                          f"crop={manifest.crop}.")
        if (manifest.frame_rate, manifest.sample_rate) != (FRAME_RATE, SAMPLE_RATE):
            raise BadData(f"{root} has {manifest.frame_rate} frames and {manifest.sample_rate} samples a second, "
                          f"training takes {FRAME_RATE} and {SAMPLE_RATE}; prepare it again.")
        if not manifest.clips:
            raise BadData(f"{root} has no usable clip: prepare kept none and dropped {len(manifest.dropped)}; "
                          "its manifest.json says why.")
        self.clips = manifest.clips
        lengths = [(clip.speaker, clip.frames) for clip in self.clips]
        spans, note = split_clips(lengths, recipe.held_out, split, recipe.split == "time")
        super().__init__(recipe, spans, split, context, seed, num_samples, least_shift,
                         has_action_units=any(clip.action_units for clip in self.clips))
        if without := sum(not clip.action_units for clip in self.clips) if self.has_action_units else 0:
            self.notes.append(f"{without} of {len(self.clips)} clips have no action units; theirs are unknown.")
        self.notes += [note] if note else []
        if manifest.size < recipe.size:
            self.notes.append(f"The clips are stored at {manifest.size} px and drawn up to {recipe.size}; prepare them "
                              f"at --size {recipe.size} for sharper pictures.")
        self._opened: OrderedDict[int, ClipFile] = OrderedDict()

    def __getstate__(self):
        return {**self.__dict__, "_opened": OrderedDict()}

    def footage(self, clip: int) -> ClipFile:
        file = self._opened.pop(clip, None) or ClipFile(self.root / self.clips[clip].file)
        self._opened[clip] = file  # the last one used is the last to be closed
        if len(self._opened) > OPEN_CLIPS:
            self._opened.popitem(last=False)[1].close()
        if file.num_frames < self.clips[clip].frames:
            raise BadData(f"{file.path} has {file.num_frames} frames, its manifest says {self.clips[clip].frames}.")
        return file

    def label(self, clip: int) -> str:
        return self.clips[clip].file


def split_clips(clips: list[tuple[str, int]], held_out: float, split: Split,
                by_time: bool = False) -> tuple[list[Span], str]:
    """What `split` may show of clips given as (speaker, frames), and a note on it where there is something to say.

    The speakers with the smallest hashes are held out, so neither order nor machine matters, and a speaker that is
    added moves few others. `by_time`, it is the end of every clip instead.
    """
    speakers = sorted({speaker for speaker, _ in clips}, key=lambda name: hashlib.sha256(name.encode()).digest())
    whole = [Span(number, 0, frames) for number, (_, frames) in enumerate(clips)]
    if not held_out:
        return whole, "held_out is 0: evaluation sees the clips that training does."
    if by_time or len(speakers) == 1:
        share = held_out if by_time else LAST_PART
        spans = [Span(number, 0, _cut(frames, share)) if split == "train" else Span(number, _cut(frames, share), frames)
                 for number, _, frames in whole]
        return spans, "" if by_time else "One speaker only: the last fifth of each clip is held out."
    count = min(max(1, round(held_out * len(speakers))), len(speakers) - 1)
    kept_back = set(speakers[:count])
    return [span for span, (speaker, _) in zip(whole, clips) if (speaker in kept_back) == (split == "held-out")], ""


def _cut(frames: int, share: float) -> int:
    return frames - round(frames * share)
