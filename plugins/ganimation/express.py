"""How GANimation learns: from each frame, the one that other action units would make of it, and the way back."""

from __future__ import annotations

import torch
from torch import Tensor

from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, Latent, Output, Task
from fctfg.model import TalkingFace

from .decoder import LICENCE, PAPER


class ExpressTask(Task):
    """Each frame of a clip redrawn with other action units, and back to its own.

    Pumarola et al., 2018, arXiv:1807.09251, and IETaFS (meherabhi/IETaFS). Where the `frames` of the output stand, a
    picture from elsewhere in the clip was redrawn; by name come along, each (B, T, ...):

        pictures                 what was redrawn (3, H, W)
        targets                  the action units that were asked for (17), in [0, 1], cut from the graph
        targets_known            which of them (17) a critic can have learnt: those that any clip of the batch knows
        says_sound               1 where those are what is heard at that moment, else 0
        cycle, cycle_attention   the drawn frames redrawn with the picture's own action units, and where they stayed
        virtual_cycle, virtual_attention, virtual_cycle_attention
                                 with `use_virtual`: the drawn frames redrawn with still others, and back again

    Of action units of a picture that are not known, what is heard at its moment is taken, so that nothing is asked to
    come to rest that nobody saw. Needs clips of two frames or more; the further apart frames lie the more there is to
    learn, so give clips of eight or more.

    Differs: IETaFS asks for what is heard alone, which hardly moves the upper face, GANimation for those of another
    picture alone; `heard` mixes them. In the virtual cycle the vipermu code cuts the graph under the attention.

    Args:
        heard: the share of frames that are to say their sound; the others take the action units of a frame of any clip
            of the batch, each moved by up to `jitter`.
        jitter: as a share of the full range; what comes out is kept in [0, 1].
        use_virtual: also go to other action units and back from what was drawn: the virtual cycle of vipermu/ganimation
            after Kaneko et al., arXiv:1905.02185.
    """

    paper = PAPER
    licence = LICENCE
    needs = frozenset({"skips"})

    def __init__(self, *, heard: float = 0.5, jitter: float = 0.1, use_virtual: bool = False):
        super().__init__()
        if not (0 <= heard <= 1 and 0 <= jitter <= 1):
            raise BadRecipe(f"task 'express': heard {heard} and jitter {jitter} are shares; give numbers from 0 to 1.")
        self.heard, self.jitter, self.use_virtual = heard, jitter, use_virtual

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        frames = clip.frames.shape[1]
        if frames < 2:
            raise BadRecipe("task 'express' redraws one moment as another, and the clips have a single frame; give "
                            "clip_frames: 8, or 2 at least.")
        if clip.action_units is None:
            raise BadData("The clips carry no action units, which task 'express' asks for; prepare the data again with "
                          "--action-units.")
        speech = model.audio_encoder(clip.wave, clip.times)
        heard = self._heard(model, speech)
        known = torch.where(clip.action_units_known, clip.action_units, heard.detach())
        apart = frames // 2
        pictures, own = clip.frames.roll(apart, 1), known.roll(apart, 1)

        says_sound = (torch.rand(known.shape[:2], device=known.device) < self.heard).to(known.dtype)
        asked = torch.where(says_sound[..., None] > 0, heard, self._others(known))
        output = self._redrawn(model, pictures, asked)
        output.speech = speech
        learnt = clip.action_units_known.flatten(0, 1).any(0).expand_as(asked)
        output.extra = {"pictures": pictures, "targets": asked.detach(), "targets_known": learnt,
                        "says_sound": says_sound, "action_units": heard}
        if model.decoder.training and not torch.is_grad_enabled():
            return output  # a step of the critics alone, which do not look at cycles
        back = self._redrawn(model, output.frames, own)
        output.extra |= {"cycle": back.frames, "cycle_attention": 1 - back.alpha}
        if self.use_virtual:
            there = self._redrawn(model, output.frames, self._others(known))
            again = self._redrawn(model, there.frames, asked)
            output.extra |= {"virtual_cycle": again.frames, "virtual_attention": 1 - there.alpha,
                             "virtual_cycle_attention": 1 - again.alpha}
        return output

    def _others(self, action_units: Tensor) -> Tensor:
        """Those of another frame of the batch for each, a little changed: (B, T, 17) like `action_units`."""
        flat = action_units.flatten(0, 1)
        moved = flat[torch.randperm(len(flat), device=flat.device)] + self.jitter * (2 * torch.rand_like(flat) - 1)
        return moved.clamp(0, 1).unflatten(0, action_units.shape[:2])

    @staticmethod
    def _heard(model: TalkingFace, speech: Tensor) -> Tensor:
        if not hasattr(model.fusion, "heard"):
            raise BadRecipe("task 'express' asks the fusion for the action units it hears, which fusion 'action-units' "
                            f"says and {type(model.fusion).__name__} does not.")
        return model.fusion.heard(speech)

    @staticmethod
    def _redrawn(model: TalkingFace, pictures: Tensor, action_units: Tensor) -> Output:
        """`pictures` (B, T, 3, H, W) with `action_units` (B, T, 17)."""
        return model.draw(Latent(action_units[:, :, None], skips=(pictures,)))
