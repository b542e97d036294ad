"""From a picture, and what was drawn of it, to offsets of the weights that drew it.

The names of layers are those of the public weight files. Shape letters beside the core's: M pictures, L layers that
share one hypernetwork, Z width of a layer's embedding, O and I channels out of and into a layer, k its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import DeltaShape

from ..psp.heads import EqualLinear

LARGEST = 256
"""Height and width of the largest pictures it sees: their features, 16 pixels high, are strided down to one."""


class Hypernetwork(nn.Module):
    """Offsets of a decoder's weights from a picture beside what the decoder draws of it.

    Alaluf et al., "HyperStyle: StyleGAN Inversion with HyperNetworks for Real Image Editing", 2022, arXiv:2111.15666.
    A ResNet-34 without its pooling reads both pictures; a block per layer shrinks the features to one embedding. Layers
    as large as the decoder's first share one pair of matrices that turn it into the offsets of every weight; smaller
    layers have a matrix of their own to one offset for each pair of channels, or, if `separable`, to one vector per
    side of the kernel; layers of kernel 1 to one offset per weight.

    Loads `hypernet.*` of the public files, which name the shared matrices once more in every block: those names are
    accepted and not written. Differs: the matrices of the separable kind are applied to the two vectors instead of
    their product, and the shared ones to all layers at once; sums in another order.

    Args:
        deltas: the decoder's layers.
        layers: the indices of those to tune; None for all with a kernel larger than 1. Indices beyond the decoder's
            last layer are passed over.
        scale: multiplies the channels of every layer; 1 is the public network.

    Raises:
        BadRecipe: no such layer.
    """

    def __init__(self, deltas: Sequence[DeltaShape], layers: Sequence[int] | None = None, separable: bool = False,
                 scale: float = 1.0):
        super().__init__()
        self.deltas = tuple(DeltaShape(*shape) for shape in deltas)
        self.layers = _chosen(self.deltas, layers)
        c64, c128, c256, c512 = (max(4, round(channels * scale)) for channels in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(6, c64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(c64)
        self.relu = nn.PReLU(c64)
        self.body = nn.Sequential(
            *_residuals(c64, c64, 3, 1),  # 128 x 128 of pictures 256 x 256
            *_residuals(c64, c128, 4, 2),  # 64
            *_residuals(c128, c256, 6, 2),  # 32
            *_residuals(c256, c512, 3, 2))  # 16
        shared = self.deltas[0]
        self.shared = [i for i in self.layers if self.deltas[i] == shared and shared.kernel > 1]
        if self.shared:
            self.shared_weight_hypernet = SharedMatrices(shared, c512)
        self.refinement_blocks = nn.ModuleDict({str(i): self._block(i, separable, c128, c256, c512)
                                                for i in self.layers})

    def _block(self, layer: int, separable: bool, c128: int, c256: int, c512: int) -> nn.Module:
        if layer in self.shared:
            return EmbeddingBlock(c512, c128)
        if self.deltas[layer].kernel == 1 or separable:
            return VectorBlock(self.deltas[layer], c512, c256)
        return ChannelBlock(self.deltas[layer], c512, c256)

    def forward(self, pictures: Tensor) -> tuple[Tensor | None, ...]:
        """One for each of the decoder's layers, from `pictures` (M, 6, H, W), the true one above the drawn.

        (M, O, I, k, k), or (M, O, I, 1, 1) where all of a kernel is offset alike; None for a layer that is not tuned.
        """
        features = self.body(self.relu(self.bn1(self.conv1(pictures))))
        seen = {i: self.refinement_blocks[str(i)](features) for i in self.layers}
        if self.shared:
            embeddings = torch.stack([seen[i] for i in self.shared])
            seen.update(zip(self.shared, self.shared_weight_hypernet(embeddings)))
        return tuple(seen.get(i) for i in range(len(self.deltas)))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for i in self.shared:
            for name in ("w1", "b1", "w2", "b2"):
                state_dict.pop(f"{prefix}refinement_blocks.{i}.hypernet.{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class SharedMatrices(nn.Module):
    """Turns the embedding of a layer into its offsets, with one embedding for each of its O channels in between."""

    def __init__(self, shape: DeltaShape, width: int):
        super().__init__()
        self.shape = shape
        self.w1 = nn.Parameter(torch.empty(width, shape.inputs * shape.kernel ** 2).normal_(std=1 / 40))
        self.b1 = nn.Parameter(torch.empty(shape.inputs * shape.kernel ** 2).normal_(std=1 / 40))
        self.w2 = nn.Parameter(torch.empty(width, shape.outputs * width).normal_(std=1 / 40))
        self.b2 = nn.Parameter(torch.empty(shape.outputs * width).normal_(std=1 / 40))

    def forward(self, embeddings: Tensor) -> list[Tensor]:
        """The offsets (M, O, I, k, k) of each of L layers, from `embeddings` (L, M, Z)."""
        # The larger matrix alone is half a gigabyte: it is read once for all layers.
        rows = torch.addmm(self.b2, embeddings.flatten(0, 1), self.w2).view(len(embeddings), -1, embeddings.shape[-1])
        return [torch.addmm(self.b1, row, self.w1).view(-1, *self.shape, self.shape.kernel) for row in rows.unbind()]


class EmbeddingBlock(nn.Module):
    """From features (M, C, 16, 16) to the embedding (M, C) of one layer that shares its matrices with others."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.convs = _convs((width, hidden, hidden, hidden, hidden, width), strides=(1, 2, 2, 2, 2))
        self.linear = EqualLinear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.convs(features).flatten(1))


class ChannelBlock(nn.Module):
    """From features (M, C, 16, 16) to one offset per pair of channels, (M, O, I, 1, 1), alike over the kernel."""

    def __init__(self, shape: DeltaShape, width: int, hidden: int):
        super().__init__()
        self.shape = shape
        self.convs = _convs((width, hidden, hidden, width), strides=(2, 2, 2))
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, shape.outputs * shape.inputs, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.convs(features)).view(-1, self.shape.outputs, self.shape.inputs, 1, 1)


class VectorBlock(nn.Module):
    """From features (M, C, 16, 16) through one vector to the offset of each weight: by a matrix where the kernel is 1,
    else as a product of two vectors at each place of the kernel."""

    def __init__(self, shape: DeltaShape, width: int, hidden: int):
        super().__init__()
        self.shape = shape
        self.convs = _convs((width, hidden, hidden, hidden, width), strides=(2, 2, 2, 2))
        last = nn.Conv2d(width, shape.outputs * shape.inputs, 1) if shape.kernel == 1 else SeparableKernel(shape, width)
        self.output = nn.Sequential(last)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.convs(features)).view(-1, *self.shape, self.shape.kernel)


class SeparableKernel(nn.Module):
    """Offsets (M, O, I, k, k) of vectors (M, Z, 1, 1): at each place of the kernel a vector over I times one over O,
    the product mixed over either side by a linear layer."""

    def __init__(self, shape: DeltaShape, width: int):
        super().__init__()
        self.shape = shape
        self.make_kernel_in = nn.Linear(width, shape.kernel ** 2 * shape.inputs)
        self.make_kernel_out = nn.Linear(width, shape.kernel ** 2 * shape.outputs)
        self.kernel_linear_in = nn.Linear(shape.inputs, shape.inputs)
        self.kernel_linear_out = nn.Linear(shape.outputs, shape.outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        outputs, inputs, kernel = self.shape
        vectors = vectors.flatten(1)
        over_inputs = self.make_kernel_in(vectors).unflatten(1, (kernel ** 2, inputs))
        over_outputs = self.make_kernel_out(vectors).unflatten(1, (kernel ** 2, outputs))
        # A matrix times a product of vectors is the product with one of them multiplied: O + I numbers, not O times I.
        mix = self.kernel_linear_out
        over_inputs = F.linear(over_inputs, self.kernel_linear_in.weight)
        product = torch.einsum("mpo,mpi->moip", F.linear(over_outputs, mix.weight), over_inputs)
        bias = mix.weight.sum(1)[:, None] * self.kernel_linear_in.bias + mix.bias[:, None]
        return (product + bias[..., None]).unflatten(-1, (kernel, kernel))


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm, and the input again: a block of ResNet-34."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        changes = stride > 1 or channels != out
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False),
                                        nn.BatchNorm2d(out)) if changes else nn.Identity()
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


def _residuals(channels: int, out: int, count: int, stride: int) -> list[ResidualBlock]:
    return [ResidualBlock(channels, out, stride), *(ResidualBlock(out, out, 1) for _ in range(count - 1))]


def _convs(channels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Convolutions with leaky ReLU between these numbers of channels."""
    layers = []
    for i, stride in enumerate(strides):
        layers += [nn.Conv2d(channels[i], channels[i + 1], 3, stride, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


def _chosen(deltas: tuple[DeltaShape, ...], layers: Sequence[int] | None) -> list[int]:
    """The layers to tune, in order."""
    if layers is None:
        chosen = [i for i, shape in enumerate(deltas) if shape.kernel > 1]
    else:
        wrong = [layer for layer in layers if type(layer) is not int or layer < 0]
        if wrong:
            raise BadRecipe(f"hyperstyle tunes layers by their index from 0; got {wrong[0]!r} in {list(layers)}.")
        chosen = sorted({layer for layer in layers if layer < len(deltas)})
    if not chosen:
        raise BadRecipe(f"hyperstyle has no layer to tune: asked for {'all' if layers is None else list(layers)}, and "
                        f"the decoder has layers 0 to {len(deltas) - 1}.")
    return chosen
