"""LPIPS against goldens of the lpips package, the VGG19 pyramid against a slow loop."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg import registry
from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadRecipe, BadWeights
from fctfg.interfaces import Output
from fctfg.testing import random_clip
from fctfg_plugins.perceptual import public
from fctfg_plugins.perceptual.lpips import LPIPS

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {"alexnet": "lpips_alex", "vgg16": "lpips_vgg", "squeezenet": "lpips_squeeze", "vgg19": None}
"""What translates torchvision's files, and the goldens whose keys say what is in them."""


@pytest.fixture(scope="module")
def fill():
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(name: str, device: str = "meta") -> dict[str, Tensor]:
    """Tensors with the keys and shapes of torchvision's file, its classifier cut short."""
    shapes = {"classifier.1.weight": (3, 3), "classifier.1.bias": (3,)}
    if golden := FILES[name]:
        for key, shape, _ in json.loads((GOLDEN / golden / "keys.json").read_text()):
            if key.startswith("net."):  # net.slice2.3.squeeze.weight is features.3.squeeze.weight there
                shapes["features." + key.split(".", 2)[2]] = shape
    else:
        channels = [3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512]
        layers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
        for layer, inputs, outputs in zip(layers, channels, channels[1:]):
            shapes |= {f"features.{layer}.weight": (outputs, inputs, 3, 3), f"features.{layer}.bias": (outputs,)}
    return {key: torch.rand(*shape, device=device) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_1-b8a52dc0.pth"
    torch.save(published("squeezenet", "cpu"), path)
    return path


@pytest.mark.parametrize("net", ["alex", "squeeze", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_equals_the_package(net, fill):
    folder = str(GOLDEN / f"lpips_{net}")
    network = LPIPS(net)
    keys = {key: shape for key, shape, _ in json.loads(Path(folder, "keys.json").read_text())}
    assert {key: list(tensor.shape) for key, tensor in network.state_dict().items()} == {
        key: shape for key, shape in keys.items() if not key.startswith("lins.")}, "but for the copies under lins."
    state = {key: torch.from_numpy(value) for key, value in fill.state(folder).items() if not key.startswith("lins.")}
    assert not network.load_state_dict(state, strict=False).unexpected_keys
    x, y = (torch.from_numpy(value) for value in fill.inputs(folder).values())
    by_layer = network.distances(network.features(x), network.features(y))
    golden = np.load(Path(folder, "out.npz"))
    np.testing.assert_allclose(by_layer.sum(-1), golden["dist"].ravel(), rtol=1e-5)
    for layer, values in enumerate(by_layer.T):
        np.testing.assert_allclose(values, golden[f"layer{layer}"].ravel(), rtol=1e-5)


def test_the_channels_are_weighed_as_the_package_does():
    loss = registry.build("loss", "lpips", size=32)
    folder = Path(importlib.util.find_spec("lpips").origin).parent
    for name, weight in torch.load(folder / "weights/v0.1/alex.pth", "cpu", weights_only=True).items():
        assert torch.equal(loss.network.get_parameter(name), weight) and (weight >= 0).all()


def test_lpips_has_a_gradient_where_no_feature_is_left():
    loss = registry.build("loss", "lpips", size=32)
    for name, parameter in loss.network.net.named_parameters():
        if name.endswith("bias"):
            parameter.data.fill_(-100)
    clip = random_clip(32)
    drawn = (-clip.frames).requires_grad_()
    loss(Output(drawn), clip).backward()
    assert torch.equal(drawn.grad, torch.zeros_like(drawn))


def test_some_frames_may_stand_for_all():
    torch.manual_seed(0)
    loss, clip = registry.build("loss", "lpips", size=32, frames=2), random_clip(32, 6)
    drawn = clip.frames.clone()
    drawn[:, [0, 2, 3, 5]] *= -1
    assert loss(Output(drawn), clip) == 0, "of six it looks at those in the middle of either half"
    drawn[:, 4] *= -1
    assert loss(Output(drawn), clip) > 0
    with pytest.raises(BadRecipe, match="frames 0 leaves none"):
        registry.build("loss", "lpips", size=32, frames=0)(Output(drawn), clip)


def test_lpips_sees_through_the_backbone_it_is_given(squeezenet_file):
    loss = registry.build("loss", "lpips", size=32, net="squeeze", backbone=str(squeezenet_file))
    tensors = torch.load(squeezenet_file, weights_only=True)
    assert torch.equal(loss.network.net.slice5[0].expand3x3.bias, tensors["features.10.expand3x3.bias"])
    assert loss.advice() is None


def test_lpips_sees_through_the_backbone_that_is_kept(squeezenet_file, monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(squeezenet_file.parent))
    loss = registry.build("loss", "lpips", size=32, net="squeeze")
    assert loss.advice() is None
    named = registry.build("loss", "lpips", size=32, net="squeeze", backbone=squeezenet_file.name)
    assert all(torch.equal(a, b) for a, b in zip(loss.parameters(), named.parameters()))


@pytest.mark.parametrize("name", FILES)
def test_files_of_torchvision_are_translated(name):
    weights = PublicWeights(Path("file"), published(name), "torch.save")
    for translate in FILES:
        found, settings = getattr(public, translate)(weights)
        assert bool(found) == (translate == name) and settings == {}
    found, _ = getattr(public, name)(weights)
    if golden := FILES[name]:
        keys = [key for key, _, _ in json.loads((GOLDEN / golden / "keys.json").read_text())]
        assert ["net." + key for key in found] == [key for key in keys if key.startswith("net.")]
    else:
        convolutions = {1: [0], 2: [2, 5], 3: [7, 10], 4: [12, 14, 16, 19], 5: [21, 23, 25, 28]}
        keys = [f"slice{part}.{layer}" for part, layers in convolutions.items() for layer in layers]
        assert list(found) == [f"{key}.{kind}" for key in keys for kind in ("weight", "bias")], "the first-order-model's"


@pytest.mark.parametrize("plugin, file", [("lpips", "alexnet-owt-7be5be79.pth"), ("vgg19", "vgg19-dcbb9e9d.pth")])
def test_a_file_of_another_network_is_refused(plugin, file, squeezenet_file):
    with pytest.raises(BadWeights, match=f"does not hold the weights of torchvision's {file}"):
        registry.build("loss", plugin, size=32, backbone=str(squeezenet_file))
    with pytest.raises(BadWeights, match="does not exist; nothing is downloaded"):
        registry.build("loss", "lpips", size=32, net="squeeze", backbone="absent.pth")


@pytest.mark.parametrize("plugin, options", [("lpips", {}), ("vgg19", {"scale": 1 / 16})])
def test_random_features_are_admitted_once_and_still_compare(plugin, options):
    torch.manual_seed(0)
    loss, clip = registry.build("loss", plugin, size=32, **options), random_clip(32)
    assert f"losses.{plugin}.options.backbone=FILE" in loss.advice() and loss.advice() is None
    away = [loss(Output(clip.frames.lerp(-clip.frames, share)), clip).item() for share in (0, 0.1, 0.3)]
    assert away[0] == 0 and away[0] < away[1] < away[2]


def test_the_pyramid_equals_a_slow_loop():
    torch.manual_seed(0)
    weights = (1.0, 2.0, 3.0, 4.0, 5.0)
    loss, clip = registry.build("loss", "vgg19", size=32, weights=weights, scale=1 / 16), random_clip(32, 1)
    drawn = 2 * random_clip(32, 1, seed=1).frames
    kernels = {int(key.split(".")[1]): tensor for key, tensor in loss.network.state_dict().items() if "weight" in key}

    def features(picture: np.ndarray) -> list[Tensor]:
        normalised = (picture - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        x, found = torch.from_numpy(normalised).permute(2, 0, 1).float()[None], []
        for layer in range(30):
            if layer in kernels:
                x = F.conv2d(x, kernels[layer], padding=1)
            elif layer in (4, 9, 18, 27):
                x = F.max_pool2d(x, 2)
            else:
                x = x.relu()
            if layer in (1, 6, 11, 20, 29):
                found.append(x)
        return found

    wanted = 0
    for scale in (1, 2):
        for b in range(2):
            pair = [np.clip(frames[b, 0].permute(1, 2, 0).double().numpy(), -1, 1) / 2 + 0.5
                    for frames in (drawn, clip.frames)]
            a, t = (features(slowly_halved(picture) if scale == 2 else picture) for picture in pair)
            wanted += sum(w * (x - y).abs().mean().item() for w, x, y in zip(weights, a, t)) / 2
    assert loss(Output(drawn), clip).item() == pytest.approx(wanted, rel=1e-4)


def slowly_halved(picture: np.ndarray) -> np.ndarray:
    """Every other pixel, after a Gaussian of deviation 1/2 over 5 x 5 pixels; black beyond the edges."""
    height, width, _ = picture.shape
    line = [math.exp(-((k - 2) ** 2) / (2 * 0.5**2)) for k in range(5)]
    small = np.zeros((height // 2, width // 2, 3))
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        weight = line[dy + 2] * line[dx + 2] / sum(line) ** 2
                        small[y // 2, x // 2] += weight * picture[y + dy, x + dx]
    return small


def test_small_pictures_have_fewer_scales():
    for size, steps in ((256, [1, 2, 4, 8]), (64, [1, 2, 4]), (16, [1])):
        assert registry.build("loss", "vgg19", size=size, scale=1 / 16).steps == steps
    with pytest.raises(BadRecipe, match="15 px are too small"):
        registry.build("loss", "vgg19", size=15, scale=1 / 16)
    with pytest.raises(BadRecipe, match="30 px are too small for net 'alex'; give size: 31"):
        registry.build("loss", "lpips", size=30)


@pytest.mark.parametrize("options, said", [
    ({"weights": [1, 1]}, "5 layers"), ({"scales": [0.3]}, "one over a whole number"),
    ({"scale": 0.5, "backbone": "f"}, "no public backbone"), ({"scale": 0}, "no channels")])
def test_options_without_a_meaning_are_refused(options, said):
    with pytest.raises(BadRecipe, match=said):
        registry.build("loss", "vgg19", size=32, **options)
