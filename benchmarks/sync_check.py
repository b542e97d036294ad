"""Whether an expert finds a known shift of the sound, on the held-out clips of a prepared folder.

    python benchmarks/sync_check.py RUN PREPARED [--reach 5] [--seconds 2 3 5]

The sound of every clip is moved by -5 to +5 frames and judged as `fctfg sync-check` judges a video, whole and in stretches.
Two shares are given of those where the offset found is right to one frame: `as moved`, which takes the clips to be in step
as they came, so that data which are not bound it; and `from where it was`, against the offset found before the sound was
moved. Guessing one of 31 offsets is right to one frame in 0.10 of cases.
"""

from __future__ import annotations

import argparse

import numpy as np

from fctfg.data import make_dataset
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE
from fctfg.synccheck import SyncChecker, open_judge
from fctfg.synccheck.evidence import NEAR, weigh

SAMPLES = SAMPLE_RATE // FRAME_RATE


def early(wave: np.ndarray, frames: int) -> np.ndarray:
    """`wave` (S,) heard so many frames early, or late below 0; silence comes in at the end that is left."""
    moved = np.roll(wave, -frames * SAMPLES)
    if frames > 0:
        moved[-frames * SAMPLES:] = 0
    if frames < 0:
        moved[:-frames * SAMPLES] = 0
    return moved


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", metavar="RUN")
    arguments.add_argument("data", metavar="PREPARED")
    arguments.add_argument("--reach", type=int, default=5, help="frames by which the sound is moved, both ways")
    arguments.add_argument("--seconds", type=float, nargs="+", default=[2.0, 3.0, 5.0], help="lengths of the stretches")
    given = arguments.parse_args()

    judge, recipe = open_judge(given.run)
    checker = SyncChecker(judge, recipe)
    held_out = make_dataset(given.data, recipe.with_setting("clip_frames", "10"), "held-out")
    shifts = list(range(-given.reach, given.reach + 1))
    lengths = {f"{seconds:g} s": round(seconds * FRAME_RATE) for seconds in given.seconds} | {"whole": 0}
    found: dict[str, list[list]] = {name: [] for name in lengths}  # by length: a row of verdicts per stretch
    for span in held_out.spans:
        clip = held_out.footage(span.clip)
        log_odds = {shift: checker.judge_clip(clip, 0, early(clip.wave(), shift))[1][span.first:span.last] for shift in shifts}
        num_windows = len(log_odds[0])
        for name, length in lengths.items():
            length = length or num_windows
            for start in range(0, num_windows - length + 1, length):
                times = np.arange(start, start + length) / FRAME_RATE
                found[name].append([weigh(log_odds[shift][start:start + length], times, judge.window) for shift in shifts])
    print(f"{len(held_out.spans)} held-out clips of {given.data}, split by {recipe.split}; {given.run}\n")
    print("| length | stretches | | " + " | ".join(f"{shift:+d}" for shift in shifts) + " | all |\n"
          "|---|---|---|" + "---|" * (len(shifts) + 1))
    for name, rows in found.items():
        if not rows:
            continue
        offsets = np.array([[verdict.offset for verdict in row] for row in rows])
        for what, wanted in (("as moved", np.array(shifts)[None]), ("from where it was", offsets[:, [given.reach]] + shifts)):
            right = np.abs(offsets - wanted) <= NEAR
            print(f"| {name} | {len(rows)} | {what} | " + " | ".join(f"{share:.2f}" for share in right.mean(0))
                  + f" | {right.mean():.2f} |")
    sure = [(verdict.confidence, abs(verdict.offset - shift) <= NEAR) for rows in found.values() for row in rows
            for verdict, shift in zip(row, shifts)]
    confidence, right = np.array(sure).T
    print("\nConfidence against how often it was right: " + ", ".join(
        f"{confidence[which].mean():.2f} said, {right[which].mean():.2f} right (n {which.sum()})"
        for low, high in ((0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.01))
        if (which := (confidence >= low) & (confidence < high)).any()))


if __name__ == "__main__":
    main()
