"""Which metrics are wanted: named by the user, or all that are installed and can run on what there is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .. import registry
from ..errors import BadOption, FctfgError
from ..interfaces import Metric, Quantity
from ..recipe import read_yaml

NEEDED = {"reference": "a --reference", "face": "a face"}


@dataclass(frozen=True)
class Asked:
    """A metric with its options, as `NAME:key=value,key=value` says it."""

    text: str
    """As it was written; what its columns are called."""
    name: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read `lse:protocol=wav2lip-lrs`; values are read as YAML, so that numbers are numbers.

        Raises:
            BadOption: it is not of that form.
            UnknownPlugin: nobody offers such a metric.
        """
        text = text.strip()
        try:
            registry.find("metric", text)  # `package:name` has a colon too
            return cls(text, text)
        except FctfgError:
            if "=" not in text:
                raise
        head, _, tail = text.partition("=")
        name, _, key = head.rpartition(":")
        options = {}
        for part in f"{key}={tail}".split(","):
            key, equals, value = part.partition("=")
            if not (name and key and equals and value):
                raise BadOption(f"--metric {text}: write --metric NAME:key=value,key=value.")
            options[key.strip()] = read_yaml(value)
        registry.find("metric", name)
        return cls(text, name, options)

    def build(self) -> Metric:
        """The metric, before its weights are read.

        Raises:
            FctfgError: it takes no such option, or lacks a package.
        """
        return registry.build("metric", self.name, **self.options)


@dataclass(frozen=True)
class Facts:
    """What must be known of a metric to read its numbers."""

    name: str
    protocol: str
    quantities: tuple[Quantity, ...]
    paper: str
    licence: str
    blindness: str
    version: str
    """Of the package it comes from."""

    @classmethod
    def of(cls, asked: Asked, metric: Metric) -> Facts:
        plugin = registry.find("metric", asked.name)
        quantities = tuple(Quantity(*quantity) for quantity in metric.quantities)
        return cls(asked.name, metric.protocol, quantities, metric.paper, metric.licence, metric.blindness,
                   f"{plugin.package} {plugin.version}")

    @property
    def digest(self) -> str:
        """Changes with whatever changes its numbers, as far as it says so."""
        return hashlib.sha256(json.dumps([self.name, self.protocol, self.version]).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "quantities": [quantity._asdict() for quantity in self.quantities]}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Facts:
        quantities = tuple(Quantity(**{**quantity, "low": float(quantity["low"]), "high": float(quantity["high"])})
                           for quantity in content["quantities"])  # infinite ones are text in JSON
        return cls(**{**content, "quantities": quantities})


@dataclass
class Metrics:
    """The metrics at hand, by what their columns are called, and those that are not, with why."""

    metrics: dict[str, Metric]
    facts: dict[str, Facts]
    absent: dict[str, str] = field(default_factory=dict)


def choose(texts: Sequence[str], device: str | torch.device = "cpu",
           there: frozenset[str] = frozenset({"face", "sound", "reference"})) -> Metrics:
    """The metrics that `texts` ask for, ready on `device`; without any, all installed ones that need no more than what
    is `there`.

    Raises:
        FctfgError: one that was asked for by name cannot be had, or no metric can.
    """
    chosen = Metrics({}, {})
    for asked in _wanted(texts):
        try:
            metric = asked.build()
            if lacking := metric.needs - there:
                needed = " and ".join(NEEDED.get(name, name) for name in sorted(lacking))
                raise BadOption(f"Metric {asked.text} needs {needed}.")
            metric.load(device)
        except FctfgError as error:
            if texts:
                raise
            chosen.absent[asked.text] = " ".join(str(error).split())
            continue
        chosen.metrics[asked.text] = metric
        chosen.facts[asked.text] = Facts.of(asked, metric)
    if not chosen.metrics:
        absent = "; ".join(f"{name}: {why}" for name, why in chosen.absent.items())
        raise BadOption(f"No metric can run on what was given. {absent or 'None is installed.'}")
    return chosen


def _wanted(texts: Sequence[str]) -> list[Asked]:
    if texts:
        return list({asked.text: asked for asked in map(Asked.parse, texts)}.values())
    installed = registry.plugins("metric")
    names = [plugin.name for plugin in installed]
    clear = [plugin.name if names.count(plugin.name) == 1 else f"{plugin.package}:{plugin.name}"
             for plugin in installed]
    return [Asked(name, name) for name in clear]

