"""Folders of checkpoints as GANimation and IETaFS write them: one file a network, `<epoch>-<iteration>-<network>.ckpt`.

Read in both orders, since their README says the one and their code writes the other; written in the first, so that
their code loads it. Inside is a bare state dict, which says in its metadata which epoch and iteration it is of.
"""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import BadRun, BadWeights
from ..files import replacing
from ..model import TalkingFace, build_model
from ..recipe import Recipe
from ..runs import Run
from .families import fill, recognise
from .public import read_weights

NETWORKS = {"G": "decoder.", "D": "losses.ganimation.network.", "AU": "audio_encoder.",
            "audionet": "losses.av-contrast.network.audio_network.",
            "videonet": "losses.av-contrast.network.video_network."}
"""What files are called after, and where the weights of each stand in a model and its losses."""
NAME = re.compile(r"(\d+)-(\d+)-(\w+)\.ckpt")
ALIASES = {"debug1": 3, "debug2": 9, "debug3": None, "debug4": None}
"""By what further names G's file holds its first layers: as many places of `main`; None for those up to where it goes
up again, and for all."""


class CheckpointSet(NamedTuple):
    """The networks that a folder keeps of one moment of training."""

    epoch: int
    iteration: int
    files: dict[str, Path]
    """By the network: `G`, `D`, `AU`, `audionet`, `videonet`; those that there are."""


def read_set(folder: str | Path, resume_iters: int | None = None, first_epoch: int | None = None) -> CheckpointSet:
    """The newest set in `folder`, or the one of `resume_iters` and `first_epoch`, either of which may be left out.

    Newest is what the files say themselves, where they do; else the highest epoch, and in it the highest iteration.
    Which of the two numbers of a name is which is told for all names of a folder at once: iterations are the larger
    ones, or the one asked for. A network that the set of G lacks, as AU files of a stage before have numbers of their
    own, is the newest of its kind.

    Raises:
        BadWeights: there is no such set; the message has those that there are.
    """
    named = _named(Path(folder))
    if not named:
        raise BadWeights(f"{folder} holds no files such as 30-2000-G.ckpt, for {', '.join(NETWORKS)}.")
    moments = _moments(named, resume_iters, first_epoch)
    main = next(network for network in NETWORKS if any(found[2] == network for found in named))
    wanted = [(moment, path) for path, (moment, network) in moments.items() if network == main
              and resume_iters in (None, moment[1]) and first_epoch in (None, moment[0])]
    if not wanted:
        there = ", ".join(path.name for path, (_, network) in sorted(moments.items()) if network == main)
        asked = " and ".join(f"{name} {value}" for name, value in
                             (("resume_iters", resume_iters), ("first_epoch", first_epoch)) if value is not None)
        raise BadWeights(f"{folder} holds no {main} of {asked}; there are {there}.")
    chosen = max(wanted)[0]
    files = {}
    for network in NETWORKS:
        own = sorted((moment == chosen, moment, path) for path, (moment, kind) in moments.items() if kind == network)
        if own:
            files[network] = own[-1][2]
    return CheckpointSet(*chosen, files)


def fill_from_set(model: TalkingFace, losses: Mapping[str, nn.Module] | None, recipe: Recipe, folder: str | Path,
                  resume_iters: int | None = None, first_epoch: int | None = None) -> list[str]:
    """Copy the networks of a set into the model, and into those of its critics that `losses` has; a sentence each.

    Raises:
        BadWeights: there is no such set, or it does not fit.
    """
    found = read_set(folder, resume_iters, first_epoch)
    losses = losses or {}
    return [fill(model, losses, recipe, path) for network, path in found.files.items()
            if not NETWORKS[network].startswith("losses.") or NETWORKS[network].split(".")[1] in losses]


def load_set(folder: str | Path, recipe: Recipe | None = None, resume_iters: int | None = None,
             first_epoch: int | None = None) -> tuple[TalkingFace, Recipe, list[str]]:
    """The model that a set's G and AU make, its recipe with what they imply, and a sentence for each file.

    Without AU it is a model that draws, and hears nothing: that of the recipe which G alone fills.

    Raises:
        BadWeights: there is no such set, it has no G, or a file does not fit.
    """
    files = read_set(folder, resume_iters, first_epoch).files
    if "G" not in files:
        there = ", ".join(path.name for path in files.values())
        raise BadWeights(f"{folder} has no G, which draws; there are {there}.")
    parts = [files[network] for network in ("AU", "G") if network in files]
    for path in parts:
        recipe = recognise(read_weights(path), [recipe] if recipe else None).recipe
    model = build_model(recipe)
    return model, recipe, [fill(model, None, recipe, path) for path in parts]


def write_checkpoint_set(run_folder: str | Path, out_folder: str | Path, epoch: int = 0) -> list[Path]:
    """Write a run's networks as `<epoch>-<iteration>-<network>.ckpt`, as the code of GANimation and IETaFS loads them.

    The iteration is the step of the run, which counts no epochs: `epoch` is what the names shall say. G is given the
    running statistics that this code expects and draws without: mean 0 and variance 1.

    Raises:
        BadRun: it is no run, has no weights yet, or no network of these.
    """
    from safetensors import safe_open

    run = Run.open(run_folder)
    tensors: dict[str, Tensor] = {}
    iteration = None
    for name, prefix in (("model", ""), ("losses", "losses.")):
        path = run.path / f"{name}.safetensors"
        if path.is_file():
            with safe_open(str(path), framework="pt") as file:
                tensors |= {prefix + key: file.get_tensor(key) for key in file.keys()}
                iteration = int((file.metadata() or {}).get("step", 0)) if iteration is None else iteration
    recipe = run.recipe
    states = {network: {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
              for network, prefix in NETWORKS.items() if _is_theirs(recipe, prefix)}
    states = {network: state for network, state in states.items() if state}
    if not states:
        raise BadRun(f"{run.path} has no weights of {', '.join(NETWORKS)} to write; a run of recipe 'ietafs' would "
                     "have.")
    if "G" in states:
        states["G"] = _as_they_name_it(states["G"])
    folder = Path(out_folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for network, state in states.items():
        path = folder / f"{epoch}-{iteration}-{network}.ckpt"
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save(_saying(state, epoch, iteration), file)
        written.append(path)
    return written


def _is_theirs(recipe: Recipe, prefix: str) -> bool:
    """Whether what stands at `prefix` in a run of `recipe` is a network that their code knows."""
    plugins = {"decoder.": recipe.decoder.name == "ganimation", "audio_encoder.": recipe.audio_encoder.name == "aunet"}
    loss = recipe.losses.get(prefix.split(".")[1])
    return plugins.get(prefix, loss is not None and loss.name == prefix.split(".")[1])


def _as_they_name_it(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The generator with running statistics beside its norms, and its first layers four times more."""
    trunk: dict[str, Tensor] = {}
    for name, tensor in sorted(state.items(), key=_in_their_order):  # safetensors sort by the alphabet
        if not name.startswith("main."):
            continue
        trunk[name.removeprefix("main.")] = tensor
        if name.endswith(".bias"):  # of a norm, the last of its weights
            place = name.removeprefix("main.").removesuffix("bias")
            trunk |= {f"{place}running_mean": torch.zeros_like(tensor), f"{place}running_var": torch.ones_like(tensor),
                      f"{place}num_batches_tracked": torch.tensor(0)}
    ups = max(int(name.split(".")[0]) for name in trunk) - 4  # the first of the two that go up
    ends = {alias: end or (ups if alias == "debug3" else None) for alias, end in ALIASES.items()}
    named: dict[str, Tensor] = {}
    for alias in ("debug1", "debug2", "debug3", "main", "debug4"):  # the order in which their code has them
        end = ends.get(alias)
        named |= {f"{alias}.{name}": tensor for name, tensor in trunk.items()
                  if end is None or int(name.split(".")[0]) < end}
    return named | {f"{head}.0.weight": state[f"{head}.0.weight"] for head in ("im_reg", "im_att")}


def _in_their_order(item: tuple[str, Tensor]) -> tuple[list[int], bool]:
    """Layers by their numbers, weights before biases."""
    return [int(number) for number in re.findall(r"\d+", item[0])], item[0].endswith("bias")


def _saying(state: dict[str, Tensor], epoch: int, iteration: int) -> OrderedDict[str, Tensor]:
    """A state dict as PyTorch has it, whose metadata say of which moment it is; loading passes over that."""
    named = OrderedDict(state)
    named._metadata = OrderedDict({"": {"version": 1, "epoch": epoch, "iteration": iteration}})
    return named


def _named(folder: Path) -> list[tuple[Path, tuple[int, int], str]]:
    """The files of networks in `folder`: each with the numbers of its name, and the network."""
    if not folder.is_dir():
        raise BadWeights(f"{folder} is not a folder; give the one that holds files such as 30-2000-G.ckpt.")
    found = [(path, NAME.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    return [(path, (int(match[1]), int(match[2])), match[3]) for path, match in found if match and match[3] in NETWORKS]


def _moments(named: list[tuple[Path, tuple[int, int], str]], resume_iters: int | None,
             first_epoch: int | None) -> dict[Path, tuple[tuple[int, int], str]]:
    """Of each file (epoch, iteration), and the network."""
    def fits(order: int) -> tuple[bool, int]:
        asked = any(resume_iters in (None, numbers[1 - order]) and first_epoch in (None, numbers[order])
                    for _, numbers, _ in named)
        return asked, sum(numbers[1 - order] - numbers[order] for _, numbers, _ in named)

    order = 0 if fits(0) >= fits(1) else 1  # the place of the epoch
    return {path: (_says(path) or (numbers[order], numbers[1 - order]), network) for path, numbers, network in named}


def _says(path: Path) -> tuple[int, int] | None:
    """The epoch and iteration that a file's own metadata have, if any."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever it is: reading it, later, says what is wrong with it
        return None
    said = getattr(content, "_metadata", {}).get("", {})
    both = said.get("epoch"), said.get("iteration")
    return both if all(isinstance(value, int) for value in both) else None
