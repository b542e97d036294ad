"""The contracts every plugin keeps. Plugin authors run them over their own in a few lines:

    from fctfg.testing import DecoderContract

    class TestHelloDecoder(DecoderContract):
        plugin = "hello"

An instance is built as the core would build it, with the class's `test_options` and `test_size`, so it should be small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from . import registry
from .data.noise import random_clip
from .errors import CannotMeasure, FctfgError
from .interfaces import (FRAME_RATE, SAMPLE_RATE, CodeShape, Component, Critic, Decoder, FaceCode, Film, Latent, Metric,
                         Moments, Output, Score, SkipShape)

B, T = 2, 5  # as random_clip has them
SPEECH_WIDTH = 8
MARGIN = 1.0  # seconds of sound before the first frame and after the last; more than most contexts ask for


def tensors_in(value) -> list[Tensor]:
    """Every tensor in a tensor, tuple, dict or dataclass, in order."""
    if torch.is_tensor(value):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, f.name) for f in fields(value)]
    elif isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value or () for tensor in tensors_in(item)] if isinstance(value, (list, tuple)) else []


class ComponentContract:
    """Common to all kinds; a subclass says how an instance is built, what goes in and what must come out."""

    kind: str
    plugin: str
    """The plugin's name, or `package:name`."""

    def make(self) -> Component:
        torch.manual_seed(0)
        return self.cls(**self.given(), **self.cls.test_options)

    @property
    def cls(self) -> type[Component]:
        return registry.find(self.kind, self.plugin).load()

    def given(self) -> dict:
        """What the core gives the constructor."""
        return {}

    def inputs(self, frames: int = T, seed: int = 0) -> tuple[tuple, dict]:
        raise NotImplementedError

    def check_shapes(self, out, frames: int) -> None:
        raise NotImplementedError

    def run(self, component: Component, frames: int = T, seed: int = 0):
        positional, named = self.inputs(frames, seed)
        return component(*positional, **named)

    @pytest.mark.parametrize("frames", [T, T + 2])
    def test_shapes_and_values(self, frames):
        with torch.no_grad():
            out = self.run(self.make().eval(), frames)
        self.check_shapes(out, frames)
        assert all(torch.isfinite(tensor).all() for tensor in tensors_in(out))

    def test_repeats_itself_in_eval_mode(self):
        component = self.make().eval()
        with torch.no_grad():
            first, second = (tensors_in(self.run(component)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    def test_state_dict_carries_every_weight(self):
        """Fails for layers kept in a plain list, which PyTorch does not see."""
        one = self.make().eval()
        torch.manual_seed(1)
        two = self.cls(**self.given(), **self.cls.test_options).eval()
        two.load_state_dict(one.state_dict())
        with torch.no_grad():
            for a, b in zip(tensors_in(self.run(one)), tensors_in(self.run(two)), strict=True):
                torch.testing.assert_close(a, b)

    def test_gradients_reach_every_weight(self):
        component = self.make().train()
        if isinstance(component, Critic) or not list(component.parameters()):
            return  # a critic learns in train_critic, which LossContract checks
        sum(tensor.float().square().sum() for tensor in tensors_in(self.run(component)) if tensor.requires_grad).backward()
        missing = [name for name, p in component.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing, f"no gradient for {missing}"

    def test_clips_of_a_batch_do_not_influence_each_other(self):
        component = self.make().eval()
        positional, named = self.inputs(T, 0)
        with torch.no_grad():
            both = tensors_in(component(*positional, **named))
            alone = tensors_in(component(*map(_first_clip, positional), **{k: _first_clip(v) for k, v in named.items()}))
        for a, b in zip(both, alone, strict=True):
            torch.testing.assert_close(a[:1], b, rtol=1e-3, atol=1e-4)

    def test_runs_in_bf16(self):
        component = self.make().eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            out = self.run(component)
        assert all(torch.isfinite(tensor).all() for tensor in tensors_in(out))

    def test_says_what_it_is(self):
        assert self.cls.__doc__ and self.cls.licence


def _first_clip(value):
    """The first of B clips; `times` (T,) is common to all."""
    if torch.is_tensor(value):
        return value[:1] if value.ndim > 1 else value
    if isinstance(value, tuple):
        return tuple(_first_clip(item) for item in value)
    return type(value)(**{f.name: _first_clip(getattr(value, f.name)) for f in fields(value)}) if is_dataclass(value) else value


class VisualEncoderContract(ComponentContract):
    kind = "visual_encoder"
    codes = CodeShape(2, 4)
    skips = (SkipShape(6, 1, 1), SkipShape(4, 8, 8))

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder that an encoder which needs one looks at."""
        torch.manual_seed(2)
        cls = registry.find("decoder", self.cls.test_decoder).load()
        return cls(size=self.cls.test_size, **cls.test_options).eval().requires_grad_(False)

    def given(self):
        if "decoder" in self.cls.needs:
            return {"size": self.cls.test_size, "codes": self.decoder.codes,
                    **{name: getattr(self.decoder, name) for name in self.cls.gives}}
        wanted = {"skips": self.skips} if "skips" in self.cls.gives else {}
        return {"size": self.cls.test_size, "codes": self.codes, **wanted}

    def inputs(self, frames=T, seed=0):
        clip = random_clip(self.cls.test_size, frames, seed=seed)
        return (clip.source, clip.frames), {name: self.decoder if name == "decoder" else getattr(clip, name)
                                            for name in self.cls.needs}

    def check_shapes(self, out: FaceCode, frames):
        if "skips" in self.cls.gives:
            assert [tuple(skip.shape) for skip in out.skips] == [(B, frames, *skip) for skip in self.skips]
        assert out.identity.shape[0] == B and out.motion.shape[:2] == (B, frames)
        assert out.identity.shape[-1] == out.motion.shape[-1]
        if "deltas" in self.cls.gives:
            for delta, layer in zip(out.deltas, self.decoder.deltas, strict=True):
                assert delta is None or torch.broadcast_shapes(delta.shape, wanted := (B, *layer, layer.kernel)) == wanted


class AudioEncoderContract(ComponentContract):
    kind = "audio_encoder"

    def inputs(self, frames=T, seed=0):
        before, after = self.cls.context
        clip = random_clip(8, frames, margin=max(MARGIN, before, after), seed=seed)
        return (clip.wave, clip.times), {}

    def check_shapes(self, out: Tensor, frames):
        assert out.shape == (B, frames, self.make().width)

    def test_hears_only_its_context(self):
        """The same frames from a longer stretch of sound give the same speech: what streaming relies on."""
        component = self.make().eval()
        (wave, times), _ = self.inputs()
        before, after = component.context
        start = int((float(times[0]) - before) * SAMPLE_RATE) - SAMPLE_RATE // FRAME_RATE
        end = int((float(times[-1]) + after) * SAMPLE_RATE) + SAMPLE_RATE // FRAME_RATE
        start, end = max(start, 0), min(end, wave.shape[1])
        with torch.no_grad():
            whole = component(wave, times)
            cut = component(wave[:, start:end], times - start / SAMPLE_RATE)
        torch.testing.assert_close(whole, cut, rtol=1e-3, atol=1e-3)


class FusionContract(ComponentContract):
    kind = "fusion"

    @property
    def codes(self) -> CodeShape:
        return self.cls.test_codes

    def given(self):
        return {"codes": self.codes, "speech_width": SPEECH_WIDTH}

    def inputs(self, frames=T, seed=0):
        draw = torch.Generator().manual_seed(seed)
        face = FaceCode(torch.randn(B, *self.codes, generator=draw), torch.randn(B, frames, *self.codes, generator=draw),
                        (torch.randn(B, frames, 3, 8, 8, generator=draw),))
        return (face, torch.randn(B, frames, SPEECH_WIDTH, generator=draw)), {}

    def check_shapes(self, out: Latent, frames):
        assert out.codes.shape == (B, frames, *self.codes)
        assert len(out.skips) == 1


class DecoderContract(ComponentContract):
    kind = "decoder"

    def given(self):
        return {"size": self.cls.test_size}

    def inputs(self, frames=T, seed=0):
        draw = torch.Generator().manual_seed(seed)
        decoder = self.make()
        codes = torch.randn(B, frames, *decoder.codes, generator=draw).tanh()
        skips = tuple(torch.randn(B, frames, *skip, generator=draw).tanh() for skip in decoder.skips)
        return (Latent(codes, codes.mean(1), codes, skips),), {}

    def check_shapes(self, out, frames):
        size = self.cls.test_size
        drawn, alpha = out if isinstance(out, tuple) else (out, None)
        assert drawn.shape == (B, frames, 3, size, size)
        assert drawn.abs().mean() <= 1.5, "pictures are in [-1, 1], on the whole before training too"
        assert alpha is None or (alpha.shape == (B, frames, 1, size, size) and 0 <= alpha.min() and alpha.max() <= 1)

    def run(self, component, frames=T, seed=0):
        """What it draws of given codes, and while it learns, of those that it imagines, where it does."""
        drawn = super().run(component, frames, seed)
        if component.training and type(component).imagine is not Decoder.imagine:
            return drawn, component(component.imagine(B, frames))
        return drawn


class LossContract(ComponentContract):
    kind = "loss"

    codes = CodeShape(3, 512)

    def given(self):
        return {name: {"size": self.cls.test_size, "crop": "face"}[name] for name in self.cls.built_with}

    def inputs(self, frames=T, seed=0):
        """The output of a model that keeps who and how apart, its frames depending a little on its codes."""
        draw = torch.Generator().manual_seed(seed)
        clip = random_clip(self.cls.test_size, frames, seed=seed)
        drawn = random_clip(self.cls.test_size, frames, seed=seed + 1).frames.requires_grad_(True)
        canonical = torch.randn(B, *self.codes, generator=draw).requires_grad_(True)
        motion = torch.randn(B, frames, *self.codes, generator=draw).requires_grad_(True)
        codes = canonical[:, None] + motion
        real_codes = torch.randn(B, frames, *self.codes, generator=draw)
        speech = torch.rand(B, frames, 17, generator=draw).requires_grad_(True)  # as many as action units
        return (Output(drawn + 0.01 * codes.sin().mean((2, 3))[..., None, None, None], speech=speech,
                       latent=Latent(codes, canonical, motion), extra={"real_codes": real_codes}), clip), {}

    def check_shapes(self, out: Tensor, frames):
        assert out.shape == ()

    def test_clips_of_a_batch_do_not_influence_each_other(self):
        """A mean over the batch: two equal clips score as one does."""

    def test_what_the_model_made_is_what_it_judges(self):
        """The gradient reaches the picture, its codes or its speech, and no critic's weights."""
        loss = self.make().requires_grad_(False)
        (output, clip), _ = self.inputs()
        made = [output.frames, output.speech, output.latent.codes, output.latent.canonical, output.latent.motion]
        for tensor in made:
            tensor.retain_grad()
        loss(output, clip).backward()
        reached = [tensor.grad for tensor in made if tensor.grad is not None]
        assert all(torch.isfinite(grad).all() for grad in reached) and any(grad.abs().sum() > 0 for grad in reached)
        assert all(p.grad is None for p in loss.parameters())

    def test_a_critic_learns_only_when_told_to(self):
        loss = self.make()
        if not isinstance(loss, Critic):
            return
        (output, clip), _ = self.inputs()
        output = output.detach()
        before = [p.detach().clone() for p in loss.network.parameters()]
        loss.requires_grad_(False)
        loss(output, clip)
        assert all(torch.equal(a, b) for a, b in zip(before, loss.network.parameters()))
        report = loss.train_critic(output, clip)
        assert torch.isfinite(report["critic"])
        assert any(not torch.equal(a, b) for a, b in zip(before, loss.network.parameters()))
        assert not any(p.requires_grad for p in loss.network.parameters())
        again = self.make()
        again.load_state_dict(loss.state_dict())
        assert again.optimizer.state_dict()["state"], "the optimizer is saved with the critic"


class DetectorContract:
    """Finds the one face of a portrait, nothing in noise, and its 68 points inside the box's surroundings."""

    plugin: str

    @pytest.fixture
    def portrait(self) -> np.ndarray:
        from skimage.data import astronaut

        return astronaut()[:256, 96:352].copy()

    @pytest.fixture
    def detector(self):
        return registry.build("detector", self.plugin)

    def test_finds_a_face_and_its_points(self, detector, portrait):
        faces = detector.detect(portrait)
        assert len(faces) == 1
        left, top, right, bottom = faces[0].box
        assert left < 128 < right and top < 110 < bottom
        points = detector.landmarks(portrait, faces[0].box)
        assert points.shape == (68, 2)
        eyes, mouth = points[36:48].mean(0), points[48:68].mean(0)
        assert eyes[1] < mouth[1] and left < mouth[0] < right

    def test_finds_nothing_where_nothing_is(self, detector):
        assert detector.detect(np.full((120, 160, 3), 127, np.uint8)) == []


class MetricContract:
    """What it finds has a name and lies in its range, does not depend on how the film is cut into stretches, and is not
    mixed up with another film; a film that lacks something is refused in a sentence."""

    kind = "metric"
    plugin: str

    @property
    def cls(self) -> type[Metric]:
        return registry.find("metric", self.plugin).load()

    def make(self) -> Metric:
        """An instance, its weights read; where they are not there, nothing more can be tested."""
        metric = self.cls(**self.cls.test_options)
        try:
            metric.load()
        except FctfgError as error:
            pytest.skip(str(error))
        return metric

    def test_says_what_it_is(self):
        metric = self.cls(**self.cls.test_options)
        assert self.cls.__doc__ and self.cls.licence and self.cls.blindness and metric.protocol
        assert self.cls().protocol, "it is known before weights are read"
        assert metric.needs <= {"face", "sound", "reference"}
        names = [quantity.name for quantity in metric.quantities]
        assert names and len(set(names)) == len(names)
        for quantity in metric.quantities:
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", quantity.name)
            assert quantity.about and quantity.low < quantity.high

    def test_what_it_needs_is_there_or_asked_for_in_a_sentence(self):
        """Weights, runs and packages: what cannot be found is named in one line."""
        metric = self.cls(**self.cls.test_options)
        try:
            metric.load()
        except FctfgError as error:
            assert _is_a_sentence(error)

    def test_values_are_named_and_in_range(self):
        metric = self.make()
        score = score_of(metric, drawn_film())
        ranges = {quantity.name: quantity for quantity in metric.quantities}
        pooled = metric.pool([score, score])
        assert pooled and (score.values or score.features is not None)
        for name, value in [*score.values.items(), *pooled.items()]:
            assert type(value) is float and ranges[name].low - 1e-6 <= value <= ranges[name].high + 1e-6, (name, value)
        for curve in score.curves.values():
            assert curve.ndim == 1 and len(curve)

    def test_stretches_and_other_films_change_nothing(self):
        metric, film = self.make(), drawn_film()
        alone, mixed = score_of(metric, film, FILM_FRAMES), score_of(metric, film, 7, beside=drawn_film(seed=1))
        assert alone.values == pytest.approx(mixed.values, rel=1e-4, abs=1e-4)
        for one, other in ((alone.curves, mixed.curves), ({"": alone.features}, {"": mixed.features})):
            for name, values in one.items():
                if values is not None:
                    np.testing.assert_allclose(values, other[name], rtol=1e-3, atol=1e-3)

    def test_what_a_film_lacks_is_said(self):
        metric = self.make()
        for lacking in sorted(metric.needs):
            with pytest.raises(CannotMeasure) as caught:
                score_of(metric, drawn_film().without(lacking))
            assert _is_a_sentence(caught.value)

    def test_one_frame_is_measured_or_refused(self):
        try:
            score_of(self.make(), drawn_film().first(1))
        except CannotMeasure as error:
            assert _is_a_sentence(error)


FILM_FRAMES = 52
"""Of the drawn films that metrics are shown: two seconds, and a little more."""


@dataclass(frozen=True)
class DrawnFilm:
    """A talking head with its sound, and another head in place of a reference; all that metrics are shown."""

    frames: np.ndarray
    landmarks: np.ndarray
    wave: np.ndarray | None
    reference: DrawnFilm | None = None

    def without(self, what: str) -> DrawnFilm:
        """The same film without its "face", "sound" or "reference"."""
        if what == "face":
            unseen = np.full_like(self.landmarks, np.nan)
            return replace(self, landmarks=unseen, reference=self.reference and self.reference.without("face"))
        return replace(self, **{{"sound": "wave"}.get(what, what): None})

    def first(self, count: int) -> DrawnFilm:
        """Its first frames, the sound cut after them."""
        wave = None if self.wave is None else self.wave[:count * SAMPLE_RATE // FRAME_RATE]
        return DrawnFilm(self.frames[:count], self.landmarks[:count], wave,
                         self.reference and self.reference.first(count))

    @property
    def film(self) -> Film:
        height, width = self.frames.shape[1:3]
        return Film(Path("drawn.mp4"), width, height, len(self.frames), Fraction(FRAME_RATE), self.wave,
                    self.reference and self.reference.film)

    def moments(self, first: int, count: int) -> Moments:
        part = slice(first, first + count)
        return Moments(first, self.frames[part], self.landmarks[part],
                       self.reference and self.reference.moments(first, count))


@lru_cache(maxsize=4)
def drawn_film(seed: int = 0, frames: int = FILM_FRAMES, size: int = 96) -> DrawnFilm:
    """A drawn head of `seed`, whose reference is another person saying something else; the last 0.6 s are silent."""
    from .data import TalkingHead

    films = []
    for identity in (1, 0):
        head = TalkingHead(seed=seed, identity=identity, seconds=frames / FRAME_RATE, width=size, height=size)
        pictures = np.stack([head.frame(number) for number in range(frames)])
        wave = head.speech.wave.astype(np.float32)
        wave[-int(0.6 * SAMPLE_RATE):] = 0
        films.append(DrawnFilm(pictures, head.landmarks.astype(np.float32), wave))
    return replace(films[0], reference=films[1])


def score_of(metric: Metric, film: DrawnFilm, stretch: int = 16, beside: DrawnFilm | None = None) -> Score:
    """What `metric` finds in `film`, shown in stretches of so many frames; and it may look at another `beside` it."""
    measurement = metric.begin(film.film)
    other = metric.begin(beside.film) if beside else None
    for first in range(0, len(film.frames), stretch):
        measurement.see(film.moments(first, stretch))
        if other and first < 3 * stretch:
            other.see(beside.moments(first, stretch))
    return measurement.score()


def _is_a_sentence(error: FctfgError) -> bool:
    return len(str(error).split()) > 2 and "\n" not in str(error)


CONTRACTS = {"visual_encoder": VisualEncoderContract, "audio_encoder": AudioEncoderContract, "fusion": FusionContract,
             "decoder": DecoderContract, "loss": LossContract, "metric": MetricContract}
