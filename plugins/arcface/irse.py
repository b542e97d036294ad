"""IR-SE50: a residual network with squeeze and excitation, as face recognition trains it and pSp's encoders begin.

The names `input_layer`, `body`, `res_layer`, `shortcut_layer`, `output_layer` and the places within are those of the
public weight files.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and blocks of each; the first block of each halves the picture."""
LAST_BLOCKS = (6, 20, 23)
"""Of the last three stages: where feature maps are taken."""


def scaled(channels: int, scale: float) -> int:
    return max(1, round(channels * scale))


class SqueezeExcite(nn.Module):
    """Each channel weighed by what all of them have in the mean (Hu et al., 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        narrow = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, narrow, 1, bias=False)
        self.fc2 = nn.Conv2d(narrow, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class IRSEBlock(nn.Module):
    """Norm, convolution, PReLU, strided convolution, norm, gate; the input, thinned out or projected, is added."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels), nn.Conv2d(channels, out, 3, 1, 1, bias=False), nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), SqueezeExcite(out))
        self.shortcut_layer = None if channels == out else nn.Sequential(
            nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut_layer(x) if self.shortcut_layer else x[..., ::self.stride, ::self.stride]
        return self.res_layer(x) + shortcut


def irse50_layers(scale: float = 1.0) -> tuple[nn.Sequential, nn.Sequential]:
    """The `input_layer` and the 24 blocks of the `body`; `scale` multiplies the channels of every layer."""
    before = scaled(64, scale)
    input_layer = nn.Sequential(nn.Conv2d(3, before, 3, 1, 1, bias=False), nn.BatchNorm2d(before), nn.PReLU(before))
    body = []
    for channels, count in STAGES:
        out = scaled(channels, scale)
        body += [IRSEBlock(before, out, 2), *(IRSEBlock(out, out, 1) for _ in range(count - 1))]
        before = out
    return input_layer, nn.Sequential(*body)


def feature_maps(input_layer: nn.Module, body: nn.Sequential, pictures: Tensor) -> list[Tensor]:
    """Of the last three stages, fine to coarse: (M, 128, S/4, S/4), (M, 256, S/8, S/8), (M, 512, S/16, S/16)."""
    x, maps = input_layer(pictures), []
    for index, block in enumerate(body):
        x = block(x)
        if index in LAST_BLOCKS:
            maps.append(x)
    return maps


class IRSE50(nn.Module):
    """Who a face is, as a vector of length one: what model_ir_se50.pth fills.

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, arXiv:1801.07698; the variant
    with squeeze and excitation that TreB1eN/InsightFace_Pytorch trained.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.input_layer, self.body = irse50_layers(scale)
        width = scaled(512, scale)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(width), nn.Dropout(0.6), nn.Flatten(),
                                          nn.Linear(width * 7 * 7, width), nn.BatchNorm1d(width))

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings (M, 512) of `faces` (M, 3, 112, 112), RGB in [-1, 1], cut by the profile `arcface112`."""
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))).float())
