"""How long HyperStyle takes to know a person, and what drawing that person costs then.

    python benchmarks/hyperstyle.py                              # 256 px on the CPU
    python benchmarks/hyperstyle.py --size 64 --scale 0.25       # the small preset's kind, with a training step
    python benchmarks/hyperstyle.py --device cuda --batch 8 --frames 64

Figures are medians of `--rounds`; ways that are compared take turns. Memory is what a way adds to weights at its worst:
of the process on a CPU, sampled, and of the allocator on a GPU. Weights are random.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, sleep

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg import registry
from fctfg.interfaces import Latent

Way = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--scale", type=float, default=1.0, help="of all channels; 1 is the public networks")
    parser.add_argument("--base", default="psp")
    parser.add_argument("--frames", type=int, default=8, help="of one person, drawn at once")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a training step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-training", action="store_true", help="leave out the training step, which needs memory")
    given = parser.parse_args()
    device, size = torch.device(given.device), given.size
    torch.manual_seed(0)
    decoder = registry.build("decoder", "stylegan2", size=size, channel_max=max(8, round(512 * given.scale)))
    encoder = registry.build("visual_encoder", "hyperstyle", size=size, codes=decoder.codes, deltas=decoder.deltas,
                             base=given.base, base_options={"scale": given.scale}, scale=given.scale)
    decoder, encoder = decoder.to(device).eval(), encoder.to(device).eval()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}, torch "
          f"{torch.__version__}; {size} px, scale {given.scale}")
    for name, part in (("base", encoder.base), ("hypernetwork", encoder.hypernet), ("decoder", decoder)):
        print(f"  {name:<40}{sum(p.numel() for p in part.parameters()) / 1e6:10.1f} M parameters")
    picture, frames = noise(1, size, device), noise(given.frames, size, device)
    with torch.no_grad():
        codes = encoder.invert(frames)
        *_, (_, deltas, drawn) = encoder.refinements(picture, decoder)
    numbers = sum(delta.numel() for delta in deltas if delta is not None)
    print(f"  {'offsets of one person':<40}{numbers * 4 / 1e6:10.1f} MB")

    seen = torch.cat([F.adaptive_avg_pool2d(p, encoder.input_size) for p in (picture, drawn)], 1)
    with torch.inference_mode():
        table("a person, each", 1, given.rounds, device, {
            "inverted by the base": lambda: encoder.invert(picture),
            "drawn once": lambda: decoder(Latent(codes[None, :1])),
            "drawn once with offsets": lambda: decoder(Latent(codes[None, :1], deltas=deltas)),
            "looked at once": lambda: encoder.hypernet(seen),
            "looked at once, layer by layer": lambda: layer_by_layer(encoder.hypernet, seen),
            f"inverted and refined, {encoder.rounds} looks": lambda: list(encoder.refinements(picture, decoder)),
        })
        table(f"{given.frames} frames of one person, each", given.frames, given.rounds, device, {
            "codes and pictures, no offsets": lambda: decoder(Latent(encoder.invert(frames)[None])),
            "with offsets, the person known": lambda: whole(encoder, decoder, picture, frames),
            "with offsets, found anew for the frames": lambda: whole(encoder.eval(), decoder, picture, frames),
        })
    if not given.no_training:
        people = noise(given.batch, size, device)
        encoder.train()
        decoder.requires_grad_(False)
        table(f"training, {given.batch} pictures, each", given.batch, given.rounds, device, {
            "one refinement, forward and backward": lambda: step(encoder, decoder, people, 1),
            f"all {encoder.rounds}, gradients kept to the end": lambda: step(encoder, decoder, people, encoder.rounds),
        })


def noise(count: int, size: int, device: torch.device) -> Tensor:
    return (torch.rand(count, 3, size, size) * 2 - 1).to(device)


def whole(encoder, decoder, picture: Tensor, frames: Tensor) -> Tensor:
    """Frames read and drawn again as the person in `picture`, whom `eval()` makes the encoder forget."""
    face = encoder(picture[None], frames[None], decoder=decoder)
    return decoder(Latent(face.motion, deltas=face.deltas))


def layer_by_layer(network, seen: Tensor) -> list[Tensor]:
    """What the hypernetwork does, the shared matrices read for each layer, as the authors' code has it."""
    features = network.body(network.relu(network.bn1(network.conv1(seen))))
    offsets = [network.refinement_blocks[str(i)](features) for i in network.layers]
    return [network.shared_weight_hypernet(offset[None])[0] if i in network.shared else offset
            for i, offset in zip(network.layers, offsets)]


def step(encoder, decoder, people: Tensor, refinements: int) -> None:
    """The gradients of the errors of the first refinements."""
    encoder.zero_grad(set_to_none=True)
    closer = encoder.refinements(people, decoder)
    next(closer)
    sum(F.mse_loss(next(closer)[2], people) for _ in range(refinements)).backward()


def table(title: str, count: int, rounds: int, device: torch.device, ways: dict[str, Way]) -> None:
    """Print the seconds for one of `count`, and the memory, of each of `ways`."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    memory = {}
    for name, way in ways.items():
        with peak(device) as worst:
            way()
        memory[name] = worst[0]
    for _ in range(rounds):
        for name, way in ways.items():
            begun = perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            took[name].append((perf_counter() - begun) / count)
    print(f"\n{title:<42}{'ms':>10}{'per second':>12}{'memory MB':>12}")
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"  {name:<40}{median * 1e3:10.1f}{1 / median:12.2f}{memory[name] / 1e6:12.0f}", flush=True)


@contextmanager
def peak(device: torch.device) -> Iterator[list[float]]:
    """The bytes that the block holds at its worst, above what was held before."""
    worst = [0.0]
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield worst
        torch.cuda.synchronize()
        worst[0] = torch.cuda.max_memory_allocated() - before
        return
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.is_set():
            worst[0] = max(worst[0], process.memory_info().rss - before)
            sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield worst
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    main()
