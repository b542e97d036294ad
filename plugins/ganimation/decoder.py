"""The generator: which colours a picture takes on, and where, so that its face shows what is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fctfg.action_units import NAMES
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, Decoder, Latent, SkipShape

PAPER = ("Pumarola et al., GANimation: Anatomically-aware Facial Animation from a Single Image, ECCV 2018, "
         "arXiv:1807.09251")
LICENCE = "MIT; the public weights have no licence or were trained on faces that are for research only"


class GANimationDecoder(Decoder):
    """Redraws a picture with the action units of its code: a colour for each pixel, and how much of the picture stays.

    Pumarola et al., 2018, arXiv:1807.09251, section 4.1. The one skip is the picture itself, in [-1, 1]; the one code
    of a frame are the 17 action units wanted, in [0, 1], not changes of them. With the attention A what is drawn is
    (1 - A) * colour + A * picture, and alpha is 1 - A. Works at any multiple of 4 px, whatever it was trained at.

    Loads the generators of vipermu/ganimation and IETaFS (no licence), albertpumarola/GANimation (GPL-3.0) and
    donydchen/ganimation_replicate (MIT; the pictures behind its weights are for research). Differs: norms take their
    statistics from each picture, in eval mode too, as all of these draw while they train.

    Args:
        g_conv_dim: channels of the first layer; the widest has four times as many.
        g_repeat: residual blocks.
    """

    paper = PAPER
    licence = LICENCE
    needs = frozenset({"skips"})
    blends = True
    codes = CodeShape(1, len(NAMES))
    test_options = {"g_conv_dim": 4, "g_repeat": 1}

    def __init__(self, *, size: int, g_conv_dim: int = 64, g_repeat: int = 6):
        super().__init__()
        if size % 4 or size < 8:
            raise BadRecipe(f"decoder 'ganimation' works at multiples of 4 px from 8 on, not at {size}; give size: "
                            "128.")
        if g_conv_dim < 1 or g_repeat < 0:
            raise BadRecipe(f"decoder 'ganimation': g_conv_dim {g_conv_dim} and g_repeat {g_repeat} make no network; "
                            "64 and 6 are the authors'.")
        self.skips = (SkipShape(3, size, size),)
        c1, c2, c4 = g_conv_dim, 2 * g_conv_dim, 4 * g_conv_dim
        # Places in `main`, and the names of the heads, are those of the files.
        self.main = nn.Sequential(
            *_block(nn.Conv2d(3 + len(NAMES), c1, 7, 1, 3, bias=False)),
            *_block(nn.Conv2d(c1, c2, 4, 2, 1, bias=False)),
            *_block(nn.Conv2d(c2, c4, 4, 2, 1, bias=False)),
            *(ResidualBlock(c4) for _ in range(g_repeat)),
            *_block(nn.ConvTranspose2d(c4, c2, 4, 2, 1, bias=False)),
            *_block(nn.ConvTranspose2d(c2, c1, 4, 2, 1, bias=False)))
        self.im_reg = nn.Sequential(nn.Conv2d(c1, 3, 7, 1, 3, bias=False), nn.Tanh())
        self.im_att = nn.Sequential(nn.Conv2d(c1, 1, 7, 1, 3, bias=False), nn.Sigmoid())
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, latent: Latent) -> tuple[Tensor, Tensor]:
        shape = latent.codes.shape[:2]
        pictures = latent.skips[0].flatten(0, 1)
        attention, colour = self.look(pictures, latent.codes.flatten(0, 2))
        frames = (1 - attention) * colour + attention * pictures
        return frames.unflatten(0, shape), (1 - attention).unflatten(0, shape)

    def look(self, pictures: Tensor, action_units: Tensor) -> tuple[Tensor, Tensor]:
        """Attention (M, 1, H, W) in [0, 1], 1 where the picture stays, and colour (M, 3, H, W) in [-1, 1], float32.

        `pictures` are (M, 3, H, W) in [-1, 1], `action_units` (M, 17).
        """
        wanted = action_units[..., None, None].to(pictures.dtype).expand(-1, -1, *pictures.shape[-2:])
        x = self.main(torch.cat([pictures, wanted], 1))
        # In float32: near 0 and 1 the steps of bf16 are wider than those of the picture file.
        return self.im_att[0](x).float().sigmoid(), self.im_reg[0](x).float().tanh()


class ResidualBlock(nn.Module):
    """The same maps, changed by two convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(*_block(nn.Conv2d(channels, channels, 3, 1, 1, bias=False)),
                                  *_block(nn.Conv2d(channels, channels, 3, 1, 1, bias=False))[:2])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


def _block(conv: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return conv, nn.InstanceNorm2d(conv.out_channels, affine=True), nn.ReLU(inplace=True)
