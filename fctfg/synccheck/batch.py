"""Several videos: judged one after the other, going on after those that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .. import media
from ..errors import BadMedia
from ..generating import pick_device
from .checking import SyncChecker
from .evidence import SURE, Verdict
from .judges import open_judge
from .plots import describe, plot

def sync_check(videos: Sequence[str], *, run: str | None = None, weights: str | None = None, detector: str = "dlib-hog",
               device: str = "auto", png: str | None = None, fix: str | None = None,
               say: Callable[[str], None] = print, note: Callable[[str], None] = print) -> tuple[list[dict], list[str]]:
    """What the expert of `run`, or of the public file `weights`, says of each of `videos`; and, in a line each, what
    could not be done.

    `png` gets a plot of all of them. `fix` gets the video with its sound moved into place; of several videos it is a
    folder, made where there is none. A sound is moved by the best offset to the millisecond, where the expert is sure
    of it. `say` receives a line for each video, `note` what is to be known of the weights.

    Raises:
        BadRun, BadWeights: there is no expert.
        BadMedia: the files of `png` or `fix` cannot be written.
    """
    judge, recipe = open_judge(run, weights, note)
    checker = SyncChecker(judge, recipe, detector=detector, device=pick_device(device))
    folder = Path(fix) if fix and len(videos) > 1 else None
    if folder:
        if folder.exists() and not folder.is_dir():
            raise BadMedia(f"--fix {folder} is a file; for {len(videos)} videos give a folder.")
        folder.mkdir(parents=True, exist_ok=True)
    if png and not Path(png).resolve().parent.is_dir():
        raise BadMedia(f"--plot {png} cannot be written: there is no folder {Path(png).parent}; make it first.")
    results, failures, verdicts = [], [], {}
    width = max(len(video) for video in videos)
    for video in videos:
        try:
            verdict, seconds = checker.check(video)
        except BadMedia as error:
            failures.append(str(error))
            continue
        verdicts[video] = verdict
        results.append({"video": video, "judged_seconds": round(seconds, 2), **verdict.to_dict()})
        say(f"{video:<{width}}  {summary(verdict, seconds)}")
        if fix:
            try:
                results[-1]["fixed"] = str(_fix(video, verdict, folder / Path(video).name if folder else Path(fix)))
            except BadMedia as error:
                failures.append(str(error))
    if png and verdicts:
        plot(verdicts, png)
    return results, failures


def summary(verdict: Verdict, seconds: float) -> str:
    """One line: how sure it is that picture and sound agree, the best offset, and how sure it is of that."""
    best = f" ({1000 * verdict.seconds:+.0f} ms), confidence {verdict.confidence:.0%}"
    return (f"agree {verdict.agreement:4.0%}   {describe(verdict)}{best if verdict.confidence >= SURE else ''}   "
            f"{seconds:.1f} s judged")


def _fix(video: str, verdict: Verdict, out: Path) -> Path:
    if verdict.confidence < SURE:
        raise BadMedia(f"{video} was not fixed: no offset stands out (the best, {verdict.offset:+d} frames, has a "
                       f"confidence of {verdict.confidence:.0%}).")
    media.shift_sound(video, out, verdict.seconds if verdict.offset else 0.0)
    return out
