"""How a stage turns a Clip into an Output."""

from __future__ import annotations

from .interfaces import Clip, Output, Task
from .model import TalkingFace


class TalkTask(Task):
    """The whole model draws the clip's frames from its references and sound."""

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        return model(clip)


class ObserveTask(Task):
    """The real frames pass through untouched: for stages that train critics alone, such as the sync expert."""

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        return Output(clip.frames)
