"""One speech vector a frame from a pretrained network of 20 ms features, frozen unless told otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from fctfg.errors import BadOption, BadWeights
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, AudioEncoder
from fctfg.weights import find, located

AT_ONCE = 32
"""Windows that a frozen network hears at once: the first convolution of one second is 6.5 MB in float32, held thrice."""
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")
NEVER_USED = "masked_spec_embed"
"""What pretraining puts in place of what it hides; many files lack it."""


class SelfSupervisedAudioEncoder(AudioEncoder):
    """What a pretrained network makes of the sound around each frame, through a small trained projection.

    Each frame's window is normalised and heard by itself, so that the same sound gives the same speech wherever a clip
    or a chunk of it begins. The features within 40 ms of the frame's middle are averaged, the nearest counting most; of
    the layers a learnt weighted sum is taken (Yang et al., "SUPERB", 2021, arXiv:2105.01051).

    Args:
        weights: a folder as transformers saves it, with config.json; where it is left out, the authors' base model, if
            `fctfg weights` keeps it. Nothing is fetched.
        config: what config.json would hold, for a network that is not pretrained; instead of `weights`.
        layers: "all" for the learnt sum, or the number of the one layer that is heard, from 1 on.
        context: seconds of sound before and after the moment a frame begins.
        width: of one speech vector.
        tune: train the network too, not the projection alone.

    Raises:
        BadWeights: the folder is missing, damaged, or of another model.
    """

    model_type: ClassVar[str]
    """As config.json has it."""
    public: ClassVar[str]
    """The base model, as `fctfg weights` calls it."""
    classes: ClassVar[tuple[str, str]]
    """Of transformers: configuration and network."""
    context = (0.5, 0.5)
    licence = "MIT; the authors' weights Apache-2.0"
    test_options = {"width": 8, "context": (0.3, 0.3), "config": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 4,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}}

    def __init__(self, *, weights: str | None = None, config: dict | None = None, layers: int | str = "all",
                 context: Sequence[float] = context, width: int = 512, tune: bool = False):
        super().__init__()
        if config is None:
            weights = weights or find(self.public)
        if (weights is None) == (config is None):
            raise BadOption(f"audio encoder '{self.model_type}' wants the folder of a pretrained network, as "
                            "transformers saves it: --set audio_encoder.options.weights=FOLDER; or keep one with "
                            f"`fctfg weights import FOLDER`, such as {self.public}.")
        self.width, self.tune = width, tune
        self.context = before, after = tuple(context)
        folder = located(weights or "")
        with _quiet():
            self.network = self._blank(config) if weights is None else self._pretrained(folder)
        self.normalises = weights is None or _says_normalise(folder)
        self.network.config.update(dict(layerdrop=0.0, apply_spec_augment=False))  # every weight in every step
        self._hear_only(layers)
        self.samples = round((before + after) * SAMPLE_RATE)
        self.register_buffer("near", _nearness(self.network.config, self.samples, before), persistent=False)
        hidden = self.network.config.hidden_size
        self.mixture = nn.Parameter(torch.zeros(len(self.heard)))
        self.project = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width))
        self.requires_grad_(True).train()

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        windows = self.windows(wave, times)
        clips, frames = windows.shape[:2]
        with nullcontext() if self.tune and torch.is_grad_enabled() else torch.no_grad():
            chunks = windows.flatten(0, 1).split(len(windows) * frames if self.tune else AT_ONCE)
            layers = torch.cat([self.hear(chunk) for chunk in chunks])  # (B T, layers, hidden)
        speech = (self.mixture.softmax(0)[:, None] * layers).sum(1)
        return self.project(speech).unflatten(0, (clips, frames))

    def windows(self, wave: Tensor, times: Tensor) -> Tensor:
        """The sound around each of `times` (T,) in `wave` (B, S): (B, T, samples), silence beyond its ends."""
        first = ((times - self.context[0]) * SAMPLE_RATE).round().long().to(wave.device)
        places = first[:, None] + torch.arange(self.samples, device=wave.device)
        inside = (places >= 0) & (places < wave.shape[1])
        return wave[:, places.clamp(0, wave.shape[1] - 1)] * inside

    def hear(self, windows: Tensor) -> Tensor:
        """What each layer makes of the middle of `windows` (M, samples): (M, layers, hidden)."""
        if self.normalises:
            variance, mean = torch.var_mean(windows, -1, correction=0, keepdim=True)
            windows = (windows - mean) / (variance + 1e-7).sqrt()
        states = self.network(windows, output_hidden_states=True).hidden_states
        near = self.near.to(states[0].dtype)
        return torch.stack([near @ states[number] for number in self.heard], 1)

    def train(self, mode: bool = True) -> SelfSupervisedAudioEncoder:
        super().train(mode)
        self.network.train(mode and self.tune)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> SelfSupervisedAudioEncoder:
        """Let the projection learn, and the network where `tune` says so."""
        super().requires_grad_(requires_grad)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(requires_grad and self.tune and name != NEVER_USED)
        return self

    def _hear_only(self, layers: int | str) -> None:
        """Choose the layers that are heard, and drop those above, which would be reckoned for nothing."""
        encoder = self.network.encoder
        count = len(encoder.layers)
        if layers == "all":
            self.heard = range(count + 1)
        elif isinstance(layers, int) and 1 <= layers <= count:
            self.heard = range(layers, layers + 1)
            if layers < count:
                encoder.layers = encoder.layers[:layers]
                if self.network.config.do_stable_layer_norm:  # which follows the last layer alone
                    encoder.layer_norm = nn.Identity()
        else:
            raise BadOption(f"audio encoder '{self.model_type}': layers {layers!r} is none of its own; say all, or "
                            f"1 to {count}.")

    def _blank(self, config: dict) -> nn.Module:
        import transformers

        configuration, network = (getattr(transformers, name) for name in self.classes)
        return network(configuration(**config))

    def _pretrained(self, folder: Path) -> nn.Module:
        import transformers

        found = _read_json(folder / "config.json").get("model_type")
        if found is None:
            kind = "does not exist" if not folder.exists() else "is no folder of transformers: it has no config.json"
            raise BadWeights(f"{folder} {kind}. Fetch a {self.model_type} model and name its folder with "
                             "--set audio_encoder.options.weights=FOLDER.")
        if found != self.model_type:
            raise BadWeights(f"{folder} holds a '{found}' model, not '{self.model_type}'"
                             f"{f'; --audio-encoder {found} reads it' if found in ('hubert', 'wav2vec2') else ''}.")
        if not any(file for pattern in WEIGHT_FILES for file in folder.glob(pattern)):
            raise BadWeights(f"{folder} has a config.json and no weights beside it ({' or '.join(WEIGHT_FILES)}).")
        try:
            network, said = getattr(transformers, self.classes[1]).from_pretrained(
                folder, local_files_only=True, weights_only=True, output_loading_info=True, dtype=torch.float32)
        except Exception as error:  # whatever transformers makes of a damaged folder
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BadWeights(f"{folder} cannot be read as a {self.model_type} model: {reason}") from None
        if missing := sorted(set(said["missing_keys"]) - {NEVER_USED}):
            raise BadWeights(f"{folder} lacks {len(missing)} tensors of the network its config.json describes "
                             f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}).")
        return network


class HubertAudioEncoder(SelfSupervisedAudioEncoder):
    """HuBERT's features around each frame, through a small trained projection.

    Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units", 2021,
    arXiv:2106.07447. Reads folders such as that of hubert-base-ls960. See `SelfSupervisedAudioEncoder`.
    """

    paper = ("Hsu et al., HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units, "
             "2021, arXiv:2106.07447")
    model_type = "hubert"
    public = "hubert-base-ls960"
    classes = ("HubertConfig", "HubertModel")


class Wav2Vec2AudioEncoder(SelfSupervisedAudioEncoder):
    """The features of wav2vec 2.0 around each frame, through a small trained projection.

    Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations", 2020,
    arXiv:2006.11477. Reads folders such as that of wav2vec2-base-960h. See `SelfSupervisedAudioEncoder`.
    """

    paper = ("Baevski et al., wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, 2020, "
             "arXiv:2006.11477")
    model_type = "wav2vec2"
    public = "wav2vec2-base-960h"
    classes = ("Wav2Vec2Config", "Wav2Vec2Model")


def _nearness(config, samples: int, before: float) -> Tensor:
    """How much each feature of a window counts, (L,): less the farther it is from the frame's middle, 1 in all."""
    count, hop, reach = samples, 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride):
        count, reach, hop = (count - kernel) // stride + 1, reach + (kernel - 1) * hop, hop * stride
    if count < 1:
        raise BadOption(f"A context of {samples / SAMPLE_RATE:g} s is shorter than the {reach / SAMPLE_RATE:g} s that "
                        "one feature hears; give more.")
    middles = (torch.arange(count) * hop + reach / 2) / SAMPLE_RATE
    distance = (middles - before - 0.5 / FRAME_RATE).abs()
    nearness = (1 - distance / max(1 / FRAME_RATE, hop / SAMPLE_RATE)).clamp(min=0)
    if not nearness.any():  # a frame at the very end of its window
        nearness[distance.argmin()] = 1
    return nearness / nearness.sum()


def _says_normalise(folder: Path) -> bool:
    """Whether the network learnt from sound of mean 0 and variance 1, as all but a few did."""
    return _read_json(folder / "preprocessor_config.json").get("do_normalize", True)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


@contextmanager
def _quiet():
    """Without the bars that transformers draws."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
