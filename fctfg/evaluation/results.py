"""What was measured, as means with their intervals, differences, and of how many films each is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import BadRun
from ..interfaces import Metric, Quantity, Score
from .asked import Facts
from .rows import Row, plain
from .statistics import LEAST, interval

FILE = "results.json"
FORMAT = 1


class Column(NamedTuple):
    """One quantity of one metric, as its numbers are headed."""

    metric: str
    quantity: Quantity

    @property
    def title(self) -> str:
        own = self.quantity.name.startswith(self.metric)  # psnr, sharpness-ratio
        return self.quantity.name if own else f"{self.metric} / {self.quantity.name}"


@dataclass(frozen=True)
class Cell:
    """One quantity of one system."""

    mean: float | None
    """None where no film has one."""
    low: float | None
    high: float | None
    """The 95 % interval of the mean over films; None for what only a whole set has, and for a single film."""
    n_mean: int
    """Films that the mean is of: those that every system here has a number for."""
    n_scored: int
    n_given: int
    why: dict[str, int]
    """Reasons why the rest was not scored, and how often."""


@dataclass(frozen=True)
class Difference:
    """How much the second system is above the first, over the films that both have."""

    first: str
    second: str
    mean: float
    low: float
    high: float
    n: int

    @property
    def is_sure(self) -> bool:
        """Whether 0 lies outside the interval, and there are films enough to say so."""
        return self.n >= LEAST and (self.low > 0 or self.high < 0)


@dataclass
class Results:
    """The rows of one or more systems over the same clips, and what is needed to read them."""

    facts: dict[str, Facts]
    """By what the metric's columns are called."""
    rows: list[Row]
    absent: dict[str, str] = field(default_factory=dict)
    """Metrics that were not run, and why."""
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    """Versions, detector, command: what to know to repeat it."""
    pooled: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """System -> metric -> quantity: of all films together, for what no single film has."""
    sections: dict[str, Any] = field(default_factory=dict)
    """What a benchmark adds: which metrics are blind, how they agree with the truth."""

    def __post_init__(self):
        self._index = {(row.system, row.metric, row.clip): row for row in self.rows}

    @property
    def systems(self) -> list[str]:
        """In the order in which they were given."""
        return list(dict.fromkeys(row.system for row in self.rows))

    @property
    def clips(self) -> list[str]:
        return list(dict.fromkeys(row.clip for row in self.rows))

    @property
    def columns(self) -> list[Column]:
        """Every quantity that some film or set has."""
        found = {(row.metric, name) for row in self.rows for name in row.values}
        found |= {(metric, name) for by in self.pooled.values() for metric, values in by.items() for name in values}
        return [Column(label, quantity) for label, facts in self.facts.items() for quantity in facts.quantities
                if (label, quantity.name) in found or not any(label == metric for metric, _ in found)]

    def row(self, system: str, metric: str, clip: str) -> Row | None:
        return self._index.get((system, metric, clip))

    def value(self, system: str, column: Column, clip: str) -> float | None:
        """What was found in one film; None where nothing, or nothing that is a number."""
        row = self.row(system, column.metric, clip)
        value = row.values.get(column.quantity.name) if row else None
        return None if value is None or np.isnan(value) else value

    def values(self, column: Column, clip: str) -> list[float]:
        """What was found in the films of one clip, of those systems that have a number."""
        found = [self.value(system, column, clip) for system in self.systems]
        return [value for value in found if value is not None]

    def shared(self, column: Column) -> list[str]:
        """The clips for which every system that has any number has one."""
        having = {system: {clip for clip in self.clips if self.value(system, column, clip) is not None}
                  for system in self.systems}
        sets = [clips for clips in having.values() if clips]
        return [clip for clip in self.clips if sets and all(clip in clips for clips in sets)]

    def cell(self, system: str, column: Column) -> Cell:
        """The mean of a system over the clips that all systems have."""
        rows = [self.row(system, column.metric, clip) for clip in self.clips]
        why = Counter((row.why or "it gave no number") if row else "no film of this clip" for row in rows
                      if not (row and row.state == "scored" and self.has(row, column)))
        n_scored = len(rows) - sum(why.values())
        pooled = self.pooled.get(system, {}).get(column.metric, {}).get(column.quantity.name)
        if pooled is not None:
            return Cell(pooled, None, None, n_scored, n_scored, len(rows), dict(why))
        values = [value for clip in self.shared(column) if (value := self.value(system, column, clip)) is not None]
        if self.is_absolute(column):
            values = [abs(value) for value in values]
        if not values:
            return Cell(None, None, None, 0, n_scored, len(rows), dict(why))
        low, high = interval(values)
        ends = (None, None) if np.isnan(low) else (low, high)
        return Cell(float(np.mean(values)), *ends, len(values), n_scored, len(rows), dict(why))

    def is_absolute(self, column: Column) -> bool:
        """Whether means are of absolute values: offsets of +5 and -5 are no agreement. One alone keeps its sign."""
        return column.quantity.better == "near zero" and len(self.shared(column)) > 1

    def has(self, row: Row, column: Column) -> bool:
        """Whether a scored row has a number, or what a whole set's is made of."""
        if row.features and column.quantity.name not in row.values:
            return True
        value = row.values.get(column.quantity.name)
        return value is not None and not np.isnan(value)

    def difference(self, first: str, second: str, column: Column) -> Difference | None:
        """Second less first, paired by clip; None where no clip has both. Of what should be near zero, of its size."""
        both = [(self.value(first, column, clip), self.value(second, column, clip)) for clip in self.clips]
        both = [pair for pair in both if None not in pair and np.isfinite(pair).all()]
        if not both:
            return None
        values = np.array(both)
        if column.quantity.better == "near zero":
            values = np.abs(values)
        apart = values[:, 1] - values[:, 0]
        return Difference(first, second, float(apart.mean()), *interval(apart), len(apart))

    def differences(self) -> Iterator[tuple[Column, Difference]]:
        """Of every system to the first, and of every quantity that films have."""
        first, *others = self.systems or [""]
        for column in self.columns:
            for other in others:
                if found := self.difference(first, other, column):
                    yield column, found

    def best(self, column: Column) -> set[str]:
        """The systems with the best mean, where better is defined and there are several."""
        means = {system: cell.mean for system in self.systems if (cell := self.cell(system, column)).mean is not None}
        if len(means) < 2 or column.quantity.better not in SIGNS:
            return set()
        sign = SIGNS[column.quantity.better]
        if column.quantity.better == "near zero":
            means = {system: abs(mean) for system, mean in means.items()}
        most = max(sign * mean for mean in means.values())
        return {system for system, mean in means.items() if sign * mean == most}

    def worst_first(self, column: Column | None = None) -> list[str]:
        """The clips, those that any system did worst first; by all quantities' ranks where none is named."""
        columns = [column] if column else [column for column in self.columns if column.quantity.better in SIGNS]
        badness = {clip: [] for clip in self.clips}
        for each in columns:
            sign = SIGNS.get(each.quantity.better, -1)
            size = abs if each.quantity.better == "near zero" else float
            worst = {clip: max(-sign * size(value) for value in values)
                     for clip in self.clips if (values := self.values(each, clip))}
            order = sorted(worst.values())
            for clip, value in worst.items():
                badness[clip].append(order.index(value) / max(1, len(order) - 1))
        unmeasured = {clip for clip in badness if columns and not badness[clip]}
        return sorted(badness, key=lambda clip: (clip not in unmeasured, -float(np.mean(badness[clip] or [0.0]))))

    @property
    def failed(self) -> list[Row]:
        """Rows of metrics with a bug."""
        return [row for row in self.rows if row.state == "failed"]

    def pool(self, metrics: dict[str, Metric], folder: Path) -> None:
        """Let metrics of whole sets say what they find, over the clips that all systems have."""
        for label, metric in metrics.items():
            if type(metric).pool is Metric.pool:
                continue
            scored = {system: {clip: row for clip in self.clips
                               if (row := self.row(system, label, clip)) and row.state == "scored"}
                      for system in self.systems}
            sets = [set(rows) for rows in scored.values() if rows]
            for system, rows in scored.items():
                scores = [rows[clip].score(folder) for clip in rows if all(clip in clips for clips in sets)]
                own = {name for score in scores for name in score.values}
                try:
                    found = metric.pool(scores) if scores else {}
                except Exception as error:  # too few films, or a bug: the films' own numbers stay
                    self.notes.append(f"{label} could not be told of all films of {system or 'it'}: {error}")
                    found = {}
                self.pooled.setdefault(system, {})[label] = {name: float(value) for name, value in found.items()
                                                             if name not in own}

    def to_dict(self) -> dict[str, Any]:
        table = [{"system": system, "metric": column.metric, "protocol": self.facts[column.metric].protocol,
                  "quantity": column.quantity.name, "better": column.quantity.better,
                  "absolute": self.is_absolute(column), **vars(self.cell(system, column))}
                 for column in self.columns for system in self.systems]
        apart = [{"metric": column.metric, "quantity": column.quantity.name, **vars(found)}
                 for column, found in self.differences()]
        metrics = {name: facts.to_dict() for name, facts in self.facts.items()}
        return plain({"format": FORMAT, "about": self.about, "metrics": metrics, "not run": self.absent,
                      "notes": self.notes, "table": table, "differences": apart, "pooled": self.pooled,
                      "sections": self.sections, "rows": [row.to_dict() for row in self.rows]})

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Of the folder of an earlier report.

        Raises:
            BadRun: it holds none, or one of another version.
        """
        path = Path(folder) / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise KeyError
            facts = {name: Facts.from_dict(known) for name, known in content["metrics"].items()}
            rows = [Row.from_dict(row) for row in content["rows"]]
            pooled = {system: {metric: {name: float(value) for name, value in values.items()}
                               for metric, values in by.items()} for system, by in content["pooled"].items()}
            return cls(facts, rows, content["not run"], content["notes"], content["about"], pooled, content["sections"])
        except OSError as error:
            raise BadRun(f"{path} cannot be read: {error.strerror}; `fctfg evaluate` writes one.") from None
        except (ValueError, KeyError, TypeError):
            raise BadRun(f"{path} is no report of this version of fctfg; measure again with `fctfg "
                         "evaluate`.") from None


SIGNS = {"higher": 1, "lower": -1, "near zero": -1}
"""Of the kinds of quantities that can be put in order; times it, more is better."""


def common_facts(many: Sequence[Results]) -> tuple[dict[str, Facts], list[str]]:
    """The metrics that all have, measured alike, and in a line each why others cannot be compared."""
    notes, facts = [], {}
    for label in dict.fromkeys(label for results in many for label in results.facts):
        protocols = {results.facts[label].protocol if label in results.facts else None for results in many}
        if None in protocols:
            notes.append(f"{label} was not measured for every system, and is left out.")
        elif len(protocols) > 1:
            notes.append(f"{label} was measured by different protocols ({'; '.join(sorted(protocols))}), and is left "
                         "out.")
        else:
            facts[label] = next(results.facts[label] for results in many if label in results.facts)
    return facts, notes
