"""The files in which StyleGAN2 and what inverts it are published, as their authors' code writes them."""

from __future__ import annotations

import argparse
import copy
import os
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from fctfg.checkpoints import read_weights
from fctfg.errors import BadWeights


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def assert_same(tensors: dict, expected: dict) -> None:
    assert list(tensors) == list(expected)
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())


def rosinality_training() -> dict:
    g, d, g_ema = (network(seed) for seed in range(3))
    optimizer = torch.optim.Adam(g.parameters(), lr=0.002 * 4 / 5, betas=(0.0, 0.99 ** (4 / 5)))
    g(torch.rand(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    return {"g": g.state_dict(), "d": d.state_dict(), "g_ema": g_ema.state_dict(), "g_optim": optimizer.state_dict(),
            "d_optim": torch.optim.Adam(d.parameters()).state_dict(),
            "args": argparse.Namespace(path="lmdb", size=256, channel_multiplier=2, mixing=0.9, ckpt=None, augment=True,
                                       device=torch.device("cpu"), arch="stylegan2", shape=(4, 5)),
            "ada_aug_p": 0.25}


def inversion_training() -> dict:
    return {"state_dict": {**{f"encoder.{k}": v for k, v in network(0).state_dict().items()},
                           **{f"decoder.{k}": v for k, v in network(1).state_dict().items()}},
            "opts": {"output_size": 1024, "encoder_type": "Encoder4Editing", "exp_dir": "a/b", "lpips_lambda": 0.8},
            "latent_avg": torch.arange(4.0), "global_step": 200_000,
            "optimizer": torch.optim.Adam(network(0).parameters()).state_dict(),
            "best_val_loss": 0.5, "discriminator_state_dict": network(2).state_dict(),
            "discriminator_optimizer_state_dict": torch.optim.Adam(network(2).parameters()).state_dict()}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_file_keeps_its_networks_and_options_apart(tmp_path, zipped):
    content = rosinality_training()
    torch.save(content, tmp_path / "550000.pt", _use_new_zipfile_serialization=zipped)
    weights = read_weights(tmp_path / "550000.pt")
    assert list(weights.networks) == ["g", "d", "g_ema"]
    for name, tensors in weights.networks.items():
        assert_same(tensors, content[name])
    assert weights.tensors is weights.networks["g_ema"]
    assert weights.options == {"path": "lmdb", "size": 256, "channel_multiplier": 2, "mixing": 0.9, "ckpt": None,
                               "augment": True, "device": "cpu", "arch": "stylegan2", "shape": [4, 5]}
    assert weights.scalars == {"ada_aug_p": 0.25} and not weights.beside


def test_a_converted_generator_keeps_its_mean_latent(tmp_path):
    content = {"g_ema": network(0).state_dict(), "latent_avg": torch.arange(4.0)}
    torch.save(content, tmp_path / "x.pt")
    weights = read_weights(tmp_path / "x.pt")
    assert_same(weights.tensors, content["g_ema"])
    assert_same(weights.beside, {"latent_avg": content["latent_avg"]})


@pytest.mark.parametrize("options", [dict, lambda said: argparse.Namespace(**said)])
def test_an_inversion_keeps_its_critic_its_options_and_its_mean_latent(tmp_path, options):
    content = inversion_training()
    torch.save({**content, "opts": options(content["opts"])}, tmp_path / "e4e.pt")
    weights = read_weights(tmp_path / "e4e.pt")
    assert list(weights.networks) == ["state_dict", "discriminator_state_dict"]
    assert_same(weights.tensors, content["state_dict"])
    assert_same(weights.networks["discriminator_state_dict"], content["discriminator_state_dict"])
    assert weights.options == content["opts"]
    assert torch.equal(weights.beside["latent_avg"], content["latent_avg"])
    assert weights.scalars == {"global_step": 200_000, "best_val_loss": 0.5}


@pytest.fixture
def persistence(monkeypatch):
    """NVlabs' `torch_utils.persistence` and `dnnlib.util`, as far as their names and layout show in a pickle."""
    def module(name: str, **members) -> ModuleType:
        made = ModuleType(name)
        for key, member in members.items():
            member.__module__, member.__qualname__ = name, key
            setattr(made, key, member)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the module's source would run here")

    class EasyDict(dict):
        pass

    class Network:
        def __init__(self, state):
            self.state = state

        def __getstate__(self):
            return self.state

        def __setstate__(self, state):
            raise AssertionError("the network's source would run here")

    for package in ("torch_utils", "dnnlib", "dnnlib.tflib"):
        module(package)
    module("dnnlib.util", EasyDict=EasyDict)
    module("dnnlib.tflib.network", Network=Network)
    return module("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)


class Persistent(nn.Module):
    """Pickles as NVlabs' decorated classes do: a call with source, class name and state."""

    def __init__(self, source="raise SystemExit", **keywords):
        super().__init__()
        self.source, self._init_args, self._init_kwargs = source, (), keywords

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": type(self).__name__,
                "state": copy.copy(self.__dict__)}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


class Layer(Persistent):
    def __init__(self, width: int, source="raise SystemExit"):
        super().__init__(source, width=width)
        self.weight = nn.Parameter(torch.randn(width, width))
        self.bias = None
        self.register_buffer("noise_const", torch.randn(4, 4))
        self.register_buffer("noise_strength", torch.randn(()))
        self.activation, self.resample = "lrelu", np.array([1, 3, 3, 1])


class Generator(Persistent):
    def __init__(self, source="raise SystemExit", **keywords):
        super().__init__(source, **keywords)
        self.img_resolution, self.num_ws = 8, 4
        self.synthesis = Layer(4, source)
        self.mapping = nn.ModuleDict({"fc0": Layer(3, source)})
        self.mapping.register_buffer("w_avg", torch.randn(3))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_with_source_gives_its_tensors_and_runs_nothing(tmp_path, persistence, protocol):
    marker = tmp_path / "ran"
    torch.manual_seed(0)
    source = f"open({str(marker)!r}, 'w')"
    easy = sys.modules["dnnlib.util"].EasyDict
    keywords = {"img_resolution": 8, "synthesis_kwargs": easy(channel_base=16384, num_fp16_res=4)}
    content = {"G": Generator(source, **keywords).eval(), "D": Layer(2, source), "G_ema": Generator(source, **keywords),
               "augment_pipe": None, "training_set_kwargs": easy(class_name="training.dataset.ImageFolderDataset",
                                                                 path="ffhq.zip", resolution=8, xflip=True)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    weights = read_weights(tmp_path / "x.pkl")
    assert list(weights.networks) == ["G", "D", "G_ema"]
    for name, tensors in weights.networks.items():
        expected = content[name].state_dict()
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], value) for key, value in expected.items())
    assert weights.tensors is weights.networks["G_ema"]
    assert weights.options == {
        "class_name": "training.dataset.ImageFolderDataset", "path": "ffhq.zip", "resolution": 8, "xflip": True,
        "G": {"img_resolution": 8, "synthesis_kwargs": {"channel_base": 16384, "num_fp16_res": 4}},
        "G_ema": {"img_resolution": 8, "synthesis_kwargs": {"channel_base": 16384, "num_fp16_res": 4}},
        "D": {"width": 2}}
    assert not marker.exists()


def test_a_call_beside_the_source_is_refused_still(tmp_path, persistence):
    class Calls:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    layer = Layer(2)
    layer.extra = Calls()
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G_ema": layer}))
    with pytest.raises(BadWeights, match=r"would run '(posix|nt)\.mkdir' when unpickled; it was not"):
        read_weights(tmp_path / "x.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("said", [{}, {"type": "function", "state": {}}, 7, {"type": "class", "class_name": "G"}])
def test_a_persistent_object_that_is_none_is_no_weight_file(tmp_path, persistence, said):
    class Odd:
        def __reduce__(self):
            return persistence._reconstruct_persistent_obj, (said,)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G_ema": Odd()}))
    with pytest.raises(BadWeights, match="x.pkl is not a weight file"):
        read_weights(tmp_path / "x.pkl")


def test_a_pickle_of_tensorflow_says_how_to_convert_it(tmp_path, persistence):
    easy = sys.modules["dnnlib.util"].EasyDict
    make = sys.modules["dnnlib.tflib.network"].Network
    networks = tuple(make({"version": 4, "name": name, "static_kwargs": easy(resolution=256), "components": easy(),
                           "build_module_src": "raise SystemExit", "build_func_name": "G_main",
                           "variables": [("lod", np.float32(0)), ("dlatent_avg", np.zeros(4, np.float32))]})
                     for name in ("G", "D", "Gs"))
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(networks, 2))
    with pytest.raises(BadWeights, match=r"old.pkl is a StyleGAN pickle of TensorFlow, which is not read. Convert it with "
                                         r"legacy.py .*--source=old.pkl"):
        read_weights(tmp_path / "old.pkl")
