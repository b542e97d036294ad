"""The canonical code says who, the motion code how; their sum, smoothed over time, is what the decoder draws."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode, Fusion, Latent

PAPER = ("Jang et al., That's What I Said: Fully-Controllable Talking Face Generation, 2023, arXiv:2304.03275; "
         "ACM Multimedia 2023")
WIDTHS = ("flat", "per-code")
SLOPE = 0.2
SMALL = 0.1  # of the usual weights of a last layer: what is added to a code begins as a tenth of it


class CanonicalMotionFusion(Fusion):
    """A canonical code, the same person in the one pose that all share, plus a motion code from driving and sound.

    Jang et al., 2023, arXiv:2304.03275: a two-layer MLP maps the source's codes to the canonical code, a three-layer
    MLP the driving frame's codes and its speech to the motion code, and a 1-D convolution over time runs over their
    sum.

    Differs: codes are offsets from the decoder's mean. The canonical MLP gives what is to be changed of the source's
    codes, and both MLPs begin small, so that a model that can already invert pictures begins to talk from faces
    instead of from noise. That, the activations, and a convolution that begins as the identity and is grouped by code,
    are ours; the paper as far as it can be had says neither.

    Args:
        residual: whether the canonical code is the source's plus what the MLP gives; without, it is that alone.
        width: `flat` maps all codes of a frame at once (about 260 M weights at 14 codes of 512); `per-code` maps each
            by the same small network, told which code it is by a vector of its own.
        kernel: frames that the convolution spans, an odd number; 1 for none.
    """

    paper = PAPER
    test_codes = CodeShape(3, 8)

    def __init__(self, *, codes: CodeShape, speech_width: int, width: Literal["flat", "per-code"] = "flat",
                 kernel: int = 3, residual: bool = True):
        super().__init__()
        if width not in WIDTHS:
            raise BadRecipe(f"fusion 'canonical-motion' has no width '{width}'; there are {' and '.join(WIDTHS)}.")
        if kernel < 1 or kernel % 2 == 0:
            raise BadRecipe("fusion 'canonical-motion' takes an odd kernel, so that a frame lies in its middle; "
                            f"not {kernel}.")
        self.codes = CodeShape(*codes)
        self.residual = residual
        coder = FlatCoder if width == "flat" else SharedCoder
        self.canonical_encoder = coder(self.codes, 0, layers=2)
        self.motion_encoder = coder(self.codes, speech_width, layers=3)
        if residual:
            for encoder in (self.canonical_encoder, self.motion_encoder):
                with torch.no_grad():
                    encoder.layers[-1].weight.mul_(SMALL)
        self.temporal = TemporalFusion(self.codes, kernel, shared=width == "per-code")
        self.reach = kernel // 2

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        canonical = self.canonical_encoder(face.identity[:, None])[:, 0]
        if self.residual:
            canonical = face.identity + canonical
        motion = self.motion_encoder(face.motion, speech)
        return Latent(self.compose(canonical, motion), canonical, motion, face.skips, face.deltas)

    def compose(self, canonical: Tensor, motion: Tensor) -> Tensor:
        return self.temporal(canonical[:, None] + motion)


class FlatCoder(nn.Module):
    """An MLP over all codes of a frame at once, and what is heard with it: (B, T, N, D), (B, T, A) -> (B, T, N, D)."""

    def __init__(self, codes: CodeShape, speech_width: int, layers: int):
        super().__init__()
        wide = codes.count * codes.width
        self.codes = codes
        self.layers = mlp(wide + speech_width, wide, layers)

    def forward(self, codes: Tensor, speech: Tensor | None = None) -> Tensor:
        x = codes.flatten(2)
        x = x if speech is None else torch.cat([x, speech.to(x.dtype)], -1)
        return through(self.layers, x).unflatten(-1, self.codes)


class SharedCoder(nn.Module):
    """The same MLP for every code, told which one it has before it: (B, T, N, D), (B, T, A) -> (B, T, N, D)."""

    def __init__(self, codes: CodeShape, speech_width: int, layers: int):
        super().__init__()
        self.which = nn.Parameter(torch.randn(codes) / codes.width**0.5)
        self.layers = mlp(2 * codes.width + speech_width, codes.width, layers)

    def forward(self, codes: Tensor, speech: Tensor | None = None) -> Tensor:
        x = [codes, self.which.to(codes.dtype).expand(codes.shape)]
        if speech is not None:
            x.append(speech.to(codes.dtype)[:, :, None].expand(-1, -1, codes.shape[2], -1))
        return through(self.layers, torch.cat(x, -1))


def mlp(inputs: int, width: int, layers: int) -> nn.ModuleList:
    """Linear layers that begin by keeping the scale of what goes through them.

    PyTorch's own beginning makes the differences between codes several times smaller, and the decoder, whose codes are
    about 1, would learn from them as much more slowly.
    """
    made = nn.ModuleList([nn.Linear(inputs, width), *(nn.Linear(width, width) for _ in range(layers - 1))])
    for layer in made:
        nn.init.kaiming_normal_(layer.weight, SLOPE, nonlinearity="leaky_relu")
        nn.init.zeros_(layer.bias)
    return made


def through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """`x` through linear layers, leaky ReLUs between them and none after the last: codes have either sign."""
    for layer in layers[:-1]:
        x = F.leaky_relu(layer(x), SLOPE)
    return layers[-1](x)


class TemporalFusion(nn.Module):
    """One convolution over the frames of each code: (B, T, N, D) -> (B, T, N, D). End frames are repeated."""

    def __init__(self, codes: CodeShape, kernel: int, shared: bool):
        super().__init__()
        self.codes, self.shared = codes, shared
        groups = 1 if shared else codes.count
        channels = groups * codes.width
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, padding_mode="replicate", groups=groups)
        with torch.no_grad():
            nn.init.dirac_(self.conv.weight, groups)
            self.conv.bias.zero_()

    def forward(self, codes: Tensor) -> Tensor:
        if self.shared:  # (B, T, N, D) -> (B N, D, T)
            x = codes.permute(0, 2, 3, 1).flatten(0, 1)
            return self.conv(x).unflatten(0, (len(codes), self.codes.count)).permute(0, 3, 1, 2)
        x = codes.flatten(2).transpose(1, 2)  # (B, N D, T)
        return self.conv(x).transpose(1, 2).unflatten(-1, self.codes)
