"""Networks of image classification as far as their convolutions go: what perceptual losses look through."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fctfg.checkpoints import read_weights
from fctfg.errors import BadRecipe, BadWeights

Layers = list[nn.Module]


class Architecture(NamedTuple):
    """A network of torchvision's, its layers numbered as in the `features` there."""

    layers: Callable[[float], Layers]
    """Given what its channels are multiplied by."""
    ends: tuple[int, ...]
    """How many layers lie before the end of each slice; what the slices give are the features that are compared."""
    least: int
    """Pixels a side below which nothing would be left of a picture."""
    file: str
    """Its public weights, trained on ImageNet."""


class Backbone(nn.Module):
    """Feature maps of pictures, one per slice, fine to coarse. Frozen, and random until filled.

    Random weights keep the scale of the features (He et al., 2015, arXiv:1502.01852) and have no biases, by which they
    are known. Keys are those of lpips and of the first-order-model: `slice{k}.{layer}.weight`, from 1 and from 0.
    """

    def __init__(self, architecture: Architecture, scale: float = 1.0):
        super().__init__()
        layers, first = architecture.layers(scale), 0
        for number, end in enumerate(architecture.ends, 1):
            self.add_module(f"slice{number}", nn.Sequential(OrderedDict(
                (str(place), layers[place]) for place in range(first, end))))
            first = end
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        self.requires_grad_(False)

    @property
    def is_random(self) -> bool:
        return not any(bias.any() for name, bias in self.named_parameters() if name.endswith(".bias"))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """What each slice gives for `pictures` (M, 3, H, W), normalised as it was trained."""
        features = []
        for part in self.children():
            pictures = part(pictures)
            features.append(pictures)
        return features

    def fill(self, path: str | Path, architecture: Architecture) -> None:
        """Take the weights of a local file, the one of `architecture`.

        Raises:
            BadWeights: it is not that file.
        """
        tensors = by_slice(read_weights(path).tensors, architecture)
        if not tensors:
            raise BadWeights(f"{path} does not hold the weights of torchvision's {architecture.file}; give that file "
                             "as `backbone`.")
        self.load_state_dict(tensors)


def by_slice(tensors: dict[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """The tensors of the file of `architecture` by the names that a Backbone gives them; of another file, none."""
    slices = [number for number, (first, end) in enumerate(zip((0, *architecture.ends), architecture.ends), 1)
              for _ in range(first, end)]
    named = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        layer = rest.partition(".")[0]
        if kind == "features" and layer.isdigit() and int(layer) < len(slices):
            named[f"slice{slices[int(layer)]}.{rest}"] = tensor
    with torch.device("meta"):
        own = Backbone(architecture).state_dict()
    is_that_file = {name: tensor.shape for name, tensor in named.items()} == {name: own[name].shape for name in own}
    return named if is_that_file else {}


class Fire(nn.Module):
    """SqueezeNet's block: few channels, then many by 1x1 and 3x3 kernels side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def _alexnet(scale: float) -> Layers:
    c64, c192, c256, c384 = (_scaled(channels, scale) for channels in (64, 192, 256, 384))
    return [nn.Conv2d(3, c64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c64, c192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c192, c384, 3, padding=1), nn.ReLU(), nn.Conv2d(c384, c256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c256, c256, 3, padding=1), nn.ReLU()]


def _squeezenet(scale: float) -> Layers:
    c16, c32, c48, c64, c128, c192, c256 = (_scaled(channels, scale) for channels in (16, 32, 48, 64, 128, 192, 256))
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return [nn.Conv2d(3, c64, 3, 2), nn.ReLU(), pool, Fire(c64, c16, c64), Fire(2 * c64, c16, c64), pool,
            Fire(2 * c64, c32, c128), Fire(2 * c128, c32, c128), pool, Fire(2 * c128, c48, c192),
            Fire(2 * c192, c48, c192), Fire(2 * c192, c64, c256), Fire(2 * c256, c64, c256)]


def _vgg(*convolutions: int) -> Callable[[float], Layers]:
    """With so many convolutions between poolings."""
    def build(scale: float) -> Layers:
        layers, inputs = [], 3
        for count, channels in zip(convolutions, (64, 128, 256, 512, 512)):
            channels = _scaled(channels, scale)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            layers.append(nn.MaxPool2d(2))
        return layers

    return build


def _scaled(channels: int, scale: float) -> int:
    if scale <= 0:
        raise BadRecipe(f"scale {scale} leaves a perceptual loss no channels; give 1, the public network, or less.")
    return max(1, round(channels * scale))


ALEXNET = Architecture(_alexnet, (2, 5, 8, 10, 12), 31, "alexnet-owt-7be5be79.pth")
SQUEEZENET = Architecture(_squeezenet, (2, 5, 8, 10, 11, 12, 13), 17, "squeezenet1_1-b8a52dc0.pth")
VGG16 = Architecture(_vgg(2, 2, 3, 3, 3), (4, 9, 16, 23, 30), 16, "vgg16-397923af.pth")
VGG19 = Architecture(_vgg(2, 2, 4, 4, 4), (2, 7, 12, 21, 30), 16, "vgg19-dcbb9e9d.pth")
