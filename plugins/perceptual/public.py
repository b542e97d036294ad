"""The files of torchvision, for recipes that name them among their public files."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fctfg.checkpoints import PublicWeights

from .backbones import ALEXNET, SQUEEZENET, VGG16, VGG19, by_slice

Translated = tuple[dict[str, Tensor], dict[str, Any]]


def alexnet(weights: PublicWeights) -> Translated:
    """alexnet-owt-7be5be79.pth for the loss `lpips` with net alex: `slice1.0.weight` and so on, of `network.net`."""
    return by_slice(weights.tensors, ALEXNET), {}


def vgg16(weights: PublicWeights) -> Translated:
    """vgg16-397923af.pth for the loss `lpips` with net vgg, as `alexnet`."""
    return by_slice(weights.tensors, VGG16), {}


def squeezenet(weights: PublicWeights) -> Translated:
    """squeezenet1_1-b8a52dc0.pth for the loss `lpips` with net squeeze, as `alexnet`."""
    return by_slice(weights.tensors, SQUEEZENET), {}


def vgg19(weights: PublicWeights) -> Translated:
    """vgg19-dcbb9e9d.pth for the loss `vgg19`: `slice1.0.weight` and so on, of `network`."""
    return by_slice(weights.tensors, VGG19), {}
