from __future__ import annotations

import numpy as np
import pytest

from fctfg.data.synthetic import TalkingHead
from fctfg.evaluation import truth
from fctfg.evaluation.asked import Facts, choose
from fctfg.evaluation.results import Results
from fctfg.evaluation.rows import Row
from fctfg.evaluation.running import How
from fctfg.evaluation.suite import SHIFTED, UNCHANGED, WARP, Suite, apart_section, benchmark_systems
from fctfg.evaluation.testlists import RealFilm, cross_driven, held_out_films, self_driven
from fctfg.evaluation.truth import Flaw, Truth, agreement, between, write_flawed
from fctfg.interfaces import Quantity
from fctfg.media import read_sound, read_video
from fctfg.recipe import Recipe


def films(speakers):
    return [RealFilm(f"film {number}", speaker, f"{number}.mp4") for number, speaker in enumerate(speakers)]


def test_lists_follow_from_the_seed_and_nobody_says_their_own_words():
    several = films("aabbccdd")
    tests = cross_driven(several, seed=3)
    assert tests == cross_driven(several, seed=3) != cross_driven(several, seed=4)
    assert all(test.face.speaker != test.words.speaker for test in tests)
    assert len({test.words for test in tests}) == 8  # nobody's twice
    assert [test.name for test in self_driven(several)] == [film.name for film in several]
    assert cross_driven(films("aaa")) == []


def test_held_out_films_are_those_that_no_run_saw(tmp_path):
    from fctfg.data.clipfile import write_clip
    from fctfg.data.manifest import write_manifest
    from fctfg.data.prepared import split_clips

    clips = []
    for number in range(10):
        shade = np.full((32, 32, 3), 20 * number, np.uint8)
        wave = np.full(16_000 * 30 // 25, 0.01 * number, np.float32)
        write_clip(tmp_path / f"data/clips/{number}.zip", [shade] * 30, wave, np.zeros((30, 68, 2)), np.zeros((30, 4)), {})
        clips.append({"name": f"clip-{number}", "file": f"clips/{number}.zip", "speaker": f"speaker {number}", "source": "x.mp4",
                      "start": 0.0, "frames": 30, "seconds": 1.2})
    write_manifest(tmp_path / "data", {"crop": "wav2lip", "size": 32, "clips": clips})
    recipes = [Recipe.find("wav2lip").model_copy(update={"held_out": share}) for share in (0.4, 0.2)]
    found = held_out_films(str(tmp_path / "data"), tmp_path / "films", 10, recipes)
    seen = {span.clip for span in split_clips([(clip["speaker"], 30) for clip in clips], 0.2, "held-out")[0]}
    assert {film.name for film in found} == {f"clip-{number}" for number in seen} and len(found) == 2
    number = int(found[0].name.partition("-")[2])
    frames = list(read_video(found[0].path))
    assert len(frames) == 30 and frames[0].shape == (320, 320, 3) and frames[0].mean() == pytest.approx(20 * number, abs=2)
    assert len(held_out_films(str(tmp_path / "data"), tmp_path / "films", 1, [])) == 1


QUANTITY = Quantity("agreement", "higher", 0, 1)


def results(scores):
    facts = {"m": Facts("m", "p", (QUANTITY, Quantity("count", "neither", 0, 9)), "", "", "", "")}
    return Results(facts, [Row(f"clip {number}", "m", "p", "scored", "", values={"agreement": float(value), "count": 1.0}, system=system)
                           for system, values in scores.items() for number, value in enumerate(values)])


@pytest.mark.parametrize("late, warp, verdict", [
    ([0.2, 0.3, 0.1, 0.2, 0.4, 0.3], [0.8, 0.7, 0.9, 0.7, 0.9, 0.6], "sync"),
    ([0.2, 0.3, 0.1, 0.2, 0.4, 0.3], [0.2, 0.1, 0.3, 0.2, 0.3, 0.2], "sync and warp from real"),
    ([0.9, 0.6, 0.9, 0.8, 0.7, 0.8], [0.8, 0.9, 0.7, 0.9, 0.7, 0.8], "blind on this data"),
    ([0.9, 1.0, 0.9, 1.0, 0.9, 1.0], [0.9, 1.0, 0.9, 1.0, 0.9, 1.0], "blind on this data"),  # the wrong way round
    ([0.2, 0.3], [0.2, 0.3], "too few clips to say"),
])
def test_a_quantity_that_tells_nothing_apart_is_said_to_be_blind(late, warp, verdict):
    real = [0.8, 0.7, 0.9, 0.7, 0.8, 0.7][:len(late)]
    section = apart_section(results({UNCHANGED: real, SHIFTED: late, WARP: warp}))
    assert [row[-1] for row in section["rows"]] == [verdict]  # a count has no better end


SMALL = Truth(heads=1, seconds=0.4, size=64)


def test_flaws_are_of_the_size_they_say(tmp_path):
    pristine, late, still = (tmp_path / f"{name}.mp4" for name in ("pristine", "late", "still"))
    write_flawed(pristine, SMALL, Flaw(0, "blur, pixels", 0.0))
    write_flawed(late, SMALL, Flaw(0, "sound late, frames", 0.33))
    write_flawed(still, SMALL, Flaw(0, "mouth, share of its opening", 1.0))
    head = TalkingHead(SMALL.seed, 0, 0.4, 64, 64)
    assert next(read_video(pristine)).astype(float) == pytest.approx(head.frame(0).astype(float), abs=40)
    lag = np.argmax(np.correlate(read_sound(late), read_sound(pristine), "full")) - len(read_sound(pristine)) + 1
    assert lag / 640 == pytest.approx(0.33 * 12, abs=0.3)
    widest = int(head.opening.argmax())
    shown, shut = (list(read_video(path))[widest].astype(float) for path in (pristine, still))
    mouth = head.landmarks[widest, 60:68].mean(0).astype(int)
    assert np.abs(shown - shut)[mouth[1] - 3:mouth[1] + 4, mouth[0] - 4:mouth[0] + 5].mean() > 8


def test_between_two_people_lies_a_third():
    one, other = (TalkingHead(0, number, 0.1).look for number in (0, 1))
    assert between(one, other, 0.0) == one and between(one, other, 1.0) == other
    assert between(one, other, 0.5).chin == pytest.approx((one.chin + other.chin) / 2)


def test_agreement_with_the_truth_is_a_rank_correlation(offered, tmp_path, monkeypatch):
    monkeypatch.setattr(truth, "MOST", {kind: truth.MOST[kind] for kind in list(truth.MOST)[::2]})
    chosen = choose(["difference", "loudness"])
    section = agreement(SMALL, tmp_path / "truth", chosen, How(processes=1), lambda line: None)
    kinds = dict(zip(section["head"][2:], section["rows"][0][2:]))
    assert section["rows"][0][0] == "difference"
    assert kinds["blur, pixels"] == kinds["pose, degrees"] == "+1.00"
    assert kinds["sound late, frames"] == "–"  # it looks at pictures alone
    assert all(cell == "–" for cell in section["rows"][1][2:])  # too short to be heard


@pytest.mark.slow  # it draws
def test_the_benchmark_has_a_floor_and_a_check_and_keeps_what_it_did(offered, tmp_path, monkeypatch):
    monkeypatch.setattr("fctfg.evaluation.testlists.SECONDS", 0.32)
    suite = Suite("synthetic:2", clips=2, truth=None)
    said = []
    how = How(("difference", "brightness"), processes=1)
    reports = benchmark_systems(suite, [], tmp_path / "out", how, say=said.append)
    own = reports["self-driven"]
    assert own.systems == [UNCHANGED, SHIFTED, WARP] and len(own.clips) == 2
    assert reports["cross-driven"].systems == [UNCHANGED, WARP]
    column = next(column for column in own.columns if column.metric == "difference")
    assert own.cell(UNCHANGED, column).mean == own.cell(SHIFTED, column).mean < own.cell(WARP, column).mean
    assert "difference" not in reports["cross-driven"].facts and "brightness" in reports["cross-driven"].facts
    assert (tmp_path / "out/self-driven/index.html").is_file() and (tmp_path / "out/cross-driven/table.tex").is_file()
    again = []
    benchmark_systems(suite, [], tmp_path / "out", how, say=again.append)
    assert "12 of 12 rows were measured before and are kept." in again
