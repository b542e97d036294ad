"""The report as one page that needs nothing else: tables, plots, and players that stay in step."""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..charts import COLOURS, Panel
from .results import Cell, Column, Results
from .statistics import LEAST
from .svg import to_svg
from .viewing import viewable
from .wording import ARROWS, counted, difference_heading, heading, number, remarks

HERE = Path(__file__).parent
SHOWN = 60
"""Clips, the worst ones, that have players and plots; a page of thousands would not open."""
SMALL = 4 * 2**20
"""Bytes of a video up to which it is kept inside the page."""


def render_page(results: Results, folder: Path, embed: bool = False, heading: str = "Measured talking faces") -> str:
    """The page that lies in `folder`. Videos are linked relative to it; with `embed`, small ones are inside."""
    return "\n".join([
        "<!doctype html>", '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{escape(heading)}</title>",
        f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style>",
        f"<h1>{escape(heading)}</h1>", _about(results, embed),
        *_table(results), *_differences(results), *_sections(results), *_clips(results, folder, embed),
        *_absent(results), *_metrics(results),
        f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>", "</html>", ""])


def _about(results: Results, embed: bool) -> str:
    said = ", ".join(f"{name} {value}" for name, value in results.about.items())
    videos = (f"Videos of up to {SMALL // 2**20} MB are inside this page; larger ones" if embed
              else "The page is complete in itself but for the videos, which")
    return (f'<p class="about">{len(results.clips)} clips, {len(results.systems)} '
            f'system{"s" if len(results.systems) != 1 else ""}; {escape(said)}. {videos} are linked from where they '
            "lie: move the page together with them.</p>")


def _table(results: Results) -> Iterator[str]:
    absolute = " Absolute: of sizes, so that early and late do not cancel out; each clip's own has its sign." \
        if any(map(results.is_absolute, results.columns)) else ""
    yield ("<h2>Means</h2><p>Mean over the clips that every system has a number for, with its 95 % interval (bootstrap "
           f"over clips, seed 0); below it how many clips were scored of how many were given. Best in bold."
           f"{absolute}</p>")
    yield '<div class="wide"><table id="means"><thead><tr><th>quantity</th><th>protocol</th>'
    yield "".join(f"<th>{escape(system)}</th>" for system in results.systems) + "</tr></thead><tbody>"
    for column in results.columns:
        best = results.best(column)
        facts = results.facts[column.metric]
        cells = []
        for system in results.systems:
            cell = results.cell(system, column)
            mean = "–" if cell.mean is None else number(cell.mean)
            mean = f"<b>{mean}</b>" if system in best else mean
            ends = _ends(number(cell.low), number(cell.high)) if cell.low is not None else ""
            cells.append(f'<td class="number">{mean}{ends}<br><span class="count{_lacking(cell)}" '
                         f'title="{escape(_reasons(cell), True)}">{counted(cell)}</span></td>')
        head = _head(column, heading(results, column))
        yield (f'<tr><th scope="row" title="{escape(column.quantity.about, True)}">{head} '
               f'<span class="unit">{escape(column.quantity.unit)}</span></th>'
               f'<td class="protocol">{escape(facts.protocol)}</td>{"".join(cells)}</tr>')
    yield "</tbody></table></div>"


def _head(column: Column, title: str) -> str:
    return f'{escape(title)} <span class="arrow">{ARROWS[column.quantity.better]}</span>'


def _ends(low: str, high: str) -> str:
    return f' <span class="ends">[{low}, {high}]</span>'


def _lacking(cell: Cell) -> str:
    return " lacking" if cell.n_scored < cell.n_given else ""


def _reasons(cell: Cell) -> str:
    return "; ".join(f"{count}: {why}" for why, count in cell.why.items())


def _differences(results: Results) -> Iterator[str]:
    found = list(results.differences())
    if not found:
        return
    yield (f"<h2>Differences to {escape(results.systems[0])}</h2><p>Paired by clip: the system less "
           f"{escape(results.systems[0])}, mean with its 95 % interval. In bold where 0 lies outside, of {LEAST} clips "
           "or more.</p>")
    yield '<div class="wide"><table id="differences"><thead><tr><th>quantity</th><th>protocol</th>'
    yield "".join(f"<th>{escape(system)}</th>" for system in results.systems[1:]) + "</tr></thead><tbody>"
    for column in results.columns:
        by = {apart.second: apart for other, apart in found if other == column}
        if not by:
            continue
        cells = []
        for system in results.systems[1:]:
            apart = by.get(system)
            if apart is None:
                cells.append('<td class="number">–</td>')
                continue
            text = f"{apart.mean:+.4g}"
            text = f"<b>{text}</b>" if apart.is_sure else text
            ends = _ends(f"{apart.low:+.4g}", f"{apart.high:+.4g}") if apart.n > 1 else ""
            clips = f'{apart.n} clip{"s" if apart.n != 1 else ""}'
            cells.append(f'<td class="number">{text}{ends}<br><span class="count">{clips}</span></td>')
        yield (f'<tr><th scope="row">{_head(column, difference_heading(column))}</th>'
               f'<td class="protocol">{escape(results.facts[column.metric].protocol)}</td>{"".join(cells)}</tr>')
    yield "</tbody></table></div>"


def _sections(results: Results) -> Iterator[str]:
    for title, section in results.sections.items():
        yield f'<h2>{escape(title)}</h2><p>{escape(section["about"])}</p>'
        yield '<div class="wide"><table class="section"><thead><tr>'
        yield "".join(f"<th>{escape(str(name))}</th>" for name in section["head"]) + "</tr></thead><tbody>"
        for row in section["rows"]:
            yield "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        yield "</tbody></table></div>"


def _clips(results: Results, folder: Path, embed: bool) -> Iterator[str]:
    order = results.worst_first()
    ranked = [column for column in results.columns if column.quantity.better in ("higher", "lower", "near zero")]
    orders = {number: {clip: place for place, clip in enumerate(results.worst_first(column))}
              for number, column in enumerate(ranked)}
    choices = "".join(f'<option value="{number}">{escape(column.title)}</option>'
                      for number, column in enumerate(ranked))
    more = f" {len(order) - SHOWN} further clips, which did better, are in results.csv." if len(order) > SHOWN else ""
    yield ('<h2>Clips, worst first</h2><p><label>Order by <select id="order">'
           f'<option value="all">the ranks of all</option>{choices}</select></label>{more}</p>'
           '<p>Play, and all players of a clip go together; the sound is that of the chosen one. The line in '
           'a plot is the moment on screen.</p><div id="clips">')
    for place, clip in enumerate(order[:SHOWN]):
        ranks = " ".join(f'data-order-{number}="{by[clip]}"' for number, by in orders.items())
        yield f'<article class="clip" data-order-all="{place}" {ranks}><h3>{escape(clip)}</h3>'
        yield from _players(results, clip, folder, embed)
        yield from _values(results, clip)
        yield '<div class="plots">' + "".join(_plots(results, clip)) + "</div></article>"
    yield "</div>"


def _players(results: Results, clip: str, folder: Path, embed: bool) -> Iterator[str]:
    rows = {system: next((row for label in results.facts if (row := results.row(system, label, clip))), None)
            for system in results.systems}
    videos = {system: row.generated for system, row in rows.items() if row}
    if reference := next((row.reference for row in rows.values() if row and row.reference), None):
        videos = {"reference": reference, **videos}
    yield '<div class="players">'
    for name, path in videos.items():
        address = _address(viewable(Path(path), folder), folder, embed)
        yield (f'<figure><video preload="metadata" playsinline muted src="{address}"></video><figcaption><label>'
               f'<input type="radio" name="sound {escape(clip, True)}"> {escape(name)}</label></figcaption></figure>')
    yield ('</div><div class="controls"><button type="button" class="play">Play</button>'
           '<input type="range" class="seek" aria-label="where" min="0" max="1" step="0.001" value="0">'
           '<output class="time">0.00 s</output><select class="speed" aria-label="speed"><option value="1">1x</option>'
           '<option value="0.5">1/2x</option><option value="0.25">1/4x</option></select></div>')


def _address(path: Path, folder: Path, embed: bool) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    try:
        if embed and path.stat().st_size <= SMALL:
            return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return quote(Path(os.path.relpath(path, folder.absolute())).as_posix())
    except (OSError, ValueError):  # not there any more, or on another drive
        return path.absolute().as_uri()


def _values(results: Results, clip: str) -> Iterator[str]:
    heads = "".join(f'<th><span class="key" style="background:rgb{_colour(place)}"></span>{escape(system)}</th>'
                    for place, system in enumerate(results.systems))
    yield f'<div class="wide"><table class="values"><thead><tr><th>quantity</th>{heads}</tr></thead><tbody>'
    for column in results.columns:
        protocol = results.facts[column.metric].protocol
        yield f'<tr><th scope="row" title="{escape(protocol, True)}">{_head(column, column.title)}</th>'
        for system in results.systems:
            row, value = results.row(system, column.metric, clip), results.value(system, column, clip)
            why = "no film of this clip" if row is None else "; ".join(filter(None, [row.why, *row.notes]))
            state = row.state if row else ""
            text = number(value) if value is not None else "in all" if state == "scored" else state or "–"
            mark = " <abbr>*</abbr>" if why and value is not None else ""
            yield f'<td class="number {state.replace(" ", "-")}" title="{escape(why, True)}">{text}{mark}</td>'
        yield "</tr>"
    yield "</tbody></table></div>"
    said: dict[tuple[str, str], list[str]] = {}
    for system in results.systems:
        for label in results.facts:
            row = results.row(system, label, clip)
            for reason in [row.why, *row.notes] if row else ():
                said.setdefault((system, reason), []).append(label)
    if lines := [f"{system}: {reason} ({', '.join(labels)})" for (system, reason), labels in said.items() if reason]:
        yield '<ul class="why">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _colour(place: int) -> tuple[int, int, int]:
    return COLOURS[place % len(COLOURS)]


def _plots(results: Results, clip: str) -> Iterator[str]:
    """A plot for each curve, a line for each system: over the offset, or over time."""
    for label, facts in results.facts.items():
        rows = {system: row for system in results.systems if (row := results.row(system, label, clip)) and row.curves}
        for name in dict.fromkeys(name for row in rows.values() for name in row.curves):
            curves = {system: row.curves.get(name, []) for system, row in rows.items()}
            over_offset = "offset" in name
            lines = {system: (_offsets(curve) if over_offset else _seconds(rows[system], curve), curve)
                     for system, curve in curves.items()}
            lines = {system: lines.get(system, ([], [])) for system in results.systems}  # so that colours stay
            marks = {0.0: "as it is"} if over_offset else {}
            title = f"{label}: {name}" if name != label else label
            panel = Panel(title, "offset, frames" if over_offset else "seconds", lines, marks=marks)
            yield to_svg(panel, facts.protocol, in_seconds=not over_offset)


def _offsets(curve: list[float]) -> list[float]:
    return [place - len(curve) // 2 for place in range(len(curve))]


def _seconds(row, curve: list[float]) -> list[float]:
    return [place / row.frame_rate for place in range(len(curve))]


def _absent(results: Results) -> Iterator[str]:
    if lines := list(remarks(results)):
        listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f'<h2>What is not in the table</h2><ul class="why">{listed}</ul>'


def _metrics(results: Results) -> Iterator[str]:
    yield "<h2>What was measured, and how</h2><dl>"
    for label, facts in results.facts.items():
        yield (f"<dt>{escape(label)}</dt><dd>{escape(facts.protocol)}. Paper: {escape(facts.paper or 'none')}. "
               f"Licence: {escape(facts.licence)}. {escape(facts.version)}.<br>Blindness: {escape(facts.blindness)}"
               + "".join(f"<br><b>{escape(q.name)}</b>: {escape((q.about or q.name).rstrip('.'))}; {escape(q.better)}"
                         f"{' is better' if q.better in ('higher', 'lower') else ''}, "
                         f"{q.low:g} to {q.high:g} {escape(q.unit)}"
                         for q in facts.quantities) + "</dd>")
    yield "</dl>"
