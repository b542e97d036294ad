"""The losses on codes against goldens of pSp's and e4e's code, and closed forms."""

from __future__ import annotations

import importlib.util
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fctfg import registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import Latent, Output
from fctfg.testing import random_clip
from fctfg_plugins.latent.critic import CodePool

GOLDEN = Path(__file__).parents[1] / "golden"
CLIP = random_clip(8)


@pytest.fixture(scope="module")
def fill():
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def critic_golden(fill):
    """Inputs, weights and outputs of e4e's latent critic."""
    folder = str(GOLDEN / "e4e_latent_disc")
    inputs = {name: torch.from_numpy(value) for name, value in fill.inputs(folder).items()}
    state = {key: torch.from_numpy(value) for key, value in fill.state(folder).items()}
    return inputs, state, np.load(GOLDEN / "e4e_latent_disc/out.npz")


def output_of(codes: Tensor, **extra: Tensor) -> Output:
    """An output drawn from `codes` (B, T, N, D)."""
    return Output(CLIP.frames, latent=Latent(codes), extra=extra)


def test_w_norm_is_that_of_psp(fill):
    inputs = fill.inputs(str(GOLDEN / "psp_losses"))
    golden = np.load(GOLDEN / "psp_losses/out.npz")
    loss = registry.build("loss", "w-norm")
    codes = torch.from_numpy(inputs["latent"] - inputs["latent_avg"])
    for output in (output_of(codes[:, None]), output_of(codes[None])):  # two clips, or two frames of one
        assert loss(output, CLIP).item() == pytest.approx(golden["w_norm"].item(), rel=1e-6)


def test_delta_norm_is_that_of_e4e(critic_golden):
    inputs, _, golden = critic_golden
    value = registry.build("loss", "delta-norm")(output_of(inputs["codes"][:, None]), CLIP)
    assert value.item() == pytest.approx(golden["delta_l2"].item(), rel=1e-6)


def test_delta_norm_of_equal_codes_is_nothing_and_has_a_gradient():
    codes = torch.randn(2, 3, 1, 8).expand(2, 3, 4, 8).clone().requires_grad_()
    loss = registry.build("loss", "delta-norm", norm=2)(output_of(codes), CLIP)
    loss.backward()
    assert loss == 0 and torch.equal(codes.grad, torch.zeros_like(codes))
    codes = torch.tensor([[0.0, 0], [3, 4], [1, -1]])[None, None]
    assert registry.build("loss", "delta-norm", norm=1)(output_of(codes), CLIP) == 7 + 2
    with pytest.raises(BadRecipe, match="below 1"):
        registry.build("loss", "delta-norm", norm=0.5)


def test_the_latent_critic_is_that_of_e4e(critic_golden):
    inputs, state, golden = critic_golden
    loss = registry.build("loss", "latent-critic", pool=0)
    keys = json.loads((GOLDEN / "e4e_latent_disc/keys.json").read_text())
    assert [[key, list(tensor.shape)] for key, tensor in loss.network.state_dict().items()] == [key[:2] for key in keys]
    loss.network.load_state_dict(state)
    assert loss(output_of(inputs["codes"][:, None]), CLIP).item() == pytest.approx(golden["enc_adv"].item(), rel=1e-5)
    output = output_of(inputs["fake_w"][:, None, None], real_codes=inputs["real_w"][:, None, None]).detach()
    first, report = loss.critic_loss(output, CLIP)
    assert report["r1"].item() == pytest.approx(golden["r1"].item(), rel=1e-5)
    assert first.item() == pytest.approx((golden["d_loss"] + 10 / 2 * 16 * golden["r1"]).item(), rel=1e-5)
    second, report = loss.critic_loss(output, CLIP)
    assert second.item() == pytest.approx(golden["d_loss"].item(), rel=1e-5) and "r1" not in report
    passed_for_real = (1 / (1 + np.exp(-golden["fake"]))).mean()
    assert loss.measure(output, CLIP)["fake"].item() == pytest.approx(passed_for_real, rel=1e-5)


def test_the_latent_critic_learns_the_difference():
    torch.manual_seed(0)
    loss = registry.build("loss", "latent-critic", width=8, lr=1e-2, r1=0.1)
    for _ in range(40):
        output = output_of(torch.randn(2, 5, 3, 8) + 2, real_codes=torch.randn(2, 5, 3, 8))
        loss.train_critic(output.detach(), CLIP)
    told = loss.measure(output, CLIP)
    assert told["real"] > 0.8 and told["fake"] < 0.2
    assert loss(output_of(torch.randn(2, 5, 3, 8)), CLIP) < loss(output_of(torch.randn(2, 5, 3, 8) + 2), CLIP)


def test_a_resumed_critic_goes_on_as_if_it_had_not_stopped():
    def step(loss, number: int) -> Tensor:
        torch.manual_seed(number)
        output = output_of(torch.randn(2, 5, 3, 8), real_codes=torch.randn(2, 5, 3, 8))
        return loss.train_critic(output.detach(), CLIP)["critic"]

    whole, resumed = (registry.build("loss", "latent-critic", width=8, r1_every=3, pool=12) for _ in range(2))
    for number in range(4):
        step(whole, number)
    resumed.load_state_dict(deepcopy(whole.state_dict()))
    for number in range(4, 8):
        assert torch.equal(step(whole, number), step(resumed, number))


def test_a_pool_keeps_what_it_takes_and_gives_half_of_it_later():
    torch.manual_seed(0)
    pool = CodePool(50, 1)
    codes = torch.arange(280.0)[:, None]
    first = pool.exchange(codes[:30])
    assert torch.equal(first, codes[:30]) and pool.filled == 30
    given = torch.cat([first, pool.exchange(codes[30:60]), pool.exchange(codes[60:])])
    assert pool.filled == 50 and len(given) == 280
    later = given[60:, 0] != codes[60:, 0]
    assert 0.4 < later.float().mean() < 0.6, "about every other one is an older one"
    # The first 50 were given when they were kept; each code is given or in stock but for those given twice.
    assert set(codes[:, 0].tolist()) == set(given[:, 0].tolist()) | set(pool.codes[:, 0].tolist())


def test_the_latent_critic_says_what_it_lacks():
    loss = registry.build("loss", "latent-critic", width=8)
    with pytest.raises(BadRecipe, match="task invert gives them with a decoder that imagines"):
        loss.critic_loss(output_of(torch.randn(2, 5, 3, 8)), CLIP)
    with pytest.raises(BadRecipe, match="width: 16"):
        loss(output_of(torch.randn(2, 5, 3, 16)), CLIP)
    with pytest.raises(BadRecipe, match="'w-norm' judges codes"):
        registry.build("loss", "w-norm")(Output(CLIP.frames), CLIP)


def talked(canonical: Tensor, motion: Tensor) -> Output:
    return Output(CLIP.frames, latent=Latent(canonical[:, None] + motion, canonical, motion))


def test_orthogonality_is_the_mean_size_of_products():
    torch.manual_seed(0)
    canonical, motion = torch.randn(2, 4, 6), torch.randn(2, 3, 4, 6)
    dots, cosines = [], []
    for b in range(2):
        for t in range(3):
            for n in range(4):
                c, m = canonical[b, n].tolist(), motion[b, t, n].tolist()
                dots.append(abs(sum(x * y for x, y in zip(c, m))))
                cosines.append(dots[-1] / (sum(x * x for x in c) * sum(y * y for y in m)) ** 0.5)
    output = talked(canonical, motion)
    assert registry.build("loss", "orthogonality")(output, CLIP).item() == pytest.approx(np.mean(dots), rel=1e-5)
    cosine = registry.build("loss", "orthogonality", form="cosine")
    assert cosine(output, CLIP).item() == pytest.approx(np.mean(cosines), rel=1e-5)
    assert registry.build("loss", "orthogonality").measure(output, CLIP)["cosine"] == cosine(output, CLIP)
    some = registry.build("loss", "orthogonality", layers=[1, 3])(output, CLIP)
    assert some.item() == pytest.approx(np.mean([dot for i, dot in enumerate(dots) if i % 4 in (1, 3)]), rel=1e-5)


def test_codes_at_right_angles_cost_nothing():
    canonical, motion = torch.zeros(1, 2, 4), torch.zeros(1, 3, 2, 4)
    canonical[..., :2], motion[..., 2:] = 1, 5
    for form in ("dot", "cosine"):
        assert registry.build("loss", "orthogonality", form=form)(talked(canonical, motion), CLIP) == 0


def test_orthogonality_says_what_it_lacks():
    with pytest.raises(BadRecipe, match="--fusion canonical-motion does"):
        registry.build("loss", "orthogonality")(output_of(torch.randn(2, 5, 3, 8)), CLIP)
    with pytest.raises(BadRecipe, match="there are 2 codes; the last is 1"):
        registry.build("loss", "orthogonality", layers=[2])(talked(torch.ones(1, 2, 4), torch.ones(1, 3, 2, 4)), CLIP)
    for options in ({"form": "angle"}, {"layers": []}, {"layers": [-1]}):
        with pytest.raises(BadRecipe, match="'orthogonality'"):
            registry.build("loss", "orthogonality", **options)
