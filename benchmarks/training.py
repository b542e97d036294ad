"""How long a training step takes, by stage, and whether the loader keeps up with it.

    python benchmarks/training.py [--recipe lipgan] [--data FOLDER] [--device cuda] [--batch 16] [--steps 5] [--precision bf16]
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from itertools import islice

import torch

from fctfg import registry
from fctfg.data import clip_loader, make_dataset
from fctfg.interfaces import Clip
from fctfg.model import build_model
from fctfg.recipe import Recipe, Stage
from fctfg.testing import random_clip
from fctfg.trainer import build_losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="wav2lip")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    recipe = Recipe.find(options.recipe).with_setting("batch", str(options.batch))
    device = torch.device(options.device)
    model, losses = build_model(recipe).to(device).train(), build_losses(recipe).to(device)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}, {options.precision}, "
          f"batch {options.batch} of {recipe.clip_frames} frames\n")
    clip = random_clip(recipe.size, recipe.clip_frames).to(device)
    for stage in recipe.stages:
        seconds = step_seconds(stage, clip, model, losses, options, device)
        print(f"{stage.name:<24}{seconds * 1e3:8.0f} ms a step{options.batch / seconds:10.1f} samples/s", flush=True)
    loader = clip_loader(make_dataset(options.data, recipe, "train", (0.1, 0.3)), options.batch, workers=options.workers)
    next(loader)
    began = time.perf_counter()
    count = sum(options.batch for _ in islice(loader, 4 * options.steps))
    print(f"{'loader, ' + options.data:<24}{'':18}{count / (time.perf_counter() - began):10.1f} samples/s")


def step_seconds(stage: Stage, clip: Clip, model, losses, options, device) -> float:
    """The median step on one repeated clip: draw, critics, losses, backward, Adam."""
    task = registry.build("task", stage.task.name)
    clip = Clip(**{name: None if value is None else value if name == "times" else
                         value.repeat_interleave(options.batch // len(value) or 1, 0)[:options.batch]
                         for name, value in vars(clip).items()})
    clip.source = clip.frames
    model.requires_grad_(bool(stage.train))
    optimizer = torch.optim.Adam(model.parameters(), lr=stage.lr)
    took = []
    for _ in range(options.steps + 1):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            output = task(model, clip)
            for name in stage.critics:
                losses[name].train_critic(output.detach(), clip)
            total = sum(weight.weight * losses[name](output, clip) for name, weight in stage.losses.items() if weight.weight)
        if stage.train:
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return sorted(took[1:])[len(took[1:]) // 2]


if __name__ == "__main__":
    main()
