"""Keras files, written with h5py as Keras 2 lays them out; and what else HDF5 may hold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fctfg.checkpoints import keras, read_weights
from fctfg.errors import BadWeights

h5py = pytest.importorskip("h5py")

Arrays = dict[str, dict[str, np.ndarray]]


@pytest.fixture
def arrays() -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {"conv2d_10": {"kernel": draw((3, 4, 2, 5)), "bias": draw(5)},
            "batch_normalization_2": {name: draw(5) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
            "input_face": {}, "activation_1": {},
            "conv2d_transpose_1": {"kernel": draw((3, 3, 7, 5)), "bias": draw(7)},
            "dense": {"kernel": draw((6, 4)), "bias": draw(4)}}


def write(path: Path, arrays: Arrays, group: str | None = None, parts: int = 1, scope: str = "{layer}") -> Path:
    """`group`: "model_weights" for what `model.save` writes. `parts`: that the list of layers is split into."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        names = [layer.encode() for layer in arrays]
        for i, some in enumerate(np.array_split(names, parts)):
            root.attrs[f"layer_names{i}" if parts > 1 else "layer_names"] = some
        root.attrs["keras_version"], root.attrs["backend"] = b"2.2.4", "tensorflow"
        for layer, weights in arrays.items():
            place = root.create_group(layer)
            paths = {f"{scope.format(layer=layer)}/{name}:0": value for name, value in weights.items()}
            place.attrs["weight_names"] = [name.encode() for name in paths]
            for name, value in paths.items():
                place[name] = value.astype(np.float32)
        if group:
            file.attrs["model_config"] = b"{}"
            file["optimizer_weights/Adam/m_0:0"] = np.zeros(3)
    return path


@pytest.mark.parametrize("form", [{}, {"group": "model_weights"}, {"parts": 3}, {"scope": "{layer}_1"},
                                  {"scope": "training/{layer}"}])
def test_both_layouts_of_keras_give_layer_and_weight_in_the_order_of_the_file(tmp_path, arrays, form):
    weights = read_weights(write(tmp_path / "x.h5", arrays, **form))
    expected = {f"{layer}/{name}": value for layer, named in arrays.items() for name, value in named.items()}
    assert list(weights.tensors) == list(expected) and weights.form == "Keras"
    assert weights.scalars == {"keras_version": "2.2.4", "backend": "tensorflow"}
    for name, value in expected.items():
        np.testing.assert_array_equal(weights.tensors[name], value.astype(np.float32))


def test_a_model_within_the_model_keeps_its_layers_apart(tmp_path, arrays):
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(path, "a") as file:
        names = [f"{layer}/{name}:0" for layer, named in arrays.items() for name in named]
        for name in names:
            file.copy(f"{name.split('/')[0]}/{name}", f"model_1/{name}")
        file["model_1"].attrs["weight_names"] = names
        file.attrs["layer_names"] = ["model_1"]
    layers = keras.layers(read_weights(path).tensors)
    assert [layer.name for layer in layers] == [f"model_1/{name}" for name, named in arrays.items() if named]
    assert [layer.number for layer in layers] == [10, 2, 1, 0]


def test_layers_come_as_torch_lays_them_out(tmp_path, arrays):
    found = {layer.name: layer for layer in keras.layers(read_weights(write(tmp_path / "x.h5", arrays)).tensors)}
    for name, module in (("conv2d_10", nn.Conv2d(2, 5, (3, 4))), ("conv2d_transpose_1", nn.ConvTranspose2d(5, 7, 3)),
                         ("batch_normalization_2", nn.BatchNorm2d(5)), ("dense", nn.Linear(6, 4))):
        module.load_state_dict({**module.state_dict(), **found[name].weights})
        assert set(module.state_dict()) - set(found[name].weights) <= {"num_batches_tracked"}
    kernel = arrays["conv2d_10"]["kernel"].astype(np.float32)
    assert found["conv2d_10"].weights["weight"][4, 1, 2, 3] == kernel[2, 3, 1, 4]
    picture = torch.rand(1, 2, 3, 4)
    drawn = nn.functional.conv2d(picture, found["conv2d_10"].weights["weight"])[0, :, 0, 0]
    np.testing.assert_allclose(drawn, np.einsum("cij,ijco->o", picture[0], kernel), rtol=1e-4, atol=1e-5)


def link_outside(file):
    del file["dense/dense/bias:0"]
    file["dense/dense/bias:0"] = h5py.ExternalLink("secret.h5", "/x")


def numbers_outside(file):
    del file["dense/dense/bias:0"]
    file["dense"].create_dataset("dense/bias:0", (4,), "f4", external=[("secret.bin", 0, 16)])


def words(file):
    del file["dense/dense/bias:0"]
    file["dense/dense/bias:0"] = ["a", "b"]


def endless(file):
    del file["dense/dense/bias:0"]
    file["dense"].create_dataset("dense/bias:0", (10**12,), "f4", chunks=(1024,))


@pytest.mark.parametrize("spoil, problem", [
    (link_outside, "is a link to elsewhere"),
    (numbers_outside, "no plain array of numbers"),
    (words, "no plain array of numbers"),
    (endless, "ends early or is damaged"),
    (lambda file: file.__delitem__("dense/dense/bias:0"), "a link to elsewhere|damaged"),
    (lambda file: file.attrs.__delitem__("layer_names"), "not what Keras 1 or 2 wrote"),
    (lambda file: file.attrs.__setitem__("layer_names", ["input_face"]), "a Keras file without weights"),
    (lambda file: file.attrs.__setitem__("layer_names", 3), "ends early or is damaged"),
])
def test_what_is_no_keras_file_is_named_and_nothing_outside_is_read(tmp_path, arrays, spoil, problem, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(bytes(16))
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(BadWeights, match=f"x.h5 .*({problem})") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.9, 0.3, 0.02])
def test_a_file_that_ends_early_says_so(tmp_path, arrays, kept):
    path = write(tmp_path / "x.h5", arrays)
    content = path.read_bytes()
    path.write_bytes(content[:round(kept * len(content))])
    with pytest.raises(BadWeights, match="x.h5 ends early or is damaged .*; download it again"):
        read_weights(path)


def test_without_h5py_it_says_what_brings_it(tmp_path, arrays, monkeypatch):
    path = write(tmp_path / "x.h5", arrays)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BadWeights, match=r"x.h5 is a Keras file .*pip install 'fctfg\[keras\]' brings it"):
        read_weights(path)
