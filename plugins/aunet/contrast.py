"""A critic that brings a face near its own sound, and keeps away what is drawn, and what is out of step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Critic, Output

from .layers import LICENCE, SLOPE, SOURCE, ConvTower, over_spectrograms, scaled
from .spectrogram import CONTEXT, spectrograms

SIZE = 128
"""Of the pictures that the critic sees."""
WIDTH = 256


class Embedding(ConvTower):
    """A vector of length one, of 256 numbers: convolutions, then two linear layers."""

    def __init__(self, inputs: int, layers: list, flat: int, hidden: int):
        super().__init__(inputs, layers)
        self.fc1 = nn.Linear(flat, hidden)
        self.fc2 = nn.Linear(hidden, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(M, 256), float32, of `x` (M, C, H, W)."""
        return F.normalize(self.fc2(F.leaky_relu(self.fc1(self.convolved(x)), SLOPE)).float())


class AVNetwork(nn.Module):
    """The two towers: spectrograms (M, 1, 128, 32), and pictures (M, 3, 128, 128) in [-1, 1]."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.audio_network = Embedding(1, over_spectrograms(scale, rows=(32, 64, 128, 256), columns=(512, 512)),
                                       scaled(512, scale) * 8 * 8, scaled(2048, scale))
        halving = [(scaled(c, scale), (3, 3), (2, 2)) for c in (32, 64, 128, 256, 512, 512)]
        self.video_network = Embedding(3, halving, scaled(512, scale) * 2 * 2, scaled(1024, scale))


class AVContrastCritic(Critic):
    """How far a drawn face is from its sound: half the mean squared distance of their vectors, from 0 to 2.

    Of IETaFS (meherabhi/IETaFS, 2021), after Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an
    Invariant Mapping", 2006. The critic brings real frames near their sound, and drawn frames and real frames with the
    sound of another moment of the same video to a distance of 1 or more:

        1/2 * [C(real, sound, together) + (C(drawn, sound, apart) + C(real, other sound, apart)) / 2]

    with C(..., together) = 1/2 mean d^2 and C(..., apart) = 1/2 mean max(0, 1 - d)^2. Where a task says which frames
    say their sound (`says_sound` of task `express`), only these are judged and learnt from as drawn. Sees single
    frames, resized to 128 px; hears the 90 ms that end with the frame.

    Differs: IETaFS has no real frames that are out of step, so that its critic need but tell drawn from real.

    Args:
        quiet: as of audio encoder `aunet`.
        scale: multiplies the channels of every layer; 1 is the published network.
    """

    paper = SOURCE
    licence = LICENCE
    context = CONTEXT
    test_options = {"scale": 1 / 16}

    def __init__(self, *, quiet: float = 50.0, scale: float = 1.0, lr: float = 1e-4,
                 betas: tuple[float, float] = (0.5, 0.999)):
        super().__init__()
        self.quiet = quiet
        self.network = AVNetwork(scale).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        self.network.eval()
        sounds = self.network.audio_network(self.hear(clip.wave, clip.times))
        return contrast(distances(self.see(self.network, output.frames), sounds), False, judged(output))

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        real, other, drawn = self._distances(output, clip)
        says = judged(output)
        loss = 0.5 * (contrast(real, False) + 0.5 * (contrast(drawn, True, says) + contrast(other, True)))
        return loss, {"real": real.mean(), "other": other.mean(), "drawn": weighted(drawn, says)}

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Mean distances, 0 to 2: of `real` faces to their sound, to `other` sound, and of `drawn` ones to theirs."""
        with torch.no_grad():
            self.network.eval()
            real, other, drawn = self._distances(output, clip)
        return {"real": real.mean(), "other": other.mean(), "drawn": weighted(drawn, judged(output))}

    def see(self, network: AVNetwork, frames: Tensor) -> Tensor:
        """Vectors (B T, 256) of `frames` (B, T, 3, H, W)."""
        pictures = frames.flatten(0, 1)
        if pictures.shape[-2:] != (SIZE, SIZE):
            pictures = F.interpolate(pictures, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
        return network.video_network(pictures)

    def hear(self, wave: Tensor, times: Tensor) -> Tensor:
        """The windows (B T, 1, 128, 32) of the frames."""
        return spectrograms(wave, times, self.quiet).flatten(0, 1)[:, None]

    def _distances(self, output: Output, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """Each (B T,): of real faces and their sound, of real faces and other sound, of drawn faces and their sound."""
        if clip.other_wave is None and len(clip.wave) < 2:
            raise BadRecipe("loss 'av-contrast' takes other sounds from the other clips of a batch, and this one has a "
                            "single clip; give batch: 2 or more.")
        other_wave = clip.wave.roll(1, 0) if clip.other_wave is None else clip.other_wave
        right, other = self.network.audio_network(torch.cat([self.hear(clip.wave, clip.times),
                                                             self.hear(other_wave, clip.times)])).chunk(2)
        # Real and drawn pictures in one batch, so that the statistics of batch norm do not tell them apart.
        real, drawn = self.see(self.network, torch.cat([clip.frames, output.frames.to(clip.frames)])).chunk(2)
        return distances(real, right), distances(real, other), distances(drawn, right)


def judged(output: Output) -> Tensor | None:
    """(B T,): how much each drawn frame counts; None for all alike."""
    says = output.extra.get("says_sound")
    return None if says is None else says.flatten()


def distances(one: Tensor, other: Tensor) -> Tensor:
    """(M,): from 0 to 2, between vectors (M, 256) of length one."""
    return (one - other).square().sum(1).clamp(min=1e-12).sqrt()  # a distance of 0 has no slope


def contrast(distance: Tensor, apart: bool, weights: Tensor | None = None) -> Tensor:
    """The mean contrastive loss of pairs at `distance` (M,): d^2 / 2 of those that belong together, else
    max(0, 1 - d)^2 / 2."""
    return weighted(0.5 * ((1 - distance).clamp(min=0) if apart else distance).square(), weights)


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of `values` (M,) by `weights` (M,); 0 where all of them are."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum().clamp(min=1)
