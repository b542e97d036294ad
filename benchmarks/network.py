"""How many frames a second the networks of Wav2Lip, LipGAN and Speech2Vid draw, as they are and quickened, in one run.

    python benchmarks/network.py                                  # all; CPU, batches of 1, 16 and 64
    python benchmarks/network.py --network wav2lip
    python benchmarks/network.py --device cuda --batch 16 128     # also recorded, and recorded with fused kernels

A frame counts from its window of sound and its two pictures, already on the device, to the drawn picture there. The ways
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

from fctfg.checkpoints import PublicWeights  # noqa: E402
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, Clip  # noqa: E402
from fctfg.model import TalkingFace  # noqa: E402
from fctfg.quicken import QuickTalkingFace, psnr, quicken  # noqa: E402
from fctfg.recipe import Recipe  # noqa: E402
from fctfg_plugins.lipgan import LipGANAudioEncoder, LipGANDecoder, LipGANVisualEncoder  # noqa: E402
from fctfg_plugins.lipgan.public import generator  # noqa: E402
from fctfg_plugins.speech2vid import (Speech2VidAudioEncoder, Speech2VidDecoder, Speech2VidFusion,  # noqa: E402
                                      Speech2VidVisualEncoder)
from fctfg_plugins.wav2lip import SpeechFusion, Wav2LipAudioEncoder, Wav2LipDecoder, Wav2LipVisualEncoder  # noqa: E402


NETWORKS = {"wav2lip": (96, Wav2LipVisualEncoder, Wav2LipAudioEncoder, SpeechFusion, Wav2LipDecoder),
            "lipgan": (96, LipGANVisualEncoder, LipGANAudioEncoder, SpeechFusion, LipGANDecoder),
            "speech2vid": (112, Speech2VidVisualEncoder, Speech2VidAudioEncoder, Speech2VidFusion, Speech2VidDecoder)}


def build(name: str) -> TalkingFace:
    """The public network, with weights that draw something: in eval mode, on the CPU."""
    torch.manual_seed(0)
    size, visual, audio, fusing, drawing = NETWORKS[name]
    decoder, audio_encoder = drawing(size=size), audio()
    visual_encoder = visual(size=size, codes=decoder.codes, skips=decoder.skips)
    fusion = fusing(codes=decoder.codes, speech_width=audio_encoder.width)
    model = TalkingFace(visual_encoder, audio_encoder, fusion, decoder)
    if name == "lipgan" and (given := golden("lipgan_mel27_gen_residual")):
        model.load_state_dict(generator(PublicWeights(ROOT, given, "Keras"))[0], strict=False)
    if name == "wav2lip" and (given := golden("wav2lip")):
        fills = Recipe.load(ROOT / "fctfg" / "recipes" / "wav2lip.yaml").public_files[0].fills
        model.load_state_dict({to + key.removeprefix(prefix): value for key, value in given.items()
                               for prefix, to in fills.items() if key.startswith(prefix)}, strict=False)
    return model.eval()


def golden(name: str) -> dict[str, torch.Tensor]:
    """The weights of a golden; none where the tests are not there."""
    folder = ROOT / "tests" / "golden" / name
    if not folder.is_dir():
        return {}
    spec = importlib.util.spec_from_file_location("fill", folder.parent / "fill.py")
    laws = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(laws)
    return {key: torch.from_numpy(value) for key, value in laws.state(str(folder)).items()}


def noise(batch: int, size: int, device: torch.device, seed: int) -> Clip:
    """A clip of `batch` frames, each its own reference, with its sound."""
    draw = torch.Generator().manual_seed(seed)
    margin = 0.3
    frames = torch.rand(1, batch, 3, size, size, generator=draw) * 2 - 1
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
def compare(batch: int, size: int, model: TalkingFace, device: torch.device, precision: str | None, rounds: int,
            times: int) -> None:
    """Print one table: the ways at one batch."""
    found, quickened = ways(model, device, precision)
    clip, other = noise(batch, size, device, 0), noise(batch, size, device, 1)
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
    parser.add_argument("--network", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
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
    machine = torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{machine}; Python {platform.python_version()}, torch {torch.__version__}")
    for name in given.network:
        model = build(name)
        print(f"\n{name}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
        for batch in given.batch or ([16, 128] if on_gpu else [1, 16, 64]):
            compare(batch, NETWORKS[name][0], model, device, given.precision, given.rounds, times=20 if on_gpu else 1)


if __name__ == "__main__":
    main()
