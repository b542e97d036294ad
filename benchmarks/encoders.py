"""How many pictures a second the encoders read, in float32 and in bf16, and in how much memory.

    python benchmarks/encoders.py                             # pSp at 256 px, forward
    python benchmarks/encoders.py --train --size 64           # forward and backward, as a stage of training does
    python benchmarks/encoders.py --device cuda --batch 1 32  # also compiled

A picture counts from being on the device to its codes there; in training to its gradients, without the optimizer. The
ways take turns, and figures are medians. Memory is the most that a process of its own took for a way, on a GPU without
what its driver takes. `fp32` is the plain network without TF32; the difference is the largest between its codes and a
way's, in their standard deviations. Weights are random.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from network import allow_tf32, import_from_checkout  # beside this script

import_from_checkout()

from fctfg.interfaces import CodeShape  # noqa: E402
from fctfg.quicken import fold_norms  # noqa: E402
from fctfg_plugins.psp import E4EEncoder, PSPEncoder, PSPWEncoder  # noqa: E402
from fctfg_plugins.psp.encoders import IRSE50Encoder  # noqa: E402

ENCODERS = {"psp": PSPEncoder, "e4e": E4EEncoder, "psp-w": PSPWEncoder}
Way = Callable[[Tensor], Tensor]


def build(given: argparse.Namespace) -> IRSE50Encoder:
    """The encoder of codes for a generator of `size`."""
    torch.manual_seed(0)
    codes = CodeShape(2 * given.size.bit_length() - 4, 512)
    return ENCODERS[given.encoder](size=given.size, codes=codes, scale=given.scale).train(given.train)


def ways(given: argparse.Namespace) -> dict[str, Callable[[], Way]]:
    """What is compared, by name; each builds what it needs."""
    device = torch.device(given.device)

    def plain() -> Way:
        return build(given).to(device).invert

    def half(fold: bool = False, compiled: bool = False) -> Way:
        encoder = build(given).to(device, memory_format=torch.channels_last)
        if fold:
            fold_norms(encoder)
        invert = torch.compile(encoder.invert, dynamic=False) if compiled else encoder.invert

        def read(pictures: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16):
                return invert(pictures.contiguous(memory_format=torch.channels_last))

        return read

    found = {"fp32": plain, "bf16, channels last": half}
    if not given.train:
        found["the same, norms folded"] = lambda: half(fold=True)
    if device.type == "cuda":
        found["bf16, compiled"] = lambda: half(fold=not given.train, compiled=True)
    return found


def once(read: Way, pictures: Tensor, train: bool) -> Tensor:
    """The codes of `pictures`; in training with the gradients of every weight."""
    with torch.set_grad_enabled(train):
        codes = read(pictures)
    if train:
        codes.square().sum().backward()
    return codes.detach()


def seconds(read: Way, pictures: Tensor, given: argparse.Namespace) -> float:
    """For one call, of ten in a row on a GPU."""
    on_gpu = pictures.is_cuda
    times = 10 if on_gpu else 1
    if on_gpu:
        torch.cuda.synchronize()
    begun = perf_counter()
    for _ in range(times):
        once(read, pictures, given.train)
    if on_gpu:
        torch.cuda.synchronize()
    return (perf_counter() - begun) / times


def peak(read: Way, pictures: Tensor, given: argparse.Namespace) -> float:
    """The most MB that this process ever took; of a GPU, what torch took."""
    for _ in range(2):
        once(read, pictures, given.train)
    if pictures.is_cuda:
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows does not say
        return float("nan")
    return getrusage(RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def peak_alone(name: str, batch: int) -> float:
    """`peak` of a way in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", name, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(batch: int, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Print one table: the ways at one batch, with the memory they took."""
    pictures = noise(batch, given)
    readers = {name: make() for name, make in ways(given).items()}
    expected = once(readers["fp32"], pictures, given.train)
    apart = {name: ((once(read, pictures, given.train) - expected).abs().max() / expected.std()).item()
             for name, read in readers.items()}
    measured: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(given.rounds):
        for name, read in readers.items():
            measured[name].append(seconds(read, pictures, given))
    print(f"\nbatch {batch}{'':24}pictures/s     ratio   peak MB   difference")
    base = statistics.median(measured["fp32"])
    for name, values in measured.items():
        took = statistics.median(values)
        print(f"  {name:28}{batch / took:12,.2f}{base / took:9.2f}x{peaks[name]:10,.0f}{apart[name]:13.3f}")


def noise(batch: int, given: argparse.Namespace) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(batch, 3, given.size, given.size, generator=draw) * 2 - 1).to(given.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", choices=sorted(ENCODERS), default="psp")
    parser.add_argument("--size", type=int, default=256, help="of the generator's pictures, and of those that are read")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--train", action="store_true", help="forward and backward, in train mode")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", help="pictures; 1 6 on the CPU, 1 32 on a GPU, by default")
    parser.add_argument("--rounds", type=int, default=5, help="of the ways taking turns")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    allow_tf32(False)
    if given.peak_of:
        print(peak(ways(given)[given.peak_of](), noise(given.batch[0], given), given))
        return
    on_gpu = torch.device(given.device).type == "cuda"
    name = torch.cuda.get_device_name(given.device) if on_gpu else platform.machine()
    print(f"{name}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}")
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build(given).parameters())
    print(f"{given.encoder} at {given.size} px, {'forward and backward' if given.train else 'forward'}: "
          f"{parameters:,} parameters")
    batches = given.batch or ([1, 32] if on_gpu else [1, 6])
    # First, while this process is small: on Linux a new one is counted as having been as large as the one it came from.
    peaks = [{name: peak_alone(name, batch) for name in ways(given)} for batch in batches]
    for batch, taken in zip(batches, peaks):
        compare(batch, given, taken)


if __name__ == "__main__":
    main()
