"""How fast a face is made to talk, end to end, and where the time goes.

    python benchmarks/generate.py [--face VIDEO --audio SOUND] [--recipe warp | --run RUN | --checkpoint FILE]
    python benchmarks/generate.py --synthetic 1280x720 --seconds 10

The first run is cold: it loads files and warms up. A network without weights draws noise, at the same speed.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from fctfg.data.synthetic import write_synthetic_video
from fctfg.generating import open_model, pick_device
from fctfg.model import build_model
from fctfg.pipeline import generate
from fctfg.quicken import quicken
from fctfg.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--face", help="by default a drawn one")
    parser.add_argument("--audio", help="by default the face's own")
    parser.add_argument("--synthetic", default="1280x720", metavar="WxH", help="the size of the drawn one")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the drawn one")
    parser.add_argument("--recipe", default="warp")
    parser.add_argument("--run")
    parser.add_argument("--checkpoint")
    parser.add_argument("--detector", default="dlib-hog")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], help="by default the quickest one")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    device = pick_device(options.device)
    began = perf_counter()
    model, recipe = _model(options)
    model = quicken(model, device, options.precision)
    loaded = perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        face = options.face or _draw_face(Path(folder, "face.mp4"), options.synthetic, options.seconds)
        reports = [generate(face, options.audio or face, Path(folder, "out.mp4"), model, recipe, device=device,
                            detector=options.detector, batch=options.batch) for _ in range(options.runs)]

    first = reports[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {device}, {model.precision}; recipe {recipe.name} at "
          f"{recipe.size} px, batch {first['batch']}; {first['frames_out']} frames {first['width']}x{first['height']} "
          f"at {first['frame_rate']}")
    print(f"the model loads in {loaded:.1f} s\n")
    stages = list(first["busy_seconds"])
    heads = "".join(f"{stage:>9}" for stage in stages)
    print(f"{'':8}{heads}{'end to end':>12}{'frames/s':>10}{'real time':>11}")
    for number, report in enumerate(reports):
        busy = [1000 * seconds / report["frames_out"] for seconds in report["busy_seconds"].values()]
        wall = 1000 * report["wall_seconds"] / report["frames_out"]
        print(f"{'cold' if number == 0 else 'warm':8}" + "".join(f"{ms:9.2f}" for ms in busy)
              + f"{wall:12.2f}{report['frames_per_second']:10.1f}{report['real_time_factor']:10.2f}x   ms a frame")
    if reports[-1]["peak_memory_mb"]:
        print(f"\npeak memory {reports[-1]['peak_memory_mb']:.0f} MB")
    for warning in reports[-1]["warnings"]:
        print(f"note: {warning}")


def _model(options: argparse.Namespace):
    if options.run or options.checkpoint:
        return open_model(options.run, None, options.checkpoint)[:2]
    recipe = Recipe.find(options.recipe)
    with torch.random.fork_rng():
        return build_model(recipe).eval(), recipe


def _draw_face(path: Path, size: str, seconds: float) -> Path:
    width, height = map(int, size.split("x"))
    write_synthetic_video(path, seconds=seconds, width=width, height=height)
    return path


if __name__ == "__main__":
    main()
