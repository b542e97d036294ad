"""Every installed detector on the same clips: how fast it is, how often it sees the face, how its landmarks tremble.

    FCTFG_WEIGHTS=... python benchmarks/detectors.py VIDEO ... [--frames 50] [--detector mediapipe]

The clips should show one face throughout. `recall` is the share of frames in which a face is seen where most detectors
see one; `others` how many more faces are seen a frame. `jitter` is the noise of the still landmarks (brows, nose, eyes)
in thousandths of the distance between the eyes: the second difference over time, of which smooth motion has none,
divided by the square root of 6. Each frame is looked at by itself; nothing is smoothed. Seconds are those of all
threads together, as on one core, and are taken after the first frame.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # as in a worker process

import numpy as np

from fctfg import media, registry
from fctfg.errors import FctfgError
from fctfg.faces.boxes import overlap
from fctfg.faces.profiles import STILL, Measures
from fctfg.interfaces import Detector, Face

SLOW = ("dlib-cnn",)
"""Seconds a frame: only if asked for."""


@dataclass
class Tally:
    """What one detector did on one clip."""

    seen: list[list[Face]] = field(default_factory=list)
    landmarks: list[np.ndarray | None] = field(default_factory=list)
    finding: list[float] = field(default_factory=list)
    placing: list[float] = field(default_factory=list)
    """Seconds of every frame."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=50, help="of each clip")
    parser.add_argument("--detector", action="append", help="only this one; may be given again")
    options = parser.parse_args()
    detectors = build(options.detector)
    print(f"{platform.machine()}, CPU seconds\n")
    for video in options.videos:
        frames = list(islice(media.read_video(video, Fraction(25)), options.frames))
        height, width = frames[0].shape[:2]
        print(f"{video.name}, {width} x {height}, {len(frames)} frames\n")
        show({name: watch(detector, frames) for name, detector in detectors.items()})


def build(wanted: list[str] | None) -> dict[str, Detector]:
    """The detectors that can be used here; why, for those that cannot."""
    detectors = {}
    for name in wanted or [plugin.name for plugin in registry.plugins("detector") if plugin.name not in SLOW]:
        try:
            detector = registry.build("detector", name)
            detector.detect(np.zeros((64, 64, 3), np.uint8))
            detectors[name] = detector
        except FctfgError as error:
            print(f"without {name}: {error}")
    return detectors


def watch(detector: Detector, frames: list[np.ndarray]) -> Tally:
    tally = Tally()
    for frame in frames:
        found = timed(lambda: detector.detect(frame), tally.finding)
        best = max(found, key=lambda face: np.prod(face.box[2:] - face.box[:2]), default=None)
        tally.seen.append(found)
        tally.landmarks.append(best and timed(lambda: detector.landmarks(frame, best.box), tally.placing))
    return tally


def timed(call: Callable, seconds: list[float]):
    start = time.process_time()
    result = call()
    seconds.append(time.process_time() - start)
    return result


def show(tallies: dict[str, Tally]) -> None:
    print("| detector | find, frames/s | landmarks, faces/s | recall | others | jitter |\n|---|---|---|---|---|---|")
    agreed = [agree(list(views)) for views in zip(*(tally.seen for tally in tallies.values()))]
    for name, tally in tallies.items():
        there = [any(overlap(face.box, box) > 0.5 for face in faces) for faces, box in zip(tally.seen, agreed)
                 if box is not None]
        others = np.mean([max(0, len(faces) - 1) for faces in tally.seen])
        share = np.mean(there) if there else 0
        print(f"| `{name}` | {rate(tally.finding)} | {rate(tally.placing)} | {share:.0%} | {others:.2f} | "
              f"{jitter(tally.landmarks):.1f} |")
    print()


def agree(views: list[list[Face]]) -> np.ndarray | None:
    """The box of the face that more than half of the detectors see; None where they see none."""
    boxes = [max(faces, key=lambda face: np.prod(face.box[2:] - face.box[:2])).box for faces in views if faces]
    for box in boxes:
        if 2 * sum(overlap(box, other) > 0.5 for other in boxes) > len(views):
            return box
    return None


def rate(seconds: list[float]) -> str:
    usual = np.median(seconds[1:] or [np.nan])
    return f"{1 / max(usual, 1e-6):.0f}"


def jitter(landmarks: list[np.ndarray | None]) -> float:
    """The noise of the still landmarks, in thousandths of the distance between the eyes."""
    runs = [landmarks[index - 1:index + 2] for index in range(1, len(landmarks) - 1)]
    bends = [(a - 2 * b + c)[STILL] / Measures.of(b[None]).unit[0] for a, b, c in runs
             if not (a is None or b is None or c is None)]
    return 1000 * float(np.median(np.linalg.norm(np.stack(bends), axis=-1)) / np.sqrt(6)) if bends else float("nan")


if __name__ == "__main__":
    main()
