from __future__ import annotations

import numpy as np
import pytest

from fctfg.data import write_synthetic_video
from fctfg.evaluation.measuring import Finding, Pair, measure

from fctfg import registry


def findings(pair, *names, **options):
    with_names = {name: registry.build("metric", name) for name in names}
    said = list(measure(pair, with_names, **options))
    assert all(0 <= share <= 1 for share in said if not isinstance(share, Finding))
    return {finding.metric: finding for finding in said if isinstance(finding, Finding)}


pytestmark = pytest.mark.usefixtures("offered")


def test_one_pass_serves_several_metrics_and_rates(film):
    pair = Pair("a", film("a.mp4", np.linspace(80, 180, 40), rate=20), film("b.mp4", np.linspace(90, 190, 40), rate=20))
    found = findings(pair, "brightness", "difference", "loudness")
    assert found["brightness"].score.values["brightness"] == pytest.approx(130, abs=1)
    assert found["difference"].score.values["difference"] == pytest.approx(10, abs=0.5)
    assert len(found["brightness"].score.curves["brightness"]) == 40
    assert len(found["loudness"].score.curves["brightness"]) == 50  # at its own 25 frames a second
    assert found["loudness"].score.values["loudness"] == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


@pytest.mark.parametrize("other, why", [
    (dict(shades=[100] * 30, size=(32, 48)), "it is 64x48 pixels and its reference 32x48"),
    (dict(shades=[100] * 36, rate=30), "it has 25 frames a second and its reference 30"),
    (dict(shades=[100] * 40), "it lasts 1.20 s and its reference 1.60 s"),
])
def test_a_reference_that_cannot_be_laid_beside_is_a_reason(film, other, why):
    found = findings(Pair("a", film("a.mp4", [100] * 30), film("b.mp4", **other)), "difference", "brightness", "loudness")
    assert found["difference"].score is None and found["difference"].why == why
    assert found["brightness"].score and found["brightness"].notes == [f"measured without its reference: {why}"]
    assert found["loudness"].score


def test_a_few_frames_more_are_cut_and_said(film):
    found = findings(Pair("a", film("a.mp4", [100] * 30), film("b.mp4", [90] * 32)), "difference")["difference"]
    assert found.score.values["difference"] == pytest.approx(10, abs=0.5)
    assert found.notes == ["the first 30 frames were compared: it has 30 and its reference 32"]


def test_whatever_a_film_lacks_is_a_reason(film, tmp_path):
    silent = film("silent.mp4", [100] * 10, sound=False)
    found = findings(Pair("a", silent), "loudness", "difference", "chin", "brightness")
    assert found["loudness"].why == "silent.mp4 has no sound"
    assert found["difference"].why == "no reference was given"
    assert found["chin"].why == "no face was found by dlib-hog"
    assert found["brightness"].score
    short = findings(Pair("a", film("short.mp4", [100] * 10)), "loudness")["loudness"]
    assert short.why == "it has 10 frames at 25 a second, 20 are needed" and not short.traceback
    (tmp_path / "text.mp4").write_text("no video")
    assert "is neither a video nor a sound" in findings(Pair("a", tmp_path / "text.mp4"), "brightness")["brightness"].why
    gone = findings(Pair("a", silent, tmp_path / "gone.mp4"), "difference", "brightness")
    assert "its reference cannot be used: There is no file" in gone["difference"].why and gone["brightness"].score


def test_a_film_that_is_cut_short_says_how_much_was_seen(film):
    path = film("a.mp4", np.random.default_rng(0).uniform(0, 255, 60))
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * 0.6)])
    found = findings(Pair("a", path), "brightness")["brightness"]
    assert found.score is None and found.why or "frames could be read" in found.notes[0]


def test_a_bug_keeps_its_traceback_and_the_others_go_on(film):
    found = findings(Pair("a", film("a.mp4", [100] * 30)), "broken", "brightness")
    assert found["broken"].why == "IndexError: list index out of range" and "take" in found["broken"].traceback
    assert found["brightness"].score.values["brightness"] == pytest.approx(100, abs=1)


def test_the_face_is_followed_in_the_film(tmp_path):
    head = write_synthetic_video(tmp_path / "head.mp4", seconds=0.4, width=200, height=200)
    score = findings(Pair("a", tmp_path / "head.mp4"), "chin")["chin"].score
    assert score.curves["chin"] == pytest.approx(head.landmarks[:, 8, 1], abs=12)
