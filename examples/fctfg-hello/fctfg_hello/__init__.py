"""A decoder that paints each frame from one style code: the whole of a third-party plugin."""

from __future__ import annotations

from torch import Tensor, nn

from fctfg.interfaces import CodeShape, Decoder, Latent


class HelloDecoder(Decoder):
    """Paints a coarse 4 x 4 picture from one code and doubles it until it is large enough.

    No paper, no public weights.
    """

    codes = CodeShape(count=1, width=64)

    def __init__(self, *, size: int, channels: int = 16):
        super().__init__()
        layers = [nn.Linear(self.codes.width, channels * 16), nn.Unflatten(1, (channels, 4, 4))]
        for _ in range((size // 4).bit_length() - 1):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Upsample((size, size)), nn.Conv2d(channels, 3, 1), nn.Tanh())

    def forward(self, latent: Latent) -> Tensor:
        frames = self.net(latent.codes.flatten(0, 1).flatten(1))  # (B, T, N, D) -> (B*T, 3, H, W)
        return frames.unflatten(0, latent.codes.shape[:2])
