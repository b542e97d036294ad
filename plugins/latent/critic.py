"""The critic of codes: whether a code is one of the decoder's own or an encoder's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Critic, Output

from .norms import E4E, codes_of


class LatentCriticNetwork(nn.Module):
    """How much a code looks like one of the decoder's own, as a logit."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(width, width), nn.LeakyReLU(0.2))),
                                 nn.Linear(width, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """Logits (M,) of `codes` (M, D)."""
        return self.mlp(codes).squeeze(-1)


class CodePool(nn.Module):
    """A stock of codes from earlier steps, so that a critic does not learn from the latest alone (Shrivastava et al.,
    "Learning from Simulated and Unsupervised Images through Adversarial Training", 2017, arXiv:1612.07828)."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, width))
        self.filled = 0

    def exchange(self, codes: Tensor) -> Tensor:
        """As many codes (M, D): while there is room, `codes` themselves, which are kept; later every other one of them,
        at random, is swapped for one from the stock."""
        return torch.cat([self._exchange(part) for part in codes.split(len(self.codes))]) if len(self.codes) else codes

    def _exchange(self, codes: Tensor) -> Tensor:
        kept = codes[:len(self.codes) - self.filled]
        self.codes[self.filled:self.filled + len(kept)] = kept
        rest = codes[len(kept):]
        slots = torch.randperm(len(self.codes), device=codes.device)[:len(rest)]
        stocked, is_swapped = self.codes[slots], torch.rand(len(rest), 1, device=codes.device) < 0.5
        self.codes[slots] = torch.where(is_swapped, rest, stocked)
        self.filled += len(kept)
        return torch.cat([kept, torch.where(is_swapped, stocked, rest)])


class LatentCriticLoss(Critic):
    """How far each code is from passing for one of the decoder's own.

    Tov et al. (e4e), 2021, arXiv:2102.02766: the non-saturating loss of an MLP, after Nitzan et al., 2020,
    arXiv:2005.07728, with R1 (Mescheder et al., 2018, arXiv:1801.04406) on the real codes every `r1_every` steps. The
    real ones come with the task `invert`, from a decoder that imagines people. e4e gives it a weight of 0.1.

    Differs: of every face the critic learns from one of its codes, drawn at random, where the authors take the first;
    R1 is added to the loss of its step, where they take one more step.

    Args:
        width: D, of one code.
        r1: weight of half the squared gradient.
        r1_every: steps from one R1 to the next, by which its weight is multiplied.
        pool: how many real codes and how many of the encoder's are kept from earlier steps.
    """

    paper = E4E

    def __init__(self, *, width: int = 512, lr: float = 2e-5, betas: tuple[float, float] = (0.9, 0.999),
                 r1: float = 10.0, r1_every: int = 16, pool: int = 50):
        super().__init__()
        if r1_every < 1 or pool < 0:
            raise BadRecipe(f"loss 'latent-critic': r1_every {r1_every} must be 1 or more, and pool {pool} 0 or more.")
        self.width, self.r1, self.r1_every, self.steps = width, r1, r1_every, 0
        self.network = LatentCriticNetwork(width).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))
        self.real_pool, self.fake_pool = CodePool(pool, width), CodePool(pool, width)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return F.softplus(-self._judge(self._fake(output).flatten(0, 1))).mean()

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        real = self.real_pool.exchange(_one_of_each(self._real(output)))
        fake = self.fake_pool.exchange(_one_of_each(self._fake(output)))
        is_due = self.r1 > 0 and self.steps % self.r1_every == 0
        self.steps += 1
        real.requires_grad_(is_due)
        on_real, on_fake = self._judge(real), self._judge(fake)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        report = {"real": on_real.sigmoid().mean(), "fake": on_fake.sigmoid().mean()}
        if is_due:
            penalty = squared_gradient(on_real, real)
            loss, report["r1"] = loss + self.r1 / 2 * self.r1_every * penalty, penalty
        return loss, report

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """The mean probabilities of being the decoder's own that are given to `real` codes and to `fake` ones."""
        with torch.no_grad():
            return {name: self._judge(codes.flatten(0, 1)).sigmoid().mean()
                    for name, codes in (("real", self._real(output)), ("fake", self._fake(output)))}

    def get_extra_state(self):
        return {"optimizer": super().get_extra_state(), "steps": self.steps,
                "filled": [self.real_pool.filled, self.fake_pool.filled]}

    def set_extra_state(self, state) -> None:
        super().set_extra_state(state["optimizer"])
        self.steps = state["steps"]
        self.real_pool.filled, self.fake_pool.filled = state["filled"]

    def _judge(self, codes: Tensor) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            return self.network(codes)

    def _real(self, output: Output) -> Tensor:
        if "real_codes" not in output.extra:
            raise BadRecipe("loss 'latent-critic' needs codes of imagined people beside the encoder's; task invert "
                            "gives them with a decoder that imagines, such as stylegan2.")
        return self._by_face(output.extra["real_codes"].float())

    def _fake(self, output: Output) -> Tensor:
        return self._by_face(codes_of("latent-critic", output))

    def _by_face(self, codes: Tensor) -> Tensor:
        """(M, N, D), one face each."""
        if codes.shape[-1] != self.width:
            raise BadRecipe(f"loss 'latent-critic' was built for codes of width {self.width}, and these have "
                            f"{codes.shape[-1]}; give its option width: {codes.shape[-1]}.")
        return codes.flatten(0, 1)


def squared_gradient(scores: Tensor, inputs: Tensor) -> Tensor:
    """The mean squared length of the gradient of each of `scores` (M,) by its own of `inputs` (M, D)."""
    [gradient] = torch.autograd.grad(scores.sum(), inputs, create_graph=True)
    return gradient.square().sum(-1).mean()


def _one_of_each(codes: Tensor) -> Tensor:
    """(M, D): of the codes (M, N, D) of each face one, drawn at random."""
    picks = torch.randint(codes.shape[1], (len(codes),), device=codes.device)
    return codes[torch.arange(len(codes), device=codes.device), picks].detach()
