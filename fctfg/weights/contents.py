"""What a weight file holds, told by its content whatever it is called; code inside it is never run."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadWeights
from . import onnx

if TYPE_CHECKING:
    from ..checkpoints import PublicWeights

Shape = tuple[int, ...]

DLIB_NETWORKS = (b"loss_mmod_", b"loss_metric_")
"""How dlib's own files of networks name the last layer, shortly after they begin."""


@dataclass(frozen=True)
class Contents:
    """The form of a file, and the names in it."""

    form: str
    """One of `cards.Form`."""
    about: str
    """What it is, in some words."""
    names: dict[str, Shape] = field(default_factory=dict)
    """Of tensors, inputs, outputs or members, with the shape where they have one."""
    tensors: PublicWeights | None = None
    """What the readers of `fctfg.checkpoints` make of it, where it is theirs."""

    def has(self, sign: str) -> bool:
        """Whether `sign`, a name or a name with its shape (`weight 64x3x11x11`), is in it."""
        name, _, shape = sign.partition(" ")
        return name in self.names and (not shape or "x".join(map(str, self.names[name])) == shape)


def read(path: Path) -> Contents:
    """The contents of a file, or of a folder as transformers saves it, or of ONNX files.

    Raises:
        BadWeights: it is missing, damaged, or no weights; the message says which.
    """
    if path.is_dir():
        return _folder(path)
    start = _start(path)
    if start[4:8] == b"TFL3":
        return Contents("TFLite", "a TFLite network")
    if start[:2] == b"\x01\x01" and (known := _dlib(start)):
        return known
    if b"PK\x03\x04" in start[:6]:
        if known := _archive(path):
            return known
    elif start[:1] == b"\x08":
        try:
            return _graph(onnx.read(path))
        except onnx.NotONNX as error:
            if str(error) == "it ends early":
                raise BadWeights(f"{path} is an ONNX file that ends early ({path.stat().st_size:,} bytes); get it "
                                 "again.") from None
    return _tensors(path)


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise BadWeights(f"{path} does not exist.") from None
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror or error}.") from None


def _tensors(path: Path) -> Contents:
    from ..checkpoints import read_weights
    from ..checkpoints.public import KNOWN_FORMS

    try:
        weights = read_weights(path)
    except BadWeights as error:
        forms = f"{KNOWN_FORMS}, or a file of ONNX, TFLite, MediaPipe or dlib"
        raise BadWeights(str(error).replace(KNOWN_FORMS, forms)) from None
    networks = weights.networks or {"": weights.tensors}
    tensors = {name: tensor for network in networks.values() for name, tensor in network.items()}
    numbers = sum(tensor.numel() for network in networks.values() for tensor in network.values())
    count = sum(map(len, networks.values()))
    several = f" in {len(networks)} networks ({', '.join(networks)})" if len(networks) > 1 else ""
    shown = f"{numbers / 1e6:.1f} million" if numbers > 1e5 else f"{numbers:,}"
    return Contents(weights.form, f"{count} tensors{several}, {shown} numbers",
                    {name: tuple(tensor.shape) for name, tensor in tensors.items()}, weights)


def _graph(model: onnx.Model) -> Contents:
    ends = ", ".join(f"{name} {_shown(shape)}" for name, shape in model.inputs.items())
    outputs = list(model.outputs)
    shown = ", ".join(outputs[:4]) + (f" and {len(outputs) - 4} more" if len(outputs) > 4 else "")
    about = f"a network written by {model.producer or 'an unknown program'} from {ends} to {shown}"
    return Contents("ONNX", about, {**model.tensors, **model.inputs, **model.outputs})


def _shown(shape: Shape) -> str:
    return "x".join(str(size or "?") for size in shape)


def _archive(path: Path) -> Contents | None:
    """What is in a zip archive of models; None for one of torch.save, which has readers of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if any(name.split("/", 1)[-1] == "data.pkl" for name in members):
                return None
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        raise BadWeights(f"{path} is an archive that ends early or is damaged ({path.stat().st_size:,} bytes); get it "
                         "again.") from None
    if damaged:
        raise BadWeights(f"{path} is an archive whose {damaged} is damaged; get it again.")
    names = {name.rpartition("/")[2]: () for name in members}
    about = f"an archive of {_listed(names)}"
    for suffix, form in ((".tflite", "MediaPipe task"), (".onnx", "ONNX folder")):
        if any(name.endswith(suffix) for name in names):
            return Contents(form, about, names)
    raise BadWeights(f"{path} is {about}, which are no weights. Unpack it and pass the weight file inside.")


def _listed(names) -> str:
    """The first of them."""
    names = [name for name in names if name]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"


def _dlib(start: bytes) -> Contents | None:
    """A file of dlib's: version 1, then the matrix of mean landmarks (its rows and columns negative), or the name of a
    network's last layer."""
    for name in DLIB_NETWORKS:
        if name in start[:24]:
            word = name.decode().strip("_")
            return Contents("dlib", f"a network that ends in {word}", {word: ()})
    rows = columns = place = None
    if start[2] & 0x80:
        rows, place = _dlib_whole(start, 2)
        columns, place = _dlib_whole(start, place)
    if rows and columns == -1 and rows % 2 == 0:
        return Contents("dlib", f"a predictor of {-rows // 2} landmarks", {"landmarks": (-rows // 2, 2)})
    return None


def _dlib_whole(start: bytes, place: int) -> tuple[int, int]:
    """A whole number: how many bytes it takes, the sign in the highest bit; then those, the lowest first."""
    length = start[place] & 0x0F
    value = int.from_bytes(start[place + 1:place + 1 + length], "little")
    return (-value if start[place] & 0x80 else value), place + 1 + length


def _folder(path: Path) -> Contents:
    """A model as transformers saves it: config.json, and the weights beside it; or a pack of networks of ONNX."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        if networks := sorted(path.glob("*.onnx")):
            for file in networks:
                read(file)
            names = [file.name for file in networks]
            return Contents("ONNX folder", f"{len(names)} networks: {_listed(names)}", {name: () for name in names})
        raise BadWeights(f"{path} is a folder, and holds neither config.json of transformers nor networks of ONNX; "
                         "name a file in it.") from None
    files = sorted(file for pattern in ("model*.safetensors", "pytorch_model*.bin") for file in path.glob(pattern))
    if not files:
        raise BadWeights(f"{path} has a config.json and no weights beside it (model*.safetensors or "
                         "pytorch_model*.bin).")
    names = {}
    for file in files:
        names |= _tensors(file).names
    hidden, layers = config.get("hidden_size", "?"), config.get("num_hidden_layers", "?")
    about = f"a {kind} network of transformers: {layers} layers of width {hidden}, {len(names)} tensors"
    return Contents("transformers folder", about, {f"model_type={kind}": (), **names})
