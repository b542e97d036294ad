"""Weight files in every form that people publish, made by the libraries that write them; and what is taken for one."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fctfg.checkpoints import archives, read_weights
from fctfg.errors import BadWeights


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2))).eval()
    nn.init.normal_(network[1].running_mean)
    return network


def saved(path: Path, content, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_holds(weights, network: nn.Module) -> None:
    expected = network.state_dict()
    assert list(weights.tensors) == list(expected)
    for name, tensor in expected.items():
        assert weights.tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(weights.tensors[name], tensor, rtol=0, atol=0)


def training_state(network: nn.Module) -> dict:
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 3, 6)).sum().backward()
    optimizer.step()
    return {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict(),
            "global_step": 258_000, "global_epoch": 88}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [
    lambda network: network.state_dict(),
    lambda network: {"state_dict": network.state_dict(), "optimizer": None, "global_step": 3},
    training_state,
    lambda network: {**training_state(network), "options": argparse.Namespace(lr=0.1, data=Path("a/b"))},
    lambda network: {"state_dict": nn.DataParallel(network).state_dict()},
    lambda network: {"net_state_dict": network.state_dict(), "epoch": 3},
    lambda network: {"model": network.state_dict(), "args": argparse.Namespace(x=np.float64(3), y=[np.arange(3)])},
    lambda network: network,  # the whole module pickled
    lambda network: {"model": network, "epoch": 3},
])
def test_every_torch_save_form_gives_the_state_dict(tmp_path, network, wrap, zipped):
    weights = read_weights(saved(tmp_path / "x.pth", wrap(network), zipped))
    assert_holds(weights, network)
    assert weights.form == "torch.save"


@pytest.mark.parametrize("zipped", [True, False])
def test_scalars_beside_the_network_are_kept(tmp_path, network, zipped):
    weights = read_weights(saved(tmp_path / "x.pth", training_state(network), zipped))
    assert weights.scalars == {"global_step": 258_000, "global_epoch": 88}


@pytest.mark.parametrize("zipped", [True, False])
def test_our_reader_agrees_with_torch_load(tmp_path, zipped):
    base = torch.arange(24.0)
    content = {"view": base[3:9].view(2, 3), "strided": base.view(4, 6).t(), "base": base, "scalar": torch.tensor(7),
               "empty": torch.empty(0, 3), "parameter": nn.Parameter(torch.rand(2)),
               **{str(dtype): torch.arange(5).to(dtype) for dtype in (
                   torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
                   torch.uint8, torch.bool, torch.complex64)}}
    path = saved(tmp_path / "x.pth", content, zipped)
    ours = archives.read_zip(path) if zipped else archives.read_stream(io.BytesIO(path.read_bytes()))
    assert ours.keys() == content.keys()
    for name, tensor in torch.load(path, weights_only=True).items():
        assert ours[name].dtype == tensor.dtype
        torch.testing.assert_close(ours[name], tensor.detach(), rtol=0, atol=0)


def test_dtypes_without_a_storage_class(tmp_path):
    content = {"unsigned": torch.arange(5).to(torch.uint16), "tiny": torch.arange(5.0).to(torch.float8_e4m3fn)}
    ours = archives.read_zip(saved(tmp_path / "x.pth", content))
    for name, tensor in content.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name].view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.:FutureWarning", r"ignore:`torch\.jit\.:DeprecationWarning")
@pytest.mark.parametrize("script", [True, False])
def test_torchscript_gives_the_state_dict_by_attribute_names(tmp_path, network, script):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.kernel = network, [1, 2]

        def forward(self, x):
            return self.module(x)

    made = torch.jit.script(Wrapped()) if script else torch.jit.trace(Wrapped().eval(), torch.rand(1, 3, 3, 6))
    made.save(str(tmp_path / "x.pt"))
    weights = read_weights(tmp_path / "x.pt")
    assert weights.form == "TorchScript"
    assert_holds(weights, network)


def test_safetensors(tmp_path, network):
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "x.safetensors", {"step": "7"})
    weights = read_weights(tmp_path / "x.safetensors")
    assert weights.form == "safetensors" and weights.scalars == {"step": "7"}
    assert weights.tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in network.state_dict().items())


def test_a_bare_pickle_of_arrays_and_of_tensors(tmp_path, network):
    state = network.state_dict()
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in state.items()}))
    (tmp_path / "tensors.pkl").write_bytes(pickle.dumps(dict(state)))
    for name in ("arrays.pkl", "tensors.pkl"):
        assert_holds(read_weights(tmp_path / name), network)


@pytest.mark.parametrize("function, argument, name", [
    (os.system, "touch {}", r"(posix|nt)\.system"),
    (eval, "open({!r}, 'w')", r"builtins\.eval"),
    (os.mkdir, "{}", r"(posix|nt)\.mkdir"),
])
@pytest.mark.parametrize("write", [
    lambda path, content: saved(path, content), lambda path, content: saved(path, content, zipped=False),
    lambda path, content: path.write_bytes(pickle.dumps(content))])
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path, network, write, function, argument, name):
    marker = tmp_path / "ran"
    call = Calls(function, argument.format(str(marker)))
    write(tmp_path / "x.pth", {"state_dict": network.state_dict(), "extra": call})
    with pytest.raises(BadWeights, match=f"would run '{name}' when unpickled; it was not"):
        read_weights(tmp_path / "x.pth")
    assert not marker.exists()


@pytest.mark.parametrize("content, problem", [
    (b"", "is empty"),
    (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    (b"<HTML>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 435807851\n", "git-lfs pointer.*git lfs pull"),
    (b"\x1f\x8b\x08" + bytes(100), "compressed archive. Unpack"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a picture"),
    (b"hello, world\n" * 100, "is not a weight file; expected what torch.save"),
    (bytes(1000), "is not a weight file"),
    (b"PK\x03\x04" + bytes(1000), "ends early or is damaged"),
    (b"\x80\x02", "ends early or is damaged"),
    (pickle.dumps([1, 2]), r"no named tensors.*: \[1, 2\]"),
    (pickle.dumps({"epoch": 3, "loss": 0.1}), "no named tensors.*: epoch, loss"),
    (pickle.dumps({}), "no named tensors.*: nothing"),
    ((10**6).to_bytes(8, "little") + b'{"a":', "safetensors file that ends early"),
])
def test_what_is_no_weight_file_is_named(tmp_path, content, problem):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(BadWeights, match=f"x.pth .*{problem}") as caught:
        read_weights(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_several_networks_are_kept_by_name(tmp_path, network):
    weights = read_weights(saved(tmp_path / "x.pth", {"first": network.state_dict(), "second": {"module.a": torch.ones(2)}}))
    assert weights.tensors == {} and list(weights.networks) == ["first", "second"]
    assert list(weights.networks["second"]) == ["a"]


def test_a_folder_a_missing_file_and_one_not_ours_to_read(tmp_path, network):
    with pytest.raises(BadWeights, match="is a folder"):
        read_weights(tmp_path)
    with pytest.raises(BadWeights, match="does not exist; nothing is downloaded"):
        read_weights(tmp_path / "x.pth")
    path = saved(tmp_path / "y.pth", network.state_dict())
    with pytest.raises(BadWeights, match="cannot be read: Not a directory|does not exist"):
        read_weights(path / "z.pth")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX")
def test_a_file_without_permission(tmp_path, network):
    path = saved(tmp_path / "x.pth", network.state_dict())
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may read anything
        with pytest.raises(BadWeights, match="cannot be read: Permission denied"):
            read_weights(path)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_said_to_end_early(tmp_path, network, zipped):
    whole = saved(tmp_path / "whole.pth", training_state(network), zipped).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        (tmp_path / "x.pth").write_bytes(whole[:int(share * len(whole))])
        with pytest.raises(BadWeights, match="ends early or is damaged .*download it again"):
            read_weights(tmp_path / "x.pth")


def test_changed_bytes_are_noticed(tmp_path, network):
    content = bytearray(saved(tmp_path / "x.pth", network.state_dict()).read_bytes())
    weight = network[0].weight.detach().numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(BadWeights, match="is damaged"):
        read_weights(tmp_path / "x.pth")


def test_a_truncated_safetensors_file(tmp_path, network):
    save_file(network.state_dict(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[:-20])
    with pytest.raises(BadWeights, match="ends early"):
        read_weights(tmp_path / "x.safetensors")


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("photos/a.jpg", b"x")
        archive.writestr("notes.txt", b"y")
    with pytest.raises(BadWeights, match=r"a zip archive of photos/a.jpg, notes.txt"):
        read_weights(tmp_path / "x.pth")


def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path):
    path = saved(tmp_path / "whole.pth", {"a": torch.rand(4), "options": argparse.Namespace()})
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "x.pth", "w") as crafted:
        for member in whole.infolist():
            content = whole.read(member)
            if member.filename.endswith("data.pkl"):
                assert content.count(b"K\x04\x85") == 1
                content = content.replace(b"K\x04\x85", b"K\x09\x85")  # shape (4,) -> (9,)
            crafted.writestr(member, content)
    with pytest.raises(BadWeights, match="is not a weight file"):
        read_weights(tmp_path / "x.pth")


def test_a_video_given_as_weights(tmp_path):
    with av.open(str(tmp_path / "x.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        for _ in range(2):
            video.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        video.mux(stream.encode())
    with pytest.raises(BadWeights, match="is a video or sound. Pass it as --face or --audio"):
        read_weights(tmp_path / "x.mp4")
