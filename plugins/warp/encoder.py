"""Landmarks as codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.interfaces import CodeShape, FaceCode, SkipAdapter, SkipShape, VisualEncoder

from .mouth import INNER_LOWER, INNER_UPPER, FaceFrame, smoothstep

REACH = 0.07
"""How far the line between closed lips is looked for, up and down, in mouth widths."""
LOOKS = 21
"""Places looked at over that way."""


class WarpVisualEncoder(VisualEncoder):
    """The frames' landmarks as codes, and the frames themselves as the one skip.

    Where the lips are closed, the points of the inner lips are put on the dark line between them, which detectors miss
    by some pixels. The identity is the mean of the frames' landmarks. No paper, no weights with decoder 'warp'; other
    decoders get the codes and skips they ask for through linear layers.
    """

    gives = frozenset({"skips"})
    needs = frozenset({"landmarks"})

    def __init__(self, *, size: int, codes: CodeShape, skips: tuple[SkipShape, ...] = ()):
        super().__init__()
        self.codes = codes
        self.recode = nn.Identity() if codes == (68, 2) else nn.Linear(68 * 2, codes.count * codes.width)
        self.adapt = SkipAdapter((SkipShape(3, size, size),), skips)

    def forward(self, source: Tensor, frames: Tensor, landmarks: Tensor) -> FaceCode:
        shape = frames.shape[:2]
        with torch.autocast(frames.device.type, enabled=False):
            points = meet_lips(landmarks.flatten(0, 1).float(), frames.flatten(0, 1).float()).unflatten(0, shape)
        codes = self.recode(points.flatten(2)).unflatten(2, self.codes)
        skips = self.adapt([frames.flatten(0, 1)])
        return FaceCode(codes.mean(1), codes, tuple(skip.unflatten(0, shape) for skip in skips))


def meet_lips(points: Tensor, picture: Tensor) -> Tensor:
    """Landmarks (M, 68, 2) with the inner lips, where closed, on the dark line that `picture` (M, 3, H, W) shows."""
    frame = FaceFrame.of(points)
    across, down = frame.inside(points)
    gap = (down[:, INNER_LOWER] - down[:, INNER_UPPER])[:, 1:4]
    closed = 1 - smoothstep((gap.amax(-1, keepdim=True) - 0.03) / 0.03)

    # Darkness at LOOKS heights above and below 13 places from corner to corner, four a column of points.
    rows = [0.5 * (value[:, INNER_UPPER] + value[:, INNER_LOWER]) for value in (across, down)]
    line_across, line_down = (F.interpolate(row[:, None], 17, mode="linear", align_corners=True)[:, 0] for row in rows)
    heights = torch.linspace(-REACH, REACH, LOOKS, device=points.device)
    places = frame.outside(line_across.repeat_interleave(LOOKS, dim=1), (line_down[:, :, None] + heights).flatten(1))
    light = F.grid_sample(picture.mean(1, keepdim=True), places.unflatten(1, (17, LOOKS)), padding_mode="border",
                          align_corners=False)[:, 0]
    light = F.avg_pool1d(light.transpose(1, 2), 5, 1, 2, count_include_pad=False).transpose(1, 2)
    contrast = (light - light.mean(-1, keepdim=True)) / (light.std(-1, keepdim=True) + 0.02)
    # The nearer the likelier: the shadow under the lower lip is dark, too.
    dark = (-3 * contrast - 3 * (heights / REACH) ** 2).softmax(-1)
    way = (dark * heights).sum(-1)[:, 4:13:4]
    moved = down.clone()
    seam = 0.5 * (down[:, (61, 62, 63)] + down[:, (67, 66, 65)]) + way
    for ring in (61, 62, 63), (67, 66, 65):
        moved[:, ring] = torch.lerp(down[:, ring], seam, closed)
    return frame.outside(across, moved)
