"""How fast a face is made to talk on this machine, and where the time goes; in numbers that machines compare by."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from .errors import BadMedia, BadRun
from .files import write_text

FORMAT = 1
PACKAGES = ("fctfg", "torch", "numpy", "av", "dlib-bin")
STEADY_FROM = 0.25
"""The share of frames after which queues are filled and a run is steady."""
TASK = ("recipe", "size", "weights", "width", "height", "frame_rate", "frames", "detector", "precision", "batch")
"""What must be the same for two reports to be of the same work."""


def benchmark(face: str | None = None, audio: str | None = None, *, run: str | None = None, recipe: str | None = None,
              checkpoint: str | None = None, drawn: str = "1280x720", seconds: float = 10.0, detector: str = "dlib-hog",
              device: str = "auto", precision: str | None = None, batch: int | None = None,
              runs: int = 3) -> dict[str, Any]:
    """A report in plain values of `runs` generations of the same video, the first of them cold.

    Without a `face` one is drawn, of the size `drawn` and so many `seconds`. A recipe without weights draws noise, at
    the same speed. Cold is from the call on, loading packages and model; warm are the later runs; steady is a warm run
    without its beginning, in which queues fill. Seconds to the first frame are those until it is encoded.

    Raises:
        BadMedia, BadRun, BadRecipe: the video or the model cannot be used.
    """
    began = perf_counter()
    from .data.synthetic import write_synthetic_video
    from .generating import pick_device
    from .pipeline import generate
    from .quicken import quicken

    imported = perf_counter()
    chosen = pick_device(device)
    model, recipe_used, weights = _model(run, recipe, checkpoint)
    model = quicken(model, chosen, precision)
    loaded = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if face is None:
            width, height = _size(drawn)
            face = str(Path(folder, "face.mp4"))
            write_synthetic_video(face, seconds=seconds, width=width, height=height)
        measured = []
        for number in range(max(2, runs)):
            watch = _Watch()
            report = generate(face, audio or face, Path(folder, "out.mp4"), model, recipe_used, device=chosen,
                              detector=detector, batch=batch, progress=watch)
            measured.append({**watch.found(), **_of_run(report)})
    cold = measured[0]
    before = loaded - began
    cold = {**cold, "import_seconds": round(imported - began, 3), "load_seconds": round(loaded - imported, 3),
            "wall_seconds": round(cold["wall_seconds"] + before, 3),
            "first_frame_seconds": round(cold["first_frame_seconds"] + before, 3)}
    cold |= _rates(cold["frames"], cold["wall_seconds"], cold["seconds"])
    warm = _middle(measured[1:])
    return {"format": FORMAT, "machine": machine(str(chosen)),
            "task": {"recipe": recipe_used.name, "size": recipe_used.size, "weights": weights.get("sha256", "none"),
                     **{name: report[name] for name in ("width", "height", "frame_rate", "detector", "precision",
                                                        "batch")},
                     "frames": report["frames_out"], "seconds": report["seconds"]},
            "cold": cold, "warm": warm, "warnings": report["warnings"]}


def _model(run: str | None, recipe: str | None, checkpoint: str | None):
    import torch

    from .generating import open_model
    from .model import build_model
    from .recipe import Recipe

    if run or checkpoint:
        return open_model(run, recipe, checkpoint, say=lambda line: None)
    chosen = Recipe.find(recipe or "warp")
    with torch.random.fork_rng():
        return build_model(chosen).eval(), chosen, {}


def _size(text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not (by and width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 64):
        raise BadMedia(f"--drawn {text} is no size; write --drawn 1280x720.")
    return int(width), int(height)


class _Watch:
    """Looks at the clock whenever frames are done."""

    def __init__(self):
        self.began = perf_counter()
        self.times: list[tuple[int, float]] = []

    def __call__(self, done: int, total: int) -> None:
        self.times.append((done, perf_counter() - self.began))

    def found(self) -> dict[str, float]:
        start = next(moment for moment in self.times if moment[0] >= STEADY_FROM * self.times[-1][0])
        frames, seconds = self.times[-1][0] - start[0], self.times[-1][1] - start[1]
        return {"first_frame_seconds": round(self.times[0][1], 3),
                "steady_frames_per_second": round(frames / seconds, 2) if frames and seconds else 0.0}


def _of_run(report: dict[str, Any]) -> dict[str, Any]:
    frames, wall = report["frames_out"], report["wall_seconds"]
    stages = {name: round(1000 * busy / frames, 3) for name, busy in report["busy_seconds"].items()}
    return {"frames": frames, "seconds": report["seconds"], "wall_seconds": wall,
            **_rates(frames, wall, report["seconds"]), "stage_ms_per_frame": stages,
            "peak_memory_mb": report["peak_memory_mb"], "peak_gpu_memory_mb": _peak_gpu_memory(report["device"])}


def _rates(frames: int, wall: float, seconds: float) -> dict[str, float]:
    return {"frames_per_second": round(frames / wall, 2), "real_time_factor": round(wall / seconds, 3)}


def _peak_gpu_memory(device: str) -> float | None:
    import torch

    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.startswith("cuda") else None


def _middle(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """The run in the middle by its time, of an even number the slower, with how far apart the runs were."""
    ordered = sorted(measured, key=lambda found: found["wall_seconds"])
    return {**ordered[len(ordered) // 2], "runs": len(ordered),
            "wall_seconds_from_to": [ordered[0]["wall_seconds"], ordered[-1]["wall_seconds"]]}


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "system": platform.platform(), "versions": versions,
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def read_report(path: str | Path) -> dict[str, Any]:
    """A report that was written by `write_report`.

    Raises:
        BadRun: it is not there, or none.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        if report["format"] != FORMAT:
            raise KeyError
        return report
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}; `fctfg benchmark --json {path}` writes one.") from None
    except (ValueError, KeyError, TypeError):
        raise BadRun(f"{path} is no report of `fctfg benchmark --json` of this version.") from None


def write_report(report: dict[str, Any], path: str | Path) -> None:
    """Write it as JSON.

    Raises:
        BadMedia: there is no such folder.
    """
    if not Path(path).absolute().parent.is_dir():
        raise BadMedia(f"{path} cannot be written: there is no folder {Path(path).parent}; make it first.")
    write_text(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def render(report: dict[str, Any]) -> Iterator[str]:
    """A report as lines."""
    yield from (_named(report), _asked(report), "")
    stages = list(report["warm"]["stage_ms_per_frame"])
    head = ("", *stages, "end to end", "frames/s", "time taken", "first frame", "memory")
    rows = [head, ("", *["ms a frame"] * (len(stages) + 1), "", "of its length", "s", "MB")]
    for name in ("cold", "warm"):
        found = report[name]
        whole = 1000 * found["wall_seconds"] / found["frames"]
        rows.append((name, *(f"{found['stage_ms_per_frame'][stage]:.2f}" for stage in stages), f"{whole:.2f}",
                     f"{found['frames_per_second']:.1f}", f"{found['real_time_factor']:.2f}x",
                     f"{found['first_frame_seconds']:.2f}",
                     "–" if found["peak_memory_mb"] is None else f"{found['peak_memory_mb']:.0f}"))
    rows.append(("steady", *[""] * (len(stages) + 1), f"{report['warm']['steady_frames_per_second']:.1f}", "", "", ""))
    yield from _aligned(rows)
    yield (f"\nCold is from the call on: packages {report['cold']['import_seconds']:.1f} s, "
           f"model {report['cold']['load_seconds']:.1f} s. "
           "Stages work at the same time, so the slowest one sets the pace.")
    for warning in report["warnings"]:
        yield f"note: {warning}"


def render_against(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    """Two reports beside each other, and how many times ours is faster.

    Raises:
        BadRun: they are not of the same work.
    """
    if changed := [f"{name} is {ours['task'].get(name)} here and {theirs['task'].get(name)} there" for name in TASK
                   if name not in ("precision", "batch") and ours["task"].get(name) != theirs["task"].get(name)]:
        raise BadRun(f"The reports are not of the same work: {'; '.join(changed)}.")
    yield from (f"here:  {_named(ours)}", f"there: {_named(theirs)}", _asked(ours))
    for name in ("precision", "batch"):
        if ours["task"][name] != theirs["task"][name]:
            yield f"note: {name} is {ours['task'][name]} here and {theirs['task'][name]} there"
    yield ""
    rows = [("", "here", "there", "here is faster")]
    for name in ("cold", "warm"):
        one, other = ours[name], theirs[name]
        rows.append((f"{name}, frames/s", *_both(one["frames_per_second"], other["frames_per_second"], 1)))
        rows.append((f"{name}, first frame, s", *_both(one["first_frame_seconds"], other["first_frame_seconds"], -1)))
    steady = [report["warm"]["steady_frames_per_second"] for report in (ours, theirs)]
    rows.append(("steady, frames/s", *_both(*steady, 1)))
    for stage, own in ours["warm"]["stage_ms_per_frame"].items():
        rows.append((f"{stage}, ms a frame", *_both(own, theirs["warm"]["stage_ms_per_frame"].get(stage, 0.0), -1)))
    memory = [report["warm"]["peak_memory_mb"] for report in (ours, theirs)]
    rows.append(("memory, MB", *("–" if size is None else f"{size:.0f}" for size in memory), ""))
    yield from _aligned(rows)


def _both(one: float, other: float, sign: int) -> tuple[str, str, str]:
    ratio = (one / other if sign > 0 else other / one) if one and other else None
    return f"{one:.2f}", f"{other:.2f}", "–" if ratio is None else f"{ratio:.2f}x"


def _named(report: dict[str, Any]) -> str:
    found = report["machine"]
    return (f"{found['processor']}, {found['cores']} cores, {found['device']}; "
            + ", ".join(f"{name} {number}" for name, number in found["versions"].items()))


def _asked(report: dict[str, Any]) -> str:
    task = report["task"]
    return (f"recipe {task['recipe']} at {task['size']} px, {task['precision']}, batch {task['batch']}, "
            f"{task['detector']}; "
            f"{task['frames']} frames {task['width']}x{task['height']} at {task['frame_rate']}")


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))).rstrip()


def run_benchmark(path: str | None, against: str | None, say: Callable[[str], None] = print, **options: Any) -> None:
    """Measure, say what was found, and keep it in the file `path`; or lay it beside the report `against`.

    Raises:
        FctfgError: something cannot be used; what is named is looked at before anything is measured.
    """
    theirs = read_report(against) if against else None
    if path and not Path(path).absolute().parent.is_dir():
        raise BadMedia(f"{path} cannot be written: there is no folder {Path(path).parent}; make it first.")
    report = benchmark(**options)
    if path:
        write_report(report, path)
    for line in render(report):
        say(line)
    if theirs:
        say("")
        for line in render_against(report, theirs):
            say(line)
