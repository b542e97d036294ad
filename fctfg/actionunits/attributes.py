"""`attributes.txt`, which says for each frame what face to draw: three formats go by that name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..action_units import NAMES
from ..errors import BadMedia

MOST = 5.0


@dataclass(frozen=True)
class Attributes:
    """What an `attributes.txt` says, a row for each frame, in its order."""

    names: list[str]
    """Of the picture that a row is of, or of the one that is to be written."""
    action_units: np.ndarray | None = None
    """(T, 17) float32 in [0, 1]; None where sound says them."""
    spectrograms: list[Path] | None = None
    """What is heard at each frame, files of (1, 128, 32); None where there is none."""


def read_attributes(path: str | Path, images: str | Path | None = None) -> Attributes:
    """The rows of `path`, in one of three formats, told by what is in them.

        22.jpg 0.00 1.25 ... 0.13        17 strengths from 0 to 5, in OpenFace's order; the first two lines may be a
                                         count and names, as in CelebA's lists (vipermu/ganimation)
        spec.npy label.npy frame.jpg     a label file holds 17 strengths from 0 to 1 (IETaFS, for training)
        spec.npy 000.jpg                 a spectrogram, and the name of the frame to write (IETaFS, for animation)

    Files are looked for beside `path`. The pictures need not exist, unless `images`, their folder, is given.

    Raises:
        BadMedia: it cannot be read, fits no format, or names files that are not there.
    """
    path = Path(path)
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadMedia(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.") from None
    first = _after_header(lines)
    rows = lines[first:]
    if not rows:
        raise BadMedia(f"{path} has no rows; each should name a picture and 17 strengths, or a spectrogram and a "
                       "picture.")
    widths = [len(row) for row in rows]
    if widths[0] not in (2, 3, len(NAMES) + 1) or len(set(widths)) > 1:
        wrong = next((index for index, width in enumerate(widths) if width != widths[0]), 0)
        raise BadMedia(f"{path}, line {first + wrong + 1} has {widths[wrong]} fields; rows are a picture and 17 "
                       "strengths, or a spectrogram, a label and a picture, or a spectrogram and the name of a frame to "
                       "write.")
    names = [row[0] if len(row) > 3 else row[-1] for row in rows]
    if images is not None:
        _check(path, "pictures", [Path(images) / name for name in names])
    if widths[0] == len(NAMES) + 1:
        return Attributes(names, action_units=_strengths(path, rows, first))
    spectrograms = [path.parent / row[0] for row in rows]
    _check(path, "spectrograms", spectrograms)
    if widths[0] == 2:
        return Attributes(names, spectrograms=spectrograms)
    labels = [path.parent / row[1] for row in rows]
    _check(path, "labels", labels)
    return Attributes(names, np.stack([_label(label) for label in labels]), spectrograms)


def _after_header(lines: list[list[str]]) -> int:
    """The number of the first row: 2 after a count and the names of columns, else 0."""
    return 2 if len(lines) > 1 and len(lines[0]) == 1 and lines[0][0].isdigit() else 0


def _strengths(path: Path, rows: list[list[str]], first: int) -> np.ndarray:
    values = np.empty((len(rows), len(NAMES)), np.float32)
    for index, row in enumerate(rows):
        try:
            values[index] = [float(cell) for cell in row[1:]]
        except ValueError:
            wrong = next(cell for cell in row[1:] if not _is_number(cell))
            raise BadMedia(f"{path}, line {first + index + 1}: '{wrong}' is no number.") from None
    if (wild := np.argwhere(~((values >= -MOST) & (values <= 2 * MOST)))).size:
        row, column = wild[0]
        raise BadMedia(f"{path}, line {first + row + 1}: {NAMES[column]} is {values[row, column]:g}; strengths go "
                       "from 0 to 5.")
    return np.clip(values / MOST, 0, 1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BadMedia(f"{path} is no label: it holds no array of numbers.") from None
    values = np.asarray(values, np.float32).ravel()
    if values.shape != (len(NAMES),) or not ((values >= 0) & (values <= 1)).all():
        raise BadMedia(f"{path} is no label: it should hold {len(NAMES)} strengths from 0 to 1, in OpenFace's order.")
    return values


def _check(path: Path, what: str, files: list[Path]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BadMedia(f"{path} names {len(missing)} {what} that are not in {missing[0].parent}: "
                       f"{', '.join(file.name for file in missing[:3])}{rest}.")
