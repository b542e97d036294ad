"""The recognition networks and the identity loss against goldens of the reference implementations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_inputs
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import registry
from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadData, BadRecipe, BadWeights
from fctfg.faces import recrop
from fctfg.interfaces import Output
from fctfg.testing import random_clip
from fctfg_plugins.arcface import IRSE50, IResNet
from fctfg_plugins.arcface.iresnet import BLOCKS
from fctfg_plugins.arcface.public import recognition, recognition_and_body

NETWORKS = {"irse50": IRSE50, "iresnet50": IResNet}
SMALL = {"crop": "face", "scale": 1 / 64}


def filled(network: nn.Module, name: str) -> nn.Module:
    """`network`, built without numbers, with those of a golden; how many batches a norm has seen they do not say."""
    state = {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name)).items()}
    missing, unexpected = network.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    return network.eval()


def check_golden(outputs: dict[str, Tensor], name: str) -> None:
    """Fails beyond 1e-4 of the golden's standard deviation."""
    arrays = {key: value.detach().numpy() for key, value in outputs.items()}
    for key, error, relative in fill.compare(arrays, GOLDEN / name / "out.npz"):
        assert (relative if math.isfinite(relative) else error) < 1e-4, key


@pytest.fixture(scope="module")
def networks():
    """Each network of a golden, filled once."""
    known: dict[str, nn.Module] = {}

    def network(name: str) -> nn.Module:
        if name not in known:
            with torch.device("meta"):
                known[name] = NETWORKS[name]()
            filled(known[name], name)
        return known[name]

    return network


@pytest.mark.parametrize("name", [pytest.param("irse50", marks=pytest.mark.slow), "iresnet50"])
def test_faces_are_embedded_as_the_reference_does(name, networks):
    with torch.no_grad():
        check_golden({"emb": networks(name)(golden_inputs(name)["face"])}, name)


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dicts_have_the_public_keys_and_no_other(name):
    with torch.device("meta"):
        network = NETWORKS[name]()
    listed = json.loads((GOLDEN / name / "keys.json").read_text(encoding="utf-8"))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == \
        {key: tuple(shape) for key, shape, _ in listed}


def psp_box(frames: Tensor, landmarks: Tensor) -> Tensor:
    """How pSp cuts a face out of a picture of FFHQ at 256 px, in place of our alignment."""
    return F.adaptive_avg_pool2d(frames.flatten(0, 1)[..., 35:223, 32:220], 112).unflatten(0, frames.shape[:2])


def test_the_loss_is_that_of_the_reference(networks):
    with torch.device("meta"):
        loss = registry.build("loss", "identity", crop="ffhq")
    loss.network, loss.align = networks("irse50"), psp_box
    given, clip = golden_inputs("psp_losses"), random_clip(8, 1)
    clip.frames = given["y"][:, None]
    embedded = []
    loss.network.register_forward_hook(lambda network, faces, vectors: embedded.append(vectors))
    with torch.no_grad():
        got = loss(Output(given["y_hat"][:, None]), clip)
    golden = np.load(GOLDEN / "psp_losses" / "out.npz")
    np.testing.assert_allclose(embedded[0], golden["feats"], atol=1e-4 * golden["feats"].std())
    assert got.item() == pytest.approx(golden["id_loss"].item(), rel=1e-4)


class TestIdentityLoss:
    def test_frames_are_aligned_by_their_landmarks(self):
        loss, clip = registry.build("loss", "identity", **SMALL), random_clip(32)
        with torch.no_grad():
            embedded = loss.embed(clip.frames, clip.landmarks)
            faces = recrop(clip.frames, clip.landmarks, "arcface112", 112)
            expected = torch.stack([loss.network(faces[:, t]) for t in range(5)], 1)
        torch.testing.assert_close(embedded, expected)
        torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 5))

    @pytest.mark.parametrize("size", [112, 64])
    def test_frames_of_its_own_crop_are_seen_whole(self, size):
        loss, clip = registry.build("loss", "identity", crop="arcface112", scale=1 / 16), random_clip(size, 2)
        seen = loss.align(clip.frames, clip.landmarks)
        assert seen.shape == (2, 2, 3, 112, 112)
        torch.testing.assert_close(seen.mean((-1, -2)), clip.frames.mean((-1, -2)), rtol=0, atol=5e-3)

    def test_it_is_nothing_for_what_is_drawn_as_it_is(self):
        loss, clip = registry.build("loss", "identity", **SMALL), random_clip(32)
        assert loss(Output(clip.frames), clip).abs() < 1e-6
        clip.source = clip.frames[:, :1]
        clip.landmarks = clip.landmarks[:, :1].expand(-1, 5, -1, -1)
        measured = loss.measure(Output(clip.frames[:, :1].expand(-1, 5, -1, -1, -1)), clip)
        assert measured["source"] == pytest.approx(1) and measured["source_of_truth"] < 1

    @pytest.mark.parametrize("frames, looked_at", [(1, [2]), (2, [1, 3]), (9, [0, 1, 2, 3, 4])])
    def test_only_some_frames_may_be_looked_at(self, frames, looked_at):
        loss, clip = registry.build("loss", "identity", frames=frames, **SMALL), random_clip(32)
        drawn = random_clip(32, seed=1).frames.requires_grad_()
        loss(Output(drawn), clip).backward()
        assert [t for t in range(5) if drawn.grad[:, t].any()] == looked_at

    def test_its_network_never_learns_nor_leaves_eval_mode(self):
        loss = registry.build("loss", "identity", **SMALL).train()
        before = {key: value.clone() for key, value in loss.state_dict().items()}
        drawn = random_clip(32, seed=1).frames.requires_grad_()
        loss(Output(drawn), random_clip(32)).backward()
        assert loss.training and not any(module.training for module in loss.network.modules())
        assert all(parameter.grad is None for parameter in loss.parameters()) and drawn.grad.abs().sum() > 0
        assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())

    @pytest.mark.parametrize("network", ["irse50", "iresnet50"])
    def test_a_random_network_is_owned_up_to_once_and_a_filled_one_is_not(self, network):
        loss = registry.build("loss", "identity", network=network, **SMALL)
        assert "random network" in loss.advice() and loss.advice() is None
        other = registry.build("loss", "identity", network=network, **SMALL)
        other.load_state_dict({key: value + 0.1 for key, value in loss.state_dict().items()})
        assert other.advice() is None

    def test_what_it_cannot_work_with_is_named(self):
        with pytest.raises(BadRecipe, match="no network 'iresnet5'. Did you mean 'iresnet50'?"):
            registry.build("loss", "identity", crop="face", network="iresnet5")
        with pytest.raises(BadRecipe, match="frames 0"):
            registry.build("loss", "identity", frames=0, **SMALL)
        clip = random_clip(32)
        clip.landmarks = None
        with pytest.raises(BadData, match="no landmarks"):
            registry.build("loss", "identity", **SMALL)(Output(clip.frames), clip)


def public(tensors: dict[str, Tensor], **networks: dict[str, Tensor]) -> PublicWeights:
    return PublicWeights(Path("some.pth"), tensors, "torch.save", networks=networks)


class TestPublicFiles:
    @pytest.mark.parametrize("name", ["irse50", "iresnet50", "iresnet100"])
    def test_each_network_is_told_by_its_keys(self, name):
        with torch.device("meta"):
            tensors = (IRSE50() if name == "irse50" else IResNet(BLOCKS[name])).state_dict()
        got, settings = recognition(public(tensors))
        assert settings == {"losses.identity.options.network": name}
        assert {key.removeprefix("identity.") for key in got} == set(tensors)

    def test_a_training_state_of_insightface_is_read_too(self):
        tensors = IResNet(scale=1 / 64).state_dict()
        weights = public({}, state_dict_backbone=tensors, state_dict_softmax_fc={"weight": torch.ones(2)})
        assert len(recognition(weights)[0]) == len(tensors)

    def test_a_kept_file_fills_the_loss_and_one_of_another_network_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
        with torch.device("meta"):
            shapes = {key: value.shape for key, value in IRSE50().state_dict().items()}
        # All numbers of a tensor are the same one, kept once: a file of 44 million numbers and of 200 kB.
        torch.save({key: torch.tensor(0.25).expand(shape) for key, shape in shapes.items()}, tmp_path / "model_ir_se50.pth")
        loss = registry.build("loss", "identity", crop="face")
        assert all((value == 0.25).all() for key, value in loss.network.state_dict().items() if "num_batches" not in key)
        assert loss.advice() is None
        with pytest.raises(BadWeights, match="does not hold the weights of network 'iresnet50'"):
            registry.build("loss", "identity", crop="face", network="iresnet50", weights="model_ir_se50.pth")
        with pytest.raises(BadRecipe, match="leave out scale or weights"):
            registry.build("loss", "identity", weights="model_ir_se50.pth", **SMALL)

    def test_the_body_of_irse50_is_where_psp_begins(self):
        from fctfg_plugins.psp import PSPEncoder

        with torch.device("meta"):
            tensors, encoder = IRSE50().state_dict(), PSPEncoder(size=256, codes=(14, 512)).state_dict()
        got, _ = recognition_and_body(public(tensors))
        body = {key.removeprefix("encoder."): value.shape for key, value in got.items() if key.startswith("encoder.")}
        assert body == {key: value.shape for key, value in encoder.items() if key.startswith(("input_layer.", "body."))}
        assert recognition_and_body(public(IResNet(scale=1 / 64).state_dict())) == ({}, {})

    def test_other_files_are_left_alone_and_other_depths_named(self):
        assert recognition(public({"conv1.weight": torch.ones(1)})) == ({}, {})
        with pytest.raises(BadWeights, match=r"2 \+ 2 \+ 2 \+ 2 blocks.*iresnet50 and iresnet100 it has"):
            recognition(public(IResNet((2, 2, 2, 2), scale=1 / 64).state_dict()))
