"""The talking face: four components in a row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from . import registry
from .errors import BadData, BadRecipe
from .interfaces import AudioEncoder, Clip, Decoder, FaceCode, Fusion, Latent, Output, VisualEncoder
from .recipe import Recipe


@dataclass(frozen=True)
class Steering:
    """What a user wants changed of how faces move, for fusions that keep it apart from who they are."""

    motion: float = 1.0
    """Scales the motion codes; at 0 every frame is the canonical face."""
    blend: float = 0.0
    """The share of the motion that comes from `Clip.other_driving`, where that is given."""
    offset: Tensor | None = None
    """(N, D): added to every motion code."""

    def __call__(self, fusion: Fusion, latent: Latent, other: Latent | None) -> Latent:
        """`latent` as wanted; `other` is the same people moving as the other driving frames do."""
        motion = latent.motion if other is None else latent.motion.lerp(other.motion, self.blend)
        motion = self.motion * motion
        if self.offset is not None:
            motion = motion + self.offset.to(motion)
        return replace(latent, codes=fusion.compose(latent.canonical, motion), motion=motion)


class TalkingFace(nn.Module):
    """visual encoder + audio encoder -> fusion -> decoder."""

    steering: Steering | None = None
    """None leaves the motion as the fusion makes it."""

    def __init__(self, visual_encoder: VisualEncoder, audio_encoder: AudioEncoder, fusion: Fusion, decoder: Decoder):
        super().__init__()
        self.visual_encoder = visual_encoder
        self.audio_encoder = audio_encoder
        self.fusion = fusion
        self.decoder = decoder

    def forward(self, clip: Clip) -> Output:
        """Redraw `clip.frames` as the person in `clip.source` saying `clip.wave`.

        Raises:
            BadData: the clip lacks something the visual encoder needs, such as landmarks.
        """
        face = self.see(clip)
        speech = self.audio_encoder(clip.wave, clip.times)
        latent = self.fusion(face, speech)
        if self.steering:
            other = None if clip.other_driving is None else self.fusion(self.see(replace(clip, driving=clip.other_driving)), speech)
            latent = self.steering(self.fusion, latent, other)
        return self.draw(latent, face, speech)

    def see(self, clip: Clip) -> FaceCode:
        """What the visual encoder makes of `clip`, given what it needs."""
        needed = {name: self.decoder if name == "decoder" else getattr(clip, name) for name in self.visual_encoder.needs}
        for name, value in needed.items():
            if value is None:
                raise BadData(f"The clips carry no {name.replace('_', ' ')}, which {type(self.visual_encoder).__name__} "
                              "needs; prepare the data again with them.")
        return self.visual_encoder(clip.source, clip.frames if clip.driving is None else clip.driving, **needed)

    def draw(self, latent: Latent, face: FaceCode | None = None, speech: Tensor | None = None) -> Output:
        """What the decoder draws from `latent`, with what that came from, in full precision whatever the networks ran in."""
        drawn = self.decoder(latent)
        frames, alpha = drawn if isinstance(drawn, tuple) else (drawn, None)
        return Output(frames.float(), face, speech, latent, None if alpha is None else alpha.float())


def build_model(recipe: Recipe) -> TalkingFace:
    """Build the four components so that their shapes agree, with the recipe's seed.

    The decoder speaks first, since its codes are the hardest to change; the rest is built to it.

    Raises:
        BadRecipe: the decoder needs what the visual encoder does not give; the message names those that do.
    """
    check_pair(recipe)
    torch.manual_seed(recipe.seed)
    decoder = _build(recipe, "decoder", size=recipe.size)
    audio_encoder = _build(recipe, "audio_encoder")
    wanted = {name: getattr(decoder, name) for name in sorted(_load(recipe, "visual_encoder").gives)}
    visual_encoder = _build(recipe, "visual_encoder", size=recipe.size, codes=decoder.codes, **wanted)
    fusion = _build(recipe, "fusion", codes=decoder.codes, speech_width=audio_encoder.width)
    return TalkingFace(visual_encoder, audio_encoder, fusion, decoder)


def check_pair(recipe: Recipe) -> None:
    """Refuse an encoder and a decoder that cannot work together, before anything is built."""
    decoder, encoder = _load(recipe, "decoder"), _load(recipe, "visual_encoder")
    missing = decoder.needs - encoder.gives
    if not missing:
        return
    would_do = []
    for plugin in registry.plugins("visual_encoder"):
        try:
            if decoder.needs <= plugin.load().gives:
                would_do.append(plugin.name)
        except registry.errors.BrokenPlugin:
            continue
    listed = " and ".join(filter(None, [", ".join(would_do[:-1]), would_do[-1] if would_do else ""]))
    raise BadRecipe(f"decoder '{recipe.decoder.name}' needs {' and '.join(sorted(missing))}, which visual encoder "
                    f"'{recipe.visual_encoder.name}' does not give; {listed or 'no installed encoder'} "
                    f"{'do' if len(would_do) > 1 else 'does'}.")


def _load(recipe: Recipe, kind: str) -> type:
    return registry.find(kind, getattr(recipe, kind).name).load()


def _build(recipe: Recipe, kind: str, **given):
    part = getattr(recipe, kind)
    if taken := set(given) & set(part.options):
        raise BadRecipe(f"{registry.label(kind)} '{part.name}' is given {sorted(taken)} by the recipe itself; "
                        "remove it from its options.")
    return registry.build(kind, part.name, **given, **part.options)
