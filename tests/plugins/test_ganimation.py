"""GANimation against the goldens of the reference implementation; and what it does beside them."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fctfg import registry
from fctfg.action_units import NAMES
from fctfg.data.noise import random_clip
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, CodeShape, FaceCode, Latent, Output
from fctfg.model import TalkingFace
from fctfg_plugins.ganimation.critic import known_mse, variation
from fctfg_plugins.ganimation.fusion import parabola

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"g_conv_dim": 4, "g_repeat": 1}


def _load_fill():
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _load_fill()


def golden_state(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name)).items()}


def golden_inputs(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in fill.inputs(str(GOLDEN / name)).items()}


def network_of_g(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the reference's generator draws with while it trains: no aliases, no running statistics."""
    return {key: value for key, value in state.items()
            if not key.startswith("debug") and "running" not in key and "tracked" not in key}


@pytest.fixture(scope="module")
def generator():
    decoder = registry.build("decoder", "ganimation", size=128)
    decoder.load_state_dict(network_of_g(golden_state("ganimation_g")))
    return decoder


@pytest.fixture(scope="module")
def critic():
    with torch.device("meta"):  # 45 million random numbers that nobody wants
        loss = registry.build("loss", "ganimation", size=128)
    loss.network.load_state_dict(golden_state("ganimation_d"), assign=True)
    loss.optimizer = torch.optim.Adam(loss.network.parameters(), lr=1e-4, betas=(0.5, 0.999))
    return loss


def worst(outputs: dict[str, Tensor], name: str) -> dict[str, float]:
    """The greatest differences from a golden's numbers, as shares of their standard deviation."""
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    golden = np.load(GOLDEN / name / "out.npz")
    known = {key.partition("@")[0] for key in golden.files}
    blank = {key: np.zeros(golden[key].shape) for key in known - set(arrays)}
    found = fill.compare({**blank, **arrays}, GOLDEN / name / "out.npz")
    return {key: relative if math.isfinite(relative) else error for key, error, relative in found if key in arrays}


class TestGoldens:
    """Of the reference in train mode, whose norms go by each picture; eval mode draws the same here."""

    def test_draws_what_the_reference_draws(self, generator):
        inputs = golden_inputs("ganimation_g")
        with torch.no_grad():
            attention, colour = generator.eval().look(inputs["img"], inputs["au"])
        assert max(worst({"att_train": attention, "reg_train": colour}, "ganimation_g").values()) < 1e-4
        assert sum(p.numel() for p in generator.parameters()) == 8_471_296

    def test_reads_what_the_reference_reads(self, critic):
        with torch.no_grad():
            scores, action_units = critic.network(golden_inputs("ganimation_d")["img"])
        assert max(worst({"src": scores, "au": action_units}, "ganimation_d").values()) < 1e-4
        assert sum(p.numel() for p in critic.network.parameters()) == 44_860_352

    @pytest.mark.slow
    def test_learns_as_the_reference_learns(self, generator, critic, monkeypatch):
        """A step of the critic and the loss of the generator after it, with the gradients of both."""
        inputs = golden_inputs("ganimation_losses")
        golden = np.load(GOLDEN / "ganimation_losses" / "out.npz")
        pictures, own, targets = inputs["x_real"], inputs["label_org"], inputs["label_trg"]
        monkeypatch.setattr(torch, "rand", lambda *_, **__: inputs["alpha"])

        def drawn(picture: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            return generator(Latent(wanted[:, None, None], skips=(picture,)))

        clip = Clip(pictures[:, None], pictures[:, None], torch.zeros(2, 1), torch.zeros(1), action_units=own[:, None],
                    action_units_known=torch.ones(2, 1, 17, dtype=torch.bool))
        frames, alpha = drawn(pictures[:, None], targets)
        cycle, cycle_alpha = drawn(frames, own)
        output = Output(frames, alpha=alpha, extra={
            "pictures": pictures[:, None], "targets": targets[:, None], "cycle": cycle, "cycle_attention": 1 - cycle_alpha})

        critic.network.zero_grad()
        report = critic.train_critic(output.detach(), clip)
        total, real, fake, cls, gp = golden["d_losses"]
        found = [report["critic"], report["distance"], 160 * report["cls"], 10 * report["gp"]]
        np.testing.assert_allclose([float(x) for x in found], [total, -(real + fake), cls, gp], rtol=1e-4)
        norms = [float(p.grad.norm()) for p in critic.network.parameters()]
        np.testing.assert_allclose(norms, golden["grad_norm_d"], rtol=1e-3)

        for parameter in critic.network.parameters():
            parameter.grad = None
        terms = critic.terms(output, clip)
        loss = critic(output, clip)
        total, fake, rec, cls, attention, smooth1, smooth2, sat1, sat2 = golden["g_losses"]
        weighed = {"adversarial": 1, "rec": 10, "cls": 160, "sat": 0.1, "smooth": 1e-4}
        found = [float(loss.detach()), *(weight * float(terms[name].detach()) for name, weight in weighed.items())]
        np.testing.assert_allclose(found, [total, fake, rec, cls, sat1 + sat2, smooth1 + smooth2], rtol=1e-3)
        generator.train().zero_grad()
        loss.backward()
        aliases = fill.read_json(GOLDEN / "ganimation_g" / "fill.json")["alias"]
        order = dict.fromkeys(aliases.get(key, key) for key, *_ in fill.read_json(GOLDEN / "ganimation_g" / "keys.json"))
        named = dict(generator.named_parameters())
        norms = [float(named[key].grad.norm()) for key in order if key in named]
        np.testing.assert_allclose(norms, golden["grad_norm_g"], rtol=5e-3)

    def test_smoothness_and_saturation(self):
        golden = np.load(GOLDEN / "ganimation_losses" / "out.npz")
        attention = golden_inputs("ganimation_losses")["att"]
        assert float(variation(attention)) == pytest.approx(float(golden["smooth"]), rel=1e-5)
        assert float(attention.mean()) == pytest.approx(float(golden["saturation"]), rel=1e-5)
