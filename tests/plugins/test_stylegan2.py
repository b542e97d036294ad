"""StyleGAN2's networks and losses against goldens of two public implementations."""

from __future__ import annotations

import math
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_inputs, golden_keys
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights
from fctfg.interfaces import Clip, Latent, Output
from fctfg_plugins.stylegan2 import PathLengthLoss, StyleGAN2Decoder, StyleGAN2GANLoss, path_length, public
from fctfg_plugins.stylegan2.decoder import truncate
from fctfg_plugins.stylegan2.discriminator import Discriminator
from fctfg_plugins.stylegan2.gan import gradient_penalty
from fctfg_plugins.stylegan2.layers import EqualLinear


def golden_state(name: str) -> dict[str, Tensor]:
    """Every weight and every noise map, but not the filters, which a network has of its own."""
    return {key: torch.from_numpy(np.asarray(value)) for key, value in fill.state(str(GOLDEN / name)).items()}


def check_golden(outputs: dict[str, Tensor], name: str, tolerance: float = 1e-4) -> None:
    """Fails beyond `tolerance` of the golden's standard deviation; of scalars and logits, which may hardly differ from each
    other, of their size."""
    golden = np.load(GOLDEN / name / "out.npz")
    names = {full.partition("@")[0] for full in golden.files}
    arrays = {key: value.detach().numpy() for key, value in outputs.items()}
    assert set(arrays) <= names
    missing = {key: np.zeros(golden[f"{key}@shape"] if f"{key}@shape" in golden.files else golden[key].shape)
               for key in names - set(arrays)}
    for key, error, relative in fill.compare({**arrays, **missing}, GOLDEN / name / "out.npz"):
        if key in outputs:
            if key.startswith("score") or not math.isfinite(relative):
                relative = error / np.abs(golden[key]).max()
            assert relative < tolerance, f"{name}: {key} differs by {relative}"


def rosinality(name: str, size: int) -> StyleGAN2Decoder:
    decoder = on_meta(lambda: StyleGAN2Decoder(size=size))
    load(decoder, golden_state(name), but={"mean"})
    decoder.mean = torch.zeros(decoder.codes)
    return decoder.eval()


def nvidia(name: str, size: int) -> StyleGAN2Decoder:
    """NVIDIA's generator through the translation of public files; without the label, where it has one."""
    state = {key: value for key, value in golden_state(name).items() if not key.startswith("mapping.embed.")}
    state["mapping.fc0.weight"] = state["mapping.fc0.weight"][:, :512]
    tensors, settings = public.translate(PublicWeights(Path("x.pkl"), state, "torch.save", networks={"G_ema": state}))
    assert settings["size"] == size and settings["decoder.options.channel_multiplier"] == 2
    decoder = on_meta(lambda: StyleGAN2Decoder(size=size))
    generator = {key.removeprefix("generator."): value for key, value in tensors.items() if key.startswith("generator.")}
    load(decoder, {**generator, "mean": tensors["latent_avg"]})
    return decoder.eval()


def on_meta(build) -> nn.Module:
    with torch.device("meta"):
        return build()


def load(network: nn.Module, state: dict[str, Tensor], but: set[str] = frozenset()) -> None:
    """Strictly, but for filters."""
    missing, unexpected = network.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and all(key.endswith(".kernel") or key in but for key in missing)


def draw(decoder: StyleGAN2Decoder, w: Tensor, deltas: tuple[Tensor | None, ...] = (), noise: str = "fixed") -> Tensor:
    """What is drawn of codes (M, D) or (M, N, D), each a clip of one frame."""
    decoder.noise = noise
    codes = w if w.ndim == 3 else w[:, None].expand(-1, decoder.codes.count, -1)
    return decoder(Latent(codes[:, None] - decoder.mean, deltas=deltas))[:, 0]


@pytest.fixture(scope="module")
def generator() -> StyleGAN2Decoder:
    return rosinality("stylegan2_g_64", 64)


@pytest.fixture(scope="module")
def discriminator() -> Discriminator:
    network = on_meta(lambda: Discriminator(64))
    load(network, golden_state("stylegan2_d_64"))
    return network.requires_grad_(False)


class TestGenerator:
    @torch.no_grad()
    def test_it_draws_what_rosinality_draws(self, generator):
        z = golden_inputs("stylegan2_g_64")["z"]
        check_golden({"img": draw(generator, generator.style(z))}, "stylegan2_g_64")

    @pytest.mark.slow
    @torch.no_grad()
    @pytest.mark.parametrize("size", [256, 1024])
    def test_it_draws_what_rosinality_draws_at_any_size(self, size):
        name = f"stylegan2_g_{size}"
        decoder, given = rosinality(name, size), golden_inputs(name)
        w, other = decoder.style(given["z"]), decoder.style(given["z2"])
        outputs = {"w": w, "img": draw(decoder, w)}
        if size == 256:
            decoder.mean = given["latent_avg"].expand(decoder.codes).contiguous()
            shortened = decoder.mean + truncate(w[:, None] - decoder.mean, 0.5)
            mixed = torch.where(torch.arange(14)[:, None] < 4, w[:, None], other[:, None])
            outputs |= {"img_zero_noise": draw(decoder, w, noise="none"), "img_wplus": draw(decoder, given["wplus"]),
                        "img_trunc": draw(decoder, shortened), "latent_mix4": mixed, "img_mix4": draw(decoder, mixed)}
        check_golden(outputs, name)

    @torch.no_grad()
    def test_it_draws_what_nvidia_draws(self):
        """A conditional network, whose mapping is not ours to run: from its own codes on."""
        name = "nv_stylegan2_g_64_c10"
        w = torch.from_numpy(np.load(GOLDEN / name / "out.npz")["ws"])
        check_golden({"img": draw(nvidia(name, 64), w)}, name)

    @pytest.mark.slow
    @torch.no_grad()
    @pytest.mark.parametrize("name, size", [("nv_stylegan2_g_64_c10", 64), ("nv_stylegan2_g_256", 256)])
    def test_it_draws_what_nvidia_draws_in_every_way(self, name, size):
        decoder, given = nvidia(name, size), golden_inputs(name)
        w = torch.from_numpy(np.load(GOLDEN / name / "out.npz")["ws"])
        outputs = self.drawn_as_nvidia(decoder, w, given["ws"])
        check_golden(outputs if "c" in given else {**outputs, "ws": decoder.style(given["z"])}, name)

    @staticmethod
    def drawn_as_nvidia(decoder, w, wplus) -> dict[str, Tensor]:
        offsets = w[:, None] - decoder.mean
        return {"img": draw(decoder, w), "img_no_noise": draw(decoder, w, noise="none"), "img_wplus": draw(decoder, wplus),
                "img_trunc": draw(decoder, decoder.mean + truncate(offsets, 0.5)),
                "img_trunc_cut": draw(decoder, decoder.mean + truncate(offsets, 0.5, 8))}

    @pytest.mark.slow
    @torch.no_grad()
    def test_it_takes_offsets_of_weights_as_hyperstyles_does(self):
        name = "hyperstyle_decoder_256"
        decoder, given = rosinality(name, 256), golden_inputs(name)
        deltas = tuple(given.get(f"delta{index:02}") for index in range(len(decoder.deltas)))
        check_golden({"img_plain": draw(decoder, given["codes"]), "img": draw(decoder, given["codes"], deltas)}, name)

    @pytest.mark.parametrize("size, multiplier, count", [(64, 2, None), (256, 2, 30_034_338), (256, 1, 24_767_458),
                                                         (512, 2, 30_276_583), (1024, 2, 30_370_060)])
    def test_its_state_dict_has_the_public_keys_and_the_mean(self, size, multiplier, count):
        decoder = on_meta(lambda: StyleGAN2Decoder(size=size, channel_multiplier=multiplier))
        assert decoder.codes == (2 * int(math.log2(size)) - 2, 512)
        assert count in (None, sum(parameter.numel() for parameter in decoder.parameters()))
        held = {key: tuple(value.shape) for key, value in decoder.state_dict().items()}
        assert held.pop("mean") == decoder.codes
        if multiplier == 2 and size != 512:
            assert held == golden_keys(f"stylegan2_g_{size}")

    def test_its_filters_are_those_of_public_files(self):
        for network, name in ((StyleGAN2Decoder(size=64, channel_max=4), "stylegan2_g_64"),
                              (Discriminator(64, channel_max=4), "stylegan2_d_64")):
            fixed = np.load(GOLDEN / name / "fixed.npz")
            held = {key: value for key, value in network.state_dict().items() if key.endswith("kernel")}
            assert set(held) == set(fixed.files)
            for key, value in held.items():
                np.testing.assert_allclose(value.numpy(), fixed[key], atol=1e-7)


class TestDiscriminator:
    @torch.no_grad()
    def test_it_judges_as_rosinalitys_does(self, discriminator):
        score = discriminator(golden_inputs("stylegan2_d_64")["img"])
        check_golden({"score": score[:, None]}, "stylegan2_d_64")

    @pytest.mark.slow
    @torch.no_grad()
    @pytest.mark.parametrize("name", ["stylegan2_d_256", "nv_stylegan2_d_256"])
    def test_it_judges_as_the_public_ones_do_at_256(self, name):
        network, picture = on_meta(lambda: Discriminator(256)), golden_inputs(name)["img"]
        load(network, public.critic_of(golden_state(name))[0])
        golden = np.load(GOLDEN / name / "out.npz")
        counts = {key: int(key.removeprefix("score") or len(picture)) for key in golden.files}
        check_golden({key: network(picture[:count])[:, None] for key, count in counts.items()}, name)

    @pytest.mark.slow
    @torch.no_grad()
    def test_it_judges_as_nvidias_does_in_batches_of_any_size(self):
        """A conditional one: its last layer is a product with the mapped label, which is of the golden's making."""
        name = "nv_stylegan2_d_64_c10"
        state, given = golden_state(name), golden_inputs(name)
        with pytest.raises(BadWeights, match="conditional"):
            public.translate(PublicWeights(Path("x.pkl"), state, "torch.save", networks={"D": state}))
        label = normalised(F.linear(given["c"], state["mapping.embed.weight"] / math.sqrt(10), state["mapping.embed.bias"]))
        for index in range(8):
            layer = EqualLinear(512, 512, lr=0.01, activated=True)
            load(layer, {leaf: state[f"mapping.fc{index}.{leaf}"] for leaf in ("weight", "bias")})
            label = layer(label)
        network = on_meta(lambda: Discriminator(64))
        network.final_linear[1] = EqualLinear(512, 512)
        load(network, public.critic_of({key: value for key, value in state.items() if not key.startswith("mapping.")})[0])
        scores = {}
        for count in (8, 4, 2, 1):
            vectors = network(given["img"][:count])
            scores[f"score{count}"] = (vectors * label[:count]).sum(1, keepdim=True) / math.sqrt(512)
        check_golden(scores, name)

    @pytest.mark.parametrize("size, count", [(64, None), (256, 28_864_129), (512, 28_982_849), (1024, 29_012_513)])
    def test_its_state_dict_has_the_public_keys(self, size, count):
        network = on_meta(lambda: Discriminator(size))
        assert count in (None, sum(parameter.numel() for parameter in network.parameters()))
        if size != 512:
            held = {key: tuple(value.shape) for key, value in network.state_dict().items()}
            assert held == golden_keys(f"stylegan2_d_{size}")


def normalised(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class TestLosses:
    NAME = "stylegan2_losses"

    def test_the_two_sides_of_the_gan_loss(self):
        given = golden_inputs(self.NAME)
        loss = StyleGAN2GANLoss(size=8, channel_max=4, r1=0)
        loss.network.forward = lambda pictures: pictures.mean((1, 2, 3))  # pictures that say how real they look
        clip, output = (picture_of(given[key]) for key in ("real_pred", "fake_pred"))
        judged = loss.critic_loss(Output(output.frames), clip)[0]
        check_golden({"d_logistic": judged, "g_nonsat": loss(Output(output.frames), clip)}, self.NAME)

    @pytest.mark.slow
    def test_r1_and_its_gradient(self, discriminator):
        pictures = golden_inputs(self.NAME)["real_img"].requires_grad_(True)
        discriminator.requires_grad_(True)
        penalty = gradient_penalty(discriminator(pictures), pictures)
        norms = gradient_norms(10 / 2 * 16 * penalty, discriminator, "stylegan2_d_64")
        discriminator.requires_grad_(False)
        check_golden({"r1": penalty, "r1_grad_norm": norms}, self.NAME, tolerance=1e-3)

    @pytest.mark.slow
    def test_path_length_and_its_gradient(self, generator, monkeypatch):
        given = golden_inputs(self.NAME)
        loss = PathLengthLoss()
        loss.mean.fill_(0.25)
        monkeypatch.setattr(path_length.torch, "randn_like", lambda frames: given["pl_noise"][:, None])
        codes = generator.style(given["z"])[:, None, None].expand(-1, 1, 10, -1)
        frames = generator(Latent(codes))
        with torch.enable_grad():
            penalty = loss(Output(frames, latent=Latent(codes)), None)
        lengths = path_length.path_lengths(frames, codes, given["pl_noise"][:, None])
        outputs = {"path_penalty": penalty / 4, "path_mean": loss.mean, "path_lengths": lengths[:, 0],
                   "path_grad_norm": gradient_norms(2 * penalty, generator, "stylegan2_g_64")}
        check_golden(outputs, self.NAME, tolerance=1e-3)

    @pytest.mark.slow
    def test_what_the_generator_learns_from_the_critic(self, generator, discriminator):
        codes = generator.style(golden_inputs(self.NAME)["z"])[:, None, None].expand(-1, 1, 10, -1)
        loss = F.softplus(-discriminator(generator(Latent(codes))[:, 0])).mean()
        check_golden({"g_loss": loss, "g_grad_norm": gradient_norms(loss, generator, "stylegan2_g_64")}, self.NAME,
                     tolerance=1e-3)


def picture_of(logits: Tensor) -> Clip:
    """A clip of one frame for each logit, in its colour."""
    frames = logits[:, None, :, None, None].expand(-1, 1, 3, 8, 8)
    return Clip(frames, frames, torch.zeros(len(frames), 1), torch.zeros(1))


def gradient_norms(loss: Tensor, network: nn.Module, golden: str) -> Tensor:
    """Of `loss` to every weight in the order of the golden's keys; 0 where there is none."""
    weights = dict(network.named_parameters())
    order = [key for key in golden_keys(golden) if key in weights]
    gradients = torch.autograd.grad(loss, [weights[key] for key in order], retain_graph=True, allow_unused=True)
    return torch.stack([torch.zeros(()) if gradient is None else gradient.norm() for gradient in gradients])
