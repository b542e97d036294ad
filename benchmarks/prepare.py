"""How fast raw video becomes clips, part by part: frames a second on one core, then the whole on every core.

    python benchmarks/prepare.py [VIDEO ...] [--detector dlib-hog] [--copies 4]

Without a video, ten seconds of 1280 x 720 are made of the portrait that scikit-image ships.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # as in a worker process

import numpy as np

from fctfg import faces, media, registry
from fctfg.data.clipfile import encode_jpeg
from fctfg.prepare import prepare

RATE = Fraction(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("videos", nargs="*", type=Path, help="by default one that is made here")
    parser.add_argument("--detector", default="dlib-hog")
    parser.add_argument("--crop", default="wav2lip")
    parser.add_argument("--copies", type=int, default=4, help="of each video, for the whole run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [make_video(Path(folder))]
        print(f"{platform.machine()}, {os.cpu_count()} cores, {options.detector}\n")
        for video in videos:
            measure_parts(video, options.detector, options.crop)
            measure_whole(video, Path(folder), options)


def make_video(folder: Path, seconds: int = 10) -> Path:
    """1280 x 720, a face of about 270 pixels that drifts before a still background, and a tone."""
    from skimage.data import astronaut

    portrait = np.kron(astronaut()[:360], np.ones((2, 2, 1), np.uint8))  # 720 x 1024
    tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(16_000 * seconds) / 16_000)
    media.write_wave(folder / "tone.wav", tone.astype(np.float32))
    path = folder / "portrait.mp4"
    with media.VideoWriter(path, 1280, 720, RATE, sound=folder / "tone.wav") as writer:
        for number in range(25 * seconds):
            left = round(128 + 100 * np.sin(number / 25))
            frame = np.full((720, 1280, 3), 90, np.uint8)
            frame[:, left:left + 1024] = portrait
            writer.write(frame)
    return path


def measure_parts(video: Path, detector_name: str, crop: str) -> None:
    """Print what each part takes of one core; detection and crops of frames that are already in memory."""
    detector = registry.build("detector", detector_name)
    profile = faces.find_profile(crop)
    info = media.probe_video(video)
    rows: list[tuple[str, float, int]] = []

    def timed(what: str, work: Callable[[], list]) -> list:
        began = time.process_time()  # of all threads: what of a core it takes, however busy the machine is
        result = work()
        rows.append((what, time.process_time() - began, len(result)))
        return result

    timed("read and resample to 25 a second", lambda: [None for _ in media.read_video(video, RATE)])
    frames = [frame for frame, _ in zip(media.read_video(video, RATE), range(150))]
    detector.landmarks(frames[0], np.array([0.0, 0.0, 100.0, 100.0]))  # loads its model
    found = timed("find cuts, track faces", lambda: list(faces.FaceTracker(detector).track(frames)))
    seen = [(frame, here[0].landmarks) for frame, here in found if here]
    print(f"{video.name}: {info.width} x {info.height}, {float(info.frame_rate):.2f} frames a second, "
          f"a face in {len(seen)} of {len(found)} frames")
    if not seen:
        return
    matrices = timed("place crops", lambda: list(profile.matrices(np.stack([points for _, points in seen]))))
    crops = timed("crop", lambda: [faces.crop(frame, matrix, profile.size)
                                   for (frame, _), matrix in zip(seen, matrices)])
    timed("JPEG", lambda: [encode_jpeg(picture) for picture in crops])
    rows.insert(-2, ("read a second time", *rows[0][1:]))
    for what, seconds, count in rows:
        print(f"  {what:<34} {1000 * seconds / count:8.2f} ms a frame {count / seconds:8.0f} frames/s")
    each = sum(seconds / count for _, seconds, count in rows)
    print(f"  {'all, on one core':<34} {1000 * each:8.2f} ms a frame {1 / each:8.0f} frames/s")


def measure_whole(video: Path, folder: Path, options) -> None:
    """Print frames a second of `prepare` itself, with one process for each core."""
    raw = folder / "raw"
    raw.mkdir()
    for copy in range(options.copies):
        shutil.copy(video, raw / f"{copy}{video.suffix}")
    began = time.perf_counter()
    started = []
    summary = prepare(raw, folder / "out", crop=options.crop, detector=options.detector,
                      progress=lambda progress: started or (progress.frames and started.append(time.perf_counter())))
    ended = time.perf_counter()
    print(f"  prepare: {summary}\n    {summary.frames / (ended - began):.0f} frames/s of video at 25 frames a second, "
          f"{summary.frames / (ended - started[0]):.0f} once the processes have started\n")
    shutil.rmtree(raw), shutil.rmtree(folder / "out")


if __name__ == "__main__":
    main()
