"""A folder of raw videos to a folder of clips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import BadData
from .pool import Died, work_through
from .progress import Advance, Progress
from .records import PreparedFolder, Record, Settings
from .sources import Source, find_sources, in_shard

DIED = "died"


@dataclass
class Summary:
    """What a run left in the folder, as far as its shard goes."""

    videos: int = 0
    already: int = 0
    """Videos that an earlier run had finished."""
    clips: int = 0
    seconds: float = 0.0
    """Kept."""
    speakers: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """How many stretches, or whole videos, were dropped for which reason, the most frequent first."""
    failures: list[str] = field(default_factory=list)
    """A sentence for each video that failed or could not be read; the next run tries the failed ones again."""
    frames: int = 0
    """Read in this run."""

    def __str__(self) -> str:
        kept = (f"{_count(self.clips, 'clip')} of {self.seconds / 60:.1f} minutes "
                f"by {_count(self.speakers, 'speaker')} from {_count(self.videos, 'video')}")
        return f"{kept}; dropped: {_reasons(self.dropped)}" if self.dropped else kept


def prepare(raw_dir: str | Path, out: str | Path, *, crop: str = "wav2lip", size: int | None = None,
            detector: str = "dlib-hog", shard: tuple[int, int] = (1, 1), workers: int | None = None,
            vocals: bool = False, min_seconds: float = 1.0, max_seconds: float = 20.0, min_face: int = 72,
            action_units: str | None = None,
            progress: Callable[[Progress], None] | None = None) -> Summary:
    """Make a prepared folder `out` from the videos below `raw_dir`, and say what is in it.

    Every stretch in which one face is followed without a cut becomes a clip: 25 frames a second cropped by profile
    `crop` to `size` pixels (the profile's own by default), 16 kHz sound. Where several faces are about equally large,
    nobody is kept; else the largest is. Dropped is further what lasts under `min_seconds`, has no sound, or shows a
    face of under `min_face` pixels; what lasts over `max_seconds` is split. `vocals` separates the voice from the sound
    behind it. `action_units` puts these beside every frame: it names a detector that sees them, or tables of another
    program, one CSV file or a folder with one for each video, found by its name. A folder prepared without them gets
    them by the same command, and keeps all else.

    A speaker is a folder below `raw_dir`, or a single file there. One `raw_dir` to one `out`: the same command again
    goes on where it was stopped, does only what is new or changed, and forgets nothing. Machine k of n gives `shard`
    (k, n). Videos are worked on in `workers` processes (by default one a core), 0 for in this one.

    Raises:
        BadData: a folder that cannot be read or written, other settings than `out` has, not one clip, or action units
            from nowhere.
    """
    from .. import faces, registry

    raw_dir, out = Path(raw_dir), Path(out)
    if raw_dir.resolve() in (out.resolve(), *out.resolve().parents):
        raise BadData(f"{out} is in the folder of raw videos, where the next run would look for more of them; "
                      "give a folder elsewhere.")
    if not 0 <= min_seconds <= max_seconds or max_seconds < 0.04:
        raise BadData(f"No clip lasts {min_seconds:g} to {max_seconds:g} seconds; say the shorter time first, "
                      "as 1 and 20.")
    if not 1 <= shard[0] <= shard[1]:
        raise BadData(f"There is no shard {shard[0]} of {shard[1]}; they go from 1 to {max(1, shard[1])}.")
    registry.find("detector", detector)
    if action_units:
        from .units import check_source

        check_source(action_units)
    settings = Settings(crop=crop, size=size or faces.find_profile(crop).size, detector=detector, vocals=vocals,
                        min_seconds=min_seconds, max_seconds=max_seconds, min_face=min_face, action_units=action_units)
    videos, others = ([source for source in found if in_shard(source.digest, shard)] for found in find_sources(raw_dir))
    folder = PreparedFolder(out)
    folder.claim(settings)
    folder.sweep(shard)
    summary = Summary()
    try:
        _work(videos, folder, settings, _cores() if workers is None else workers, summary, progress or (lambda _: None))
    except BaseException:
        with suppress(Exception):  # what is finished can be trained on; the reason to stop is the news
            if not folder.write_manifest(settings, shard, others):
                folder.clear()
        raise
    folder.sweep(shard)
    records = folder.write_manifest(settings, shard, others)
    _add_up(records, summary)
    if not summary.clips and shard == (1, 1):
        folder.clear()
        raise BadData(f"{raw_dir} gave no usable clip: {_reasons(summary.dropped)}."
                      + "".join(f" {failure}" for failure in summary.failures[:1]))
    return summary


def _work(videos: list[Source], folder: PreparedFolder, settings: Settings, workers: int, summary: Summary,
          tell: Callable[[Progress], None]) -> None:
    """Do those of `videos` that are not finished."""
    finished = {video: record for video in videos if (record := folder.record_of(video))
                and not (settings.action_units and record.lacks_units)}
    todo = sorted((video for video in videos if video not in finished), key=lambda video: -video.size)  # no long tail
    summary.already = len(finished)
    state = Progress(len(videos), len(finished), sum(video.size for video in todo),
                     clips=sum(len(record.clips) for record in finished.values()))
    tell(state)
    shares = dict.fromkeys(todo, 0.0)

    def advance(video: Source, share: float) -> None:
        state.bytes += video.size * (share - shares[video])
        shares[video] = share

    with closing(work_through(todo, partial(_preparer, folder.root, settings), workers)) as told:
        for video, what in told:
            if isinstance(what, Advance):
                state.frames += what.frames
                advance(video, what.share)
            else:
                if isinstance(what, Died):
                    what = _bury(folder, video, what)
                state.done += 1
                state.clips += len(what.clips)
                advance(video, 1.0)
            tell(state)
    summary.frames = state.frames


def _preparer(root: Path, settings: Settings) -> Callable[[Source], Iterator[Advance | Record]]:
    from .video import VideoPreparer  # brings torch, and a codec and a detector package, into the worker only

    return VideoPreparer(root, settings)


def _bury(folder: PreparedFolder, video: Source, died: Died) -> Record:
    """The record of a video whose process died twice."""
    record = Record.of(video, failed=True)
    record.drop(DIED, detail=f"{video.shown}: {died}.")
    folder.write_record(video, record)
    return record


def _add_up(records: list[Record], summary: Summary) -> None:
    clips = [clip for record in records for clip in record.clips]
    dropped = [entry for record in records for entry in record.dropped]
    summary.videos, summary.clips = len(records), len(clips)
    summary.seconds = sum(clip["seconds"] for clip in clips)
    summary.speakers = len({clip["speaker"] for clip in clips})
    summary.dropped = dict(Counter(entry["reason"] for entry in dropped).most_common())
    summary.failures = [entry["detail"] for entry in dropped if "detail" in entry]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in dropped.items()) or "nothing was found"
