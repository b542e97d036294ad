"""Keeping a weight file that a person has got: told by its content, copied or linked into the folder."""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadWeights
from ..files import replacing, unfinished
from . import sums
from .findings import Finding, examine
from .shelf import folder


@dataclass(frozen=True)
class Kept:
    """A weight file that now lies in the folder, or already did."""

    path: Path
    finding: Finding
    was_there: bool
    note: str = ""
    """What else there is to say, in a sentence."""


def keep(path: str | Path, *, name: str | None = None, link: bool = False) -> Kept:
    """Copy a weight file or folder to where they are kept, under the name it is asked for by; or `link` to it.

    Raises:
        BadWeights: it is no public file that is known, unless `name` says what to call it; it is damaged; or another
            file lies there under that name.
    """
    path = Path(path).expanduser()
    found = examine(path)
    if found.problems:
        raise BadWeights(f"{path} was not imported: {'; '.join(found.problems)}.")
    if not (found.cards or name):
        raise BadWeights(f"{path} is {_kind(found.contents.form)}, "
                         f"{found.contents.about}, of no public network that is known{_names(found)}. `fctfg weights "
                         "list` has those that are; --name NAME imports it all the same.")
    if name and Path(name).name != name:
        raise BadWeights(f"--name {name}: give a file name without folders.")
    chosen, note = (name, "") if name else _name(found)
    place = folder()
    target = place / chosen
    link &= found.contents.form != "ONNX folder" or path.is_dir()
    if target.exists() and target.resolve() == path.resolve():
        return Kept(target, found, True, note)
    if target.exists() or target.is_symlink():
        if found.sha256 and target.is_file() and sums.sha256(target) == found.sha256:
            return Kept(target, found, True, note)
        raise BadWeights(f"{target} is there already, and differs from {path}. Remove it, or give another name with "
                         "--name.")
    place.mkdir(parents=True, exist_ok=True)
    if link:
        _link(path, target)
    elif path.is_dir():
        _copy_folder(path, target)
    elif found.contents.form == "ONNX folder":
        unpack(path, target)
    else:
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    if target.is_file():
        sums.record(place, chosen, found.sha256)
    return Kept(target, found, False, note)


def _kind(form: str) -> str:
    """A form as a reader would say it: `an ONNX file`."""
    return f"{'an' if form[0] in 'AEIOU' else 'a'} {form}{'' if form.endswith('folder') else ' file'}"


def _name(found: Finding) -> tuple[str, str]:
    """What to call it. Of several that are alike inside, its own name decides; without that, it keeps its own."""
    names = [card.name for card in found.cards]
    if any(card.is_called(found.path.name) for card in found.cards):
        return found.path.name, ""
    if len(names) == 1 and "<" not in names[0]:
        return names[0], ""
    alike = f"{', '.join(names[:-1])} and {names[-1]} are alike inside"
    which = alike if len(names) > 1 else f"{names[0]} is the pattern of many"
    return found.path.name, f"{which}, so it keeps its own name; --name gives it another."


def _names(found: Finding) -> str:
    names = list(found.contents.names)
    return f" (it has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def unpack(archive: Path, target: Path) -> None:
    """Make the folder `target` of a zip archive, whole or not at all; one that holds a folder of its own gives that."""
    temporary = unfinished(target)
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(temporary)
        inside = list(temporary.iterdir())
        os.replace(inside[0] if len(inside) == 1 and inside[0].is_dir() else temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link(path: Path, target: Path) -> None:
    try:
        os.symlink(path.resolve(), target, target_is_directory=path.is_dir())
    except (OSError, NotImplementedError) as error:
        raise BadWeights(f"{path} cannot be linked to: {getattr(error, 'strerror', None) or error}. Leave --link out "
                         "to copy it.") from None


def _copy_folder(path: Path, target: Path) -> None:
    temporary = unfinished(target)
    try:
        shutil.copytree(path, temporary)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
