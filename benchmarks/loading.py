"""How fast training samples come from a prepared folder: by picture size and number of loader processes.

    python benchmarks/loading.py [FOLDER] [--sizes 96 256] [--workers 0 1 2] [--seconds 3]

A sample is Wav2Lip's: five frames, five of another moment, and two stretches of sound. Without a folder, drawn heads
are written into one for each size.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in a loader process

from fctfg.data import PreparedClips, SyntheticClips, clip_loader
from fctfg.data.clipfile import decode_jpeg, encode_jpeg, write_clip
from fctfg.data.manifest import read_manifest, write_manifest
from fctfg.data.synthetic import HeadFootage, TalkingHead
from fctfg.recipe import Recipe

BATCH = 16
CONTEXT = (0.1, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="by default one that is made here for each size")
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 256])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, batch {BATCH}, 10 pictures a sample\n")
    heads = "".join(f"{f'{workers} workers':>12}" for workers in options.workers)
    print(f"{'':26}{'encode':>10}{'decode':>10}{heads}   samples/s")
    with tempfile.TemporaryDirectory() as made:
        for size in options.sizes:
            folder = options.folder or write_heads(Path(made, str(size)), size)
            recipe = wav2lip_like(size, read_manifest(folder).crop)
            prepared = PreparedClips(folder, recipe, context=CONTEXT)
            report(f"prepared folder, {size} px", prepared, size, options)
        size = options.sizes[0]
        report(f"drawn anew, {size} px", SyntheticClips(wav2lip_like(size), context=CONTEXT), size, options)


def report(label: str, dataset, size: int, options: argparse.Namespace) -> None:
    frame = dataset[0]["frames"][0].permute(1, 2, 0).contiguous().numpy()
    encoded = encode_jpeg(frame)
    figures = [loaded(dataset, workers, options.seconds) for workers in options.workers]
    codec = each(lambda: encode_jpeg(frame)), each(lambda: decode_jpeg(encoded))
    print(f"{label:26}" + "".join(f"{seconds * 1e6:7.0f} us" for seconds in codec)
          + "".join(f"{figure:12.0f}" for figure in figures), flush=True)


def each(work: Callable[[], object], seconds: float = 0.3) -> float:
    """Seconds that one call takes."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work()
        calls += 1
    return (time.perf_counter() - started) / calls


def loaded(dataset, workers: int, seconds: float) -> float:
    """Samples a second once the loader runs."""
    batches = clip_loader(dataset, BATCH, workers=workers)
    for _ in range(2 * workers + 1):  # what was read ahead while nothing was timed
        next(batches)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(batches)
        count += BATCH
    rate = count / (time.perf_counter() - started)
    batches.close()
    return rate


def wav2lip_like(size: int, crop: str = "wav2lip") -> Recipe:
    parts = dict.fromkeys(("visual_encoder", "audio_encoder", "fusion", "decoder"), "none")
    return Recipe.from_dict({"name": "loading", **parts, "size": size, "crop": crop, "references": {"count": 5}})


def write_heads(folder: Path, size: int, speakers: int = 6) -> Path:
    """A prepared folder of drawn heads, four seconds each."""
    clips = []
    for speaker in range(speakers):
        head = TalkingHead(0, speaker)
        footage = HeadFootage(head, "wav2lip", size)
        shown = range(head.num_frames)
        file = f"clips/{speaker}.zip"
        pictures = (footage.frames([index])[0] for index in shown)
        boxes = [[0, 0, 256, 256]] * head.num_frames
        write_clip(folder / file, pictures, head.speech.wave, footage.landmarks(shown), boxes, {})
        clips.append({"name": str(speaker), "file": file, "speaker": str(speaker), "source": "drawn", "start": 0,
                      "frames": head.num_frames, "seconds": head.seconds})
    write_manifest(folder, {"crop": "wav2lip", "size": size, "clips": clips})
    return folder


if __name__ == "__main__":
    main()
