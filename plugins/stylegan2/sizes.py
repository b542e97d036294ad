"""What both networks agree on: which sizes there are, and how many channels a layer has."""

from __future__ import annotations

from fctfg.errors import BadRecipe

PAPER = "Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, arXiv:1912.04958"
LICENCE = ("code MIT; public weights by NVIDIA are for non-commercial use (NVIDIA Source Code Licence), others as their "
           "authors say")
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def check_size(what: str, size: int) -> None:
    """Refuse a size that the network does not come in."""
    if size not in SIZES:
        raise BadRecipe(f"{what} 'stylegan2' draws {', '.join(map(str, SIZES))} px, not {size}; set size to one of them.")


def sizes_above_four(size: int) -> list[int]:
    """8, 16, ... up to `size`: the sides of the feature maps behind the first."""
    return [side for side in SIZES if side <= size]


def channels_at(side: int, multiplier: float, most: int) -> int:
    """Of the feature maps of `side` pixels."""
    return max(1, min(int(16384 * multiplier) // side, most))
