"""Tables with a row for each frame, as OpenFace, pyfaceau, py-feat and LibreFace write them, told by their columns.

    columns              by               values
    AU01_r               OpenFace 2       0 to 5: FeatureExtraction, FaceLandmarkVidMulti and FaceLandmarkImg
    AU01_r               pyfaceau         the same
    AU01, AU43           py-feat          0 to 1; AU43, closed eyes, stands for AU45
    AU01                 ours             0 to 1; any of them, the others are not known
    au_1_intensity       LibreFace        0 to 5; AU07, AU10, AU14, AU23 and AU45 have none and are not known

Columns are told by their names, without the spaces that some versions put before them; presence (AU01_c, au_1) is no
strength and is passed over. Rows say their moment by `timestamp`, in seconds, or by `frame`.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..action_units import NAMES
from ..errors import BadMedia
from ..interfaces import FRAME_RATE
from ..registry import suggest

log = logging.getLogger(__name__)

MIN_CONFIDENCE = 0.8
"""Of a row that is believed, where a table says how sure it is."""
LATE = 5
"""Frames by which a table may end before its video: the last ones are often lost."""
WILD = 2.0
"""How many times the range a value may leave it and still be taken for noise, which is clamped."""
SLACK = 1e-3  # seconds; time stamps are rounded to this


@dataclass(frozen=True)
class _Kind:
    """How one family of programs names and scales its columns."""

    name: str
    pattern: str
    most: float
    example: str


KINDS = (_Kind("OpenFace", r"au0?(\d{1,2})_r", 5.0, "AU01_r"),
         _Kind("LibreFace", r"au_?0?(\d{1,2})_intensity", 5.0, "au_1_intensity"),
         _Kind("py-feat", r"au0?(\d{1,2})", 1.0, "AU01"))
SAME_AS = {"AU43": "AU45"}
CONFIDENCE = ("confidence", "facescore")


def read_action_units(path: str | Path, num_frames: int | None = None, frame_rate: Fraction | float = FRAME_RATE,
                      source_rate: Fraction | float | None = None) -> np.ndarray:
    """`action_units.NAMES` (T, 17) float32 in [0, 1] of `num_frames` frames at `frame_rate`, NaN where not known.

    Frame k gets the row of what is on screen k / frame_rate seconds after the first frame, as `read_video` shows it.
    Rows without time stamps are `source_rate` apart, by default `frame_rate`. Not known are whatever the table has no
    column for, rows of failed frames (`success` 0, or a confidence under 0.8) and frames without a row. Of several
    faces in a frame, the one seen with most confidence counts. A table of a single picture goes for all frames. Without
    `num_frames` there are as many as the table lasts.

    Raises:
        BadMedia: the table cannot be read, has no action units or values beyond all range, or ends before the video.
    """
    path = Path(path)
    rows = _read_rows(path)
    kind, columns = _columns(path, list(rows[0]))
    values = _strengths(path, rows, kind, columns)
    believed = _believed(path, rows)
    units = np.full((len(rows), len(NAMES)), np.nan, np.float32)
    for name, column in columns.items():
        units[:, NAMES.index(name)] = np.where(believed, values[column], np.nan)
    moments, interval = _moments(path, rows, float(source_rate or frame_rate))
    if moments is None:
        surest = np.argmax(_confidence(path, rows))
        return np.repeat(units[surest][None], 1 if num_frames is None else num_frames, axis=0)
    order = np.lexsort((_confidence(path, rows), moments))
    moments, units = moments[order], units[order]
    last = np.append(moments[1:] - moments[:-1] > interval / 2, True)  # of the rows of a frame, the most confident
    moments, units = moments[last], units[last]

    lasts = moments[-1] + interval
    if num_frames is None:
        num_frames = max(1, round(lasts * float(frame_rate)))
    if (num_frames - LATE) / float(frame_rate) > lasts + SLACK:
        raise BadMedia(f"{path} has {len(moments)} frames and ends after {lasts:.2f} s; {num_frames} frames of "
                       f"{num_frames / float(frame_rate):.2f} s are to be drawn from it. Write it anew from the "
                       "same video.")
    wanted = np.arange(num_frames) / float(frame_rate)
    shown = np.searchsorted(moments, wanted + SLACK, side="right") - 1
    known = (shown >= 0) & (wanted - moments[shown] < 1.5 * interval)
    return np.where(known[:, None], units[shown], np.float32(np.nan))


def find_table(folder: str | Path, video: str | Path) -> Path:
    """The table of `video` in `folder`: the CSV file of its stem, there or in a folder of the same name as its own.

    Raises:
        BadMedia: there is none.
    """
    folder, video = Path(folder), Path(video)
    for place in (folder / video.parent.name / f"{video.stem}.csv", folder / f"{video.stem}.csv"):
        if place.is_file():
            return place
    raise BadMedia(f"{folder} has no table of action units for {video.name}: {video.stem}.csv is not there.")


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The rows by column, names stripped and in lower case."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            names = [name.strip().lower() for name in next(reader, [])]
            rows = [dict(zip(names, (value.strip() for value in row))) for row in reader if row]
    except OSError as error:
        raise BadMedia(f"{path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadMedia(f"{path} is no table of action units: {error}.") from None
    if not rows:
        raise BadMedia(f"{path} has no rows; give a table with a row for each frame.")
    return rows


def _columns(path: Path, names: Iterable[str]) -> tuple[_Kind, dict[str, str]]:
    """What family the table is of, and its column for each of `action_units.NAMES` that it has."""
    names = list(names)
    for kind in KINDS:
        found = {f"AU{int(match[1]):02}": name for name in names if (match := re.fullmatch(kind.pattern, name))}
        if unknown := [unit for unit in found if not 1 <= int(unit[2:]) <= 46]:
            raise BadMedia(f"{path}: column '{found[unknown[0]]}' is no action unit.{suggest(unknown[0], NAMES)}")
        columns = {unit: column for unit, column in found.items() if unit in NAMES}
        columns |= {own: found[theirs] for theirs, own in SAME_AS.items() if theirs in found and own not in found}
        if columns:
            return kind, columns
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    raise BadMedia(f"{path} has no column of an action unit, only {shown}; it should have columns such as "
                   f"{', '.join(f'{kind.example} ({kind.name})' for kind in KINDS)}.")


def _strengths(path: Path, rows: list[dict[str, str]], kind: _Kind, columns: dict[str, str]) -> dict[str, np.ndarray]:
    """The values of `columns` in [0, 1], by column. What lies a little outside is clamped, and counted in the log."""
    values, outside, total = {}, 0, 0
    for column in columns.values():
        raw = _numbers(path, rows, column)
        if (wild := np.flatnonzero((raw < -kind.most * (WILD - 1)) | (raw > kind.most * WILD) | np.isinf(raw))).size:
            other = " Columns of strengths from 0 to 5 are called AU01_r." if kind.most == 1 else ""
            raise BadMedia(f"{path}, row {wild[0] + 1}: {column} is {raw[wild[0]]:g}, where {kind.name} gives 0 to "
                           f"{kind.most:g}.{other}")
        outside += int(((raw < 0) | (raw > kind.most)).sum())
        total += int(np.isfinite(raw).sum())
        values[column] = np.clip(raw / kind.most, 0, 1)
    if kind.most == 1 and outside > 0.1 * total:
        raise BadMedia(f"{path}: {outside} of {total} values lie outside 0 to 1, where columns are called "
                       f"{kind.example}; strengths from 0 to 5 have columns called AU01_r.")
    if outside:
        log.warning("%s: %d of %d values lie outside 0 to %g and were clamped.", path, outside, total, kind.most)
    return values


def _believed(path: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """(n,) bool: which rows are of a face that was seen."""
    believed = _confidence(path, rows) >= MIN_CONFIDENCE
    if "success" in rows[0]:
        believed &= np.array([row.get("success", "").lower() in ("1", "1.0", "true") for row in rows])
    return believed


def _confidence(path: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """(n,): how sure the table is of each row; 1 where it does not say."""
    column = next((name for name in CONFIDENCE if name in rows[0]), None)
    return np.ones(len(rows)) if column is None else np.nan_to_num(_numbers(path, rows, column), nan=0.0)


def _moments(path: Path, rows: list[dict[str, str]], source_rate: float) -> tuple[np.ndarray | None, float]:
    """When each row's frame appears, in seconds from the first, and how long it stays; None for a single picture."""
    if "timestamp" in rows[0] and (times := _numbers(path, rows, "timestamp")).any():
        apart = np.diff(np.unique(times))
        return times, float(np.median(apart[apart > SLACK / 2])) if (apart > SLACK / 2).any() else 1 / source_rate
    for column in ("frame", "frame_idx", "frame_id"):
        if column in rows[0]:
            numbers = _numbers(path, rows, column)
            first = 0.0 if numbers.min() == 0 else 1.0  # OpenFace counts from 1, Python from 0
            return (numbers - first) / source_rate, 1 / source_rate
    if "face" in rows[0] or len(rows) == 1:
        return None, 0.0
    return np.arange(len(rows)) / source_rate, 1 / source_rate


def _numbers(path: Path, rows: list[dict[str, str]], column: str) -> np.ndarray:
    """(n,): a column; NaN where a cell is empty."""
    numbers = np.empty(len(rows))
    for index, row in enumerate(rows):
        cell = row.get(column, "")
        try:
            numbers[index] = float(cell) if cell else np.nan
        except ValueError:
            raise BadMedia(f"{path}, row {index + 1}: {column} is '{cell}', which is no number.") from None
    return numbers
