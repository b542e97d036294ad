"""Which films are measured against which: two files, two folders, or a table."""

from __future__ import annotations

import csv
from pathlib import Path

from ..data.manifest import MEDIA_SUFFIXES
from ..errors import BadJobs, BadMedia
from .measuring import Pair

COLUMNS = ("generated", "reference", "name")


def find_pairs(generated: str | Path, reference: str | Path | None = None) -> tuple[list[Pair], list[str]]:
    """The films to measure, and what is to be said of those that have no counterpart.

    `generated` is a video; a folder, whose videos are laid beside those of the folder `reference` that have the same
    path below it, but for the ending; or a CSV table with columns generated and, where wanted, reference and name,
    whose paths are relative to its folder.

    Raises:
        BadMedia: there is no such file, or a folder without videos.
        BadJobs: the table cannot be used; the message has the line.
    """
    generated = Path(generated)
    reference = None if reference is None else Path(reference)
    if generated.suffix.lower() in (".csv", ".tsv"):
        if reference is not None:
            raise BadJobs(f"{generated} is a table, whose column reference says what each is compared with; leave out "
                          "--reference.")
        return _of_table(generated), []
    for path in filter(None, (generated, reference)):
        if not path.exists():
            raise BadMedia(f"There is no file or folder {path}; check the name.")
    if generated.is_dir():
        return _of_folders(generated, reference)
    if reference is not None and reference.is_dir():
        found = _by_name(reference).get(generated.stem)
        problem = "" if found else f"{reference} has no video called {generated.stem}"
        return [Pair(generated.stem, generated, found, problem)], []
    return [Pair(generated.stem, generated, reference)], []


def _of_folders(generated: Path, reference: Path | None) -> tuple[list[Pair], list[str]]:
    if reference is not None and not reference.is_dir():
        raise BadMedia(f"{generated} is a folder, and --reference {reference} is not; give a folder with videos of the "
                       "same names, or a table of pairs.")
    films = _by_name(generated)
    if not films:
        raise BadMedia(f"{generated} holds no video ({', '.join(sorted(MEDIA_SUFFIXES))}).")
    if reference is None:
        return [Pair(name, path) for name, path in films.items()], []
    real = _by_name(reference)
    pairs = [Pair(name, path, real.get(name), "" if name in real else f"{reference} has no video called {name}")
             for name, path in films.items()]
    alone = [name for name in real if name not in films]
    few = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
    notes = [f"{len(alone)} of {len(real)} references have no generated video: {few}."] if alone else []
    return pairs, notes


def _by_name(folder: Path) -> dict[str, Path]:
    """The videos below a folder by their path from there, without its ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.suffix.lower() not in MEDIA_SUFFIXES or any(part.startswith(".") for part in below.parts):
            continue
        name = below.with_suffix("").as_posix()
        if name in found:
            raise BadMedia(f"{found[name]} and {path} have the same name but for the ending, and nobody knows which is "
                           "meant; move one away, or give a table of pairs.")
        found[name] = path
    return found


def _of_table(table: Path) -> list[Pair]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        raise BadJobs(f"{table} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise BadJobs(f"{table} is not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV in "
                      "UTF-8.") from None
    reader = csv.reader(lines, delimiter=max(",;\t", key=lines[0].count) if lines else ",", strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise BadJobs(f"{table}, line {reader.line_num}: {error}.") from None
    rows = [(line, row) for line, row in rows if any(row)]
    header = [name.lower() for name in rows[0][1]] if rows else []
    if "generated" not in header or (unknown := sorted(set(header) - set(COLUMNS))) or len(set(header)) < len(header):
        odd = ("there is no column generated" if "generated" not in header else
               f"unknown column '{unknown[0]}'" if unknown else "a column comes twice")
        raise BadJobs(f"{table}, line 1: {odd}. It takes generated, and where wanted reference and name, each once.")
    pairs, taken = [], {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise BadJobs(f"{table}, line {line}: {len(row)} cells, and the header has {len(header)}; quote a cell "
                          "that holds the separator.")
        cells = {name: cell for name, cell in zip(header, row) if cell}
        if "generated" not in cells:
            raise BadJobs(f"{table}, line {line}: the cell of column generated is empty.")
        path = table.parent / cells["generated"]
        name = cells.get("name") or Path(cells["generated"]).with_suffix("").as_posix()
        if (first := taken.setdefault(name, line)) != line:
            raise BadJobs(f"{table}, line {line}: '{name}' is what line {first} is called already; give each a name of "
                          "its own in a column name.")
        pairs.append(Pair(name, path, table.parent / cells["reference"] if "reference" in cells else None))
    if not pairs:
        raise BadJobs(f"{table} has no rows below its header.")
    return pairs
