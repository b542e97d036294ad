"""HyperStyle: the hypernetwork against the goldens and slow loops, refining, and remembering whom it has seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_inputs, golden_keys
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import checkpoints
from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadRecipe, BadWeights
from fctfg.interfaces import CodeShape, Decoder, DeltaShape, Latent
from fctfg.model import TalkingFace, build_model
from fctfg.recipe import Recipe
from fctfg_plugins.hyperstyle import HyperStyleEncoder
from fctfg_plugins.hyperstyle.hypernetwork import Hypernetwork, SeparableKernel, SharedMatrices
from fctfg_plugins.hyperstyle.public import translate
from fctfg_plugins.stylegan2.decoder import StyleGAN2Decoder

SIZE = 32


def layers_of(size: int, channel_multiplier: int = 2) -> tuple[DeltaShape, ...]:
    """StyleGAN2's convolutions: the first and its RGB, then two and their RGB at each size."""
    channels = {4: 512, 8: 512, 16: 512, 32: 512}
    channels |= {r: 128 * 128 // r * channel_multiplier for r in (64, 128, 256, 512, 1024)}
    shapes, below, r = [DeltaShape(512, 512, 3), DeltaShape(3, 512, 1)], 512, 8
    while r <= size:
        own = channels[r]
        shapes += [DeltaShape(own, below, 3), DeltaShape(own, own, 3), DeltaShape(3, own, 1)]
        below, r = own, 2 * r
    return tuple(shapes)


class OneLayerDecoder(Decoder):
    """One code, the channels of a constant; a convolution, enlarged; one to RGB. Both can be offset."""

    codes = CodeShape(1, 8)
    deltas = (DeltaShape(8, 8, 3), DeltaShape(3, 8, 1))

    def __init__(self, *, size: int):
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.size = size
        self.constant = nn.Parameter(torch.randn(8, 4, 4, generator=draw))
        self.weights = nn.ParameterList(torch.randn(*delta, delta.kernel, generator=draw) / delta.kernel / 3
                                        for delta in self.deltas)

    def forward(self, latent: Latent) -> Tensor:
        return torch.stack([self.draw(codes, [delta if delta is None else delta[b] for delta in latent.deltas])
                            for b, codes in enumerate(latent.codes)])

    def draw(self, codes: Tensor, deltas: list[Tensor | None]) -> Tensor:
        first, to_rgb = (weight if delta is None else weight * (1 + delta)
                         for weight, delta in zip(self.weights, deltas or [None, None]))
        x = F.conv2d(self.constant * codes[:, 0, :, None, None].exp(), first, padding=1).tanh()
        return F.conv2d(F.interpolate(x, size=(self.size, self.size), mode="bilinear"), to_rgb).tanh()


@pytest.fixture
def decoder() -> OneLayerDecoder:
    return OneLayerDecoder(size=SIZE).eval().requires_grad_(False)


@pytest.fixture
def encoder(decoder) -> HyperStyleEncoder:
    torch.manual_seed(0)
    return HyperStyleEncoder(size=SIZE, codes=decoder.codes, deltas=decoder.deltas, base="tiny", refinements=3,
                             scale=1 / 16).eval()


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def repeated(name: str) -> dict[str, str]:
    return json.loads((GOLDEN / name / "fill.json").read_text(encoding="utf-8"))["alias"]


def load_golden(module: nn.Module, name: str) -> None:
    """Fill every weight of `module`, which may lack layers of the golden."""
    keys = module.state_dict().keys()
    state = {key: torch.from_numpy(value)
             for key, value in fill.state(str(GOLDEN / name), skip=golden_keys(name).keys() - keys).items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)


def check_offsets(network: Hypernetwork, name: str) -> None:
    """Fails beyond 1e-4 of the golden's standard deviation, in any layer of `network`."""
    golden = np.load(GOLDEN / name / "out.npz")
    with torch.no_grad():
        offsets = network(golden_inputs(name)["x6"])
    assert [i for i, offset in enumerate(offsets) if offset is not None] == network.layers
    for i in network.layers:
        key, shape = f"delta{i:02d}", network.deltas[i]
        got = offsets[i].expand(1, *shape, shape.kernel).flatten().numpy()
        if (probes := f"{key}@probes") in golden:
            expected = golden[probes]
            got = got[fill.probe_index(key, got.size, expected.size)]
        else:
            expected = golden[key].ravel()
        assert abs(got - expected).max() < 1e-4 * expected.std(), key


class TestGoldens:
    @pytest.mark.parametrize("name, size, separable, count", [
        ("hyperstyle_hypernet_256", 256, False, 312_984_640),
        ("hyperstyle_hypernet_1024", 1024, False, 332_664_896),
        ("hyperstyle_hypernet_sep_256", 256, True, 198_710_080),
    ])
    def test_the_state_dict_has_every_public_key_once(self, name, size, separable, count):
        shapes = layers_of(size)
        with torch.device("meta"):
            every = Hypernetwork(shapes, layers=range(len(shapes)), separable=separable)
            usual = Hypernetwork(shapes, separable=separable)
        public, again = golden_keys(name), repeated(name)
        assert {key: tuple(value.shape) for key, value in every.state_dict().items()} == \
            {key: shape for key, shape in public.items() if key not in again}
        assert sum(parameter.numel() for parameter in usual.parameters()) == count

    def test_small_layers_are_offset_as_by_the_reference(self):
        network = Hypernetwork(layers_of(256), layers=[1, 18]).eval()
        load_golden(network, "hyperstyle_hypernet_256")
        check_offsets(network, "hyperstyle_hypernet_256")

    @pytest.mark.slow
    @pytest.mark.parametrize("name, size, separable", [
        ("hyperstyle_hypernet_256", 256, False),
        ("hyperstyle_hypernet_1024", 1024, False),
        ("hyperstyle_hypernet_sep_256", 256, True),
    ])
    def test_all_layers_are_offset_as_by_the_reference(self, name, size, separable):
        shapes = layers_of(size)
        network = Hypernetwork(shapes, layers=range(len(shapes)), separable=separable).eval()
        load_golden(network, name)
        check_offsets(network, name)

    @pytest.mark.slow
    def test_two_refinements_draw_what_the_reference_draws(self):
        name = "hyperstyle_full_256"
        decoder = StyleGAN2Decoder(size=256).eval()
        encoder = HyperStyleEncoder(size=256, codes=decoder.codes, deltas=decoder.deltas, base="tiny",
                                    layers=range(20)).eval()
        state = {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name)).items()}
        for part, prefix in ((encoder.hypernet, "hypernet."), (decoder, "decoder.")):
            of_part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            missing, unexpected = part.load_state_dict(of_part, strict=False)
            assert not unexpected and all(key.endswith(("num_batches_tracked", ".kernel", "mean")) for key in missing)
        given = golden_inputs(name)
        drawn, deltas, pictures = given["y_hat"], (None,) * len(decoder.deltas), {}
        with torch.no_grad():
            for picture in ("img1", "img2"):
                deltas = encoder.closer(given["x"], drawn, deltas)
                drawn = pictures[picture] = decoder(Latent(given["codes"][:, None], deltas=deltas))[:, 0]
        rows = fill.compare({key: value.numpy() for key, value in pictures.items()}, GOLDEN / name / "out.npz")
        assert [key for key, _, error in rows if error < 1e-4] == ["img1", "img2"], rows

    @pytest.mark.slow
    def test_its_w_encoder_may_be_the_base(self, decoder):
        name = "hyperstyle_w_encoder"
        base = HyperStyleEncoder(size=256, codes=CodeShape(18, 512), deltas=decoder.deltas, base="psp-w",
                                 scale=1 / 64).base
        load_golden(base.eval(), name)
        assert {key: tuple(value.shape) for key, value in base.state_dict().items()} == golden_keys(name)
        with torch.no_grad():
            codes = base.invert(golden_inputs(name)["img"])
        [(_, _, error)] = fill.compare({"codes": codes.numpy()}, GOLDEN / name / "out.npz")
        assert error < 1e-4


class TestHypernetwork:
    def test_shared_matrices_equal_a_loop(self):
        """Row o of a layer's embeddings makes the kernels that lead to channel o: the order of the public weights."""
        shape, width = DeltaShape(3, 3, 2), 4
        torch.manual_seed(0)
        matrices = SharedMatrices(shape, width)
        embeddings = torch.randn(2, 1, width)
        with torch.no_grad():
            got = matrices(embeddings)
            for layer in range(2):
                rows = (matrices.w2.T @ embeddings[layer, 0] + matrices.b2).tolist()
                for o in range(3):
                    row = torch.tensor(rows[o * width:(o + 1) * width])
                    kernels = (matrices.w1.T @ row + matrices.b1).tolist()
                    for i in range(3):
                        for y in range(2):
                            for x in range(2):
                                expected = kernels[i * 4 + y * 2 + x]
                                assert got[layer][0, o, i, y, x].item() == pytest.approx(expected, abs=1e-6)

    def test_a_separable_kernel_equals_its_matrices(self):
        shape, width = DeltaShape(3, 5, 3), 4
        torch.manual_seed(0)
        kernel = SeparableKernel(shape, width)
        vectors = torch.randn(2, width, 1, 1)
        with torch.no_grad():
            got = kernel(vectors)
            over_inputs = kernel.make_kernel_in(vectors.flatten(1)).view(2, 3, 3, 5)
            over_outputs = kernel.make_kernel_out(vectors.flatten(1)).view(2, 3, 3, 3)
            for m, y, x in np.ndindex(2, 3, 3):
                product = torch.outer(over_outputs[m, y, x], over_inputs[m, y, x])  # (O, I)
                mixed = kernel.kernel_linear_out(kernel.kernel_linear_in(product).T).T
                torch.testing.assert_close(got[m, :, :, y, x], mixed)

    def test_layers_as_large_as_the_first_share_their_matrices(self):
        """At channel multiplier 1 those at 64 px are smaller already."""
        with torch.device("meta"):
            assert Hypernetwork(layers_of(256)).shared == [0, 2, 3, 5, 6, 8, 9, 11, 12]
            assert Hypernetwork(layers_of(256, 1)).shared == [0, 2, 3, 5, 6, 8, 9]
            assert Hypernetwork(layers_of(64)).layers == [0, 2, 3, 5, 6, 8, 9, 11, 12]
            assert Hypernetwork(layers_of(64), layers=[12, 0, 24]).layers == [0, 12]

    def test_offsets_fit_the_decoder(self):
        shapes = (DeltaShape(8, 8, 3), DeltaShape(3, 8, 1), DeltaShape(4, 8, 3), DeltaShape(3, 4, 1))
        for separable, fourth in ((False, (2, 4, 8, 1, 1)), (True, (2, 4, 8, 3, 3))):
            network = Hypernetwork(shapes, layers=[0, 1, 2], separable=separable, scale=1 / 32).eval()
            with torch.no_grad():
                offsets = network(torch.zeros(2, 6, SIZE, SIZE))
            assert [None if offset is None else tuple(offset.shape) for offset in offsets] == \
                [(2, 8, 8, 3, 3), (2, 3, 8, 1, 1), fourth, None]

    def test_public_files_may_name_the_shared_matrices_in_every_block(self):
        shapes = (DeltaShape(8, 8, 3),) * 2
        one, two = (Hypernetwork(shapes, scale=1 / 32) for _ in range(2))
        state = one.state_dict()
        for layer in (0, 1):
            state |= {f"refinement_blocks.{layer}.hypernet.{name}": state[f"shared_weight_hypernet.{name}"]
                      for name in ("w1", "b1", "w2", "b2")}
        two.load_state_dict(state)
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        with pytest.raises(RuntimeError, match="refinement_blocks.2"):
            two.load_state_dict(state | {"refinement_blocks.2.hypernet.w1": state["shared_weight_hypernet.w1"]})


class TestRefining:
    def test_a_refinement_adds_to_the_offsets_of_the_one_before(self, encoder, decoder):
        seen = pictures(2)
        with torch.no_grad():
            (codes, none, plain), *closer = encoder.refinements(seen, decoder)
            assert none == (None, None) and len(closer) == 3
            torch.testing.assert_close(codes, encoder.invert(seen))
            torch.testing.assert_close(plain, decoder(Latent(codes[:, None]))[:, 0])
            total, drawn = 0, plain
            for _, (delta, untuned), next_drawn in closer:
                total = total + encoder.hypernet(torch.cat([seen, drawn], 1))[0]
                torch.testing.assert_close(delta, total)
                drawn = decoder(Latent(codes[:, None], deltas=(total, None)))[:, 0]
                torch.testing.assert_close(next_drawn, drawn)
                assert untuned is None

    def test_gradients_stay_within_one_refinement_and_leave_the_base_alone(self, encoder, decoder):
        modes = []
        encoder.base.register_forward_hook(lambda base, *_: modes.append(base.training))
        encoder.train()
        _, (codes, (first, _), _), (_, (second, _), drawn), _ = encoder.refinements(pictures(2), decoder)
        first.retain_grad()
        drawn.square().sum().backward()
        assert first.grad is None and second.requires_grad and not codes.requires_grad
        assert all(p.grad is not None for p in encoder.hypernet.parameters())
        assert all(p.grad is None for p in encoder.base.parameters()) and modes == [False] and encoder.base.training

    def test_refining_learns_to_draw_the_picture(self, encoder, decoder):
        encoder.train()
        optimizer = torch.optim.Adam(encoder.hypernet.parameters(), lr=5e-3)
        draw = torch.Generator().manual_seed(2)
        people = F.interpolate(torch.rand(2, 3, 4, 4, generator=draw) * 2 - 1, size=(SIZE, SIZE), mode="bilinear")
        for _ in range(15):
            errors = [F.mse_loss(drawn, people) for _, _, drawn in encoder.refinements(people, decoder)]
            optimizer.zero_grad()
            sum(errors[1:]).backward()
            optimizer.step()
        assert errors[-1] < 0.8 * errors[0], errors

    def test_a_clip_has_codes_of_each_frame_and_the_offsets_of_its_first_reference(self, encoder, decoder):
        source, frames = pictures(2, 2, seed=1), pictures(2, 5, seed=2)
        with torch.no_grad():
            face = encoder(source, frames, decoder=decoder)
            *_, (codes, (delta, _), _) = encoder.refinements(source[:, 0], decoder)
        torch.testing.assert_close(face.identity, codes)
        torch.testing.assert_close(face.motion, encoder.invert(frames.flatten(0, 1)).unflatten(0, (2, 5)))
        torch.testing.assert_close(face.deltas, (delta, None))

    def test_larger_pictures_are_looked_at_in_256_px(self, decoder):
        large = OneLayerDecoder(size=512)
        encoder = HyperStyleEncoder(size=512, codes=large.codes, deltas=large.deltas, base="tiny", scale=1 / 64).eval()
        seen = []
        encoder.hypernet.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        with torch.no_grad():
            encoder.closer(F.interpolate(pictures(1), (512, 512)), torch.ones(1, 3, 512, 512), (None, None))
        torch.testing.assert_close(seen[0][:, :3], F.interpolate(pictures(1), (256, 256)))
        torch.testing.assert_close(seen[0][:, 3:], torch.ones(1, 3, 256, 256))


class TestRemembering:
    @pytest.fixture
    def looks(self, encoder) -> list:
        """Grows by one with each look of the hypernetwork; a person takes three."""
        counted = []
        encoder.hypernet.register_forward_hook(lambda *_: counted.append(1))
        return counted

    def read(self, encoder, decoder, who: int, frames: int):
        with torch.inference_mode():
            return encoder(pictures(1, 1, seed=who), pictures(1, 2, seed=frames), decoder=decoder)

    def test_one_person_is_refined_once(self, encoder, decoder, looks):
        first, second = self.read(encoder, decoder, 0, 10), self.read(encoder, decoder, 0, 11)
        assert len(looks) == 3
        assert torch.equal(first.identity, second.identity) and torch.equal(first.deltas[0], second.deltas[0])
        torch.testing.assert_close(second.motion[0], encoder.invert(pictures(2, seed=11)))

    def test_another_person_is_seen_anew(self, encoder, decoder, looks):
        first, other = self.read(encoder, decoder, 0, 10), self.read(encoder, decoder, 1, 10)
        again = self.read(encoder, decoder, 0, 10)
        assert len(looks) == 9
        assert not torch.equal(first.deltas[0], other.deltas[0]) and torch.equal(first.deltas[0], again.deltas[0])

    @pytest.mark.parametrize("part", ["base.net.weight", "hypernet.body.15.conv2.weight", "hypernet.bn1.running_mean"])
    def test_what_is_learnt_makes_it_look_again(self, encoder, decoder, looks, part):
        self.read(encoder, decoder, 0, 10)
        with torch.no_grad():
            encoder.state_dict()[part].add_(0.1)
        self.read(encoder, decoder, 0, 10)
        assert len(looks) == 6

    def test_a_step_of_the_decoder_makes_it_look_again(self, encoder, decoder, looks):
        self.read(encoder, decoder, 0, 10)
        decoder.requires_grad_(True)
        optimizer = torch.optim.Adam(decoder.parameters(), lr=0.1)
        decoder(Latent(torch.ones(1, 1, 1, 8))).sum().backward()
        optimizer.step()
        self.read(encoder, decoder, 0, 10)
        assert len(looks) == 6

    def test_training_and_batches_of_people_keep_nothing(self, encoder, decoder, looks):
        self.read(encoder, decoder, 0, 10)
        encoder.train().eval()
        assert encoder._known is None
        for _ in range(2):
            with torch.no_grad():
                encoder(pictures(2, 1), pictures(2, 2), decoder=decoder)
            encoder(pictures(1, 1), pictures(1, 2), decoder=decoder)
        assert encoder._known is None and len(looks) == 5 * 3


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    small = {"base": "psp-w", "base_options": {"scale": 1 / 32}, "scale": 1 / 64}
    return Recipe.from_dict({
        "name": "hyper", "size": 32, "audio_encoder": "tiny", "fusion": "add",
        "visual_encoder": {"name": "hyperstyle", "options": small},
        "decoder": {"name": "stylegan2", "options": {"channel_max": 8, "w_dim": 8, "num_mapping": 2}},
        "public_files": [
            {"files": ["hyperstyle.pt"], "translate": "fctfg_plugins.hyperstyle.public:translate",
             "fills": {"hypernet.": "visual_encoder.hypernet.", "decoder.": "decoder.", "latent_avg": "decoder.mean"},
             "licence": "MIT", "source": "us"},
            {"files": ["psp.pt", "w_encoder.pt"], "translate": "fctfg_plugins.hyperstyle.public:translate_base",
             "fills": {"encoder.": "visual_encoder.base.", "latent_avg": "decoder.mean"},
             "licence": "MIT", "source": "us"}]})


@pytest.fixture(scope="module")
def other(recipe) -> TalkingFace:
    """A model with other weights than the one that is filled."""
    other = build_model(recipe.model_copy(update={"seed": 1}))
    other.decoder.mean.normal_()
    return other


class TestPublicFiles:
    """Files as the authors save them, of a small network."""

    OPTIONS = {"output_size": 32, "layers_to_tune": "0,2,3,5,6,8,9,11,12,14,15,17,18", "w_encoder_type": "WEncoder",
               "n_iters_per_batch": 5}

    def hyperstyle_file(self, other, **options) -> dict:
        hypernet = other.visual_encoder.hypernet
        state = {f"hypernet.{key}": value for key, value in hypernet.state_dict().items()}
        shared = hypernet.shared_weight_hypernet.state_dict()
        state |= {f"hypernet.refinement_blocks.{layer}.hypernet.{name}": value
                  for layer in hypernet.shared for name, value in shared.items()}
        state |= {f"decoder.{key}": value for key, value in other.decoder.state_dict().items() if key != "mean"}
        return {"state_dict": state, "latent_avg": other.decoder.mean, "opts": self.OPTIONS | options, "global_step": 9}

    def fill(self, content: dict, recipe: Recipe, path: Path) -> TalkingFace:
        torch.save(content, path)
        model = build_model(recipe)
        checkpoints.fill(model, {}, recipe, path)
        return model

    def equal(self, one: nn.Module, two: nn.Module) -> bool:
        pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    def test_hypernetwork_generator_and_mean_are_filled(self, recipe, other, tmp_path):
        model = self.fill(self.hyperstyle_file(other), recipe, tmp_path / "hyperstyle.pt")
        assert self.equal(model.visual_encoder.hypernet, other.visual_encoder.hypernet)
        assert self.equal(model.decoder, other.decoder)
        assert not self.equal(model.visual_encoder.base, other.visual_encoder.base)

    def test_a_file_of_psp_fills_the_base(self, recipe, tmp_path):
        recipe = recipe.with_setting("visual_encoder.options.base", "psp")
        other = build_model(recipe.model_copy(update={"seed": 1}))
        state = {f"encoder.{key}": value for key, value in other.visual_encoder.base.state_dict().items()}
        mean = torch.randn(8)
        content = {"state_dict": state, "latent_avg": mean, "opts": {"output_size": 32}}
        model = self.fill(content, recipe, tmp_path / "psp.pt")
        assert self.equal(model.visual_encoder.base, other.visual_encoder.base)
        assert torch.equal(model.decoder.mean, mean.expand_as(model.decoder.mean))

    @pytest.mark.parametrize("change, words", [
        ({"w_encoder_type": "GradualStyleEncoder"}, "with visual_encoder.options.base psp; this one has .* psp-w"),
        ({"n_iters_per_batch": 3}, "with visual_encoder.options.refinements 3; this one has .* 5"),
        ({"layers_to_tune": "0,2"}, r"tunes layers \[0, 2\], and holds weights for \[0, 2, 3, 5, 6, 8, 9\]"),
    ])
    def test_a_file_of_another_kind_names_both(self, recipe, other, tmp_path, change, words):
        with pytest.raises(BadWeights, match=words):
            self.fill(self.hyperstyle_file(other, **change), recipe, tmp_path / "hyperstyle.pt")

    def test_a_file_for_other_layers_names_both(self, recipe, other, tmp_path):
        content = self.hyperstyle_file(other, layers_to_tune="0,2")
        content["state_dict"] = {key: value for key, value in content["state_dict"].items()
                                 if not re.match(r"hypernet\.refinement_blocks\.[35689]\.", key)}
        with pytest.raises(BadWeights, match=r"with visual_encoder.options.layers \[0, 2\]; this one has .* null"):
            self.fill(content, recipe, tmp_path / "hyperstyle.pt")

    def test_layers_that_share_nothing_are_refused(self, recipe, other, tmp_path):
        content = self.hyperstyle_file(other)
        content["state_dict"]["hypernet.refinement_blocks.5.hypernet.w2"] = torch.zeros(4)
        with pytest.raises(BadWeights, match="layer 5 has a w2 of its own"):
            self.fill(content, recipe, tmp_path / "hyperstyle.pt")

    def test_what_a_file_implies(self, other):
        """Without options, as some are passed on: what the weights show, and the only base the authors publish."""
        content = self.hyperstyle_file(other)
        tensors, settings = translate(PublicWeights(Path("hyperstyle.pt"), content["state_dict"], "torch.save"))
        assert settings == {
            "size": 32, "visual_encoder.name": "hyperstyle", "visual_encoder.options.layers": None,
            "visual_encoder.options.separable": False, "visual_encoder.options.base": "psp-w",
            "decoder.name": "stylegan2", "decoder.options.channel_multiplier": 2, "decoder.options.channel_max": 8,
            "decoder.options.w_dim": 8, "decoder.options.num_mapping": 2}
        assert len(tensors) == len(other.visual_encoder.hypernet.state_dict()) + len(other.decoder.state_dict()) - 1
        assert translate(PublicWeights(Path("other.pt"), {"conv1.weight": torch.ones(1)}, "torch.save")) == ({}, {})


class TestRefusals:
    def build(self, **options):
        return HyperStyleEncoder(size=SIZE, codes=CodeShape(1, 8), **{"base": "tiny", "scale": 1 / 64,
                                                                       "deltas": OneLayerDecoder.deltas, **options})

    @pytest.mark.parametrize("options, words", [
        ({"deltas": ()}, "decoder offers none; take decoder 'stylegan2', or visual encoder 'tiny'"),
        ({"base": "warp"}, "needs a base that makes codes of pictures alone; 'warp' also has to do with"),
        ({"layers": [5, 7]}, r"no layer to tune: asked for \[5, 7\], and the decoder has layers 0 to 1"),
        ({"layers": [0, -1]}, "by their index from 0; got -1"),
        ({"refinements": 0}, "looks at least once"),
    ])
    def test_says_what_would_work(self, options, words):
        with pytest.raises(BadRecipe, match=words):
            self.build(**options)
