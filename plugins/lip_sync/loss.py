"""The small expert of lip sync: learns from minutes of speech, on a CPU, from clips that are themselves out of step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.audio import MEL_FFT, mel_windows
from fctfg.averaging import RunningAverage
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, Clip, Critic, Output

from .alignment import aligned, nearby
from .augment import disguise, muffle, random_turns
from .mouths import mouth_pictures, mouth_shapes
from .network import COLUMNS, HEARS, SEES, MouthExpert

PAPER = "van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, arXiv:1807.03748"
HOP = SAMPLE_RATE // FRAME_RATE // COLUMNS
JITTER = 0.015
"""Seconds by which the sound of a step is moved, less than half a frame: no clip need be in step to the millisecond."""
APART = 3
"""Frames by which a sound is surely of another moment."""


class MouthSyncLoss(Critic):
    """Minus the log of the probability that mouth and sound are of one moment, by an expert for little data.

    For each frame the expert tells its own sound from the sounds of the `reach` frames before and after it: noise
    contrastive estimation, van den Oord et al., 2018, arXiv:1807.03748, with the other moments of the same clip as
    negatives. What is collected from many places is often itself out of step by two or three frames, and an expert that
    is told otherwise learns little; so each clip's true offset is found while learning (see `aligned`).

    Sees the landmarks of mouth and chin and a picture of 32 x 20 pixels cut by them, both without what a face has by
    being whose it is; hears mel columns at 100 Hz. Works with any crop that shows the mouth. Since half of what it
    looks at are the landmarks of the real frames, it checks videos; to teach a generator there is `sync`.

    Args:
        reach: frames by which the sound is tried early and late.
        slack: the standard deviation, in frames, of how far the clips are out of step; 0 takes them to be in step.
        ema: decay of the running average of the weights, which judges; 0 for none.
        width, dropout: of the network; see `MouthExpert`.
    """

    paper = PAPER
    context = ((15 + HEARS) / FRAME_RATE + MEL_FFT / SAMPLE_RATE, (16 + HEARS) / FRAME_RATE + MEL_FFT / SAMPLE_RATE)
    window = SEES
    sees = None
    test_options = {"width": 8}

    def __init__(self, *, lr: float = 1e-3, weight_decay: float = 0.05, reach: int = 15, slack: float = 3.0,
                 ema: float = 0.99, width: int = 64, dropout: float = 0.3):
        super().__init__()
        if not (reach >= 2 * APART and slack >= 0 and 0 <= ema < 1):
            raise BadRecipe(f"loss 'mouth-sync': reach {reach}, slack {slack} and ema {ema} do not do; give a reach of "
                            f"{2 * APART} frames or more, slack from 0 on, and ema from 0 to below 1.")
        self.reach, self.slack = reach, slack
        margin = MEL_FFT / SAMPLE_RATE + JITTER
        self.context = (reach + HEARS) / FRAME_RATE + margin, (reach + HEARS + 1) / FRAME_RATE + margin
        self.network = MouthExpert(width, dropout).requires_grad_(False)
        self.average = RunningAverage(self.network, ema) if ema else None
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, weight_decay=weight_decay)

    @property
    def judge(self) -> MouthExpert:
        """The network that judges: the running average, once there is one."""
        averaged = self.average is not None and int(self.average.updates)
        return (self.average.module if averaged else self.network).eval()

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return F.softplus(-self._scored(self.judge, output.frames, clip)[1][..., self.reach]).mean()

    def log_odds(self, clip: Clip, reach: int) -> Tensor:
        """Of each frame with the sounds that are -`reach` to `reach` frames early: (B, T, 2 reach + 1)."""
        return self._scored(self.judge, clip.frames, clip, reach)[1]

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        learning = self.network.training
        network = self.network if learning else self.judge
        cosines, log_odds = self._scored(network, clip.frames, clip, disguised=learning)
        loss, offsets = aligned(network.scale * cosines, self.slack, SEES)
        right, wrong = _right_and_wrong(log_odds, offsets)
        certainty = offsets.amax(-1).mean()
        # What the odds are learnt from cosines that they do not move.
        return loss.mean() + cross_entropy(right, wrong), {"contrast": loss.mean(), "certainty": certainty}

    def train_critic(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        report = super().train_critic(output, clip)
        if self.average is not None:
            self.average.update(self.network)
        return report

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """How well it tells the right sound from a wrong one, on the real frames of these clips, taken to be in step.

        `pairs` is the cross entropy of each frame with its own sound and with that of another moment, what Wav2Lip and
        Lip-Sync call their loss: 0.693 is guessing; `accuracy` and `ranking` of the same pairs. `found` is the share of
        clips whose best offset is within one frame of theirs, and `steady` that of clips whose two halves agree on it
        to one frame, which needs no clip to be in step.
        """
        with torch.no_grad():
            log_odds = self._scored(self.judge, clip.frames, clip)[1]
            right = log_odds[..., self.reach].flatten()
            wrong_wave = clip.wave.roll(1, 0) if clip.other_wave is None else clip.other_wave
            wrong = self._scored(self.judge, clip.frames, clip, wave=wrong_wave)[1][..., self.reach].flatten()
        best = log_odds.mean(1).argmax(-1) - self.reach
        half = log_odds.shape[1] // 2
        first, second = (part.mean(1).argmax(-1) for part in (log_odds[:, :half], log_odds[:, half:]))
        return {"pairs": cross_entropy(right, wrong), "accuracy": torch.cat([right > 0, wrong <= 0]).float().mean(),
                "ranking": 0.5 + 0.5 * (right[:, None] - wrong[None]).sign().mean(),
                "found": (best.abs() <= 1).float().mean(), "steady": ((first - second).abs() <= 1).float().mean()}

    def _scored(self, network: MouthExpert, frames: Tensor, clip: Clip, reach: int | None = None,
                wave: Tensor | None = None, disguised: bool = False) -> tuple[Tensor, Tensor]:
        """Cosines and log odds (B, T, 2 reach + 1) of each of `frames` with sounds that are -`reach` to `reach` early."""
        if clip.landmarks is None:
            raise BadData("The clips carry no landmarks, by which loss 'mouth-sync' sees the mouth; prepare the data "
                          "again with them.")
        reach = self.reach if reach is None else reach
        turn = random_turns(len(frames), frames.device) if disguised else None
        shapes, pictures = mouth_shapes(clip.landmarks), mouth_pictures(frames, clip.landmarks, turn)
        mel = self._mel(clip.wave if wave is None else wave, clip.times, reach, disguised)
        if disguised:
            (shapes, pictures), mel = disguise(shapes, pictures), muffle(mel)
        sounds = network.hear(mel)[:, HEARS:-HEARS]
        cosines = torch.einsum("bta,btra->btr", network.see(shapes, pictures), nearby(sounds, frames.shape[1]))
        return cosines, network.log_odds(cosines.detach() if network.training else cosines)

    def _mel(self, wave: Tensor, times: Tensor, reach: int, jittered: bool) -> Tensor:
        """Mel columns (B, 80, 4 L) of the frames and of `reach` and HEARS more on both sides."""
        more = reach + HEARS
        around = torch.arange(-more, len(times) + more, device=times.device)
        begin = times[:1] + around / FRAME_RATE + HOP / 2 / SAMPLE_RATE
        if jittered:
            begin = begin + JITTER * (2 * torch.rand(1, device=times.device) - 1)
        return mel_windows(wave, begin, COLUMNS, HOP).transpose(1, 2).flatten(2)


def cross_entropy(right: Tensor, wrong: Tensor) -> Tensor:
    """Of log odds that should be great and of those that should be small, both counting half."""
    return 0.5 * (F.softplus(-right).mean() + F.softplus(wrong).mean())


def _right_and_wrong(log_odds: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Log odds (M,) at each clip's likeliest offset, and at those that are surely others."""
    best = offsets.argmax(-1)
    place = torch.arange(log_odds.shape[-1], device=log_odds.device)
    far = (place - best[:, None]).abs() >= APART
    right = log_odds.gather(2, best[:, None, None].expand(-1, log_odds.shape[1], 1))
    return right.flatten(), log_odds[far[:, None].expand_as(log_odds)]
