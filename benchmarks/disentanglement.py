"""What canonical and motion codes know, by linear probes on the synthetic heads, whose looks and moves are known.

    python benchmarks/disentanglement.py RUN [RUN ...] [--people 120] [--moments 8]

People whom no run has been trained on are drawn at several moments. Ridge regressions from the codes of two thirds of them
are judged on the rest: R squared, 1 for all there is to know, 0 for nothing or less. "Who" is the mean over what a person
looks like, "how" over how the head is held and what the mouth does. The canonical code is that of the picture shown, the
motion code that of the same picture and its moment of the sound.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from fctfg.data.synthetic import HeadFootage, TalkingHead
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, Clip
from fctfg.runs import load_model

LOOKS = ("skin", "hair", "clothes", "wall", "chin", "jaw", "eye_distance", "mouth_width", "light")
MOVES = ("yaw", "pitch", "roll", "opening")
SECONDS = 4.0
WORLD = 10_000  # a seed that no recipe trains on


def measure(model, recipe, people: int, moments: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The codes by name (people, moments, features), the looks (people, moments, L) and the moves (people, moments, M)."""
    codes: dict[str, list[np.ndarray]] = {"canonical": [], "motion": []}
    looks, moves = [], []
    random = np.random.default_rng(0)
    before, after = model.audio_encoder.context
    for identity in range(people):
        head = TalkingHead(WORLD, identity, SECONDS)
        footage = HeadFootage(head, recipe.crop, recipe.size)
        chosen = np.sort(random.choice(np.arange(5, head.num_frames - 10), moments, replace=False))
        pictures = torch.from_numpy(footage.frames(chosen)).permute(0, 3, 1, 2).float() / 127.5 - 1
        start, count = round(-before * SAMPLE_RATE), round((before + after + 1 / FRAME_RATE) * SAMPLE_RATE)
        waves = np.stack([footage.wave(start + index * SAMPLE_RATE // FRAME_RATE, count) for index in chosen])
        with torch.inference_mode():
            clip = Clip(pictures[:, None], pictures[:, None], torch.from_numpy(waves), torch.tensor([before]))
            latent = model.fusion(model.see(clip), model.audio_encoder(clip.wave, clip.times))
        codes["canonical"].append(latent.canonical.flatten(1).double().numpy())
        codes["motion"].append(latent.motion[:, 0].flatten(1).double().numpy())
        looks.append(np.repeat([np.concatenate([np.ravel(getattr(head.look, name)) for name in LOOKS])], moments, 0))
        moves.append([[getattr(head.poses[index], name) for name in MOVES] for index in chosen])
    return {name: np.stack(value) for name, value in codes.items()}, np.stack(looks), np.array(moves)


def probe(codes: np.ndarray, wanted: np.ndarray) -> float:
    """R squared of `wanted` (people, moments, V) from `codes` (people, moments, F), the mean over V, on unseen people."""
    people = len(codes)
    first, second = people // 3, 2 * people // 3  # fitted, for the strength of the ridge, judged
    x = codes.reshape(-1, codes.shape[-1])
    rows = np.repeat(np.arange(people), codes.shape[1])
    y = wanted.reshape(-1, wanted.shape[-1])
    fit = rows < second
    x = (x - x[fit].mean(0)) / (x[fit].std(0).mean() + 1e-12)
    y = (y - y[fit].mean(0)) / (y[fit].std(0) + 1e-12)
    strengths = 10.0 ** np.arange(-1, 7)
    scores = [ridge(x, y, rows < first, fit & (rows >= first), strength) for strength in strengths]
    best = strengths[int(np.argmax(scores))]
    return ridge(x, y, fit, ~fit, best)


def ridge(x: np.ndarray, y: np.ndarray, fit: np.ndarray, judge: np.ndarray, strength: float) -> float:
    kernel = x[fit] @ x[fit].T
    weights = np.linalg.solve(kernel + strength * np.eye(len(kernel)), y[fit])
    predicted = x[judge] @ x[fit].T @ weights
    error = ((predicted - y[judge]) ** 2).sum(0) / ((y[judge] - y[judge].mean(0)) ** 2).sum(0)
    return float(np.mean(1 - error))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("runs", nargs="+", metavar="RUN")
    arguments.add_argument("--people", type=int, default=120)
    arguments.add_argument("--moments", type=int, default=8)
    given = arguments.parse_args()
    print("| run | canonical: who | canonical: how | motion: who | motion: how |\n|---|---|---|---|---|")
    for run in given.runs:
        model, recipe = load_model(run)
        codes, looks, moves = measure(model.eval(), recipe, given.people, given.moments)
        scores = [probe(codes[name], wanted) for name in ("canonical", "motion") for wanted in (looks, moves)]
        print(f"| {run} | " + " | ".join(f"{score:.2f}" for score in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
