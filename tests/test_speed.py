from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fctfg.cli import main
from fctfg.data import write_synthetic_video
from fctfg.errors import BadRun
from fctfg.speed import render_against


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    write_synthetic_video(folder / "face.mp4", seconds=0.32, width=160, height=160)
    done = run("benchmark", "--face", folder / "face.mp4", "--runs", 2, "--json", folder / "here.json")
    assert done.exit_code == 0, done.output
    return done.output, folder / "here.json", json.loads((folder / "here.json").read_text())


def test_cold_warm_and_steady_by_stage_with_machine_and_versions(measured):
    said, _, report = measured
    assert set(report["warm"]["stage_ms_per_frame"]) == {"read", "find", "draw", "paste", "encode"}
    cold, warm = report["cold"], report["warm"]
    assert cold["wall_seconds"] > cold["import_seconds"] + cold["load_seconds"] > 0
    frames = report["task"]["frames"]
    assert frames >= 8
    for found in (cold, warm):
        assert found["frames"] == frames and 0 < found["first_frame_seconds"] < found["wall_seconds"]
        assert found["frames_per_second"] == pytest.approx(frames / found["wall_seconds"], rel=0.02)
        assert found["real_time_factor"] == pytest.approx(25 * found["wall_seconds"] / frames, rel=0.02)
    assert warm["steady_frames_per_second"] >= 0 and report["machine"]["versions"]["torch"] and report["machine"]["processor"]
    for word in ("cold", "warm", "steady", "first frame", "memory", "recipe warp", report["machine"]["processor"]):
        assert word in said


def test_two_machines_are_compared(measured):
    report = measured[2]
    twice = json.loads(json.dumps(report))
    twice["warm"]["frames_per_second"] *= 2
    twice["warm"]["stage_ms_per_frame"]["draw"] /= 4
    lines = {line.partition("  ")[0]: line for line in render_against(twice, report)}
    assert lines["warm, frames/s"].endswith("2.00x") and lines["draw, ms a frame"].endswith("4.00x")
    assert lines["cold, frames/s"].endswith("1.00x")
    twice["task"]["width"] = 1280
    with pytest.raises(BadRun, match="not of the same work: width is 160 here and 1280 there"):
        list(render_against(report, twice))


@pytest.mark.parametrize("arguments, message", [
    (["--against", "gone.json"], "gone.json cannot be read"),
    (["--json", "nowhere/here.json"], "there is no folder nowhere"),
    (["--drawn", "big"], "--drawn big is no size; write --drawn 1280x720."),
    (["--face", "gone.mp4"], "There is no file gone.mp4"),
])
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, message):
    done = run("benchmark", *arguments)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1, done.output
