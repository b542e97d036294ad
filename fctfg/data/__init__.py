"""Prepared folders and synthetic talking heads, as Clips."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadData
from ..recipe import Recipe
from .loading import clip_loader
from .prepared import PreparedClips
from .synthetic import SPEAKERS, SyntheticClips, TalkingHead, write_synthetic_video
from .windows import ClipWindows, Split

__all__ = ["clip_loader", "make_dataset", "write_synthetic_video", "ClipWindows", "PreparedClips", "SyntheticClips",
           "TalkingHead"]


def make_dataset(data: str | Path, recipe: Recipe, split: Split = "train", context: tuple[float, float] = (0.0, 0.2),
                 seed: int | None = None) -> ClipWindows:
    """The samples that `--data` names: "synthetic" for drawn heads, "synthetic:200" for as many people, anything else a
    prepared folder.

    `context` is how many seconds of sound are heard before and after the moment a frame begins; `seed` the recipe's
    where None.

    Raises:
        BadData: the folder cannot be trained on with this recipe.
    """
    name, colon, count = str(data).partition(":")
    if name == "synthetic":
        if colon and not (count.isdigit() and int(count) >= 2):
            raise BadData(f"--data {data}: give a number of people, two or more, as in synthetic:200.")
        return SyntheticClips(recipe, split, context=context, seed=seed, least_shift=recipe.least_shift,
                              speakers=int(count or SPEAKERS))
    return PreparedClips(data, recipe, split, context=context, seed=seed, least_shift=recipe.least_shift)
