"""Drawn heads that talk, and a judge that needs no training."""

from __future__ import annotations

import pytest
import torch

from fctfg import registry
from fctfg.audio import mel_windows
from fctfg.data import write_synthetic_video
from fctfg.interfaces import FRAME_RATE, Loss
from fctfg.recipe import Recipe


class LoudnessJudge(Loss):
    """How far the mouth is open against how loud it is: enough for drawn heads, whose lips do nothing else."""

    context = (0.1, 0.1)
    window = 2
    sees = None

    def forward(self, output, clip):
        return output.frames.mean()

    def log_odds(self, clip, reach):
        points = clip.landmarks
        opening = (points[..., (61, 62, 63), 1] - points[..., (67, 66, 65), 1]).abs().mean(-1)
        around = torch.arange(-reach, opening.shape[1] + reach) / FRAME_RATE
        loudness = mel_windows(clip.wave, clip.times[:1].double() + around, 3).mean((2, 3))
        opening, loudness = ((x - x.mean()) / x.std() for x in (opening, loudness))
        return opening[..., None] * loudness.unfold(1, 2 * reach + 1, 1).flip(-1)


@pytest.fixture(scope="session")
def talking(tmp_path_factory):
    """A drawn head talking in step for two and a half seconds."""
    path = tmp_path_factory.mktemp("talking") / "head.mp4"
    write_synthetic_video(path, seconds=2.5, width=200, height=200)
    return path


@pytest.fixture
def loudness_judge():
    with registry.offering("loss", loudness=LoudnessJudge):
        yield LoudnessJudge(), Recipe.find("sync-expert-small")
