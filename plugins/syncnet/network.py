"""The two towers of SyncNet, by the names and places of the public weight file."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe

PAPER = "Chung and Zisserman, Out of time: automated lip sync in the wild, ACCV workshops 2016"
LICENCE = "MIT, the public weights too"
SIZE = 224
"""Height and width of the only pictures it knows."""
WINDOW = 5
"""Consecutive frames, of 25 a second, that it sees at once."""
COLUMNS = 20
"""MFCC columns that it hears at once: the 0.2 s of those frames."""
WIDTH = 1024
"""Of the vectors that mouths and sounds become."""


class SoundTower(nn.Module):
    """The half of SyncNet that hears.

    Args:
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__()
        c64, c192, c256, c384, c512, self.width = (scaled(channels, scale)
                                                   for channels in (64, 192, 256, 384, 512, WIDTH))
        self.netcnnaud = nn.Sequential(  # 13 x 20
            *_block(nn.Conv2d(1, c64, 3, 1, 1)), nn.Identity(),  # a pool of one pixel in the public network
            *_block(nn.Conv2d(c64, c192, 3, 1, 1)), nn.MaxPool2d(3, (1, 2)),  # 11 x 9
            *_block(nn.Conv2d(c192, c384, 3, 1, 1)),
            *_block(nn.Conv2d(c384, c256, 3, 1, 1)),
            *_block(nn.Conv2d(c256, c256, 3, 1, 1)), nn.MaxPool2d(3, 2),  # 5 x 4
            *_block(nn.Conv2d(c256, c512, (5, 4))))
        self.netfcaud = _head(c512, self.width)

    def listen(self, cepstra: Tensor) -> Tensor:
        """Sounds (M, 1024), float32, of the MFCC windows `cepstra` (M, 13, 20) of `fctfg.audio.mfcc_windows`."""
        self._check_batch(len(cepstra))
        return self.netfcaud(self.netcnnaud(cepstra[:, None]).flatten(1)).float()

    def _check_batch(self, windows: int) -> None:
        """Refuse to let batch norm learn from a single window: at 1 x 1 it would have one value per channel."""
        if self.training and windows < 2:
            raise BadRecipe("SyncNet cannot learn from a single window: its batch norm compares. Give batch: 2 or "
                            "more, better 8.")


class SyncNet(SoundTower):
    """Mouths and sounds in one space, those that belong together near each other: what syncnet_v2.model fills.

    Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; in the second form that the authors
    published (joonson/syncnet_python): colour faces of 224 px, vectors of 1024, no norm at the end.

    Args:
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__(scale)
        c96, c256, c512 = (scaled(channels, scale) for channels in (96, 256, 512))
        self.netcnnlip = nn.Sequential(  # 224 x 224
            *_block(FlatConv3d(3, c96, (WINDOW, 7, 7), 2)), nn.MaxPool2d(3, 2),  # 54 x 54
            *_block(FlatConv3d(c96, c256, (1, 5, 5), 2, 1)), nn.MaxPool2d(3, 2, 1),  # 13 x 13
            *_block(FlatConv3d(c256, c256, (1, 3, 3), 1, 1)),
            *_block(FlatConv3d(c256, c256, (1, 3, 3), 1, 1)),
            *_block(FlatConv3d(c256, c256, (1, 3, 3), 1, 1)), nn.MaxPool2d(3, 2),  # 6 x 6
            *_block(FlatConv3d(c256, c512, (1, 6, 6))))
        self.netfclip = _head(c512, self.width)

    def watch(self, faces: Tensor) -> Tensor:
        """Mouths (B, T - 4, 1024), float32: one for every five consecutive of `faces` (B, T, 3, 224, 224), in order.

        Faces are BGR in [0, 255], as `shown` gives them.
        """
        features = self.features(faces)
        return self.netfclip(features.flatten(0, 1)).float().unflatten(0, features.shape[:2])

    def features(self, faces: Tensor) -> Tensor:
        """What the convolutions make of `faces`, as `watch` takes them: (B, T - 4, 512)."""
        self._check_batch(len(faces) * (faces.shape[1] - WINDOW + 1))
        windows = faces.unfold(1, WINDOW, 1).permute(0, 1, 5, 2, 3, 4)  # (B, T - 4, 5, 3, 224, 224)
        pictures = windows.flatten(2, 3).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.netcnnlip(pictures).flatten(1).unflatten(0, windows.shape[:2])


class FlatConv3d(nn.Conv3d):
    """A convolution over clips as long as its kernel, with their frames side by side as channels: (M, F C, H, W).

    Its weights are the public file's, over clips; what it computes is a convolution over pictures, which devices do
    faster, and right in bf16 too: the backward pass of PyTorch 2.15 over clips writes beyond its memory on a CPU.
    """

    def forward(self, clips: Tensor) -> Tensor:
        return F.conv2d(clips, self.weight.transpose(1, 2).flatten(1, 2), self.bias, self.stride[1:], self.padding[1:])


def shown(frames: Tensor) -> Tensor:
    """`frames` (B, T, 3, H, W), RGB in [-1, 1], as SyncNet sees them: BGR in [0, 255] at 224 px."""
    if frames.shape[-2:] != (SIZE, SIZE):
        frames = F.interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="bilinear", align_corners=False,
                               antialias=True).unflatten(0, frames.shape[:2])
    return (frames.flip(-3) + 1) * 127.5


def scaled(channels: int, scale: float) -> int:
    return max(1, round(channels * scale))


def _block(convolution: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)


def _head(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, features), nn.BatchNorm1d(features), nn.ReLU(inplace=True),
                         nn.Linear(features, width))
