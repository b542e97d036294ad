"""What the perceptual losses look at, and what they say when they see little."""

from __future__ import annotations

from torch import Tensor

from fctfg.errors import BadRecipe


def looked_at(loss: str, drawn: Tensor, true: Tensor, count: int | None) -> tuple[Tensor, Tensor]:
    """`drawn` and `true` (B, T, 3, H, W) as float32 pictures (M, 3, H, W): all frames, or `count` evenly spread."""
    if count is not None and count < 1:
        raise BadRecipe(f"loss '{loss}': frames {count} leaves none to look at; give 1 or more, or none for all.")
    total = drawn.shape[1]
    if count is not None and count < total:
        places = [(2 * i + 1) * total // (2 * count) for i in range(count)]
        drawn, true = drawn[:, places], true[:, places]
    return drawn.flatten(0, 1).float(), true.flatten(0, 1).float()


def random_advice(loss: str, file: str) -> str:
    return (f"The loss '{loss}' sees by random features, which guide less well than learnt ones. Those of "
            f"torchvision's {file} do better: `fctfg weights fetch {file}` brings it, and every new run then finds it; "
            f"or name it with --set losses.{loss}.options.backbone=FILE, or with --start-from FILE where the recipe "
            "names it.")
