"""Inception v3 as FID has it: the network of 2015, by the names of pt_inception-2015-12-05-6726825d.pth."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import Inception3
from torchvision.models.inception import InceptionA, InceptionC, InceptionE

FILE = "pt_inception-2015-12-05-6726825d.pth"
SIZE = 299
WIDTH = 2048
CLASSES = 1008
"""Of the network's last layer, which FID does not use but the file has."""


class FIDInception(nn.Module):
    """2048 numbers of every picture.

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, arXiv:1512.00567, from
    torchvision. The network of 2015, which all published FIDs look through, differs in three places: means beside the
    border leave out what lies beyond it, and the last block takes the greatest of nine where the others take the mean.
    """

    def __init__(self):
        super().__init__()
        network = Inception3(num_classes=CLASSES, aux_logits=False, init_weights=False)
        for name, block in list(network.named_children()):
            if type(block) in POOLS:
                block.__class__ = POOLS[type(block)]
        network.Mixed_7c.__class__ = _InceptionEMax
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Features (M, 2048) of `pictures` (M, 3, H, W) in [0, 1], resized to 299 px: bilinear, without
        antialiasing."""
        if pictures.shape[-2:] != (SIZE, SIZE):
            pictures = F.interpolate(pictures, (SIZE, SIZE), mode="bilinear", align_corners=False)
        x, n = 2 * pictures - 1, self.network
        x = n.maxpool1(n.Conv2d_2b_3x3(n.Conv2d_2a_3x3(n.Conv2d_1a_3x3(x))))
        x = n.maxpool2(n.Conv2d_4a_3x3(n.Conv2d_3b_1x1(x)))
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(n, f"Mixed_{name}")(x)
        return x.mean((2, 3))


def _mean_inside(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _InceptionA(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))), self.branch_pool(_mean_inside(x))]


class _InceptionC(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return [self.branch1x1(x), once, twice, self.branch_pool(_mean_inside(x))]


class _InceptionE(InceptionE):
    pool = staticmethod(_mean_inside)

    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch3x3_1(x)
        once = torch.cat([self.branch3x3_2a(once), self.branch3x3_2b(once)], 1)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        twice = torch.cat([self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)], 1)
        return [self.branch1x1(x), once, twice, self.branch_pool(self.pool(x))]


class _InceptionEMax(_InceptionE):
    @staticmethod
    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)


POOLS = {InceptionA: _InceptionA, InceptionC: _InceptionC, InceptionE: _InceptionE}
