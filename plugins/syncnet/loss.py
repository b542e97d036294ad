"""Whether five frames fit the sound, as a probability: SyncNet held against drawn faces."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.audio import MFCC_CONTEXT, mfcc_windows
from fctfg.errors import BadData, BadRecipe
from fctfg.faces import recrop
from fctfg.interfaces import FRAME_RATE, Clip, Critic, Output

from .network import LICENCE, PAPER, SIZE, WINDOW, SyncNet, shown
from .offset import AT_ONCE

CROP = "syncnet"
"""The crop profile that its pictures are cut by."""


class DistanceHead(nn.Module):
    """The log odds that mouth and sound belong together, from how near they are to each other.

    Two numbers: the distance at which it is in two minds, and how fast it makes up its mind from there. They start
    where the public network wants them, whose distances are 6 to 8 for real speech and 13 to 15 out of step.
    """

    def __init__(self, width: int):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(10.5))
        self.log_slope = nn.Parameter(torch.tensor(0.0))

    def forward(self, mouths: Tensor, sounds: Tensor) -> Tensor:
        return self.log_slope.exp() * (self.threshold - F.pairwise_distance(mouths, sounds, eps=1e-6))


class DirectionHead(nn.Module):
    """The log odds that mouth and sound belong together, from the direction of their difference: one linear layer."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Linear(width, 1)

    def forward(self, mouths: Tensor, sounds: Tensor) -> Tensor:
        return self.net(F.normalize(mouths - sounds, dim=-1, eps=1e-8))[..., 0]


HEADS = {"distance": DistanceHead, "direction": DirectionHead}


class SyncJudge(nn.Module):
    """SyncNet, and a head that turns a mouth and a sound into the log odds that they belong together."""

    def __init__(self, head: str, scale: float = 1.0):
        super().__init__()
        self.towers = SyncNet(scale)
        self.head = HEADS[head](self.towers.width)


class SyncNetLoss(Critic):
    """Minus the log of the probability that five drawn frames fit the true sound: cross entropy, by SyncNet.

    Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; as the loss of a modified Speech2Vid
    (cranberrymuffin/anime-dub). Sees faces of 224 px cut by the crop profile `syncnet`, and cuts drawn frames of other
    crops anew; hears 0.2 s of MFCC from the first frame on. Clips of more than five frames are looked at in every
    window of five. The towers load syncnet_v2.model (MIT).

    As a critic it learns on the real frames, whatever was drawn: each mouth is shown its own sound and a wrong one.
    Differs: the public network was taught by distances with a margin, these by cross entropy; the modified Speech2Vid
    had a network of its own, in grey, of the lower half.

    Args:
        crop: of the frames; the recipe's.
        head: what makes odds of a mouth and a sound. `distance` is right for the public weights as it is; `direction`,
            the modified Speech2Vid's, must be taught, since it looks at the unit vector from one to the other.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    built_with = frozenset({"crop"})
    context = MFCC_CONTEXT
    window = WINDOW
    sees = CROP, SIZE
    test_options = {"scale": 1 / 32}

    def __init__(self, *, crop: str = CROP, head: str = "distance", lr: float = 1e-4,
                 betas: tuple[float, float] = (0.9, 0.999), scale: float = 1.0):
        super().__init__()
        if head not in HEADS:
            raise BadRecipe(f"loss 'syncnet': head '{head}' is unknown; give {' or '.join(HEADS)}.")
        self.crop = crop
        self.network = SyncJudge(head, scale).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        self.network.eval()
        mouths = self.watch(output.frames, clip)
        return F.softplus(-self.network.head(mouths, self.listen(clip.wave, clip))).mean()

    @torch.no_grad()
    def log_odds(self, clip: Clip, reach: int) -> Tensor:
        """Of every five faces with the sounds that are -`reach` to `reach` frames early: (B, T - 4, 2 reach + 1)."""
        self.network.eval()
        windows = clip.frames.shape[1] - WINDOW + 1
        around = torch.arange(-reach, windows + reach, device=clip.times.device) / FRAME_RATE
        cepstra = mfcc_windows(clip.wave, clip.times[:1] + around).flatten(0, 1)
        sounds = torch.cat([self.network.towers.listen(some) for some in cepstra.split(AT_ONCE)])
        mouths = []
        for first in range(0, windows, AT_ONCE):
            part = slice(first, min(first + AT_ONCE, windows) + WINDOW - 1)
            some = replace(clip, frames=clip.frames[:, part],
                           landmarks=None if clip.landmarks is None else clip.landmarks[:, part])
            mouths.append(self.watch(some.frames, some).unflatten(0, (len(clip.frames), -1)))
        nearby = sounds.unflatten(0, (len(clip.frames), -1)).unfold(1, 2 * reach + 1, 1)  # (B, W, 1024, 2 reach + 1)
        return self.network.head(torch.cat(mouths, 1)[:, :, None], nearby.transpose(-1, -2).flip(2))

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        right, wrong = self._right_and_wrong(clip)
        loss = 0.5 * (F.softplus(-right).mean() + F.softplus(wrong).mean())
        return loss, {"accuracy": torch.cat([right > 0, wrong <= 0]).float().mean()}

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """What SyncNet is worth, on the real frames of these clips.

        `accuracy` at even odds, the mean probabilities `right` and `wrong`, and `ranking`, the chance that a right pair
        is likelier than a wrong one: 0.5 is guessing.
        """
        self.network.eval()
        with torch.no_grad():
            right, wrong = self._right_and_wrong(clip)
        return {"accuracy": torch.cat([right > 0, wrong <= 0]).float().mean(), "right": right.sigmoid().mean(),
                "wrong": wrong.sigmoid().mean(), "ranking": 0.5 + 0.5 * (right[:, None] - wrong[None]).sign().mean()}

    def watch(self, frames: Tensor, clip: Clip) -> Tensor:
        """The mouths (B (T - 4), 1024) of every five consecutive of `frames` (B, T, 3, H, W), window after window."""
        if frames.shape[1] < WINDOW:
            raise BadRecipe(f"loss 'syncnet' looks at {WINDOW} consecutive frames, and the clips have "
                            f"{frames.shape[1]}; give clip_frames: {WINDOW} or more.")
        if self.crop != CROP:
            if clip.landmarks is None:
                raise BadData(f"loss 'syncnet' cuts frames of crop '{self.crop}' anew, and the clips carry no "
                              "landmarks; prepare the data again with them.")
            frames = recrop(frames, clip.landmarks, CROP, SIZE)
        return self.network.towers.watch(shown(frames)).flatten(0, 1)

    def listen(self, wave: Tensor, clip: Clip) -> Tensor:
        """The sounds (B (T - 4), 1024) in `wave` from the first of every five frames on, in the same order."""
        return self.network.towers.listen(mfcc_windows(wave, clip.times[:1 - WINDOW]).flatten(0, 1))

    def _right_and_wrong(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Log odds (M,) of every mouth with its own sound, and with one of another moment or, failing that, clip."""
        if clip.other_wave is None and len(clip.frames) < 2:
            raise BadRecipe("loss 'syncnet' takes wrong sounds from the other clips of a batch, and this one has a "
                            "single clip; give batch: 2 or more.")
        wrong_wave = clip.wave.roll(1, 0) if clip.other_wave is None else clip.other_wave
        mouths = self.watch(clip.frames, clip)
        sounds = self.listen(torch.cat([clip.wave, wrong_wave]), clip)
        right, wrong = self.network.head(mouths.repeat(2, 1), sounds).chunk(2)
        return right, wrong
