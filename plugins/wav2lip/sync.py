"""The sync expert: whether mouth and sound belong together, learnt from real speech, then held against drawn faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.audio import MEL_CONTEXT, mel_windows
from fctfg.averaging import RunningAverage
from fctfg.errors import BadData, BadRecipe
from fctfg.faces import recrop
from fctfg.interfaces import FRAME_RATE, Clip, Critic, Output

from .blocks import LICENCE, PAPER, SIZE, ConvBlock, audio_tower, check_batch, lower_half, residuals, scaled
from .plateau import PlateauWatch

WINDOW = 5
"""Consecutive frames that the expert sees at once: the 0.2 s that a mel window of 16 columns lasts."""
CROP = "wav2lip"
"""The crop profile that it knows."""
AT_ONCE = 64
"""Windows that are looked at together when a whole video is."""


class SyncExpert(nn.Module):
    """Mouth and sound in one space, those that belong together near each other: what lipsync_expert.pth fills."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled(channels, scale) for channels in (32, 64, 128, 256, 512))
        self.face_encoder = nn.Sequential(
            ConvBlock(3 * WINDOW, c32, 7, 1, 3),  # 48 x 96
            ConvBlock(c32, c64, 5, (1, 2), 1), *residuals(c64, 2),  # 46 x 47
            ConvBlock(c64, c128, 3, 2, 1), *residuals(c128, 3),  # 23 x 24
            ConvBlock(c128, c256, 3, 2, 1), *residuals(c256, 2),  # 12
            ConvBlock(c256, c512, 3, 2, 1), *residuals(c512, 2),  # 6
            ConvBlock(c512, c512, 3, 2, 1), ConvBlock(c512, c512, 3), ConvBlock(c512, c512, 1))  # 3, 1, 1
        self.audio_encoder = audio_tower(scale, last_residuals=2)

    def forward(self, mel: Tensor, mouths: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (M, 512) of length one of `mel` (M, 1, 80, 16) and `mouths` (M, 15, 48, 96), in float32.

        None of their entries is negative, so their cosine is in [0, 1] and serves as a probability.
        """
        check_batch("the sync expert", self, min(len(mel), len(mouths)))
        return tuple(F.normalize(tower(x).flatten(1).float()) for tower, x in
                     ((self.audio_encoder, mel), (self.face_encoder, mouths)))


class SyncLoss(Critic):
    """Minus the log of the cosine between mouth and sound, as the sync expert sees and hears them.

    Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In the Wild", 2020,
    arXiv:2008.10010. Sees the lower half of five consecutive frames at 96 px of the `wav2lip` crop, hears 0.2 s from
    the first of them. Frames of another crop are cut anew by their landmarks, drawn and true ones alike, and are
    level where that crop is (`ffhq`); those of another size are resized. The expert learns on the real frames of a
    clip, whatever was drawn. Loads lipsync_expert.pth (research and personal use only).

    Differs: clips of more than five frames are looked at in windows that move by one frame; each mouth is shown both
    its own sound and a wrong one, where the authors toss a coin; cosines are kept 1e-6 away from 0 and 1.

    Args:
        crop: the crop profile that the frames have; given by the recipe.
        expert_mode: of the batch norm while it judges. `eval` uses what it learnt; `train` the batch's own statistics,
            as the authors' training does, where the expert is never put in eval mode.
        weight_decay: decoupled from the gradient, as AdamW has it.
        ema: decay of a running average of the weights, which then judges; 0 for none. Public weights fill no average.
        plateau_steps: after how many steps at the loss of a guess it speaks up; see `PlateauWatch`.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    built_with = frozenset({"crop"})
    context = MEL_CONTEXT
    window = WINDOW
    sees = CROP, SIZE
    test_options = {"scale": 1 / 16}

    def __init__(self, *, crop: str = CROP, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.999),
                 weight_decay: float = 0.0, ema: float = 0.0, expert_mode: str = "eval", plateau_steps: int = 5000,
                 scale: float = 1.0):
        super().__init__()
        if expert_mode not in ("eval", "train"):
            raise BadRecipe(f"loss 'sync': expert_mode '{expert_mode}' is unknown; give eval or train.")
        if not 0 <= ema < 1:
            raise BadRecipe(f"loss 'sync': ema is {ema}; give 0 for none, or a decay below 1 such as 0.999.")
        self.crop = crop
        self.expert_mode = expert_mode
        self.network = SyncExpert(scale).requires_grad_(False)
        self.average = RunningAverage(self.network, ema) if ema else None
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, betas=tuple(betas),
                                           weight_decay=weight_decay)
        self.plateau = PlateauWatch(plateau_steps)
        self.rankings: list[Tensor] = []  # on the held-out clips, since the last advice
        self.told_by_heart = False

    @property
    def judge(self) -> SyncExpert:
        """The network that judges, in eval mode: the running average, once there is one."""
        averaged = self.average is not None and int(self.average.updates)
        return (self.average.module if averaged else self.network).eval()

    def forward(self, output: Output, clip: Clip) -> Tensor:
        mouths = self.see(output.frames, clip.landmarks)
        mel = self.hear(clip.wave, clip.times)
        network = self.network.train() if self.expert_mode == "train" else self.judge
        return minus_log(cosines(*network(mel, mouths))).mean()

    @torch.no_grad()
    def log_odds(self, clip: Clip, reach: int) -> Tensor:
        """Of every five mouths with the sounds that are -`reach` to `reach` frames early: (B, T - 4, 2 reach + 1).

        As the cosine has them, taken for a probability; the expert was taught that half of the pairs belong together.
        """
        windows = clip.frames.shape[1] - WINDOW + 1
        around = torch.arange(-reach, windows + reach, device=clip.times.device) / FRAME_RATE
        mel = mel_windows(clip.wave, clip.times[:1] + around)[:, :, None]  # (B, W + 2 reach, 1, 80, 16)
        sounds = self._in_turns(self.judge.audio_encoder, mel)
        mouths = []
        for first in range(0, windows, AT_ONCE):
            part = slice(first, min(first + AT_ONCE, windows) + WINDOW - 1)
            seen = self.see(clip.frames[:, part], None if clip.landmarks is None else clip.landmarks[:, part])
            mouths.append(self._in_turns(self.judge.face_encoder, seen.unflatten(0, (len(clip.frames), -1))))
        nearby = sounds.unfold(1, 2 * reach + 1, 1).flip(-1)  # (B, W, A, 2 reach + 1), the latest first
        return torch.einsum("bwa,bwar->bwr", torch.cat(mouths, 1), nearby).clamp(1e-6, 1 - 1e-6).logit()

    @staticmethod
    def _in_turns(tower: nn.Module, windows: Tensor) -> Tensor:
        """Vectors (B, W, A) of length one, of `windows` (B, W, C, h, w), some at a time."""
        found = torch.cat([tower(some).flatten(1).float() for some in windows.flatten(0, 1).split(AT_ONCE)])
        return F.normalize(found).unflatten(0, windows.shape[:2])

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        right, wrong = self._right_and_wrong(self.network if self.network.training else self.judge, clip.frames, clip)
        loss = 0.5 * (minus_log(right).mean() + minus_log(1 - wrong).mean())
        return loss, {"accuracy": accuracy(right, wrong)}

    def train_critic(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        report = super().train_critic(output, clip)
        if self.average is not None:
            self.average.update(self.network)
        self.plateau.update(report["critic"])
        return report

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """How well the expert tells the right sound from a wrong one.

        `accuracy` at a cosine of 0.5, the mean cosines `right` and `wrong`, and `ranking`, the chance that a right
        pair is nearer than a wrong one, which needs no threshold: 0.5 is guessing. `expert` is the ranking of the
        real frames, whatever was drawn: how far the expert is to be trusted at all.
        """
        with torch.no_grad():
            right, wrong = self._right_and_wrong(self.judge, output.frames, clip)
            real = (right, wrong) if output.frames is clip.frames else self._right_and_wrong(self.judge, clip.frames, clip)
        self.rankings.append(ranking(right, wrong))
        return {"accuracy": accuracy(right, wrong), "right": right.mean(), "wrong": wrong.mean(),
                "ranking": self.rankings[-1], "expert": ranking(*real)}

    def advice(self) -> str | None:
        """That it is stuck at guessing, or knows the training clips by heart and nobody else's; each is said once."""
        rankings, self.rankings = self.rankings, []
        if advice := self.plateau.advice():
            return advice
        held_out = float(torch.stack(rankings).mean()) if rankings else 1.0
        if self.told_by_heart or held_out > 0.65 or not 0 < float(self.plateau.mean) < 0.5:
            return None
        self.told_by_heart = True
        return (f"The sync expert knows the training clips by heart (loss {float(self.plateau.mean):.2f}) and guesses on held-out "
                f"speakers (it ranks {held_out:.0%} of pairs right, 50% is a coin toss). More steps will not help; more "
                "speakers and hours will, or a public lipsync_expert.pth with --start-from.")

    def see(self, frames: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Every five consecutive mouths of `frames` (B, T, 3, H, W): (B (T - 4), 15, 48, 96), frame after frame.

        `landmarks` (B, T, 68, 2) in [-1, 1] are those of `frames`; without them only the crop `wav2lip` can be read.
        """
        if frames.shape[1] < WINDOW:
            raise BadRecipe(f"loss 'sync' looks at {WINDOW} consecutive frames, and the clips have {frames.shape[1]}; "
                            f"give clip_frames: {WINDOW} or more.")
        if self.crop != CROP:
            if landmarks is None:
                raise BadData(f"The clips carry no landmarks, by which loss 'sync' finds mouths in the crop "
                              f"'{self.crop}'; prepare the data again with them.")
            frames = recrop(frames, landmarks, CROP, SIZE)
        windows = lower_half(frames).unfold(1, WINDOW, 1)  # (B, T - 4, 3, 48, 96, 5)
        return windows.permute(0, 1, 5, 2, 3, 4).flatten(2, 3).flatten(0, 1)

    def hear(self, wave: Tensor, times: Tensor) -> Tensor:
        """The mel windows (B (T - 4), 1, 80, 16) at the first of every five frames."""
        return mel_windows(wave, times[:len(times) - WINDOW + 1]).flatten(0, 1)[:, None]

    def _right_and_wrong(self, network: SyncExpert, frames: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
        """The cosines (M,) of every mouth with its own sound, and with one of another moment or, failing that, clip."""
        wrong_wave = clip.wave.roll(1, 0) if clip.other_wave is None else clip.other_wave
        if clip.other_wave is None and len(frames) < 2:
            raise BadRecipe("loss 'sync' takes wrong sounds from the other clips of a batch, and this one has a single "
                            "clip; give batch: 2 or more.")
        mouths = self.see(frames, clip.landmarks)
        mel = torch.cat([self.hear(clip.wave, clip.times), self.hear(wrong_wave, clip.times)])
        sounds, faces = network(mel, mouths)
        right, wrong = cosines(sounds, faces.repeat(2, 1)).chunk(2)
        return right, wrong


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(M,): of the angles between vectors (M, A) of length one."""
    return (a * b).sum(-1)


def minus_log(probability: Tensor) -> Tensor:
    """Its negative logarithm, finite also where rounding has left [0, 1]."""
    return -probability.clamp(1e-6, 1).log()


def accuracy(right: Tensor, wrong: Tensor) -> Tensor:
    """The share of pairs on their side of a cosine of 0.5."""
    return torch.cat([right > 0.5, wrong <= 0.5]).float().mean()


def ranking(right: Tensor, wrong: Tensor) -> Tensor:
    """The share of all (right, wrong) where the right one is nearer: the area under the ROC curve. Ties count half."""
    return 0.5 + 0.5 * (right[:, None] - wrong[None]).sign().mean()
