"""Teaching what sound says of a face: the task, and the loss that weighs each action unit by how much it varies."""

from __future__ import annotations

import torch
from torch import Tensor

from fctfg.action_units import NAMES
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, Loss, Output, Task
from fctfg.model import TalkingFace

from .layers import LICENCE, SOURCE


class ListenTask(Task):
    """The action units that are heard of a clip, and no picture drawn: for stages that teach the audio encoder alone.

    As `action_units` (B, T, 17) come those that the fusion hears in the speech, where it says so (`action-units` does),
    else the speech itself.
    """

    paper = SOURCE
    licence = LICENCE

    def forward(self, model: TalkingFace, clip: Clip) -> Output:
        speech = model.audio_encoder(clip.wave, clip.times)
        heard = getattr(model.fusion, "heard", lambda speech: speech)(speech)
        return Output(clip.frames, speech=speech, extra={"action_units": heard})


class ActionUnitsLoss(Loss):
    """The squared error of the action units that are heard, in variances: 1 is what guessing their mean would score.

    Pham, Wang, Pavlovic, "End-to-end Learning for 3D Facial Animation from Speech", ICMI 2018: the mean of
    ((heard - true) / deviation)^2, so that those that vary little are learnt too. The deviations are those of the
    training data, found while training and saved with the run. What is not known is left out; a clip of which nothing
    is known scores 0.

    Differs: their deviations are constants; IETaFS divides by theirs where it should multiply, and takes those of other
    quantities. Sound does not say how a face looks at rest, and where few people are heard a network learns that by
    heart, voice by voice: with `rest` below 1 an error that all frames of a clip share counts less than one that comes
    and goes.

    Args:
        rest: how much the square of the mean error over a clip counts, beside 1 for the variance around it. 1 is the
            plain squared error.
        least_deviation: of an action unit, in [0, 1]: below, its measurement is mostly noise.
    """

    paper = SOURCE
    licence = LICENCE

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, *, rest: float = 1.0, least_deviation: float = 0.05):
        super().__init__()
        if not 0 <= rest <= 1:
            raise BadRecipe(f"loss 'action-units': rest {rest} is a share; give a number from 0 to 1.")
        self.rest = rest
        if least_deviation <= 0:
            raise BadRecipe(f"loss 'action-units': least_deviation {least_deviation} is not above 0; 0.05 is common.")
        self.least_deviation = least_deviation
        for name in ("count", "mean", "squares"):  # of squares the sum, of differences from the mean
            self.register_buffer(name, torch.zeros(len(NAMES)))
        self.told: set[str] = set()

    @property
    def deviation(self) -> Tensor:
        """(17,): of each action unit in the training data so far."""
        return (self.squares / self.count.clamp(min=1)).sqrt().clamp(min=self.least_deviation)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        heard, true, known = self._pairs(output, clip)
        if torch.is_grad_enabled():
            self._follow(true, known)
        error = torch.where(known, heard - true, 0) / self.deviation
        squares, total = error.square().sum(), known.sum().clamp(min=1)
        if self.rest < 1:
            shape = clip.frames.shape[:2]
            shared = error.unflatten(0, shape).sum(1).square() / known.unflatten(0, shape).sum(1).clamp(min=1)
            squares = squares - (1 - self.rest) * shared.sum()
        return squares / total

    @torch.no_grad()
    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """The mean squared error `mse` in [0, 1], `mse_of_mean` of guessing the training data's means, and
        `correlation`, Pearson's, the mean over the action units that vary in these clips."""
        heard, true, known = self._pairs(output, clip)
        total = known.sum().clamp(min=1)
        guess = torch.where(known, self.mean - true, 0)
        varying, correlations = correlation(heard, true, known)
        return {"mse": torch.where(known, heard - true, 0).square().sum() / total,
                "mse_of_mean": guess.square().sum() / total,
                "correlation": correlations[varying].sum() / varying.sum().clamp(min=1)}

    def advice(self) -> str | None:
        """What looks wrong with the action units of the data; each kind once."""
        seen = self.count > 100
        deviation = (self.squares / self.count.clamp(min=1)).sqrt()
        outside = seen & ((self.mean < 0) | (self.mean > 1))
        if bool(outside.any()) and "range" not in self.told:
            self.told.add("range")
            return (f"{_named(outside)} lie outside [0, 1] on average: intensities from 0 to 5 want to be divided by "
                    "5. Prepare the data again.")
        still = seen & (deviation < 1e-3)
        if bool(still.any()) and "still" not in self.told:
            self.told.add("still")
            return f"{_named(still)} hardly vary in the data, so nothing can be learnt of them."
        if not bool(seen.any()) and "none" not in self.told:
            self.told.add("none")
            return ("None of the clips so far has known action units, so nothing is learnt of them. Prepare the data "
                    "again with --action-units.")
        return None

    @staticmethod
    def _pairs(output: Output, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """What is heard, what is true (0 where that is not known) and what is known: (B T, 17) each."""
        heard = output.extra.get("action_units", output.speech)
        if heard is None or heard.shape[-1] != len(NAMES):
            width = "none" if heard is None else heard.shape[-1]
            raise BadRecipe(f"loss 'action-units' compares {len(NAMES)} action units, and the stage gives {width}; use "
                            "task 'listen' or 'express' with fusion 'action-units', or --audio-encoder aunet.")
        if clip.action_units is None:
            raise BadData("The clips carry no action units, which loss 'action-units' compares with; prepare the data "
                          "again with --action-units.")
        known = clip.action_units_known.flatten(0, 1)
        return heard.flatten(0, 1).float(), torch.where(known, clip.action_units.flatten(0, 1).float(), 0), known

    @torch.no_grad()
    def _follow(self, true: Tensor, known: Tensor) -> None:
        """Take more true action units into count, mean and squares (Chan, Golub, LeVeque, 1979)."""
        count = known.sum(0).to(self.count)
        sums = torch.stack([count, true.sum(0), true.square().sum(0)])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        count, total, squared = sums
        mean = total / count.clamp(min=1)
        away = mean - self.mean
        both = (self.count + count).clamp(min=1)
        self.squares += (squared - count * mean.square()).clamp(min=0) + away.square() * self.count * count / both
        self.mean += away * count / both
        self.count += count


def correlation(heard: Tensor, true: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Which action units vary where they are `known`, and Pearson's correlation of each; from (M, 17), (17,) both."""
    count = known.sum(0).clamp(min=1)

    def centred(values: Tensor) -> Tensor:
        return torch.where(known, values - torch.where(known, values, 0).sum(0) / count, 0)

    heard, true = centred(heard), centred(true)
    deviations = heard.norm(dim=0), true.norm(dim=0)
    varying = (deviations[1] / count.sqrt() > 1e-3) & (deviations[0] > 0)
    return varying, torch.where(varying, (heard * true).sum(0) / (deviations[0] * deviations[1]).clamp(min=1e-12), 0)


def _named(which: Tensor) -> str:
    names = [name for name, is_so in zip(NAMES, which.tolist()) if is_so]
    return ", ".join(names)
