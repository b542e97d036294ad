"""The visual encoder: codes from a base encoder, and offsets that bend the decoder to the person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, Decoder, DeltaShape, FaceCode, Latent, VisualEncoder

from .hypernetwork import LARGEST, Hypernetwork

PAPER = ("Alaluf et al., HyperStyle: StyleGAN Inversion with HyperNetworks for Real Image Editing, 2022, "
         "arXiv:2111.15666")

Deltas = tuple[Tensor | None, ...]


class HyperStyleEncoder(VisualEncoder):
    """Codes of every picture, and offsets of the decoder's weights that make it draw the person in the source.

    Alaluf et al., 2022, arXiv:2111.15666. The first picture of the source is inverted by the base encoder and drawn;
    a hypernetwork looks at both and offsets the weights; that is drawn and looked at again, `refinements` times, the
    offsets adding up. Frames get codes only, so that a clip has one set of offsets. Loads `hypernet` of the public
    files, and their W encoder with `base: psp-w`. Differs: offsets that are alike over a kernel are kept as
    (B, O, I, 1, 1); the base is any encoder of codes. FC-TFG puts pSp where the authors have a W encoder.

    While generating, the codes and offsets of one person are kept and taken again for as long as the picture and every
    weight stay the same; `train()` and `eval()` forget them.

    Args:
        base: the visual encoder that inverts, such as `psp`, `psp-w` or `e4e`; `base_options` go to it.
        refinements: how often the drawn picture is looked at.
        separable: offsets of the smaller layers as products of vectors: two thirds of the weights.
        layers: the indices of the decoder's layers to tune; None for all but those to RGB, as the authors have it.
        scale: multiplies the channels of the hypernetwork; 1 is the public one. The base has its own.

    Raises:
        BadRecipe: the decoder has no weights to offset, or not that layer; the base needs more than pictures.
    """

    paper = PAPER
    licence = "MIT; public weights: non-commercial, trained on FFHQ (CC BY-NC-SA 4.0)"
    gives = frozenset({"deltas"})
    needs = frozenset({"decoder"})
    test_decoder = "stylegan2"
    test_options = {"base_options": {"scale": 1 / 32}, "refinements": 2, "scale": 1 / 64}

    def __init__(self, *, size: int, codes: CodeShape, deltas: tuple[DeltaShape, ...] = (), base: str = "psp",
                 base_options: dict[str, Any] | None = None, refinements: int = 5, separable: bool = False,
                 layers: Sequence[int] | None = None, scale: float = 1.0):
        super().__init__()
        if not deltas:
            raise BadRecipe("visual encoder 'hyperstyle' offsets a decoder's weights, and this decoder offers none; "
                            f"take decoder 'stylegan2', or visual encoder '{base}', which gives codes alone.")
        if refinements < 1:
            raise BadRecipe(f"visual encoder 'hyperstyle' looks at least once; got refinements: {refinements}.")
        self.base = registry.build("visual_encoder", base, size=size, codes=codes, **(base_options or {}))
        if more := self.base.needs | self.base.gives:
            raise BadRecipe("visual encoder 'hyperstyle' needs a base that makes codes of pictures alone; "
                            f"'{base}' also has to do with {' and '.join(sorted(more))}. psp, psp-w and e4e would do.")
        self.hypernet = Hypernetwork(deltas, layers, separable, scale)
        self.rounds = refinements
        self.input_size = min(size, LARGEST)
        self._known: _Person | None = None

    def forward(self, source: Tensor, frames: Tensor, decoder: Decoder) -> FaceCode:
        """Encode `source` (B, K, 3, H, W), of which the first picture counts, and `frames` (B, T, 3, H, W)."""
        picture = source[:, 0]
        person = self._recall(picture, decoder)
        unknown = picture if person is None else picture[:0]
        codes = self.base.invert(torch.cat([unknown, frames.flatten(0, 1)]))
        motion = codes[len(unknown):].unflatten(0, frames.shape[:2])
        if person is None:
            person = self._meet(picture, codes[:len(unknown)], decoder)
        return FaceCode(person.codes, motion, deltas=person.deltas)

    def invert(self, pictures: Tensor) -> Tensor:
        """The base's codes (M, N, D) of `pictures` (M, 3, H, W); nothing is refined."""
        return self.base.invert(pictures)

    def refinements(self, pictures: Tensor, decoder: Decoder) -> Iterator[tuple[Tensor, Deltas, Tensor]]:
        """Ever closer inversions of `pictures` (M, 3, H, W): codes (M, N, D), deltas, and what is drawn of them
        (M, 3, H, W). The plain one comes first. The base holds still, and gradients reach the hypernetwork through one
        refinement at a time."""
        with _still(self.base):
            codes = self.base.invert(pictures)
        deltas: Deltas = (None,) * len(self.hypernet.deltas)
        with torch.no_grad():
            drawn = _draw(decoder, codes, deltas)
        yield codes, deltas, drawn
        for _ in range(self.rounds):
            deltas = self.closer(pictures, drawn, deltas)
            drawn = _draw(decoder, codes, deltas)
            yield codes, deltas, drawn

    def closer(self, pictures: Tensor, drawn: Tensor, deltas: Deltas) -> Deltas:
        """`deltas`, and what a look at `pictures` (M, 3, H, W) and at what they have `drawn` (M, 3, H, W) adds to them;
        float32. Gradients reach only what is added."""
        seen = torch.cat([F.adaptive_avg_pool2d(p.detach(), self.input_size) for p in (pictures, drawn)], 1)
        return tuple(None if more is None else more.float() if before is None else before.detach() + more
                     for before, more in zip(deltas, self.hypernet(seen)))

    def train(self, mode: bool = True) -> HyperStyleEncoder:
        self._known = None
        return super().train(mode)

    def _recall(self, picture: Tensor, decoder: Decoder) -> _Person | None:
        """The person in `picture` (1, 3, H, W), if it is the one last met and nothing was learnt or loaded since."""
        person = self._known
        if person is None or not self._keeps(picture) or not _equal(person.picture, picture):
            return None
        return person if person.writings == [_writing(tensor) for tensor in person.tensors] else None

    def _meet(self, picture: Tensor, codes: Tensor, decoder: Decoder) -> _Person:
        """The people in `picture` (B, 3, H, W) with their `codes` (B, N, D), fully refined; a single one is kept.

        Gradients reach the hypernetwork through the last refinement. Nobody looks at what that would draw.
        """
        self._known = None  # its memory is free before that of the next is taken
        deltas: Deltas = (None,) * len(self.hypernet.deltas)
        for i in range(self.rounds):
            with _still(decoder):
                drawn = _draw(decoder, codes, deltas)
            with torch.set_grad_enabled(torch.is_grad_enabled() and i == self.rounds - 1):
                deltas = self.closer(picture, drawn, deltas)
        if not self._keeps(picture):
            return _Person(picture, codes, deltas)
        tensors = [*self.parameters(), *self.buffers(), *decoder.parameters(), *decoder.buffers()]
        self._known = _Person(picture.clone(), codes.clone(), deltas, tensors, [_writing(tensor) for tensor in tensors])
        return self._known

    def _keeps(self, picture: Tensor) -> bool:
        """Only while generating. A recorded CUDA graph would hold the person for all that it is replayed for."""
        recording = picture.is_cuda and torch.cuda.is_current_stream_capturing()
        return len(picture) == 1 and not (self.training or torch.is_grad_enabled() or recording)


@dataclass
class _Person:
    """Who is in `picture` (B, 3, H, W), to an encoder and a decoder with these `tensors` as they were written."""

    picture: Tensor
    codes: Tensor
    """(B, N, D)"""
    deltas: Deltas
    tensors: list[Tensor] = field(default_factory=list)
    writings: list[tuple[int, int]] = field(default_factory=list)


def _draw(decoder: Decoder, codes: Tensor, deltas: Deltas) -> Tensor:
    """(M, 3, H, W) from `codes` (M, N, D), each with its own deltas."""
    drawn = decoder(Latent(codes[:, None], deltas=deltas))
    frames = drawn[0] if isinstance(drawn, tuple) else drawn
    return frames[:, 0]


def _writing(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies and how often it was written to, other than by a fused optimizer: that counts nothing."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and one.dtype == other.dtype and torch.equal(one, other)


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Neither gradients nor statistics are taken of `module`, and it draws no noise that it would not draw again."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
