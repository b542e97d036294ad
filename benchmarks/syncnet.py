"""How many times faster than it plays a face track is scored by SyncNet, and in how much memory.

    python benchmarks/syncnet.py                              # 20 s of 25 frames a second at 224 px
    python benchmarks/syncnet.py --seconds 60 --threads 1     # a longer track on one core
    python benchmarks/syncnet.py --threads 1 --busy           # the process's own time, where others use the machine
    python benchmarks/syncnet.py --device cuda

`windows` is the plain way: float32, every window of five frames a clip of its own through a 3-D convolution, 20 at a
time, as the authors' code has it. `track` goes through the same network as plugin `syncnet` trains it, over pictures.
`fp32` and `bf16` are the metric `syncnet` of protocol `wav2lip-lrs`, from frames and sound to LSE-C, LSE-D and offset.
The ways take turns; figures are medians. Real time is the length of the track over the time it took. Memory is the most
that a process of its own took over what it had before. The difference is that of LSE-D from the first way's. Weights
are random.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from torch.nn import functional as F

from network import import_from_checkout  # beside this script

import_from_checkout()

from fctfg.audio import mfcc  # noqa: E402
from fctfg.interfaces import Film, Moments  # noqa: E402
from fctfg_plugins.sync_metrics import SyncNetMetric  # noqa: E402
from fctfg_plugins.syncnet import SyncNet, agreement, distances, lip_sync  # noqa: E402

WAYS = ("windows", "track", "fp32", "bf16")
BATCH = 20
STRETCH = 16
"""Frames that the metric sees at once."""


def footage(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Half a second of frames that repeat, and noise to hear."""
    rng = np.random.default_rng(0)
    count = round(25 * seconds)
    few = rng.integers(0, 256, (13, 224, 224, 3), np.uint8)
    return np.broadcast_to(few[None], (-(-count // 13), *few.shape)).reshape(-1, *few.shape[1:])[:count], \
        (0.1 * rng.standard_normal(640 * count + 640)).astype(np.float32)


def score(way: str, frames: np.ndarray, wave: np.ndarray, device: torch.device) -> Callable[[], float]:
    """What scores the track once and gives LSE-D."""
    torch.manual_seed(0)
    network = SyncNet().to(device).eval()
    if way == "windows":
        return lambda: by_windows(network, frames, wave, device)
    if way == "track":
        sound = torch.from_numpy(wave)
        return lambda: lip_sync(network, torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1, sound).distance
    metric = SyncNetMetric(protocol="wav2lip-lrs", precision=way)
    metric.use(network, device)
    film = Film(Path("track"), 224, 224, len(frames), Fraction(25), wave)
    unseen = np.full((STRETCH, 68, 2), np.nan, np.float32)

    def measure() -> float:
        measurement = metric.begin(film)
        for first in range(0, len(frames), STRETCH):
            some = frames[first:first + STRETCH]
            measurement.see(Moments(first, some, unseen[:len(some)]))
        return measurement.score().values["lse-d"]

    return measure


@torch.no_grad()
def by_windows(network: SyncNet, frames: np.ndarray, wave: np.ndarray, device: torch.device) -> float:
    """The plain way: overlapping windows, batches of 20, all of the track in memory."""
    first, norm = network.netcnnlip[0], network.netcnnlip[1]
    track = torch.from_numpy(frames[..., ::-1].copy()).permute(3, 0, 1, 2).float()  # (3, T, 224, 224), BGR
    count = min(len(frames), len(wave) // 640) - 5
    heard = mfcc(torch.from_numpy(wave)[None])[0]
    mouths, sounds = [], []
    for begin in range(0, count, BATCH):
        places = range(begin, min(begin + BATCH, count))
        clips = torch.stack([track[:, place:place + 5] for place in places]).to(device)
        x = norm(F.conv3d(clips, first.weight, first.bias, (1, 2, 2))[:, :, 0])
        mouths.append(network.netfclip(network.netcnnlip[2:](x).flatten(1)))
        sounds.append(network.listen(torch.stack([heard[:, 4 * place:4 * place + 20] for place in places]).to(device)))
    return agreement(distances(torch.cat(mouths), torch.cat(sounds)).cpu()).distance


def memory(way: str, given: argparse.Namespace) -> float:
    """MiB that a process of its own took at the most, over what it had with the network and the track."""
    command = [sys.executable, __file__, "--way", way, "--seconds", str(given.seconds), "--threads", str(given.threads),
               "--device", given.device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def taken() -> float:
    """MiB that this process took at the most; on Linux not by `getrusage`, which knows the parent's, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    clock = process_time if given.busy else perf_counter
    frames, wave = footage(given.seconds)
    if given.way:
        measure = score(given.way, frames, wave, device)
        before = taken()
        measure()
        print(taken() - before)
        return
    ways = {way: score(way, frames, wave, device) for way in WAYS}
    found = {way: measure() for way, measure in ways.items()}  # kernels are chosen once
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.repeats):
        for way, measure in ways.items():
            start = clock()
            measure()
            seconds[way].append(clock() - start)
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"{platform.machine()}, {given.threads} threads"
    print(f"{given.seconds:g} s at 25 frames a second, {name}, torch {torch.__version__}\n")
    print("| way | x real time | MiB | difference |\n|---|---|---|---|")
    for way in WAYS:
        speed = given.seconds / statistics.median(seconds[way])
        apart = abs(found[way] - found["windows"])
        print(f"| `{way}` | {speed:.1f} | {memory(way, given):.0f} | {apart:.4f} of {found[way]:.1f} |")


if __name__ == "__main__":
    main()
