"""The `fctfg` command. Every command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import sys
import threading
from pathlib import Path

import click

from . import registry
from .errors import FctfgError, MissingExtra
from .weights.commands import COMMANDS as WEIGHTS_COMMANDS

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
MACHINE_ERRORS = NO_ROOM | {errno.EACCES, errno.EPERM, errno.EROFS}
"""What the machine refuses, which is no bug of ours: a full disk, a folder that is not ours to write in."""

CHOICES_WHEN_LONGER = ("bounce", "loop", "freeze", "cut")
CHOICES_WHEN_SHORTER = ("cut", "silence")


class PluginName(click.ParamType):
    """A plugin name, checked against what is installed when the command runs."""

    def __init__(self, kind: str):
        self.kind = kind
        self.name = registry.label(kind)

    def convert(self, value, param, ctx):
        if self.kind == "recipe" and value.endswith((".yaml", ".yml")):
            return value
        try:
            registry.find(self.kind, value)
        except FctfgError as error:
            raise click.ClickException(str(error)) from None
        return value

    def shell_complete(self, ctx, param, incomplete):
        names = sorted({plugin.name for plugin in registry.plugins(self.kind)})
        return [click.shell_completion.CompletionItem(name) for name in names if name.startswith(incomplete)]


class Commands(click.Group):
    """Turns the errors that a user can act on into one line on stderr and exit code 1."""

    def invoke(self, ctx):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupt)  # so that a job scheduler's stop leaves nothing half-written
        try:
            return super().invoke(ctx)
        except FctfgError as error:
            raise click.ClickException(" ".join(str(error).split())) from error
        except OSError as error:
            if error.errno not in MACHINE_ERRORS:
                raise
            remedy = "Make room, or write elsewhere" if error.errno in NO_ROOM else "Choose a place that you may use"
            raise click.ClickException(f"{error.filename or 'writing'}: {error.strerror}. {remedy}; `fctfg train` goes on "
                                       "with --resume where it last saved.") from error

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            commands = self.list_commands(ctx)
            raise click.UsageError(f"No command '{args[0]}'.{registry.suggest(args[0], commands)} "
                                   f"Commands: {', '.join(commands)}.", ctx) from None


def _interrupt(_number, _frame):
    raise KeyboardInterrupt


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fctfg")
def main():
    """Train and run talking faces made of interchangeable parts."""


@main.command("list-plugins")
@click.option("--kind", type=click.Choice(list(registry.KINDS)), help="Only plugins of this kind.")
@click.option("--check", is_flag=True, help="Import each plugin and say what those that fail lack.")
@click.option("--pairs", is_flag=True, help="Try which encoders, audio encoders and decoders work together; takes seconds.")
@click.option("--markdown", is_flag=True, help="With --pairs: tables for a page.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_plugins(kind, check, pairs, markdown, as_json):
    """List the installed plugins."""
    if pairs:
        _list_pairs(markdown, as_json)
        return
    rows, failed = [], 0
    for plugin in registry.plugins(kind):
        row = {"kind": plugin.kind, "name": plugin.name, "package": plugin.package, "version": plugin.version}
        if check:
            problem = plugin.problem()
            row["state"] = str(problem or "ok")
            failed += problem is not None and not isinstance(problem, MissingExtra)  # an extra is nobody's fault
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            line = f"{registry.label(row['kind']):<15} {row['name']:<16} {row['package']} {row['version']}"
            click.echo(f"{line}  {row.get('state', '')}".rstrip())
    if failed:
        raise click.ClickException(f"{failed} of {len(rows)} plugins cannot be used; the others can.")


def _list_pairs(markdown: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from .pairs import BROKEN, examine, render

    rows = examine()
    click.echo(json.dumps([asdict(row) for row in rows], indent=2) if as_json else "\n".join(render(rows, markdown)))
    if broken := sum(row.state == BROKEN for row in rows):
        raise click.ClickException(f"{broken} of {len(rows)} pairs fail, where they should work or be refused.")


@main.command()
@click.argument("kind")
@click.argument("name")
def show(kind, name):
    """Say what a plugin is: `fctfg show decoder wav2lip`."""
    from .doctor import describe

    kind = {"encoder": "visual_encoder"}.get(kind, kind.replace("-", "_"))
    if kind not in registry.KINDS:
        kinds = [known.replace("_", "-") for known in registry.KINDS]
        raise click.ClickException(f"No kind '{kind}'.{registry.suggest(kind, kinds)} Kinds: {', '.join(kinds)}.")
    click.echo(describe(registry.find(kind, name)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json):
    """Say what is there: versions, devices, codecs, plugins and what they lack, weight files."""
    from .doctor import examine, render

    found = examine()
    click.echo(json.dumps(found, indent=2) if as_json else render(found))


def _device(command):
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")(command)


@main.command()
@click.option("--recipe", type=PluginName("recipe"), help="A recipe plugin, or a .yaml file.  [default: the one with most of the parts named, or wav2lip]")
@click.option("--encoder", "--visual-encoder", "visual_encoder", type=PluginName("visual_encoder"), help="Swap the visual encoder.")
@click.option("--audio-encoder", type=PluginName("audio_encoder"), help="Swap the audio encoder.")
@click.option("--fusion", type=PluginName("fusion"), help="Swap the fusion.")
@click.option("--decoder", type=PluginName("decoder"), help="Swap the decoder.")
@click.option("--loss", "losses", multiple=True, metavar="NAME=WEIGHT", help="Add or weigh a loss in every stage that trains parts.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any recipe value: stages.generator.lr=1e-5.")
@click.option("--data", metavar="FOLDER", help="A folder made by `fctfg prepare`; 'synthetic', or 'synthetic:200' for as many people.")
@click.option("--out", type=click.Path(file_okay=False), help="The run folder.  [default: the next under runs/]")
@click.option("--resume", type=click.Path(file_okay=False), metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--start-from", multiple=True, type=click.Path(), metavar="FILE_OR_RUN", help="Public weights or another run to start from.")
@_device
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the networks' arithmetic.")
@click.option("--workers", type=click.IntRange(0), help="Loader processes.")
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and stop.")
def train(recipe, losses, settings, data, out, resume, start_from, device, precision, workers, dry_run, **parts):
    """Train a talking face."""
    from .recipe import Recipe
    from .runs import Run, differences

    run = Run.open(resume) if resume else None
    parts = {kind: name for kind, name in parts.items() if name}
    if recipe:
        chosen = Recipe.find(recipe)
    else:
        chosen = run.recipe if run else Recipe.suiting(parts, default="wav2lip")
    for kind, name in parts.items():
        chosen = chosen.with_part(kind, name)
    for loss in losses:
        name, weight = _pair(loss, "--loss", "sync=0.03")
        try:
            chosen = chosen.with_loss(name, float(weight))
        except ValueError:
            raise click.ClickException(f"--loss {loss}: '{weight}' is not a number; write --loss {name}=0.03.") from None
    if precision:
        settings = (*settings, f"precision={precision}")
    for setting in settings:
        chosen = chosen.with_setting(*_pair(setting, "--set", "stages.0.lr=1e-4"))
    if dry_run:
        click.echo(chosen.dump(), nl=False)
        return
    if run and (changed := differences(run.recipe, chosen)):
        raise click.ClickException(f"{resume} was begun with another recipe: {', '.join(changed[:5])} differ"
                                   f"{'s' if len(changed) == 1 else ''}. Resume it without those options, or start a new run "
                                   f"with --start-from {shlex.quote(resume)}.")
    if not data:
        raise click.ClickException("Give --data FOLDER, made by `fctfg prepare RAW_FOLDER FOLDER`, or --data synthetic.")
    if not chosen.stages:
        raise click.ClickException(f"Recipe '{chosen.name}' has nothing to train; use it with fctfg generate --recipe {chosen.name}.")

    from .trainer import train as run_stages

    sys.exit(run_stages(chosen, data, run=run, out=out, start_from=start_from, device=device, workers=workers, say=click.echo))


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise click.ClickException(f"{option} {text}: write {option} {example}.")
    return name, value


@main.command()
@click.argument("raw", metavar="RAW_FOLDER", type=click.Path())
@click.argument("out", metavar="OUT_FOLDER", type=click.Path())
@click.option("--crop", default="wav2lip", show_default=True, help="The crop profile; it must be the recipe's.")
@click.option("--size", type=click.IntRange(16), help="Pixels of a stored frame.  [default: the profile's]")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the faces.")
@click.option("--shard", default="1/1", show_default=True, metavar="K/N", help="This machine's part of the work.")
@click.option("--workers", type=click.IntRange(0), help="Processes.  [default: one a core]")
@click.option("--vocals", is_flag=True, help="Separate the voice from the sound behind it first.")
@click.option("--min-seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="Drop shorter clips.")
@click.option("--max-seconds", type=click.FloatRange(0), default=20.0, show_default=True, help="Split longer clips.")
@click.option("--min-face", type=click.IntRange(1), default=72, show_default=True, help="Drop faces lower than this many pixels in the video.")
@click.option("--action-units", metavar="SOURCE", help="Store action units: seen by a detector, such as mediapipe, or from tables, a CSV file or a folder.")
def prepare(raw, out, shard, **options):
    """Make clips to train on from a folder of raw videos."""
    from .prepare import ProgressBar, parse_shard
    from .prepare import prepare as run_prepare

    with ProgressBar() as bar:
        summary = run_prepare(raw, out, shard=parse_shard(shard), progress=bar, **options)
    for failure in summary.failures:
        click.echo(failure, err=True)
    from .recipe import Recipe

    fitting = [recipe.name for recipe in Recipe.installed() if recipe.crop == options["crop"] and recipe.stages]
    wanted = "ietafs" if options["action_units"] else "wav2lip"
    recipe = wanted if wanted in fitting else next(iter(fitting), f"RECIPE --set crop={options['crop']}")
    click.echo(f"{summary}.\nSee {out}/manifest.json. Next: fctfg train --recipe {recipe} --data {shlex.quote(out)}")


@main.command()
@click.option("--face", type=click.Path(), help="A video to dub, a picture to animate, or a folder of pictures.")
@click.option("--audio", type=click.Path(), help="The speech: a sound file, or a video whose sound is taken.  [default: the face video's own]")
@click.option("--out", type=click.Path(), default="out.mp4", show_default=True, help="The video to write, a report beside it; a folder for a folder of pictures.")
@click.option("--run", "run_folder", type=click.Path(), help="A run folder of `fctfg train`.")
@click.option("--recipe", type=PluginName("recipe"), help="A recipe that needs no weights, such as warp; or the one --checkpoint belongs to.")
@click.option("--checkpoint", type=click.Path(), help="A public weight file, such as wav2lip_gan.pth.")
@click.option("--speaker", default="largest", show_default=True, help="Which face: largest, left:2, right:1, 640,200 or picture.jpg.")
@click.option("--when-audio-is-longer", type=click.Choice(CHOICES_WHEN_LONGER), default="bounce", show_default=True,
              help="What the picture does when a video ends before the sound.")
@click.option("--when-audio-is-shorter", type=click.Choice(CHOICES_WHEN_SHORTER), default="cut", show_default=True,
              help="Whether a video ends with the sound or goes on with its mouth closed.")
@click.option("--driving", type=click.Path(), help="A video whose head moves the picture --face; it also speaks where there is no --audio.")
@click.option("--au", multiple=True, metavar="NAME=STRENGTH", help="Hold an action unit, as in AU12=0.8; for recipes that they move.")
@click.option("--au-file", type=click.Path(), help="Action units by frame, a table as OpenFace, py-feat and others write it, or attributes.txt.")
@click.option("--action-units", metavar="DETECTOR", help="Keep those of the upper face of the video, as this detector sees them.")
@click.option("--blink", type=int, metavar="SEED", help="Add blinks, at moments that this number decides.")
@click.option("--plot", type=click.Path(), help="A PNG of the action units drawn, and of where the picture was changed; a folder where there are many.")
@click.option("--motion", type=float, default=1.0, show_default=True, help="Scale of the motion: 0 keeps still, 1 is as it comes.")
@click.option("--blend", "other_driving", type=click.Path(), help="Another driving video whose motion is blended in.")
@click.option("--blend-share", "blend", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="How much of the motion is --blend's.")
@click.option("--direction", help="Move every frame along a direction of motion, by number or name; see fctfg edit.")
@click.option("--by", type=float, default=1.0, show_default=True, help="How far, in standard deviations.")
@click.option("--canonical", is_flag=True, help="Write the face without motion instead, as the picture --out.")
@click.option("--fps", default="25", show_default=True, help="Frames a second of an animated picture: 25, 29.97, 30000/1001.")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the faces.")
@click.option("--frames-at-once", "batch", type=click.IntRange(1), help="Frames drawn together.  [default: what suits the device]")
@click.option("--batch", "jobs", type=click.Path(), metavar="TABLE.csv", help="Many in a row: a table with columns face, audio, out.")
@_device
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True, help="Of the networks' arithmetic.")
@click.pass_context
def generate(context, face, audio, out, run_folder, recipe, checkpoint, jobs, device, precision, canonical, **options):
    """Make a face say a sound, or move as another does; or many of them, with --batch."""
    named = [name for name in ("face", "audio", "out", "canonical")
             if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if jobs and named:
        raise click.UsageError(f"--{named[0]} goes with one drawing; with --batch, {jobs} says it for each.")
    if not (jobs or face):
        raise click.UsageError("Give --face, a video or a picture; or --batch TABLE.csv for many.")
    if canonical:
        from .editing import Editor

        if not out.lower().endswith(".png"):
            raise click.ClickException(f"--canonical writes a picture; give --out a name that ends in .png, not {out}.")
        Editor(run_folder, checkpoint, recipe, device=device, detector=options["detector"], speaker=options["speaker"],
               say=click.echo).draw_canonical(face, out)
        return
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    if jobs or Path(face).is_dir():
        from .jobs import jobs_of_folder, read_jobs, run_jobs

        listed = read_jobs(jobs) if jobs else jobs_of_folder(face, audio, out)
        studio = {name: chosen.pop(name) for name in ("motion", "blend", "direction", "by") if name in chosen}
        run_jobs(listed, run=run_folder, recipe=recipe, checkpoint=checkpoint, device=device, precision=precision, say=click.echo,
                 common=chosen, **studio)
        return
    from .generating import generate as draw

    draw(face, audio, out, run=run_folder, recipe=recipe, checkpoint=checkpoint, device=device, precision=precision,
         say=click.echo, **chosen)


@main.command()
@click.argument("picture", type=click.Path())
@click.option("--run", "run_folder", type=click.Path(), help="A run folder of `fctfg train`.")
@click.option("--recipe", type=PluginName("recipe"), help="The recipe that --checkpoint belongs to.")
@click.option("--checkpoint", type=click.Path(), help="A public weight file of an encoder with its decoder.")
@click.option("--out", type=click.Path(file_okay=False), default="inverted", show_default=True, help="The folder to write to.")
@click.option("--speaker", default="largest", show_default=True, help="Which face: largest, left:2, right:1, 640,200 or picture.jpg.")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the face.")
@_device
def invert(picture, run_folder, recipe, checkpoint, out, **options):
    """Write the codes of the face in a picture, and what they draw."""
    from .editing import Editor

    Editor(run_folder, checkpoint, recipe, **options, say=click.echo).invert(picture, out)


@main.command()
@click.argument("picture", type=click.Path())
@click.option("--run", "run_folder", required=True, type=click.Path(), help="A run folder of `fctfg train`.")
@click.option("--direction", help="Along which direction of motion: a number from 1 on, or a name.")
@click.option("--by", type=float, default=1.5, show_default=True, help="How far, in standard deviations.")
@click.option("--motions", multiple=True, type=click.Path(), metavar="VIDEO", help="Find the directions in these videos first; they are kept in the run.")
@click.option("--call", "name", help="Keep the direction under this name too.")
@click.option("--out", type=click.Path(), default="edited.png", show_default=True, help="The picture to write; a strip is written beside it.")
@click.option("--speaker", default="largest", show_default=True, help="Which face: largest, left:2, right:1, 640,200 or picture.jpg.")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the face.")
@_device
def edit(picture, run_folder, direction, by, motions, name, out, **options):
    """Move the face in a picture along a direction of motion."""
    from .editing import Editor

    if not (direction or motions):
        raise click.ClickException("Give --direction NUMBER_OR_NAME, or --motions VIDEO to find directions in.")
    editor = Editor(run_folder, **options, say=click.echo)
    if motions:
        editor.find_directions(list(motions))
    if direction and name:
        editor.name_direction(direction, name)
    if direction:
        editor.edit(picture, direction, by, out)


@main.command("sync-check")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path())
@click.option("--run", "run_folder", type=click.Path(), help="A run that trained an expert: recipe sync-expert-small, sync-expert or wav2lip.")
@click.option("--weights", type=click.Path(), help="A public expert, such as lipsync_expert.pth.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--plot", "png", metavar="PNG", type=click.Path(dir_okay=False), help="Draw the score over offset and over time.")
@click.option("--fix", metavar="OUT", type=click.Path(), help="Write the video with its sound moved into place; of several, a folder.")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the faces.")
@_device
def sync_check(videos, run_folder, as_json, **options):
    """Say whether picture and sound agree, and by how much the sound is early or late."""
    from .synccheck import sync_check as check

    note = (lambda line: click.echo(line, err=True))
    results, failures = check(videos, run=run_folder, say=(lambda line: None) if as_json else click.echo, note=note, **options)
    if as_json:
        click.echo(json.dumps(results, indent=2))
    for failure in failures:
        click.echo(failure, err=True)
    if failures:
        raise click.ClickException(f"{len(failures)} of {len(videos)} videos failed.")


def _measuring(command):
    """The options that say how films are measured."""
    for option in reversed([
        click.option("--metric", "metrics", multiple=True, metavar="NAME[:KEY=VALUE,...]", help="What to measure; see fctfg list-plugins --kind metric.  [default: all that can run]"),
        click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the faces."),
        click.option("--speaker", default="largest", show_default=True, help="Which face: largest, left:2, right:1, 640,200 or picture.jpg."),
        click.option("--processes", type=click.IntRange(1), help="Films measured at once.  [default: one a core]"),
        click.option("--embed", is_flag=True, help="Keep small videos inside the page, so that it can be sent alone."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    ]):
        command = option(command)
    return command


def _how(metrics, detector, speaker, processes, device):
    from .evaluation.running import How

    return How(tuple(metrics), detector, speaker, device, processes)


@main.command()
@click.argument("generated", metavar="GENERATED", type=click.Path())
@click.option("--reference", type=click.Path(), help="The real video; for a folder, a folder with videos of the same names.")
@click.option("--out", type=click.Path(file_okay=False), default="report", show_default=True, help="The report's folder; one that was interrupted goes on.")
@_measuring
def evaluate(generated, reference, out, embed, **how):
    """Measure a video, a folder of videos, or a CSV table of pairs."""
    from .evaluation.running import evaluate as measure

    measure(generated, out, reference, _how(**how), embed=embed, say=click.echo)


@main.command()
@click.option("--face", type=click.Path(), help="A video to dub, or a picture.  [default: a drawn one]")
@click.option("--audio", type=click.Path(), help="The speech.  [default: the face video's own]")
@click.option("--drawn", default="1280x720", show_default=True, metavar="WxH", help="The size of the drawn face's video.")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="The length of it.")
@click.option("--run", type=click.Path(), help="A run folder of `fctfg train`.")
@click.option("--recipe", type=PluginName("recipe"), help="A recipe; without weights it draws noise, at the same speed.  [default: warp]")
@click.option("--checkpoint", type=click.Path(), help="A public weight file.")
@click.option("--runs", type=click.IntRange(2), default=3, show_default=True, help="How often; the first is cold.")
@click.option("--detector", type=PluginName("detector"), default="dlib-hog", show_default=True, help="What finds the face.")
@click.option("--frames-at-once", "batch", type=click.IntRange(1), help="Frames drawn together.  [default: what suits the device]")
@_device
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True, help="Of the networks' arithmetic.")
@click.option("--json", "path", metavar="FILE", type=click.Path(dir_okay=False), help="Keep the numbers in a file.")
@click.option("--against", metavar="FILE", type=click.Path(), help="Compare with the numbers of another machine, or of another day.")
def benchmark(path, against, precision, **options):
    """Say how fast a face is made to talk on this machine, and where the time goes."""
    from .speed import run_benchmark

    run_benchmark(path, against, say=click.echo, precision=None if precision == "auto" else precision, **options)


@main.command("benchmark-systems")
@click.option("--data", required=True, metavar="FOLDER", help="A folder made by `fctfg prepare`, whose held-out clips are drawn; or synthetic.")
@click.option("--raw", type=click.Path(file_okay=False), help="The videos it was prepared from, to be drawn whole.  [default: the stored crops]")
@click.option("--run", "runs", multiple=True, metavar="[NAME=]RUN", help="A run of `fctfg train`; several may be given.")
@click.option("--out", type=click.Path(file_okay=False), default="benchmark", show_default=True, help="The folder for films and reports; one that was interrupted goes on.")
@click.option("--clips", type=click.IntRange(1), default=20, show_default=True, help="Held-out clips, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the lists of tests.")
@click.option("--truth-heads", type=click.IntRange(0), default=2, show_default=True, help="Drawn heads with known errors that metrics are held against; 0 for none.")
@_measuring
def benchmark_systems(data, raw, runs, out, clips, seed, truth_heads, embed, **how):
    """Let runs draw the same tests, and measure them beside a floor and a check."""
    from .evaluation.suite import Suite, benchmark_systems
    from .evaluation.truth import Truth

    benchmark_systems(Suite(data, raw, clips, seed, Truth(truth_heads) if truth_heads else None), runs, out, _how(**how),
                      embed=embed, say=click.echo)


@main.command()
@click.argument("systems", nargs=-1, required=True, metavar="[NAME=]RUN_OR_FOLDER...", type=click.Path())
@click.option("--reference", type=click.Path(), help="A folder with the real videos; runs draw them.")
@click.option("--out", type=click.Path(file_okay=False), default="comparison", show_default=True, help="The report's folder; one that was interrupted goes on.")
@_measuring
def compare(systems, reference, out, embed, **how):
    """Put several systems beside each other: reports of evaluate, folders of videos, runs."""
    from .evaluation.comparing import compare as put_beside

    put_beside(systems, out, reference, _how(**how), embed=embed, say=click.echo)


@main.command()
@click.option("--out", type=click.Path(file_okay=False), default="fctfg-demo", show_default=True, help="The folder to write to.")
def demo(out):
    """Make a portrait talk, with nothing but what is installed."""
    from .demo import demo as run_demo

    run_demo(out)


@main.group(cls=Commands)
def weights():
    """Public weight files: list, fetch, check and import them."""


for _command in WEIGHTS_COMMANDS:
    weights.add_command(_command)
