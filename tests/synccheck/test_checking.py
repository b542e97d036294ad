"""Videos in, verdicts out: drawn heads whose sound is moved by known amounts."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fctfg import media
from fctfg.cli import main
from fctfg.data import write_synthetic_video
from fctfg.errors import BadMedia, BadRun
from fctfg.synccheck import SyncChecker, open_judge, plot, sync_check


@pytest.fixture
def checker(loudness_judge):
    return SyncChecker(*loudness_judge)


def test_sound_that_is_moved_is_found_in_films_of_any_rate(checker, tmp_path):
    film, late = tmp_path / "film.mp4", tmp_path / "late.mp4"
    write_synthetic_video(film, seconds=2.5, width=200, height=200, frame_rate=Fraction(30000, 1001))
    straight, seconds = checker.check(film)
    assert abs(straight.offset) <= 1 and seconds == pytest.approx(2.5, abs=0.1)
    assert len(straight.times) == pytest.approx(62, abs=2)
    media.shift_sound(film, late, 5 / 25)
    verdict, _ = checker.check(late)
    assert verdict.offset == straight.offset - 5 and verdict.seconds == pytest.approx(straight.seconds - 0.2, abs=0.02)
    assert verdict.agreement < 0.5 < verdict.confidence
    plot({"late.mp4": verdict}, tmp_path / "film.png")
    drawn = np.asarray(Image.open(tmp_path / "film.png"))
    assert drawn.shape == (300, 1680, 3) and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("what, message", [
    ("nobody", "shows no face that dlib-hog finds"),
    ("mute", "has no sound"),
    ("short", "shows a face for less than 1 s at a time"),
    ("missing", "There is no file"),
])
def test_what_cannot_be_judged_is_said(what, message, checker, talking, tmp_path):
    path = tmp_path / f"{what}.mp4"
    frames = {"nobody": [np.full((64, 64, 3), 90, np.uint8)] * 30, "mute": list(media.read_video(talking))[:3],
              "short": list(media.read_video(talking))[:15]}.get(what)
    if frames:
        sound = None if what == "mute" else talking
        with media.VideoWriter(path, *frames[0].shape[1::-1], Fraction(25), sound=sound) as writer:
            for frame in frames:
                writer.write(frame)
    with pytest.raises(BadMedia, match=message) as refused:
        checker.check(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_several_videos_go_on_after_a_failure(talking, loudness_judge, monkeypatch, tmp_path):
    monkeypatch.setattr("fctfg.synccheck.batch.open_judge", lambda *_: loudness_judge)
    done = CliRunner().invoke(main, ["sync-check", str(tmp_path / "gone.mp4"), str(talking), "--json",
                                     "--fix", str(tmp_path / "out"), "--plot", str(tmp_path / "plot.png")])
    assert done.exit_code == 1 and done.stderr.splitlines() == [
        f"There is no file {tmp_path / 'gone.mp4'}; check the name and the folder.", "Error: 1 of 2 videos failed."]
    (found,) = json.loads(done.stdout)
    assert found["video"] == str(talking) and abs(found["offset_frames"]) <= 1 and len(found["scores"]) == 31
    assert (tmp_path / "out" / "head.mp4").is_file() and (tmp_path / "plot.png").is_file()


def test_without_an_expert_it_says_how_to_get_one(fctfg, tmp_path):
    with pytest.raises(BadRun, match="train one, which takes minutes"):
        sync_check(["a.mp4"])
    from fctfg.recipe import Recipe
    from fctfg.runs import Run

    run = Run.create(Recipe.find("tiny"), tmp_path / "run")
    with pytest.raises(BadRun, match="has no expert of lip sync"):
        open_judge(str(run.path))
    run = Run.create(Recipe.find("sync-expert-small"), tmp_path / "begun")
    with pytest.raises(BadRun, match="stopped before its first checkpoint"):
        open_judge(str(run.path))
