"""What was measured, a row for each film and metric, kept in a file as it comes so that nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..files import replacing
from ..interfaces import Score
from .asked import Facts
from .measuring import Finding, Pair

FILE = "measured.jsonl"
FEATURES = "features"
"""The folder of what metrics of whole sets keep of each film."""

State = Literal["scored", "not measured", "failed"]


@dataclass
class Row:
    """What one metric found in one film."""

    clip: str
    metric: str
    """What its columns are called, such as `lse:protocol=wav2lip-lrs`."""
    protocol: str
    state: State
    """`failed` where the metric has a bug, `not measured` where the film is to blame."""
    generated: str
    reference: str | None = None
    frame_rate: float = 25.0
    """Of the frames that the metric saw, and so of its curves over time."""
    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    why: str = ""
    traceback: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    features: str = ""
    """The file, relative to the report's folder, that holds them."""
    system: str = ""
    key: str = ""
    """Of the film, its reference and the way of measuring: equal keys give equal rows."""

    @classmethod
    def of(cls, pair: Pair, finding: Finding, facts: Facts) -> Row:
        score = finding.score or Score({})
        state = "scored" if finding.score else "failed" if finding.traceback else "not measured"
        values = {name: float(value) for name, value in score.values.items()}
        curves = {name: [float(f"{value:.6g}") for value in np.asarray(curve, float)]
                  for name, curve in score.curves.items()}
        return cls(pair.name, finding.metric, facts.protocol, state, str(pair.generated.absolute()),
                   pair.reference and str(pair.reference.absolute()), finding.frame_rate, values, curves,
                   finding.why, finding.traceback, finding.notes, round(finding.seconds, 3))

    def score(self, folder: Path | None = None) -> Score:
        """As the metric gave it; the features are read from the report's `folder`."""
        features = {}
        if self.features and folder is not None:
            with np.load(folder / self.features, allow_pickle=False) as file:
                features = {name: file[name] for name in file.files}
        return Score(dict(self.values), {name: np.array(curve) for name, curve in self.curves.items()}, **features)

    def to_dict(self) -> dict[str, Any]:
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Row:
        row = cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})
        row.values = {name: float(value) for name, value in row.values.items()}
        row.curves = {name: [float(value) for value in curve] for name, curve in row.curves.items()}
        return row


def plain(value: Any) -> Any:
    """The same with numbers that JSON has no word for as text: "inf", "-inf", "nan"; `float` reads them back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def key_of(pair: Pair, facts: Facts, detector: str, speaker: str) -> str:
    """Changes with the files and with how they are measured."""
    parts = [facts.digest, detector, speaker, _identity(pair.generated),
             pair.reference and _identity(pair.reference), pair.problem, pair.missing]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _identity(path: Path) -> list:
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


class Rows:
    """The rows of a report's folder, those of earlier runs included. Opened once at a time."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.kept = {row.key: row for row in self._read() if row.state != "failed"}  # a bug may be mended since

    def _read(self) -> Iterator[Row]:
        path = self.folder / FILE
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                row = Row.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError):  # the end of a line that was being written at a kill
                continue
            if not row.features or (self.folder / row.features).is_file():
                yield row

    def keep(self, row: Row, score: Score | None) -> None:
        """Write a row, and the features of its score, so that they are there after a kill."""
        if score is not None and score.features is not None:
            row.features = f"{FEATURES}/{row.key}.npz"
            path = self.folder / row.features
            path.parent.mkdir(exist_ok=True)
            both = {"features": score.features, "reference_features": score.reference_features}
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **{name: np.asarray(value) for name, value in both.items() if value is not None})
        path = self.folder / FILE
        broken = path.exists() and path.stat().st_size and not _ends_a_line(path)
        with open(path, "a", encoding="utf-8") as file:
            file.write(("\n" if broken else "") + json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        self.kept[row.key] = row


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
