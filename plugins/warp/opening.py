"""The opening between the lips: its outline, and what is seen in it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .mouth import INNER_LOWER, INNER_UPPER, FaceFrame, smoothstep
from .spline import Spline

TEETH = 0.1
"""How far the upper teeth reach below the upper lip, in mouth widths: 5 mm of 50."""
TOOTH_EDGES = (0.0, 0.165, 0.29, 0.42)
"""Where two teeth meet, in mouth widths from the middle."""


class Opening:
    """The space between the inner lips of `target` landmarks (M, 68, 2), at places (1, h, w, 2) of the picture.

    Each measure is (M, 1, h, w), in mouth widths. `seen` is how much of the mouth's inside `source` landmarks show.
    """

    def __init__(self, source: Tensor, target: Tensor, places: Tensor, pixel: float):
        frame, source_frame = FaceFrame.of(target), FaceFrame.of(source)
        frame.width = source_frame.width  # speech moves the corners; the teeth keep their size
        self.soft = (1.5 * pixel / frame.width).clamp_min(0.018)[..., None, None]
        across, down = frame.inside(target)
        height = torch.stack([down, source_frame.inside(source)[1]], dim=-1)
        middle = 0.5 * (across[:, 60:61] + across[:, 64:65])
        half = (across[:, 64:65] - middle).clamp_min(0.05)
        across_here, down_here = frame.inside(places.flatten(1, 2))
        across_here = across_here - middle
        along = across_here / half

        def outline(ring: tuple[int, ...]) -> Tensor:
            knots = ((across[:, ring] - middle) / half)[..., None]
            return Spline(knots, height[:, ring])(along.clamp(-1, 1)[..., None])

        (top, source_top), (bottom, source_bottom) = outline(INNER_UPPER).unbind(-1), outline(INNER_LOWER).unbind(-1)
        maps = (across_here, along.abs(), down_here - top, bottom - top, (source_bottom - source_top).clamp_min(0))
        self.across, self.along, self.depth, self.gap, self.seen = (
            part.unflatten(1, (1, *places.shape[1:3])) for part in maps)
        # Teeth that the source shows are kept; a slit, with more of the lower lip in it than of them, is drawn over.
        shown = (height[:, INNER_LOWER, 1] - height[:, INNER_UPPER, 1]).amax(-1)
        self.kept = smoothstep((shown - 0.05) / 0.07)[:, None, None, None]

    def lower_lip(self) -> Tensor:
        """1 on the lower lip and below, 0 above: sharp between the lips, blurred beyond their corners."""
        edge = torch.where(self.gap > 0, self.gap, 0.5 * self.gap)
        return smoothstep((self.depth - edge) / (self.soft + 0.35 * (self.along - 1).clamp_min(0)) + 0.5)

    def cavity(self) -> Tensor:
        """1 where the lips have parted to show what the source does not."""
        fresh = smoothstep((self.gap - self.seen) / (2 * self.soft)) * (self.along < 1)
        # The source's lower lip begins a little above where detectors put it.
        kept = self.kept * (0.9 * self.seen - 0.015).clamp_min(0)
        return fresh * smoothstep((self.depth - kept) / (2 * self.soft))

    def paint(self, lip: Tensor, skin: Tensor, black: Tensor) -> Tensor:
        """The inside of a mouth (M, 3, h, w) in [-1, 1], from the colours of its face."""
        side = smoothstep((1 - self.along) / 0.7)
        shade = 0.5 + 0.5 * side
        colour = 0.15 * _vivid(lip, 1.5) * shade
        colour = colour + (0.6 * black - colour.mean(1, keepdim=True)).clamp_min(0)  # no darker than the haze allows

        tongue = smoothstep((0.17 * side - (self.gap - self.depth)) / 0.15) * smoothstep((self.gap - 0.1) / 0.15)
        colour = torch.lerp(colour, 0.6 * _vivid(lip, 1.3) * shade, 0.75 * tongue)

        away = self.across.abs()
        edges = sum(torch.exp(-((away - edge) / 0.012) ** 2) for edge in TOOTH_EDGES)
        length = TEETH * (1 - 1.2 * away ** 2) - 0.012 * edges
        parted = smoothstep((self.gap - 0.01) / 0.06)
        teeth = smoothstep((length - self.depth) / 0.022) * parted * side * (1 - self.kept)
        ivory = 1.05 * _vivid(skin / skin.amax(1, keepdim=True).clamp_min(0.05), 0.5) * skin.mean(1, keepdim=True)
        lit = (0.5 + 0.5 * smoothstep(self.depth / 0.06)) * (1 - 0.16 * edges) * (0.4 + 0.6 * side)
        return 2 * torch.lerp(colour, ivory * lit, 0.85 * teeth) - 1


def _vivid(colour: Tensor, times: float) -> Tensor:
    """`colour` (M, 3, 1, 1) in [0, 1] with so many times its distance from grey; grey pictures stay grey."""
    return torch.lerp(colour.mean(1, keepdim=True).expand_as(colour), colour, times).clamp(0, 1)


def face_colours(picture: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The colours of the lips and of the skin beside the nose (M, 3, 1, 1), and the darkest grey (M, 1, 1, 1).

    All in [0, 1]; the grey is that of pupils or nostrils.
    """
    def between(first: tuple[int, ...], second: tuple[int, ...]) -> Tensor:
        places = torch.cat([torch.lerp(points[:, first], points[:, second], part) for part in (0.3, 0.5, 0.7)], dim=1)
        return 0.5 + 0.5 * F.grid_sample(picture, places[:, None], padding_mode="border", align_corners=False)

    lip = between((56, 57, 58, 50, 52), (65, 66, 67, 61, 63))
    skin = between((31, 31, 35, 35, 28), (2, 3, 13, 14, 29))
    black = between((37, 38, 43, 44, 31, 32, 34, 35), (41, 40, 47, 46, 32, 33, 33, 34)).mean(1, keepdim=True)
    return lip.mean((2, 3), keepdim=True), skin.mean((2, 3), keepdim=True), black.amin((2, 3), keepdim=True)
