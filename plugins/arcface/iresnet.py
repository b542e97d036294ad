"""The residual networks of insightface: no gates, a norm between convolution and PReLU; not IR-SE50's weights.

The names `layer1`, `prelu`, `downsample`, `fc`, `features` and the places within are those of the public weight files.
"""

from __future__ import annotations

from torch import Tensor, nn

from .irse import scaled

BLOCKS = {"iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
"""In each stage, by network."""


class IResBlock(nn.Module):
    """Norm, convolution, norm, PReLU, strided convolution, norm; the input, projected where sizes differ, is added."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.prelu = nn.PReLU(out)
        self.conv2 = nn.Conv2d(out, out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None if stride == 1 else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False),
                                                                 nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (self.downsample(x) if self.downsample else x)


class IResNet(nn.Module):
    """Who a face is, as a vector: what insightface's backbone.pth fills.

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, arXiv:1801.07698; as trained
    by insightface's arcface_torch.
    """

    def __init__(self, blocks: tuple[int, ...] = BLOCKS["iresnet50"], scale: float = 1.0):
        super().__init__()
        before = scaled(64, scale)
        self.conv1 = nn.Conv2d(3, before, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.prelu = nn.PReLU(before)
        for stage, (channels, count) in enumerate(zip((64, 128, 256, 512), blocks), start=1):
            out = scaled(channels, scale)
            layer = nn.Sequential(IResBlock(before, out, 2), *(IResBlock(out, out, 1) for _ in range(count - 1)))
            self.add_module(f"layer{stage}", layer)
            before = out
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * 7 * 7, before)
        self.features = nn.BatchNorm1d(before)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings (M, 512), of any length, of `faces` (M, 3, 112, 112), RGB in [-1, 1], cut by `arcface112`."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.features(self.fc(self.bn2(x).flatten(1))).float()
