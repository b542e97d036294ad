"""Results for people and programs: a table on the terminal, JSON, CSV, LaTeX rows and the page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

from ..files import write_text
from .page import render_page
from .results import FILE, Column, Results
from .statistics import LEAST
from .wording import ARROWS, counted, difference_heading, heading, number, remarks, told


def write_report(results: Results, folder: str | Path, embed: bool = False,
                 heading: str = "Measured talking faces") -> None:
    """Write results.json, results.csv, table.tex and index.html into `folder`, whole or not at all each.

    With `embed` small videos are kept inside the page; otherwise it links to where they lie.
    """
    folder = Path(folder)
    write_text(folder / FILE, json.dumps(results.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(folder / "results.csv", to_csv(results))
    write_text(folder / "table.tex", to_latex(results))
    write_text(folder / "index.html", render_page(results, folder, embed, heading))


def to_csv(results: Results) -> str:
    """A line for each number that was found, and one for each film that a metric could not measure, with why."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["system", "clip", "metric", "protocol", "quantity", "value", "unit", "better", "state", "why",
                    "notes", "generated", "reference"])
    for row in results.rows:
        quantities = {quantity.name: quantity for quantity in results.facts[row.metric].quantities}
        for name in [name for name in quantities if name in row.values] or [""]:
            quantity = quantities.get(name)
            lines.writerow([row.system, row.clip, row.metric, row.protocol, name, row.values.get(name, ""),
                            quantity.unit if quantity else "", quantity.better if quantity else "", row.state, row.why,
                            "; ".join(row.notes), row.generated, row.reference or ""])
    return text.getvalue()


def to_latex(results: Results) -> str:
    """Rows of a table, a system each; the best in bold. Comments say what heads each column, by which protocol."""
    columns, systems = results.columns, results.systems
    titles = {column: heading(results, column) for column in columns}
    lines = ["% " + _tex_comment(f"{number}: {title} ({ARROWS[column.quantity.better] or 'no direction'}), "
                                 f"{results.facts[column.metric].protocol}")
             for number, (column, title) in enumerate(titles.items(), start=2)]
    arrows = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}
    heads = [_tex(title) + arrows.get(column.quantity.better, "") for column, title in titles.items()]
    lines.append(" & ".join(["system", *heads]) + r" \\ \midrule")
    best = {column: results.best(column) for column in columns}
    for system in systems:
        cells = []
        for column in columns:
            cell = results.cell(system, column)
            text = "--" if cell.mean is None else _tex_number(cell.mean)
            text = rf"\textbf{{{text}}}" if system in best[column] else text
            if cell.low is not None:
                text += rf" {{\scriptsize [{_tex_number(cell.low)}, {_tex_number(cell.high)}]}}"
            cells.append(text)
        lines.append(" & ".join([_tex(system), *cells]) + r" \\")
    return "\n".join(lines) + "\n"


def _tex_number(value: float) -> str:
    return number(value) if math.isfinite(value) else r"$\infty$" if value > 0 else r"$-\infty$"


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text


def _tex_comment(text: str) -> str:
    return " ".join(text.split())


def summary(results: Results) -> Iterator[str]:
    """The table as lines of text: a row for each quantity and system, then why films were not scored."""
    mean = "mean [95 %], * best" if len(results.systems) > 1 else "mean [95 %]"
    yield from _aligned([("metric", "", "system", mean, "scored", "protocol")]
                        + [line for column in results.columns for line in _lines(results, column)])
    if found := list(results.differences()):
        yield ""
        yield from _aligned([("difference, paired", "", "of", "less", "mean [95 %]", "clips", "")] + [
            (difference_heading(column), ARROWS[column.quantity.better], apart.second, apart.first,
             f"{apart.mean:+.4g}" + (f" [{apart.low:+.4g}, {apart.high:+.4g}]" if apart.n > 1 else ""), str(apart.n),
             "" if apart.is_sure else "too few clips to say" if apart.n < LEAST else
             "the same" if apart.low == apart.high == 0 else "could be chance")
            for column, apart in found])
    for line in remarks(results):
        yield line


def _lines(results: Results, column: Column) -> Iterator[tuple[str, ...]]:
    best = results.best(column)
    for place, system in enumerate(results.systems):
        cell = results.cell(system, column)
        first = place == 0
        yield (heading(results, column) if first else "", ARROWS[column.quantity.better] if first else "", system,
               told(cell) + (" *" if system in best else ""), counted(cell),
               results.facts[column.metric].protocol if first else "")


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
