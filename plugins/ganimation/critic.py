"""The critic, which tells drawn pictures from real ones and reads the action units off them, and the loss it gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.action_units import NAMES
from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Critic, Output

from .decoder import LICENCE, PAPER

STAYS, DRAWN = 0.98, 0.02
"""Attention above the one leaves a pixel as it is, below the other draws it anew."""
ALL_STAYS, ALL_DRAWN = 0.99, 0.9
"""Shares of the pixels beyond which attention is saturated. A mouth alone takes a twentieth of a face's crop."""


class GANimationDiscriminator(nn.Module):
    """How real the parts of a picture look, and which action units it shows: what the files of D fill.

    Pumarola et al., 2018, arXiv:1807.09251, section 4.1: a PatchGAN without norms. `d_repeat` halvings leave a map of
    size / 2^d_repeat, over which the head of the action units lies whole.
    """

    def __init__(self, size: int, d_conv_dim: int = 64, d_repeat: int = 6):
        super().__init__()
        if size % 2**d_repeat:
            raise BadRecipe(f"loss 'ganimation': a critic of d_repeat {d_repeat} sees multiples of {2**d_repeat} px, "
                            f"not {size}; set the recipe's size, or a lower d_repeat.")
        widths = [3, *(d_conv_dim * 2**i for i in range(d_repeat))]
        self.main = nn.Sequential(*(layer for inputs, outputs in zip(widths, widths[1:])
                                    for layer in (nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.01))))
        self.conv1 = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(widths[-1], len(NAMES), size // 2**d_repeat, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the parts (M, h, w) and action units (M, 17) of `pictures` (M, 3, H, W), in float32."""
        x = self.main(pictures)
        return self.conv1(x)[:, 0].float(), self.conv2(x).flatten(1).float()


class GANimationCritic(Critic):
    """What a drawn picture lacks in looking real, in showing what it was asked to, and in leaving the rest alone.

    Pumarola et al., 2018, arXiv:1807.09251, section 4.2. With the critic's scores D and action units E, the attention A
    (1 where a picture stays) and all norms means over pixels, frames and clips:

        -mean D(drawn)  +  lambda_cls * mean (E(drawn) - targets)^2  +  lambda_rec * mean |cycle - pictures|
        +  lambda_sat * (mean A + mean A')  +  lambda_smooth * (tv A + tv A')

    where A' is the attention on the way back and tv the mean |dx| plus the mean |dy|. The critic minimises

        mean D(drawn) - mean D(real)  +  lambda_cls * mean (E(real) - known)^2  +  lambda_gp * mean (|dD/dx| - 1)^2

    the last at random points between pictures and drawn frames, the norm that of the gradient of the sum of a picture's
    scores (Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, arXiv:1704.00028). Action units that are
    not known are left out. Terms of which the task gives nothing are left out too; task `express` gives all.

    Since reductions differ, so do the published numbers: the paper's 4000 for the action units counts them divided by a
    batch of 25, which is 160 as a mean; its 1e-5 for smoothness sums over all pixels, about 4 as a mean at 128 px,
    where vipermu/ganimation and IETaFS have 1e-4, which does next to nothing.

    Loads the D of vipermu/ganimation, IETaFS, albertpumarola/GANimation and donydchen/ganimation_replicate.

    Args:
        lambda_cls, lambda_rec, lambda_gp, lambda_sat, lambda_smooth: as above.
        virtual_share: where the task goes the virtual cycle too, how much that counts in place of the cycle, for
            reconstruction, saturation and smoothness alike. (In vipermu/ganimation it is 1 throughout, and nothing
            keeps who the person is.)
        d_conv_dim, d_repeat: channels of the first layer, and how often the picture is halved.
    """

    paper = PAPER
    licence = LICENCE
    built_with = frozenset({"size"})
    test_options = {"d_conv_dim": 4, "d_repeat": 3}

    def __init__(self, *, size: int, lambda_cls: float = 160.0, lambda_rec: float = 10.0, lambda_gp: float = 10.0,
                 lambda_sat: float = 0.1, lambda_smooth: float = 1e-4, virtual_share: float = 0.5, d_conv_dim: int = 64,
                 d_repeat: int = 6, lr: float = 1e-4, betas: tuple[float, float] = (0.5, 0.999)):
        super().__init__()
        if not 0 <= virtual_share < 1:
            raise BadRecipe(f"loss 'ganimation': virtual_share {virtual_share} leaves nothing that keeps who the "
                            "person is; give a share from 0 to below 1.")
        self.lambdas = {"adversarial": 1.0, "cls": lambda_cls, "rec": lambda_rec, "sat": lambda_sat,
                        "smooth": lambda_smooth}
        self.lambda_cls, self.lambda_gp, self.virtual_share = lambda_cls, lambda_gp, virtual_share
        self.network = GANimationDiscriminator(size, d_conv_dim, d_repeat).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))
        self.attentions: list[Tensor] = []  # (3,) each, on the held-out clips, since the last advice

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return sum(self.lambdas[name] * term for name, term in self.terms(output, clip).items())

    def terms(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Each term of the drawn frames' loss that the task gives something for, before its lambda."""
        extra = output.extra
        scores, shown = self.network(_pictures(output.frames))
        targets, known = wanted(output, clip)
        terms = {"adversarial": -scores.mean(), "cls": known_mse(shown, targets, known)}
        if "cycle" in extra:
            virtual = mean_difference(extra["virtual_cycle"], output.frames) if "virtual_cycle" in extra else None
            terms["rec"] = self._mixed(mean_difference(extra["cycle"], extra["pictures"]), virtual)
        if output.alpha is not None:
            forth_and_back = [1 - output.alpha, *(extra[name] for name in ("cycle_attention",) if name in extra)]
            virtual = [extra[name] for name in ("virtual_attention", "virtual_cycle_attention") if name in extra]
            for name, measured in (("sat", torch.mean), ("smooth", variation)):
                terms[name] = self._mixed(sum(map(measured, forth_and_back)),
                                          sum(map(measured, virtual)) if virtual else None)
        return terms

    def _mixed(self, real: Tensor, virtual: Tensor | None) -> Tensor:
        return real if virtual is None else real.lerp(virtual, self.virtual_share)

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = _pictures(output.frames)
        real_scores, shown = self.network(_pictures(clip.frames))
        drawn_scores, _ = self.network(drawn)
        cls = known_mse(shown, *_flat_action_units(clip, shown))
        penalty = self.gradient_penalty(_pictures(output.extra.get("pictures", clip.frames)), drawn)
        distance = real_scores.mean() - drawn_scores.mean()
        return (self.lambda_cls * cls + self.lambda_gp * penalty - distance,
                {"distance": distance, "cls": cls, "gp": penalty})

    def gradient_penalty(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        """How far the critic's slope is from 1 between `pictures` and `drawn` (M, 3, H, W), in full precision."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad(), torch.autocast(pictures.device.type, enabled=False):
            share = torch.rand(len(pictures), 1, 1, 1, device=pictures.device)
            between = (share * pictures + (1 - share) * drawn).detach().requires_grad_(True)
            scores, _ = self.network(between)
            slope, = torch.autograd.grad(scores.sum(), between, create_graph=learning)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty if learning else penalty.detach()

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Each term before its lambda; `cls_real`, how well the critic reads the real frames' action units; and of the
        attention its mean and the shares of pixels above 0.98, which stay, and below 0.02, which are drawn anew."""
        with torch.no_grad():
            terms = self.terms(output, clip)
            _, shown = self.network(_pictures(clip.frames))
            terms["cls_real"] = known_mse(shown, *_flat_action_units(clip, shown))
            if output.alpha is not None:
                attention = 1 - output.alpha
                monitors = [attention.mean(), (attention > STAYS).float().mean(), (attention < DRAWN).float().mean()]
                self.attentions.append(torch.stack(monitors))
                terms |= dict(zip(("attention", "attention_stays", "attention_drawn"), monitors))
        return terms

    def advice(self) -> str | None:
        """Whether attention is saturated on the held-out clips, as the last evaluation saw them."""
        if not self.attentions:
            return None
        mean, stays, drawn = torch.stack(self.attentions).mean(0).tolist()
        self.attentions.clear()
        lambda_sat = self.lambdas["sat"]
        if stays > ALL_STAYS:
            return (f"The attention is saturated: {stays:.1%} of it is above {STAYS} (mean {mean:.2f}), so what is "
                    "drawn is the picture that was given. The likeliest cause is action units that do not fit their frames: "
                    "look whether they vary, lie in [0, 1] and belong to these files. If they are right, try a higher "
                    f"lambda_sat (--set losses.ganimation.options.lambda_sat={10 * lambda_sat:g}).")
        if drawn > ALL_DRAWN:
            return (f"The attention is saturated: {drawn:.1%} of it is below {DRAWN} (mean {mean:.2f}), so the whole "
                    "picture is drawn anew and loses its detail. Try a lower lambda_sat (--set "
                    f"losses.ganimation.options.lambda_sat={lambda_sat / 10:g}).")
        return None


def wanted(output: Output, clip: Clip) -> tuple[Tensor, Tensor]:
    """The action units that the drawn frames should show, and which of them count: (B T, 17) each.

    Those that the task asked for, else those of the true frames, where known.
    """
    if "targets" in output.extra:
        targets = output.extra["targets"].flatten(0, 1).float()
        known = output.extra.get("targets_known")
        return targets, torch.ones_like(targets, dtype=torch.bool) if known is None else known.flatten(0, 1)
    return _flat_action_units(clip, output.frames)


def _flat_action_units(clip: Clip, like: Tensor) -> tuple[Tensor, Tensor]:
    """Of the true frames: (B T, 17) each, with what is known of them; on the device of `like`."""
    if clip.action_units is None:
        shape = clip.frames.shape[0] * clip.frames.shape[1], len(NAMES)
        return torch.zeros(shape, device=like.device), torch.zeros(shape, dtype=torch.bool, device=like.device)
    return clip.action_units.flatten(0, 1).float(), clip.action_units_known.flatten(0, 1)


def known_mse(found: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """The mean squared difference over what is `known`, all (M, 17); 0 where nothing is."""
    difference = torch.where(known, found - torch.where(known, true, 0), 0)
    return difference.square().sum() / known.sum().clamp(min=1)


def mean_difference(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean()


def variation(attention: Tensor) -> Tensor:
    """The mean difference of neighbours across plus that of neighbours down, of maps (..., H, W)."""
    return attention.diff(dim=-1).abs().mean() + attention.diff(dim=-2).abs().mean()


def _pictures(frames: Tensor) -> Tensor:
    return frames.flatten(0, 1).float()
