"""The same model, drawing faster: norms folded, the layout and precision that the machine is quick at, CUDA graphs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from .errors import BadOption
from .interfaces import SAMPLE_RATE, Clip, Latent, Output
from .model import TalkingFace

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FAITHFUL = 40.0
"""Decibels of PSNR by which a quickened model must draw what the given one draws."""

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MATRIX_LAYERS = (nn.Linear, *CONVOLUTIONS.values(), *TRANSPOSED.values())
"""The layers that run in the lower precision, weights and all; the others choose for themselves under autocast."""


def quicken(model: TalkingFace, device: torch.device | str, precision: str | None = None,
            fuse: bool = False) -> QuickTalkingFace:
    """A copy of `model` on `device` that draws the same pictures faster; for drawing only, it carries no gradients.

    Its output holds `frames` and `alpha` alone. The first frames are drawn by an unchanged copy too; where the pictures
    differ by more than FAITHFUL allows, or a plugin cannot run so, that copy goes on, and `notes` says so.

    Args:
        precision: `fp32`, `bf16` or `fp16`; None for bf16 where the device is fast at it, else fp32.
        fuse: on CUDA, also fuse kernels with torch.compile. That costs the second batch of a shape a minute or so, and
            pays from about 100,000 frames on. Where it cannot work, drawing goes on without it; `notes` says so.

    Raises:
        BadOption: no such precision.
    """
    device = torch.device(device)
    precision = precision or ("bf16" if fast_at_bf16(device) else "fp32")
    if precision not in PRECISIONS:
        raise BadOption(f"No precision '{precision}'; give one of {', '.join(PRECISIONS)}.")
    return QuickTalkingFace(model, device, precision, fuse)


class QuickTalkingFace(TalkingFace):
    """What `quicken` gives."""

    precision: str
    """What it draws in: `fp32`, `bf16` or `fp16`."""
    notes: list[str]
    """What did not work as asked, and what was done instead."""

    def __init__(self, model: TalkingFace, device: torch.device, precision: str, fuse: bool):
        exact = copy.deepcopy(model).to(device).eval().requires_grad_(False)
        quick = copy.deepcopy(exact)
        fold_norms(quick)
        _lay_out(quick, PRECISIONS[precision])
        super().__init__(quick.visual_encoder, quick.audio_encoder, quick.fusion, quick.decoder)
        self.eval()
        self.steering = model.steering
        self.precision = precision
        self.notes = []
        self.device = device
        self._exact = [exact]  # in a list, since it is not part of this module; empty once it is compared with
        self._replays = _Replays(self._plain, fuse, self.notes) if device.type == "cuda" else None

    def forward(self, clip: Clip) -> Output:
        """Redraw `clip.frames` as the person in `clip.source` saying `clip.wave`; `frames`, `alpha` and the latent's codes only."""
        clip = clip.to(self.device)
        with torch.no_grad():
            if self._exact:
                self._compare(clip)
            return self._replays(clip) if self._replays else self._plain(clip)

    def _plain(self, clip: Clip) -> Output:
        lower = self.precision != "fp32"
        with torch.autocast(self.device.type, PRECISIONS[self.precision]) if lower else nullcontext():
            output = super().forward(clip)
        return Output(output.frames, latent=Latent(output.latent.codes), alpha=output.alpha)

    def _compare(self, clip: Clip) -> None:
        """Draw the first frames both ways; where they differ, or the quick way fails, go on with the exact one."""
        exact, clip = self._exact[0], _first_frames(clip, 2)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            expected = exact(clip).frames
            torch.manual_seed(0)
            try:
                agreement = psnr(self._plain(clip).frames, expected)
                problem = f"they would agree to {agreement:.0f} dB only"
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                agreement, problem = 0.0, str(error).splitlines()[0]
        if not agreement >= FAITHFUL:
            self.notes.append(f"pictures are drawn in fp32 by the unchanged model: in {self.precision}, {problem}")
            self.precision = "fp32"
            self.visual_encoder, self.audio_encoder = exact.visual_encoder, exact.audio_encoder
            self.fusion, self.decoder = exact.fusion, exact.decoder
        self._exact.clear()


def psnr(drawn: Tensor, expected: Tensor) -> float:
    """How alike two sets of pictures in [-1, 1] are, in decibels; infinite where they are equal."""
    error = (drawn.float() - expected.float()).square().mean()
    return float(10 * (4 / error).log10())


@lru_cache(maxsize=8)
def fast_at_bf16(device: torch.device) -> bool:
    """Whether convolutions run faster in bf16 than in fp32: known of CUDA devices, tried on a CPU, elsewhere no."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # A CPU with matrix units for bf16 takes a fifth of the time; one that only has dot products in it gains nothing.
    # Its own time, not the clock's, does not mind what else the machine is doing; on Windows it ticks too coarsely.
    clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-4 else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    pictures, weight = torch.rand(4, 64, 48, 48, generator=generator), torch.rand(64, 64, 3, 3, generator=generator)
    seconds = {torch.float32: [], torch.bfloat16: []}
    with torch.no_grad():
        for _ in range(6):
            for dtype, measured in seconds.items():
                x, w = (t.to(dtype, memory_format=torch.channels_last) for t in (pictures, weight))
                start = clock()
                F.conv2d(x, w)
                measured.append(clock() - start)
    return 1.5 * min(seconds[torch.bfloat16]) < min(seconds[torch.float32])


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm that follows a convolution or linear layer in a Sequential into it, in place; for eval mode.

    Only where the pair is plain: torch's own classes, no hooks, used in this one place.
    """
    uses: dict[nn.Module, int] = {}
    for _, child in module.named_modules(remove_duplicate=False):
        uses[child] = uses.get(child, 0) + 1
    for sequence in [child for child in module.modules() if type(child) is nn.Sequential]:
        for i in range(len(sequence) - 1):
            layer, norm = sequence[i], sequence[i + 1]
            if uses.get(layer) == uses.get(norm) == 1 and (folded := _folded(layer, norm)) is not None:
                sequence[i], sequence[i + 1] = folded, nn.Identity()


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """One layer that does what `layer` and `norm` do; None where that is not known for sure."""
    dimensions = next((d for d, kind in NORMS.items() if type(norm) is kind), None)
    if dimensions is None or norm.running_mean is None:
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in (layer, norm)):
        return None
    if type(layer) is CONVOLUTIONS[dimensions]:
        return fuse_conv_bn_eval(layer, norm)
    if type(layer) is TRANSPOSED[dimensions] and layer.groups == 1:
        return fuse_conv_bn_eval(layer, norm, transpose=True)
    if type(layer) is nn.Linear and dimensions == 1:
        return fuse_linear_bn_eval(layer, norm)
    return None


def _lay_out(module: nn.Module, dtype: torch.dtype) -> None:
    """Bring the weights of matrix layers to `dtype`, and those over pictures to channels-last; their outputs follow."""
    for layer in module.modules():
        if type(layer) in MATRIX_LAYERS:
            over_pictures = type(layer) in (nn.Conv2d, nn.ConvTranspose2d)
            layer.to(dtype=dtype, memory_format=torch.channels_last if over_pictures else torch.preserve_format)


def _first_frames(clip: Clip, count: int) -> Clip:
    """`clip` cut after `count` frames; the sound stays whole."""
    by_frame = {name: value[:, :count] for name, value in vars(clip).items()
                if name not in ("wave", "other_wave", "times") and value is not None
                and value.shape[1] == clip.frames.shape[1]}
    return replace(clip, **by_frame, times=clip.times[:count])


class _Replays:
    """Draws clips of a shape that came before by replaying what the GPU did then; no kernel is launched on its own."""

    MOST = 4  # shapes; each holds its buffers

    def __init__(self, draw: Callable[[Clip], Output], fuse: bool, notes: list[str]):
        self._draw = draw
        self._notes = notes
        self._fused = torch.compile(draw, dynamic=False) if fuse else None
        self._recorded: dict[tuple, tuple[torch.cuda.CUDAGraph, Clip, Output]] = {}
        self._seen: set[tuple] = set()
        self._pool = None
        self._possible = True

    def __call__(self, clip: Clip) -> Output:
        clip = _whole_tenths(clip)
        shapes = tuple((name, value.shape, value.dtype) for name, value in vars(clip).items() if value is not None)
        if shapes not in self._recorded:
            # The last batch of a video is of a shape of its own: not worth recording.
            if not self._possible or shapes not in self._seen or len(self._recorded) >= self.MOST:
                self._seen.add(shapes)
                return self._draw(clip)
            if (recorded := self._recording(clip)) is None:
                return self._draw(clip)
            self._recorded[shapes] = recorded
        graph, given, drawn = self._recorded[shapes]
        for name, _, _ in shapes:
            getattr(given, name).copy_(getattr(clip, name))
        graph.replay()
        return Output(drawn.frames.clone(), latent=Latent(drawn.latent.codes.clone()),
                      alpha=None if drawn.alpha is None else drawn.alpha.clone())

    def _recording(self, clip: Clip) -> tuple[torch.cuda.CUDAGraph, Clip, Output] | None:
        """A graph with the clip it reads and the output it writes; None where the model cannot be recorded."""
        for draw, what in ((self._fused, "torch.compile"), (self._draw, "a CUDA graph")):
            if draw is None:
                continue
            try:
                return self._record(draw, clip)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler, a plugin that waits for the GPU: plain drawing works
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                self._notes.append(f"drawing goes on without {what}, which failed: {reason}")
                self._fused = None
        self._possible = False
        return None

    def _record(self, draw: Callable[[Clip], Output], clip: Clip) -> tuple[torch.cuda.CUDAGraph, Clip, Output]:
        given = Clip(**{name: None if value is None else value.clone() for name, value in vars(clip).items()})
        device = given.frames.device
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside), _best_algorithms():
            for _ in range(3):  # plans, workspaces and kernels are made before recording
                draw(given)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            drawn = draw(given)
        return graph, given, drawn


def _whole_tenths(clip: Clip) -> Clip:
    """`clip` with silence appended to its sound up to a tenth of a second, so that batches have few shapes."""
    step = SAMPLE_RATE // 10
    missing = -clip.wave.shape[1] % step
    return replace(clip, wave=F.pad(clip.wave, (0, missing)))


@contextmanager
def _best_algorithms() -> Iterator[None]:
    """Let cuDNN try its algorithms for shapes that are new to it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
