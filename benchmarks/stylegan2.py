"""How many pictures a second StyleGAN2 draws and learns from, in float32 and in bf16, and in how much memory.

    python benchmarks/stylegan2.py --size 64                          # CPU, batches of 1 and 4
    python benchmarks/stylegan2.py --size 256 --only draw
    python benchmarks/stylegan2.py --device cuda --batch 16 32 64     # also compiled

`draw` is the generator alone, in eval mode. `step` is one step of the critic and one of the generator with their
optimizers, on noise in place of photographs; `regularised` is the same with R1 in one step of 16 and path length in one of
4, at their share of the time. The ways take turns, and figures are medians. `fp32` is the plain network without TF32;
with `compiled`, torch.compile runs both networks, but for the steps with R1 and path length, which it cannot. Memory is the
most that a process of its own took for a way, on a GPU without what its driver takes.

    python benchmarks/stylegan2.py --size 64 --learn 200              # losses of the ways, from the same weights
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
from contextlib import nullcontext
from time import perf_counter

import torch
from torch import Tensor

from network import allow_tf32, import_from_checkout  # beside this script

import_from_checkout()

from fctfg.interfaces import Clip, Output  # noqa: E402
from fctfg.trainer import lay_out_channels_last  # noqa: E402
from fctfg_plugins.stylegan2 import PathLengthLoss, StyleGAN2Decoder, StyleGAN2GANLoss  # noqa: E402

R1_EVERY, PATH_EVERY = 16, 4
WAYS = {"fp32": (False, False), "bf16, channels last": (True, False), "bf16, compiled": (True, True)}
"""Whether in bf16 and whether compiled."""


class Way:
    """Both networks with their optimizers, run in one of the ways, and the batch they learn from."""

    def __init__(self, name: str, batch: int, given: argparse.Namespace):
        self.half, self.compiled = WAYS[name]
        self.device = torch.device(given.device)
        torch.manual_seed(0)
        widths = {"size": given.size, "channel_multiplier": given.channel_multiplier, "channel_max": given.channel_max}
        self.decoder = StyleGAN2Decoder(**widths).to(self.device)
        self.critic = StyleGAN2GANLoss(**widths, r1=given.r1, r1_every=R1_EVERY).to(self.device)
        if self.half:
            lay_out_channels_last(self.decoder)
            lay_out_channels_last(self.critic)
        self.path = PathLengthLoss(every=PATH_EVERY).to(self.device)
        fused = {"fused": True} if self.device.type == "cuda" else {}
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=1.6e-3, betas=(0.0, 0.992), **fused)
        if fused:
            [group] = self.critic.optimizer.param_groups
            self.critic.optimizer = torch.optim.Adam(self.critic.network.parameters(), lr=group["lr"],
                                                     betas=group["betas"], **fused)
        self.plain = self.decoder.draw, self.critic.network.forward
        self.quick = self.plain
        if self.compiled:
            self.quick = tuple(torch.compile(function, dynamic=False) for function in self.plain)
        frames = torch.rand(batch, 1, 3, given.size, given.size) * 2 - 1
        self.clip = Clip(frames, frames, torch.zeros(batch, 1), torch.zeros(1)).to(self.device)
        self.batch = batch

    def draw(self) -> Tensor:
        self.decoder.eval()
        self.use(self.quick)
        with torch.no_grad(), self.precision():
            return self.decoder(self.decoder.imagine(self.batch, 1))

    def step(self, r1: bool = False, path_length: bool = False) -> dict[str, float | Tensor]:
        """One step of the critic, with or without R1, and one of the generator, with or without path length."""
        self.decoder.train()
        self.use(self.plain if path_length else self.quick)
        with self.precision():
            latent = self.decoder.imagine(self.batch, 1)
            output = Output(self.decoder(latent).float(), latent=latent)
            self.use(self.plain if r1 else self.quick)
            self.critic.steps.fill_(0 if r1 else 1)
            report = self.critic.train_critic(output.detach(), self.clip)
            self.use(self.quick)
            loss = report["gan"] = self.critic(output, self.clip)
            self.path.steps.fill_(0 if path_length else 1)
            loss = loss + 2 * self.path(output, self.clip)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return report

    def use(self, functions) -> None:
        self.decoder.draw, self.critic.network.forward = functions

    def precision(self):
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext()

    def seconds(self, job: str) -> float:
        """For one call; on a GPU of ten in a row."""
        if job == "draw":
            return self._timed(self.draw)
        plain = self._timed(self.step)
        if job == "step":
            return plain
        with_r1, with_path = self._timed(self.step, True, False), self._timed(self.step, False, True)
        return plain + (with_r1 - plain) / R1_EVERY + (with_path - plain) / PATH_EVERY

    def _timed(self, call, *arguments) -> float:
        times = 10 if self.device.type == "cuda" else 1
        self._wait()
        begun = perf_counter()
        for _ in range(times):
            call(*arguments)
        self._wait()
        return (perf_counter() - begun) / times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, job: str) -> float:
        """The most MB that this process ever took for a job; of a GPU, what torch took."""
        for _ in range(2):
            self.draw() if job == "draw" else self.step(*[job == "regularised"] * 2)
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        try:
            from resource import RUSAGE_SELF, getrusage
        except ImportError:  # Windows does not say
            return float("nan")
        return getrusage(RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def peak_alone(name: str, job: str, batch: int) -> float:
    """`Way.peak` in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", name, "--only", job, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(batch: int, names: list[str], jobs: list[str], given: argparse.Namespace, peaks: dict) -> None:
    """Print one table: the ways at one batch, with the memory they took."""
    ways = {name: Way(name, batch, given) for name in names}
    measured: dict[tuple[str, str], list[float]] = {(job, name): [] for job in jobs for name in names}
    for turn in range(given.rounds + 1):
        for job in jobs:
            for name, way in ways.items():
                took = way.seconds(job)
                if turn:  # the first is for compilers and algorithms
                    measured[job, name].append(took)
    print(f"\nbatch {batch}{'':28}pictures/s     ratio   peak MB")
    for job, name in measured:
        took, base = (statistics.median(measured[job, which]) for which in (name, names[0]))
        print(f"  {job:12} {name:20}{batch / took:12,.2f}{base / took:9.2f}x{peaks[batch, job, name]:10,.0f}")


def learn(steps: int, batch: int, names: list[str], given: argparse.Namespace) -> None:
    """Print the mean losses of each tenth of `steps`, by way; all begin with the same weights and pictures."""
    print(f"\nmean losses in {steps} steps, batch {batch}: generator / critic / R1")
    ways = {name: Way(name, batch, given) for name in names}
    print("steps up to " + "".join(f"{name:>28}" for name in names))
    for end in range(steps // 10, steps + 1, steps // 10):
        line = f"{end:11} "
        for way in ways.values():
            torch.manual_seed(end)
            reports = [way.step(step % R1_EVERY == 0, step % PATH_EVERY == 0) for step in range(end - steps // 10, end)]
            means = [statistics.mean(float(report[name].detach()) for report in reports) for name in ("gan", "critic", "r1")]
            line += f"{' / '.join(f'{mean:.3f}' for mean in means):>28}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--channel-multiplier", type=int, default=2)
    parser.add_argument("--channel-max", type=int, default=512)
    parser.add_argument("--r1", type=float, default=10)
    parser.add_argument("--only", action="append", choices=["draw", "step", "regularised"])
    parser.add_argument("--learn", type=int, metavar="STEPS", help="compare losses, not speed; on one batch of noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", help="pictures; 1 4 on the CPU, 16 32 on a GPU, by default")
    parser.add_argument("--compile", action="store_true", help="on a CPU too, which takes minutes")
    parser.add_argument("--rounds", type=int, default=5, help="of the ways taking turns")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    allow_tf32(False)
    torch.backends.cudnn.benchmark = True
    if given.peak_of:
        print(Way(given.peak_of, given.batch[-1], given).peak(given.only[-1]))
        return
    on_gpu = torch.device(given.device).type == "cuda"
    name = torch.cuda.get_device_name(given.device) if on_gpu else platform.machine()
    print(f"{name}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}")
    print(f"StyleGAN2 at {given.size} px, channel multiplier {given.channel_multiplier}, at most {given.channel_max} channels")
    names = [name for name, (_, compiled) in WAYS.items() if not compiled or on_gpu or given.compile]
    jobs = given.only or ["draw", "step", "regularised"]
    batches = given.batch or ([16, 32] if on_gpu else [1, 4])
    if given.learn:
        learn(given.learn, batches[-1], names, given)
        return
    # First, while this process is small: on Linux a new one is counted as having been as large as the one it came from.
    peaks = {(batch, job, name): peak_alone(name, job, batch) for batch in batches for job in jobs for name in names}
    for batch in batches:
        compare(batch, names, jobs, given, peaks)


if __name__ == "__main__":
    main()
