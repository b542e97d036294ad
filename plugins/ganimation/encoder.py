"""What GANimation sees of a clip: the pictures as they are, and the action units that are given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fctfg.action_units import NAMES
from fctfg.interfaces import CodeShape, FaceCode, SkipAdapter, SkipShape, VisualEncoder

from .decoder import LICENCE, PAPER

UNKNOWN = -1.0
"""In the motion, of an action unit that nobody gives: what is heard decides."""


class GANimationVisualEncoder(VisualEncoder):
    """The pictures of `source` themselves, one for each frame, and the action units that the clip gives.

    Pumarola et al., 2018, arXiv:1807.09251. Of one picture, every frame is drawn from it; of several, each frame from
    the one of its place. The motion (B, T, 1, 17) are the known action units of `frames`, -1 for the others; who
    decides what is known decides what sound may move. Without weights, but for decoders with codes and feature maps of
    their own.
    """

    paper = PAPER
    licence = LICENCE
    gives = frozenset({"skips"})
    needs = frozenset({"action_units", "action_units_known"})

    def __init__(self, *, size: int, codes: CodeShape, skips: tuple[SkipShape, ...] = ()):
        super().__init__()
        self.codes = CodeShape(*codes)
        self.adapter = SkipAdapter((SkipShape(3, size, size),), tuple(skips))
        plain = self.codes == (1, len(NAMES))
        self.to_codes = None if plain else nn.Linear(2 * len(NAMES), self.codes.count * self.codes.width)

    def forward(self, source: Tensor, frames: Tensor, *, action_units: Tensor, action_units_known: Tensor) -> FaceCode:
        shape = frames.shape[:2]
        pictures = source[:, torch.arange(shape[1], device=source.device) % source.shape[1]]
        skips = tuple(skip.unflatten(0, shape) for skip in self.adapter([pictures.flatten(0, 1)]))
        if self.to_codes is None:
            motion = torch.where(action_units_known, action_units, UNKNOWN)[:, :, None]
        else:
            given = torch.cat([action_units.where(action_units_known, 0), action_units_known.to(action_units)], -1)
            motion = self.to_codes(given).unflatten(-1, self.codes)
        return FaceCode(motion.new_zeros(len(source), *self.codes), motion, skips)
