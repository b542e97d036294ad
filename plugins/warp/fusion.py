"""Speech moves the landmarks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode, Fusion, Latent

from .mouth import INNER_LOWER, INNER_UPPER, JAW_SHARE, LOWER_LIP, UPPER_LIP, FaceFrame, smoothstep, turned_to_us

COLUMN = {  # which of the five columns of the inner lips each lip point closes with, and how far
    49: (1, 0.7), 50: (1, 1), 51: (2, 1), 52: (3, 1), 53: (3, 0.7), 61: (1, 1), 62: (2, 1), 63: (3, 1),
    59: (1, 0.7), 58: (1, 1), 57: (2, 1), 56: (3, 1), 55: (3, 0.7), 67: (1, 1), 66: (2, 1), 65: (3, 1),
}

DROP = 0.27
"""How far the jaw takes the lower lip at the widest opening, in mouth widths."""
CHIN = 0.7
"""How far the chin goes with it, of that: the lip stretches."""
LIFT = 0.05
"""How far the upper lip rises then."""
PART = 0.06
"""How far the lips part over closed teeth."""


class WarpFusion(Fusion):
    """The face's landmarks with lips and jaw where speech puts them: Latent.codes; where they were: Latent.motion.

    Speech is the opening in [0, 1], the width in [-1, 1] and the teeth in [0, 1], as audio encoder 'loudness' gives
    them; from that of another, a linear layer makes them. All is measured in mouth widths along the face's own axes, so
    a small, tilted or turned face moves in kind. A mouth that is open in the source is closed first: what it said is
    replaced. No paper, no weights.
    """

    test_codes = CodeShape(68, 2)

    def __init__(self, *, codes: CodeShape, speech_width: int, strength: float = 1.0):
        """`strength` scales how far the mouth opens.

        Raises:
            BadRecipe: the decoder does not draw from landmarks.
        """
        super().__init__()
        if codes != (68, 2):
            raise BadRecipe(f"fusion 'warp' moves the 68 landmarks that decoder 'warp' draws from, and this decoder "
                            f"takes {codes[0]} codes of width {codes[1]}; fusion 'add' takes any.")
        self.strength = strength
        self.hear = nn.Identity() if speech_width == 3 else nn.Linear(speech_width, 3)
        closes = torch.zeros(68, 5)
        for point, (column, share) in COLUMN.items():
            closes[point, column] = share
        masks = {name: torch.zeros(68).index_fill(0, torch.tensor(points), 1.0)
                 for name, points in dict(upper=UPPER_LIP, lower=LOWER_LIP, lips=range(48, 68)).items()}
        jaw = torch.cat([torch.tensor(JAW_SHARE), torch.zeros(51)])
        for name, value in dict(masks, closes=closes, jaw=jaw).items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        speech = self.hear(speech).float()
        points = face.motion.float()
        with torch.autocast(points.device.type, enabled=False):
            frame = FaceFrame.of(points)
            across, down = frame.inside(points)
            said = self._say(across, self._close(down), speech)
            # A profile has half a mouth, of which landmarks know too little.
            moved = points.lerp(frame.outside(*said), turned_to_us(across)[..., None])
        return Latent(moved, canonical=face.identity, motion=points, skips=face.skips)

    def _close(self, down: Tensor) -> Tensor:
        """How far down (..., 68) the points lie once the lips meet: the lower one moves most, the jaw little."""
        gap = (down[..., INNER_LOWER] - down[..., INNER_UPPER]).clamp_min(0)
        middle = gap[..., 2:3]
        gap = gap * smoothstep((middle - 0.02) / 0.04)  # the landmarks of closed lips lie a little apart
        way = 1.1 * gap @ self.closes.T  # pressed a little, over what the points leave out
        return down + (0.35 * self.upper - 0.65 * self.lower) * way - 0.5 * self.jaw * (middle - 0.1).clamp_min(0)

    def _say(self, across: Tensor, down: Tensor, speech: Tensor) -> tuple[Tensor, Tensor]:
        """Where the points of a closed mouth lie, across and down (..., 68), when it says `speech` (..., 3)."""
        opening, width, teeth = speech.split(1, dim=-1)
        opening = self.strength * opening.clamp(0, 1)
        wide, round_, teeth = width.clamp(0, 1), -width.clamp(-1, 0), teeth.clamp(0, 1)

        # The opening is round: highest in the middle, nothing at the corners.
        half = torch.where(across < 0, -across[..., 48:49], across[..., 54:55]).clamp_min(0.05)
        arch = (1 - (across / half) ** 2).clamp_min(1e-6) ** 0.6
        lower = DROP * opening + 0.8 * PART * teeth
        upper = LIFT * opening + 0.2 * PART * teeth
        down = down + arch * (self.lower * lower - self.upper * upper) + CHIN * DROP * opening * self.jaw
        return across * (1 + self.lips * (0.09 * wide - 0.24 * round_ - 0.05 * opening)), down
