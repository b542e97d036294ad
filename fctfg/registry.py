"""Finding and building plugins.

A plugin is an entry point, `name = module:Class`, in one group per kind, of any installed package. Listing reads
package metadata only and imports neither torch nor the plugin; a plugin is imported when it is asked for by name.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import entrypoints

from . import errors

KINDS = {  # kind -> entry-point group
    "visual_encoder": "fctfg.visual_encoders",
    "audio_encoder": "fctfg.audio_encoders",
    "fusion": "fctfg.fusions",
    "decoder": "fctfg.decoders",
    "loss": "fctfg.losses",
    "task": "fctfg.tasks",
    "detector": "fctfg.detectors",
    "metric": "fctfg.metrics",
    "recipe": "fctfg.recipes",
    "weights": "fctfg.weights",
}
IN_YAML = {"recipe", "weights"}
"""The kinds whose plugins are YAML files."""
PLAIN = (int, float, str, bool, NoneType)
"""The types of options whose values are checked before a plugin is built."""

# What brings a module that a plugin may lack; a plugin's own package answers for everything else.
EXTRAS = {"mediapipe": "mediapipe", "face_alignment": "face-alignment", "onnxruntime": "insightface",
          "insightface": "insightface", "transformers": "speech", "cv2": "yunet"}

_offered: dict[tuple[str, str], Plugin] = {}


@dataclass(frozen=True, order=True)
class Plugin:
    """One name that a package offers. Holding it imports nothing."""

    kind: str
    name: str
    package: str
    version: str
    target: str
    """`module:Class`, or `package:file.yaml` for a recipe or weights."""

    def load(self) -> type:
        """Import the class.

        Raises:
            BrokenPlugin: the import failed, or the object is not a subclass of its kind's interface.
            MissingExtra: it needs a package that an extra of fctfg brings.
        """
        from .interfaces import INTERFACES

        module, _, attribute = self.target.partition(":")
        try:
            cls = reduce(getattr, attribute.split("."), import_module(module))
        except Exception as error:  # whatever a foreign package raises on import must not break another command
            if extra := _extra(error):
                raise errors.MissingExtra(f"{self} failed to import: {error}; pip install 'fctfg[{extra}]' brings "
                                          "it") from error
            raise errors.BrokenPlugin(f"{self} failed to import: {str(error) or type(error).__name__}") from error
        interface = INTERFACES[self.kind]
        if not (inspect.isclass(cls) and issubclass(cls, interface)):
            raise errors.BrokenPlugin(f"{self}: {self.target} is not a {interface.__name__}")
        return cls

    def path(self) -> Path:
        """The YAML file that the plugin names. Imports at most the packages above it.

        Raises:
            BrokenPlugin: the package or its file is not there.
        """
        module, _, file = self.target.partition(":")
        try:
            spec = find_spec(module)
        except ImportError as error:
            raise errors.BrokenPlugin(f"{self} failed to import: {error}") from error
        for folder in (spec.submodule_search_locations if spec else None) or ():
            if (path := Path(folder) / file).is_file():
                return path
        raise errors.BrokenPlugin(f"{self}: no file '{file}' in package '{module}'")

    def problem(self) -> errors.BrokenPlugin | None:
        """Why it cannot be used and what would mend it; None where it can."""
        try:
            self.path() if self.kind in IN_YAML else self.load()
        except errors.BrokenPlugin as error:
            return error
        return None

    def state(self) -> str:
        """`ok`, or its problem in words."""
        return str(self.problem() or "ok")

    def __str__(self) -> str:
        return f"{label(self.kind)} '{self.name}' of {self.package} {self.version}"


def label(kind: str) -> str:
    """The kind as a reader would say it: `visual encoder`."""
    return kind.replace("_", " ")


def _extra(error: Exception) -> str | None:
    """The extra of fctfg that brings what an import lacks, where there is one."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    return EXTRAS.get((missing or "").partition(".")[0])


def plugins(kind: str | None = None) -> list[Plugin]:
    """Every installed plugin, or those of one kind, sorted. Imports none of them."""
    kinds = [kind] if kind else list(KINDS)
    offered = {plugin for plugin in _offered.values() if plugin.kind in kinds}
    return sorted(offered | {plugin for plugin in _installed(_places()) if plugin.kind in kinds})


def _places() -> tuple[tuple[str, int], ...]:
    """Where packages are looked for, each with when something was last added or removed there."""
    paths = [os.path.abspath(path) for path in sys.path]
    return tuple((path, os.stat(path).st_mtime_ns) for path in paths if os.path.exists(path))


@lru_cache(maxsize=4)
def _installed(places: tuple[tuple[str, int], ...]) -> frozenset[Plugin]:
    """The plugins of all packages in `places`. Kept, since a model is built with some twenty questions for them."""
    found = set()
    for config, distribution in entrypoints.iter_files_distros([path for path, _ in places]):
        for kind, group in KINDS.items():
            if group not in config:
                continue
            package = re.sub(r"[-_.]+", "-", distribution.name) if distribution else "unknown"
            version = (distribution.version if distribution else None) or "0"
            for name, target in config[group].items():
                found.add(Plugin(kind, name, package, version, target.split("[")[0].strip()))
    return frozenset(found)


def find(kind: str, name: str) -> Plugin:
    """The plugin called `name`, or `package:name` where two packages offer it.

    Raises:
        UnknownPlugin: nobody offers it; the message has the nearest name and the list.
        AmbiguousPlugin: more than one package does.
    """
    package, _, short = name.rpartition(":")
    offered = plugins(kind)
    matches = [plugin for plugin in offered if plugin.name == short and package in ("", plugin.package)]
    if not matches:
        names = sorted({plugin.name for plugin in offered})
        raise errors.UnknownPlugin(f"No {label(kind)} called '{name}'.{suggest(short, names)} "
                                   f"Installed: {', '.join(names) or 'none'}.")
    if len(matches) > 1:
        choices = ", ".join(f"'{plugin.package}:{plugin.name}'" for plugin in matches)
        raise errors.AmbiguousPlugin(f"More than one {label(kind)} is called '{name}'; say one of {choices}.")
    return matches[0]


def suggest(name: str, names) -> str:
    """` Did you mean 'x'?` for the nearest of `names`, or nothing."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def build(kind: str, name: str, /, **options):
    """Construct the component `name` with `options`.

    Raises:
        BadOption: the constructor does not take one of them, or misses one, or one is a word or a list where a number
            is wanted; the message lists what it takes.
    """
    cls = find(kind, name).load()
    parameters = inspect.signature(cls).parameters
    try:
        inspect.signature(cls).bind(**options)
    except TypeError as error:
        unknown = next((option for option in options if option not in parameters), "")
        raise errors.BadOption(f"{label(kind)} '{name}': {error}.{suggest(unknown, parameters)} "
                               f"It takes: {', '.join(parameters) or 'nothing'}.") from None
    for option, wanted in _plain_types(cls).items():
        value = options.get(option)
        if isinstance(value, (str, list, dict)) and not isinstance(value, wanted):
            kinds = " or ".join("none" if kind is NoneType else kind.__name__ for kind in wanted)
            raise errors.BadOption(f"{label(kind)} '{name}': {option} is {value!r}, and should be {kinds}.")
    return cls(**options)


def _plain_types(cls: type) -> dict[str, tuple[type, ...]]:
    """The types of those of a constructor's options that take plain numbers, words and None alone."""
    try:
        hints = get_type_hints(cls.__init__)
    except Exception:  # names that exist for type checkers only, or are written for a newer Python
        return {}
    found = {name: get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
             for name, hint in hints.items()}
    return {name: kinds for name, kinds in found.items() if all(kind in PLAIN for kind in kinds)}


@contextmanager
def offering(kind: str, **targets: type):
    """Offer classes by name until the block ends; for tests and notebooks."""
    keys = [(kind, name.replace("_", "-")) for name in targets]
    for (_, name), cls in zip(keys, targets.values()):
        _offered[kind, name] = Plugin(kind, name, "local", "0", f"{cls.__module__}:{cls.__qualname__}")
    try:
        yield
    finally:
        for key in keys:
            _offered.pop(key, None)
