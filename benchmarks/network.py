"""How many frames a second the Wav2Lip network draws, as it is and quickened, in one run.

    python benchmarks/network.py                                  # CPU, batches of 1, 16 and 64
    python benchmarks/network.py --device cuda --batch 16 128     # also recorded, and recorded with fused kernels

A frame counts from its 0.2 s of sound and its two pictures, already on the device, to the drawn picture there. The ways
take turns, and the figures are medians, so what else the machine does strikes all of them. `fp32` is the plain model
without TF32; PSNR is against it, with weights that draw (those of the goldens, where tests/golden is there). Needs
torch, numpy, pydantic and yaml; fctfg and its plugins are taken from beside this script where they are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import sys
import types
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

ROOT = Path(__file__).resolve().parents[1]


def import_from_checkout() -> None:
    """Make `fctfg`, `fctfg_plugins` and `entrypoints` importable on a machine where nothing is installed."""
    if not importlib.util.find_spec("fctfg"):
        sys.path.insert(0, str(ROOT))
    if not importlib.util.find_spec("fctfg_plugins"):
        folder = ROOT / "plugins"
        spec = importlib.util.spec_from_file_location("fctfg_plugins", folder / "__init__.py",
                                                      submodule_search_locations=[str(folder)])
        sys.modules["fctfg_plugins"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    if not importlib.util.find_spec("entrypoints"):
        sys.modules["entrypoints"] = stand_in = types.ModuleType("entrypoints")
        stand_in.iter_files_distros = lambda: []  # nothing is installed, so nothing is offered


import_from_checkout()

from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, Clip  # noqa: E402
from fctfg.model import TalkingFace  # noqa: E402
from fctfg.quicken import QuickTalkingFace, psnr, quicken  # noqa: E402
from fctfg.recipe import Recipe  # noqa: E402
from fctfg_plugins.wav2lip import SpeechFusion, Wav2LipAudioEncoder, Wav2LipDecoder, Wav2LipVisualEncoder  # noqa: E402


def build() -> TalkingFace:
    """The public network, with weights that draw something: in eval mode, on the CPU."""
    torch.manual_seed(0)
    decoder, audio_encoder = Wav2LipDecoder(size=96), Wav2LipAudioEncoder()
    visual_encoder = Wav2LipVisualEncoder(size=96, codes=decoder.codes, skips=decoder.skips)
    fusion = SpeechFusion(codes=decoder.codes, speech_width=audio_encoder.width)
    model = TalkingFace(visual_encoder, audio_encoder, fusion, decoder)
    if (golden := ROOT / "tests" / "golden" / "wav2lip").is_dir():
        spec = importlib.util.spec_from_file_location("fill", golden.parent / "fill.py")
        laws = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(laws)
        fills = Recipe.load(ROOT / "fctfg" / "recipes" / "wav2lip.yaml").public_files[0].fills
        model.load_state_dict({to + key.removeprefix(prefix): torch.from_numpy(value)
                               for key, value in laws.state(str(golden)).items()
                               for prefix, to in fills.items() if key.startswith(prefix)}, strict=False)
    return model.eval()


def noise(batch: int, device: torch.device, seed: int) -> Clip:
    """A clip of `batch` frames, each its own reference, with its sound."""
    draw = torch.Generator().manual_seed(seed)
    margin = 0.3
    frames = torch.rand(1, batch, 3, 96, 96, generator=draw) * 2 - 1
    samples = round((2 * margin + batch / FRAME_RATE) * SAMPLE_RATE)
    wave = torch.rand(1, samples, generator=draw) - 0.5
    return Clip(frames, frames, wave, margin + torch.arange(batch) / FRAME_RATE).to(device)


Way = Callable[[Clip], torch.Tensor]


def ways(model: TalkingFace, device: torch.device,
         precision: str | None) -> tuple[dict[str, Way], list[QuickTalkingFace]]:
    """What is compared, by name; each draws the frames of a clip. And the quickened models in it, for their notes."""
    eager = model.to(device)
    quick = quicken(model, device, precision)
    found = {"fp32": lambda clip: eager(clip).frames}
    if device.type != "cuda":
        return {**found, f"quick {quick.precision}": lambda clip: quick(clip).frames}, [quick]

    def with_tf32(clip: Clip) -> torch.Tensor:
        allow_tf32(True)
        try:
            return eager(clip).frames
        finally:
            allow_tf32(False)

    fused = quicken(model, device, precision, fuse=True)
    return {**found, "tf32": with_tf32,
            f"quick {quick.precision}, launched": lambda clip: quick._plain(clip).frames,
            f"quick {quick.precision}, recorded": lambda clip: quick(clip).frames,
            f"quick {quick.precision}, fused": lambda clip: fused(clip).frames}, [quick, fused]


def allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def seconds(draw: Way, clip: Clip, times: int) -> float:
    """For one call, of `times` in a row."""
    if clip.frames.device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(times):
            draw(clip)
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000 / times
    begun = perf_counter()
    for _ in range(times):
        draw(clip)
    return (perf_counter() - begun) / times


@torch.no_grad()
def compare(batch: int, model: TalkingFace, device: torch.device, precision: str | None, rounds: int,
            times: int) -> None:
    """Print one table: the ways at one batch."""
    found, quickened = ways(model, device, precision)
    clip, other = noise(batch, device, 0), noise(batch, device, 1)
    expected = found["fp32"](clip)
    first, agreement = {}, {}
    for name, draw in found.items():
        begun = perf_counter()
        for _ in range(3):  # compared, recorded, replayed
            draw(other)
        agreement[name] = psnr(draw(clip), expected)
        first[name] = perf_counter() - begun
    measured: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, draw in found.items():
            measured[name].append(seconds(draw, clip, times))
    print(f"\nbatch {batch}{'':24}frames/s     ratio   PSNR dB   first calls s")
    base = statistics.median(measured["fp32"])
    for name, values in measured.items():
        took = statistics.median(values)
        print(f"  {name:28}{batch / took:10,.1f}{base / took:9.2f}x{agreement[name]:10.1f}{first[name]:12.1f}")
    for note in [note for quick in quickened for note in quick.notes]:
        print(f"  note: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", help="frames; 1 16 64 on the CPU, 16 128 on a GPU, by default")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], help="by default the quickest faithful one")
    parser.add_argument("--rounds", type=int, default=9, help="of the ways taking turns")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    on_gpu = device.type == "cuda"
    allow_tf32(False)
    model = build()
    name = torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{name}; Python {platform.python_version()}, torch {torch.__version__}")
    print(f"Wav2Lip: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    for batch in given.batch or ([16, 128] if on_gpu else [1, 16, 64]):
        compare(batch, model, device, given.precision, given.rounds, times=20 if on_gpu else 1)


if __name__ == "__main__":
    main()
