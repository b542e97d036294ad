"""What is there: versions, devices, codecs, plugins and what they lack; and what one plugin is."""

from __future__ import annotations

import inspect
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from . import registry
from .recipe import Recipe

PACKAGES = ("fctfg", "torch", "torchvision", "numpy", "librosa", "av", "dlib-bin", "face-recognition-models", "accelerate",
            "safetensors", "pydantic", "lpips")
CODECS = {"H.264 encoder": ("libx264", "w"), "AAC encoder": ("aac", "w"), "H.264 decoder": ("h264", "r"),
          "HEVC decoder": ("hevc", "r"), "VP9 decoder": ("vp9", "r"), "AV1 decoder": ("libdav1d", "r"),
          "MP3 decoder": ("mp3", "r"), "AAC decoder": ("aac", "r"), "Opus decoder": ("opus", "r")}

BETTER = {"higher": "higher is better", "lower": "lower is better", "near zero": "nearer to 0 is better",
          "near the reference": "nearer to the reference's is better", "neither": "neither way is better"}


def examine() -> dict[str, Any]:
    """Plain values, section by section; what is missing is None or says so."""
    plugins = registry.plugins()
    states = [plugin.state() for plugin in plugins]
    return {
        "system": {"python": platform.python_version(), "platform": platform.platform()},
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "codecs": _codecs(),
        "plugins that work": states.count("ok"),
        "plugins that do not": {f"{registry.label(plugin.kind)} {plugin.name}": state
                                for plugin, state in zip(plugins, states) if state != "ok"},
        "extras": {extra: "installed" if find_spec(module) else f"not installed; pip install 'fctfg[{extra}]'"
                   for module, extra in registry.EXTRAS.items()},
        "weight files": _weight_files(),
    }


def render(found: dict[str, Any]) -> str:
    """The same as text."""
    lines = []
    for section, content in found.items():
        if not isinstance(content, dict):
            lines.append(f"{section}: {content}")
            continue
        lines.append(f"{section}:" + ("" if content else " none"))
        width = max((len(key) for key in content), default=0)
        lines += [f"  {key:<{width}}  {'MISSING' if value is None else value}" for key, value in content.items()]
    return "\n".join(lines)


def describe(plugin: registry.Plugin) -> str:
    """Docstring, options with their defaults, paper and licence; of a recipe its description and YAML."""
    head = f"{plugin}  ({plugin.target})\n\n"
    if plugin.kind == "recipe":
        recipe = Recipe.load(plugin.path())
        about = "\n".join(filter(None, [recipe.description, recipe.paper and f"Paper: {recipe.paper}"]))
        files = "".join(f"Reads {', '.join(file.files)} ({file.licence})\n" for file in recipe.public_files)
        return f"{head}{about}\n{files}\n{plugin.path().read_text(encoding='utf-8')}"
    if plugin.kind == "weights":
        from .weights.cards import read_cards

        return head + "\n".join(f"{card.name}: {card.purpose} ({card.licence})" for card in read_cards(plugin.path()))
    cls = plugin.load()
    options = []
    for parameter in inspect.signature(cls).parameters.values():
        default = "given by the core" if parameter.default is parameter.empty else repr(parameter.default)
        options.append(f"  {parameter.name}: {parameter.annotation} = {default}"
                       if parameter.annotation is not parameter.empty else f"  {parameter.name} = {default}")
    needs = [f"{verb}: {', '.join(sorted(names))}" for verb, name in (("Needs", "needs"), ("Gives", "gives"))
             if (names := getattr(cls, name, None))]
    if plugin.kind == "metric":
        needs += _how_it_measures(cls)
    return head + "\n".join([inspect.getdoc(cls) or "", "", "Options:", *(options or ["  none"]), *needs,
                             f"Paper: {cls.paper or 'none'}", f"Licence: {cls.licence}"])


def _how_it_measures(cls: type) -> list[str]:
    """A metric's quantities with their ranges and directions, its protocol with the default options, its blindness."""
    lines = ["Gives:"]
    for name, better, low, high, unit, about in cls.quantities:
        lines.append(f"  {name}: {low:g} to {high:g}{f' {unit}' if unit else ''}, {BETTER[better]}. {about}".rstrip())
    rate = f"{cls.frame_rate} frames a second" if cls.frame_rate else "the film's own rate"
    return [*lines, f"Protocol: {cls().protocol}", f"Frames: {rate}", f"Blind to: {cls.blindness}"]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, str]:
    try:
        import torch
    except ImportError as error:
        return {"torch": str(error)}
    devices = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _codecs() -> dict[str, str | None]:
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        return {"av": str(error)}
    found: dict[str, str | None] = {}
    for label, (name, mode) in CODECS.items():
        try:
            found[label] = Codec(name, mode).long_name
        except av.codec.codec.UnknownCodecError:
            found[label] = None
    return found


def _weight_files() -> dict[str, str | None]:
    """Those that are here, and those that a package should have brought; every other one is the user's to give."""
    from . import weights
    from .weights.cards import known

    found: dict[str, str | None] = {"kept in": str(weights.folder())}
    for card in known():
        if path := weights.find(card.name):
            found[card.name] = str(path)
        elif card.pip:
            found[card.name] = f"MISSING; pip install {card.pip}"
    return found

