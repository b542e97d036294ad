"""The authors' Keras files in the model's own names: which layer goes where, and which variant a file holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from fctfg.checkpoints import PublicWeights
from fctfg.checkpoints.keras import KerasLayer, layers

from .blocks import SIZE, ResidualBlock, SampleNorm
from .critic import LipGANCriticNetwork
from .parts import LipGANAudioEncoder, LipGANDecoder, LipGANMFCCAudioEncoder, LipGANVisualEncoder

WITH_WEIGHTS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, SampleNorm)
WITHOUT = (nn.ReLU, nn.LeakyReLU, nn.ZeroPad2d)
"""What is a layer to Keras too; its padding "same" is none."""


def generator(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The four variants of what draws: lipgan_residual_mel.h5, lipgan_best_residual.h5, gen.h5, unet_*.h5."""
    if not (found := _layers(weights)):
        return {}, {}
    for variant, mfcc in (("residual", False), ("residual", True), ("basic", False), ("basic", True)):
        chains = _generator_chains(variant, mfcc)
        if len(found) == len(chains) and mfcc == _hears_cepstra(found):
            return chains.filled(found), {
                "visual_encoder.name": "lipgan", "visual_encoder.options.variant": variant,
                "audio_encoder.name": "lipgan-mfcc" if mfcc else "lipgan", "audio_encoder.options.variant": variant,
                "fusion.name": "speech",
                "decoder.name": "lipgan", "decoder.options.variant": variant,
                "decoder.options.speech": 256 if mfcc and variant == "basic" else 512}
    return {}, {}


def critic(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The two variants of the critic: disc.h5."""
    if not (found := _layers(weights)):
        return {}, {}
    for sound in ("mel", "mfcc"):
        chains = _critic_chains(sound)
        if len(found) == len(chains) and (sound == "mfcc") == _hears_cepstra(found):
            return chains.filled(found), {"losses.lipgan-critic.options.sound": sound}
    return {}, {}


def _layers(weights: PublicWeights) -> list[KerasLayer]:
    return layers(weights.tensors) if weights.form == "Keras" else []


def _hears_cepstra(found: list[KerasLayer]) -> bool:
    """The last map of the cepstra, and no other, is 4 x 5."""
    return any(tensor.shape[-2:] == (4, 5) for layer in found for tensor in layer.weights.values())


class _Chains:
    """Our layers as Keras knows them: the face's and the sound's, each in a row, and what both lead to."""

    def __init__(self, **parts: nn.Module):
        """Parts by the prefix that their weights have, in the order in which the authors build them."""
        face, sound, *rest = [list(_chain(part, prefix)) for prefix, part in parts.items()]
        self.modules = {f"{prefix}.{name}": module for prefix, part in parts.items()
                        for name, module in part.named_modules()}
        self.made = [name for chain in (face, sound, *rest) for name in chain if name]
        # Keras sorts a network's layers by how far they are from its end; of two equally far ones the face's is first.
        pairs = zip_longest(reversed([None, *face]), reversed([None, *sound]))  # None before: the input
        self.sorted = [name for pair in reversed(list(pairs)) for name in pair if name]
        self.sorted += [name for chain in rest for name in chain if name]

    def __len__(self) -> int:
        return len(self.made)

    def filled(self, found: list[KerasLayer]) -> dict[str, Tensor]:
        """The weights of `found` by our names: as the layers are numbered, or else in the order they stand in."""
        by_number = self._by_number(found)
        by_order = self._weights(zip(self.sorted, found))
        return by_order if self._fits(by_order) and not self._fits(by_number) else by_number

    def _by_number(self, found: list[KerasLayer]) -> dict[str, Tensor]:
        """Keras numbers the layers of a kind as they are made, whatever was made and never used in between."""
        weights = {}
        for kind in ("conv", "transposed", "norm"):
            places = [name for name in self.made if self._kind(name) == kind]
            numbered = sorted((layer for layer in found if _kind(layer) == kind), key=lambda layer: layer.number)
            weights |= self._weights(zip(places, numbered))
        return weights

    def _weights(self, pairs) -> dict[str, Tensor]:
        return {f"{place}.{name}": tensor for place, layer in pairs for name, tensor in layer.weights.items()}

    def _fits(self, weights: dict[str, Tensor]) -> bool:
        expected = {f"{place}.{name}": tensor.shape for place in self.made
                    for name, tensor in self.modules[place].state_dict().items() if tensor.ndim}
        return {name: tensor.shape for name, tensor in weights.items()} == expected

    def _kind(self, place: str) -> str:
        module = self.modules[place]
        return {nn.Conv2d: "conv", nn.ConvTranspose2d: "transposed"}.get(type(module), "norm")


def _kind(layer: KerasLayer) -> str:
    if layer.weights["weight"].ndim == 1:
        return "norm"
    return "transposed" if "transpose" in layer.name else "conv"


def _chain(module: nn.Module, name: str) -> Iterator[str | None]:
    """The layers that Keras counts in `module`, one after the other; None for one without weights."""
    for child_name, child in module.named_children():
        yield from _chain(child, f"{name}.{child_name}")
    if isinstance(module, WITH_WEIGHTS):
        yield name
    elif isinstance(module, WITHOUT):
        yield None
    elif isinstance(module, ResidualBlock):
        yield from (None, None)  # the sum and its ReLU


@cache
def _generator_chains(variant: str, mfcc: bool) -> _Chains:
    with torch.device("meta"):
        sound = (LipGANMFCCAudioEncoder if mfcc else LipGANAudioEncoder)(variant=variant)
        decoder = LipGANDecoder(size=SIZE, variant=variant, speech=sound.width)
        face = LipGANVisualEncoder(size=SIZE, codes=decoder.codes, skips=decoder.skips, variant=variant)
    return _Chains(visual_encoder=face, audio_encoder=sound, decoder=decoder)


@cache
def _critic_chains(sound: str) -> _Chains:
    with torch.device("meta"):
        network = LipGANCriticNetwork(sound)
    return _Chains(**{"critic.face_encoder": network.face_encoder, "critic.audio_encoder": network.audio_encoder})
