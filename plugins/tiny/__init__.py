"""The smallest working plugin of each kind: for tests, for a first `fctfg train`, and to start your own from.

Averages of pictures and of sound, one linear layer each. It learns the right colour and nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.interfaces import (SAMPLE_RATE, AudioEncoder, Clip, CodeShape, Critic, Decoder, FaceCode, Fusion, Latent,
                              Output, VisualEncoder)


class TinyVisualEncoder(VisualEncoder):
    """A code from the mean colour of each picture."""

    def __init__(self, *, size: int, codes: CodeShape):
        super().__init__()
        self.codes = codes
        self.net = nn.Linear(3, codes.count * codes.width)

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        return FaceCode(self._codes(source).mean(1), self._codes(frames))

    def _codes(self, pictures: Tensor) -> Tensor:
        return self.net(pictures.mean((-1, -2))).unflatten(-1, self.codes)  # (B, T, 3, H, W) -> (B, T, N, D)


class TinyAudioEncoder(AudioEncoder):
    """One speech vector from the 40 ms of sound that follow the beginning of each frame."""

    context = (0.0, 0.04)

    def __init__(self, *, width: int = 8):
        super().__init__()
        self.width = width
        self.samples = round(self.context[1] * SAMPLE_RATE)
        self.net = nn.Linear(self.samples, width)

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        wave = F.pad(wave, (self.samples, self.samples))  # beyond the ends is silence
        first = (times * SAMPLE_RATE).round().long() + self.samples
        places = first[:, None] + torch.arange(self.samples, device=wave.device)
        return self.net(wave[:, places.clamp(0, wave.shape[1] - 1)])  # (B, T, samples) -> (B, T, A)


class AddFusion(Fusion):
    """The speech, brought to the codes' width, added to the face's motion."""

    def __init__(self, *, codes: CodeShape, speech_width: int):
        super().__init__()
        self.codes = codes
        self.net = nn.Linear(speech_width, codes.count * codes.width)

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        motion = face.motion + self.net(speech).unflatten(-1, self.codes)
        return Latent(face.identity[:, None] + motion, face.identity, motion, face.skips, face.deltas)


class TinyDecoder(Decoder):
    """Fills each frame with one colour."""

    codes = CodeShape(2, 4)

    def __init__(self, *, size: int):
        super().__init__()
        self.size = size
        self.net = nn.Linear(self.codes.count * self.codes.width, 3)

    def forward(self, latent: Latent) -> Tensor:
        colour = self.net(latent.codes.flatten(2)).tanh()  # (B, T, N, D) -> (B, T, 3)
        return colour[..., None, None].expand(-1, -1, -1, self.size, self.size)


class TinyGANLoss(Critic):
    """Non-saturating GAN loss on the mean colour of single frames.

    Goodfellow et al., "Generative Adversarial Nets", 2014, arXiv:1406.2661, section 3.
    """

    paper = "Goodfellow et al., Generative Adversarial Nets, 2014, arXiv:1406.2661"

    def __init__(self, *, lr: float = 1e-3):
        super().__init__()
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=(0.0, 0.99))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return F.softplus(-self._score(output.frames)).mean()  # softplus(-x) is -log(sigmoid(x))

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        fake, real = self._score(output.frames), self._score(clip.frames)
        return F.softplus(fake).mean() + F.softplus(-real).mean(), {"real": real.mean(), "fake": fake.mean()}

    def _score(self, frames: Tensor) -> Tensor:
        return self.network(frames.mean((-1, -2)))
