"""One film, and what it should have been, measured by several metrics in one pass.

The film is read once for each frame rate that the metrics ask for; its face is followed once, and each metric sees the
frames in stretches, so that an hour takes the memory of a second.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np

from .. import media, registry
from ..errors import BadMedia, FctfgError
from ..faces import FaceTracker, Speaker
from ..interfaces import SAMPLE_RATE, Detector, Film, Measurement, Metric, Moments, Score

STRETCH = 16
"""Frames that are shown at once, fewer of large ones."""
STRETCH_BYTES = 64 * 2**20
APART = 0.2
"""Seconds by which a film and its reference may differ in length and still be laid beside each other."""
UNSEEN = np.full((68, 2), np.nan, np.float32)


@dataclass(frozen=True)
class Pair:
    """A film to measure."""

    name: str
    """Of the clip: the same for every system that was given it."""
    generated: Path
    reference: Path | None = None
    problem: str = ""
    """Why there is no reference."""
    missing: str = ""
    """Why there is no film, where one should have been."""


@dataclass
class Finding:
    """What one metric found in one film: a score, or why there is none."""

    metric: str
    score: Score | None = None
    why: str = ""
    traceback: str = ""
    """Where our own error, or the metric's, came from; empty where the film is to blame."""
    notes: list[str] = field(default_factory=list)
    frame_rate: float = 25.0
    """Of the frames that the metric saw."""
    seconds: float = 0.0
    """That the metric took."""


@dataclass
class _Footage:
    """A file that can be read: what is in it, and all of its sound."""

    path: Path
    info: media.VideoInfo
    wave: np.ndarray | None
    mute: str
    """Why there is no sound."""

    @classmethod
    def open(cls, path: Path) -> _Footage:
        info = media.probe_video(path)
        if not info.has_sound:
            return cls(path, info, None, f"{path.name} has no sound")
        try:
            return cls(path, info, media.read_sound(path, SAMPLE_RATE), "")
        except BadMedia as error:
            return cls(path, info, None, _line(error))

    def film(self, rate: Fraction, num_frames: int, reference: Film | None = None) -> Film:
        return Film(self.path, self.info.width, self.info.height, num_frames, rate, self.wave, reference)

    def num_frames(self, rate: Fraction) -> int:
        return self.info.num_frames if rate == self.info.frame_rate else max(1, round(self.info.duration * rate))


@dataclass
class _Work:
    """A metric on its way through the film."""

    finding: Finding
    metric: Metric
    measurement: Measurement | None = None

    def attempt(self, step) -> object:
        """What `step()` gives; None, with the reason kept and the metric out of work, where it fails."""
        began = perf_counter()
        try:
            return step()
        except FctfgError as error:  # CannotMeasure, and what packages of faces or weights lack
            self.finding.why = _line(error)
        except Exception as error:  # a bug of the metric's: the others go on
            self.finding.why = f"{type(error).__name__}: {_line(error)}"
            self.finding.traceback = traceback.format_exc()
        finally:
            self.finding.seconds += perf_counter() - began
        self.measurement = None
        return None


def measure(pair: Pair, metrics: Mapping[str, Metric], detector: str = "dlib-hog",
            speaker: str = "largest") -> Iterator[float | Finding]:
    """What each of `metrics` finds in the film of `pair`, in their order; before that, now and then, the share done.

    The largest face is followed, or whom `speaker` means, in the film and in its reference alike. Whatever is wrong
    with a film or a metric ends up in its finding; nothing is raised.
    """
    works = [_Work(Finding(name), metric) for name, metric in metrics.items()]
    try:
        film, reference, problem = _opened(pair)
    except Exception as error:
        for work in works:
            work.attempt(lambda error=error: _again(error))
        film = None
    if film:
        ready = [work for work in works if not _refused(work, film, reference, problem)]
        rates = sorted({_rate(work.metric, film) for work in ready})
        for number, rate in enumerate(rates):
            group = [work for work in ready if _rate(work.metric, film) == rate]
            for work in group:
                work.finding.frame_rate = float(rate)
            for share in _pass(group, film, reference, rate, detector, speaker):
                yield (number + share) / len(rates)
    for work in works:
        yield work.finding


def _opened(pair: Pair) -> tuple[_Footage, _Footage | None, str]:
    """The film, its reference, and why there is none."""
    if pair.missing:
        raise BadMedia(pair.missing)
    film = _Footage.open(pair.generated)
    if pair.reference is None:
        return film, None, pair.problem or "no reference was given"
    try:
        return film, _Footage.open(pair.reference), ""
    except BadMedia as error:
        return film, None, f"its reference cannot be used: {_line(error)}"


def _again(error: Exception) -> None:
    raise error


def _rate(metric: Metric, film: _Footage) -> Fraction:
    return film.info.frame_rate if metric.frame_rate is None else Fraction(metric.frame_rate)


def _refused(work: _Work, film: _Footage, reference: _Footage | None, problem: str) -> bool:
    """Whether it can be seen beforehand that the film lacks what the metric needs."""
    finding, needs = work.finding, work.metric.needs
    if "sound" in needs and film.wave is None:
        finding.why = film.mute
    elif reference is None:
        if "reference" in needs:
            finding.why = problem
        elif problem and problem != "no reference was given":
            finding.notes.append(f"measured without a reference: {problem}")
    elif apart := _apart(work.metric, film, reference):
        if "reference" in needs:
            finding.why = apart
        else:
            finding.notes.append(f"measured without its reference: {apart}")
    return bool(finding.why)


def _apart(metric: Metric, film: _Footage, reference: _Footage) -> str:
    """Why a film and its reference cannot be laid beside each other, frame by frame; empty where they can."""
    one, other = film.info, reference.info
    if (one.width, one.height) != (other.width, other.height):
        return f"it is {one.width}x{one.height} pixels and its reference {other.width}x{other.height}"
    if metric.frame_rate is None and one.frame_rate != other.frame_rate:
        return f"it has {float(one.frame_rate):g} frames a second and its reference {float(other.frame_rate):g}"
    if abs(one.duration - other.duration) > APART:
        return f"it lasts {one.duration:.2f} s and its reference {other.duration:.2f} s"
    return ""


def _pass(works: list[_Work], film: _Footage, reference: _Footage | None, rate: Fraction, detector: str,
          speaker: str) -> Iterator[float]:
    """Show the film to metrics of one frame rate, and let them say what they found; the share done, on the way."""
    beside = reference if reference and any(not _apart(work.metric, film, reference) for work in works) else None
    length = film.num_frames(rate)
    if beside:
        length = min(length, beside.num_frames(rate))
    alone = film.film(rate, length)
    paired = film.film(rate, length, beside.film(rate, length)) if beside else alone
    for work in works:
        of = paired if beside and not _apart(work.metric, film, beside) else alone
        work.measurement = work.attempt(lambda work=work, of=of: work.metric.begin(of))
    if not any(work.measurement for work in works):
        return
    seeks = any("face" in work.metric.needs for work in works if work.measurement)
    seen, faces, problem = 0, 0, ""
    try:
        finds = registry.build("detector", detector) if seeks else None
        with closing(_moments(film, beside, rate, length, finds, speaker)) as stretches:
            for moments in stretches:
                seen += len(moments.frames)
                faces += int(np.isfinite(moments.landmarks).all((1, 2)).sum())
                for work in works:
                    if work.measurement:
                        shown = moments if beside and not _apart(work.metric, film, beside) else _alone(moments)
                        work.attempt(lambda work=work, shown=shown: work.measurement.see(shown))
                yield min(1.0, seen / length)
                if not any(work.measurement for work in works):
                    return
    except FctfgError as error:
        problem = _line(error)
    except Exception as error:
        for work in works:
            if work.measurement:
                work.attempt(lambda error=error: _again(error))
        return
    absent = f"no face was found by {detector}" if seeks and not faces else ""
    for work in works:
        if not work.measurement:
            continue
        if problem or absent and "face" in work.metric.needs:
            work.finding.why = problem or absent
            continue
        if seen < length:
            work.finding.notes.append(f"{seen} of {length} frames could be read")
        if beside and film.num_frames(rate) != beside.num_frames(rate):
            work.finding.notes.append(f"the first {length} frames were compared: it has {film.num_frames(rate)} and "
                                      "its "
                                      f"reference {beside.num_frames(rate)}")
        work.finding.score = work.attempt(work.measurement.score)


def _alone(moments: Moments) -> Moments:
    return Moments(moments.first, moments.frames, moments.landmarks)


def _moments(film: _Footage, beside: _Footage | None, rate: Fraction, length: int, detector: Detector | None,
             speaker: str) -> Iterator[Moments]:
    """The frames in stretches, those of the reference beside them; it ends where either does."""
    size = max(1, min(STRETCH, STRETCH_BYTES // (3 * film.info.width * film.info.height)))
    with closing(_followed(film, rate, length, detector, speaker)) as own:
        others = _followed(beside, rate, length, detector, speaker) if beside else None
        both = zip(own, others) if others else ((one, None) for one in own)
        try:
            for first in range(0, length, size):
                stretch = list(islice(both, size))
                if not stretch:
                    return
                yield Moments(first, *_stacked([one for one, _ in stretch]),
                              Moments(first, *_stacked([other for _, other in stretch])) if others else None)
        finally:
            if others:
                others.close()


def _stacked(frames: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([frame for frame, _ in frames]), np.stack([landmarks for _, landmarks in frames])


def _followed(footage: _Footage, rate: Fraction, length: int, detector: Detector | None,
              speaker: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame with the landmarks (68, 2) of the face that is followed, NaN where it is not seen."""
    own = rate == footage.info.frame_rate
    with closing(media.read_video(footage.path, None if own else rate)) as frames:
        few = islice(frames, length)
        if detector is None:
            for frame in few:
                yield frame, UNSEEN
            return
        chosen = Speaker.parse(speaker, detector)
        for frame, faces in FaceTracker(detector).track(few):
            face = chosen.pick(frame, faces)
            yield frame, UNSEEN if face is None else face.landmarks.astype(np.float32)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
