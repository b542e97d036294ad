"""The critic as a loss: non-saturating, kept smooth by R1, and shown altered pictures where there are few."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.interfaces import Clip, Critic, Output

from .augment import Augmentation
from .discriminator import Discriminator
from .layers import full_precision
from .sizes import LICENCE, PAPER


class StyleGAN2GANLoss(Critic):
    """How far single frames are from passing for photographs: softplus(-D(drawn)).

    The critic minimises softplus(D(drawn)) + softplus(-D(real)) (Goodfellow et al., 2014, arXiv:1406.2661) and, every
    `r1_every` steps, r1 / 2 * r1_every * |dD / d real|^2 (Mescheder et al., "Which Training Methods for GANs do actually
    Converge?", 2018, arXiv:1801.04406; lazily as in Karras et al., 2020, arXiv:1912.04958). Loads `d` of rosinality's
    and `D` of NVIDIA's files (NVIDIA's: non-commercial). Differs: R1 shares the step of the other terms, where the public
    code takes one of its own; the learning rate and betas are theirs, corrected by r1_every / (r1_every + 1).

    Args:
        size, channel_multiplier, channel_max: of the network, as of decoder `stylegan2`.
        r1: gamma of R1; 0 for none. Small pictures and batches want less than the 10 of 1024 px: NVIDIA's rule is
            0.0002 size^2 / batch.
        augment: alter what the critic sees, real and drawn, as often as it takes to keep the mean sign of the logits of
            real pictures at `ada_target`; for data of some thousand pictures and less. See `Augmentation`.
    """

    paper = PAPER
    licence = LICENCE
    built_with = frozenset({"size"})
    test_options = {"channel_max": 8, "r1_every": 2}

    steps: Tensor
    r1_last: Tensor

    def __init__(self, *, size: int, channel_multiplier: float = 2, channel_max: int = 512, lr: float = 2e-3,
                 betas: tuple[float, float] = (0.0, 0.99), r1: float = 10.0, r1_every: int = 16, augment: bool = False,
                 ada_target: float = 0.6):
        super().__init__()
        self.r1, self.r1_every = r1, r1_every
        self.network = Discriminator(size, channel_multiplier, channel_max).requires_grad_(False)
        self.augmentation = Augmentation(target=ada_target) if augment else None
        lazy = r1_every / (r1_every + 1) if r1 else 1.0
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr * lazy, betas=[beta ** lazy for beta in betas])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("r1_last", torch.zeros(()))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return F.softplus(-self._judge(output.frames)).mean()  # softplus(-x) is -log(sigmoid(x))

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        learning = self.network.training and torch.is_grad_enabled()
        due = bool(learning and self.r1 and self.steps % self.r1_every == 0)
        seen = self._altered(clip.frames).requires_grad_(due)
        real, fake = self.network(seen), self._judge(output.frames)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        if due:
            penalty = gradient_penalty(real, seen)
            loss = loss + self.r1 / 2 * self.r1_every * penalty
            self.r1_last.copy_(penalty.detach())
        report = {"r1": self.r1_last, **_logits(real, fake)}
        if learning:
            self.steps += 1
            if self.augmentation:
                self.augmentation.follow(real)
                report["augmented"] = self.augmentation.strength
        return loss, report

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """The mean logits of real and drawn frames, and the mean sign of each: where `real_sign` of training clips is
        far above that of held-out ones, the critic knows the former by heart."""
        with torch.no_grad():
            return _logits(self.network(_pictures(clip.frames)), self.network(_pictures(output.frames)))

    def _judge(self, frames: Tensor) -> Tensor:
        return self.network(self._altered(frames))

    def _altered(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) as the pictures (B * T, 3, H, W) that the critic sees."""
        pictures = _pictures(frames)
        return pictures if self.augmentation is None else self.augmentation(pictures)


def gradient_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """R1: the mean squared norm of the gradient of `logits` (M,) to `pictures` (M, 3, H, W), differentiable itself."""
    gradient, = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    with full_precision(gradient):
        return gradient.float().square().sum((1, 2, 3)).mean()


def _pictures(frames: Tensor) -> Tensor:
    return frames.flatten(0, 1).float()


def _logits(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    return {"real": real.mean(), "fake": fake.mean(), "real_sign": real.sign().mean(), "fake_sign": fake.sign().mean()}
