"""How a stage turns a Clip into an Output."""

from __future__ import annotations

import torch

from .interfaces import Clip, Decoder, Fusion, Latent, Output, Task
from .model import TalkingFace


class TalkTask(Task):
    """The whole model draws the clip's frames from its references and sound.

    While evaluating, a model that keeps who a face is apart from how it moves also shows the face without motion, as
    `canonical` (B, 1, 3, H, W).
    """

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        output = model(clip)
        latent = output.latent
        if type(model.fusion).compose is not Fusion.compose and not torch.is_grad_enabled():
            output.extra["canonical"] = model.draw(canonical(model, latent)).frames
        return output


def canonical(model: TalkingFace, latent: Latent) -> Latent:
    """The people of `latent` without motion, one frame of each."""
    still = model.fusion.compose(latent.canonical, torch.zeros_like(latent.motion[:, :1]))
    return Latent(still, latent.canonical, torch.zeros_like(still), deltas=latent.deltas)


class ObserveTask(Task):
    """The real frames pass through untouched: for stages that train critics alone, such as the sync expert."""

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        return Output(clip.frames)


class SynthesiseTask(Task):
    """The decoder imagines as many people as the clip has frames: for stages that teach it what faces look like."""

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        return model.draw(model.decoder.imagine(*clip.frames.shape[:2]))


class InvertTask(Task):
    """Each frame by itself becomes codes and is drawn again from them.

    With a decoder that imagines people, their codes (B, T, N, D) come along as `real_codes`, for critics that tell
    them from the encoder's.
    """

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        shape = clip.frames.shape[:2]
        output = model.draw(Latent(model.visual_encoder.invert(clip.frames.flatten(0, 1)).unflatten(0, shape)))
        if type(model.decoder).imagine is not Decoder.imagine:
            with torch.no_grad():
                output.extra["real_codes"] = model.decoder.imagine(*shape).codes
        return output


class RefineTask(Task):
    """Inversions of single frames, each closer than the one before, the plain one left out; HyperStyle's training
    (Alaluf et al., 2022, arXiv:2111.15666), whose gradients add up over the refinements."""

    needs = frozenset({"deltas"})

    def forward(self, model: TalkingFace, clip: Clip) -> list[Output]:
        shape = clip.frames.shape[:2]
        closer = model.visual_encoder.refinements(clip.frames.flatten(0, 1), model.decoder)
        next(closer)
        return [Output(drawn.float().unflatten(0, shape), latent=Latent(codes.unflatten(0, shape)))
                for codes, _, drawn in closer]
