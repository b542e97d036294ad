"""The films that systems are tested on: held-out clips of a prepared folder as videos, and who says whose words.

Everything follows from the folder and the seed, so that two people get the same lists.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from .. import media
from ..data import write_synthetic_video
from ..data.clipfile import ClipFile
from ..data.manifest import KeptClip, read_manifest
from ..data.prepared import split_clips
from ..data.windows import Span
from ..errors import BadData
from ..interfaces import FRAME_RATE, SAMPLE_RATE
from ..recipe import Recipe

HELD_OUT = 0.1
"""The share of speakers that recipes keep back unless they say otherwise."""
SECONDS = 4.0
"""Of a drawn head."""
LEAST_SIDE = 320
"""Pixels of a stored crop that becomes a video: smaller ones are enlarged, so that detectors find the face."""


@dataclass(frozen=True)
class RealFilm:
    """A held-out clip as a video."""

    name: str
    speaker: str
    path: Path


@dataclass(frozen=True)
class Driven:
    """One test: the face of one film says the words of another, or its own."""

    name: str
    face: RealFilm
    words: RealFilm


def self_driven(films: Sequence[RealFilm]) -> list[Driven]:
    """Everyone says their own words; the real film is what should come out."""
    return [Driven(film.name, film, film) for film in films]


def cross_driven(films: Sequence[RealFilm], seed: int = 0) -> list[Driven]:
    """Everyone says the words of another speaker, each film's words being used as equally often as can be."""
    rng = np.random.default_rng(seed)
    used = dict.fromkeys(films, 0)
    found = []
    for film in films:
        others = [other for other in films if other.speaker != film.speaker]
        if not others:
            return []
        few = min(used[other] for other in others)
        others = [other for other in others if used[other] == few]
        words = others[int(rng.integers(len(others)))]
        used[words] += 1
        found.append(Driven(f"{film.name} says {words.name}", film, words))
    return found


def held_out_films(data: str, folder: Path, count: int, recipes: Sequence[Recipe], seed: int = 0,
                   raw: str | Path | None = None) -> list[RealFilm]:
    """At most `count` held-out clips of the prepared folder `data`, chosen by `seed`, as videos in `folder`.

    Training on it with any of `recipes` sees none of them. With `raw`, the folder that was prepared, they are cut from
    its videos as they are; without, the stored crops become videos. `data` may be "synthetic" or "synthetic:20": drawn
    heads, all of them new.

    Raises:
        BadData: the folder is not prepared, or a raw video is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if data.partition(":")[0] == "synthetic":
        return list(_drawn(folder, min(count, int(data.partition(":")[2] or count)), seed))
    manifest = read_manifest(data)
    spans = _never_seen([(clip.speaker, clip.frames) for clip in manifest.clips], recipes)
    if not spans:
        raise BadData(f"{data} has no clip that all of the runs held out; prepare more of it.")
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(spans))[:count])
    films = []
    for span in (spans[number] for number in chosen):
        clip = manifest.clips[span.clip]
        path = folder / f"{clip.name}.mp4"
        if not path.exists():
            if raw is None:
                _of_crops(Path(data, clip.file), span.first, span.last, path)
            else:
                _of_video(Path(raw, clip.source), clip, span.first, span.last, path)
        films.append(RealFilm(clip.name, clip.speaker, path))
    return films


def _never_seen(clips: list[tuple[str, int]], recipes: Sequence[Recipe]) -> list[Span]:
    """What all of `recipes` hold out, or what training does by default."""
    never = {number: (0, frames) for number, (_, frames) in enumerate(clips)}
    shares = {(recipe.held_out, recipe.split == "time") for recipe in recipes if recipe.held_out}
    for share, by_time in shares or {(HELD_OUT, False)}:
        kept = {span.clip: span for span in split_clips(clips, share, "held-out", by_time)[0]}
        never = {number: (max(first, kept[number].first), last)
                 for number, (first, last) in never.items() if number in kept}
    return [Span(number, first, last) for number, (first, last) in never.items() if last - first >= FRAME_RATE]


def _drawn(folder: Path, count: int, seed: int) -> Iterator[RealFilm]:
    for number in range(count):
        name = f"drawn-{number:03d}"
        path = folder / f"{name}.mp4"
        if not path.exists():
            write_synthetic_video(path, seed=seed + 10_000, identity=number, seconds=SECONDS)  # not trained on
        yield RealFilm(name, name, path)


def _of_crops(file: Path, start: int, end: int, path: Path) -> None:
    clip = ClipFile(file)
    height, width = clip.size
    scale = max(1, -(-LEAST_SIDE // min(height, width)))
    size = scale * width, scale * height
    frames = (np.asarray(Image.fromarray(clip.frames([number])[0]).resize(size, Image.Resampling.BICUBIC))
              for number in range(start, end))
    wave = clip.wave(start * SAMPLE_RATE // FRAME_RATE, (end - start) * SAMPLE_RATE // FRAME_RATE)
    write_film(path, frames, Fraction(FRAME_RATE), wave)
    clip.close()


def _of_video(source: Path, clip: KeptClip, start: int, end: int, path: Path) -> None:
    if not source.exists():
        raise BadData(f"There is no {source}, from which {clip.name} was cut; --raw names the folder that was "
                      "prepared.")
    begin, seconds = clip.start + start / FRAME_RATE, (end - start) / FRAME_RATE
    rate = media.probe_video(source).frame_rate
    first = round(begin * rate)
    wave = media.read_sound(source, SAMPLE_RATE)
    with closing(media.read_video(source, start=first)) as frames:
        write_film(path, islice(frames, max(1, round(seconds * rate))), rate,
                   wave[round(begin * SAMPLE_RATE):round((begin + seconds) * SAMPLE_RATE)])


def write_film(path: Path, frames: Iterator[np.ndarray], rate: Fraction, wave: np.ndarray) -> None:
    """A video of `frames` (H, W, 3) uint8 RGB with the sound `wave` (S,), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        voice = Path(scratch, "voice.wav")
        media.write_wave(voice, wave, SAMPLE_RATE)
        first = next(frames := iter(frames))
        with media.VideoWriter(path, first.shape[1], first.shape[0], rate, sound=voice) as writer:
            writer.write(first)
            for frame in frames:
                writer.write(frame)
