from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from fctfg.cli import main
from fctfg.evaluation.asked import Facts
from fctfg.evaluation.results import Results
from fctfg.evaluation.rows import Row
from fctfg.evaluation.statistics import interval, rank_correlation
from fctfg.evaluation.writing import summary, to_latex
from fctfg.interfaces import Quantity


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments] + ["--processes", "1"])


def test_the_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = interval(values)
    spread = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.03)
    assert interval(values) == (low, high)
    assert np.isnan(interval([3.0])).all() and np.isnan(interval([np.inf, 3.0])).all()


def test_rank_correlation_is_spearmans():
    one, other = [3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8]
    ranks = np.array([[3, 1.5, 4, 1.5, 5, 6], [2.5, 4, 1, 5.5, 2.5, 5.5]])
    assert rank_correlation(one, other) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert rank_correlation([1, 2, 3], [2, 4, 9]) == pytest.approx(1) and np.isnan(rank_correlation([1, 2], [3, 3]))


def offsets(**found) -> Results:
    facts = Facts("sync", "as it is", (Quantity("offset", "near zero", -15, 15),), "", "", "", "")
    rows = [Row(str(clip), "sync", "", "scored", "film.mp4", system=system, values={} if value is None else {"offset": value})
            for system, values in found.items() for clip, value in enumerate(values)]
    return Results({"sync": facts}, rows)


def test_offsets_are_averaged_without_their_signs_and_said_to_be():
    several = offsets(ours=[4.0, -4.0, 1.0], theirs=[-3.0, -1.0, -1.0])
    lines = list(summary(several))
    assert lines[1].startswith("sync / offset, absolute") and "3.000 [" in lines[1]
    assert any(line.startswith("sync / offset, absolute") and "-1.333" in line for line in lines[3:])
    assert several.best(several.columns[0]) == {"theirs"} and "sync / offset, absolute" in to_latex(several)
    single = offsets(ours=[-4.0], theirs=[3.0])
    lines = list(summary(single))
    assert "absolute" not in lines[1] and "-4.000" in lines[1] and single.best(single.columns[0]) == {"theirs"}


def test_what_is_missing_is_said_once_for_each_reason():
    results = offsets(ours=[4.0, None, 1.0])
    results.facts["other"] = results.facts["sync"]
    for label in results.facts:
        results.rows.append(Row("3", label, "", "not measured", "gone.mp4", why="there is no such file", system="ours"))
    lines = list(summary(Results(results.facts, results.rows)))
    assert "ours: 1 of 4 (3) not measured by sync, other: there is no such file" in lines
    assert "ours: 1 of 4 (1) measured, and gave no sync / offset" in lines


@pytest.fixture
def systems(film, tmp_path):
    for clip, real in enumerate((60, 80, 100, 120, 140, 160)):
        film(f"real/{clip}.mp4", [real] * 5, sound=False)
        film(f"good/{clip}.mp4", [real + 5 + clip] * 5, sound=False)
        if clip != 5:
            film(f"bad/{clip}.mp4", [real + 30 + 2 * clip] * 5, sound=False)
    return [tmp_path / name for name in ("good", "bad", "real")]


@pytest.mark.usefixtures("offered")
def test_means_are_of_the_clips_that_all_have_and_differences_are_paired(systems, tmp_path):
    good, bad, real = systems
    done = run("compare", good, bad, "--reference", real, "--out", tmp_path / "out", "--metric", "difference", "--metric", "spread")
    assert done.exit_code == 0, done.output
    results = Results.load(tmp_path / "out")
    column = next(column for column in results.columns if column.metric == "difference")
    first, second = (results.cell(name, column) for name in ("good", "bad"))
    assert (first.mean, second.mean) == (pytest.approx(7, abs=0.5), pytest.approx(34, abs=0.5))  # of five clips
    assert (first.n_mean, first.n_scored, second.n_scored, second.n_given) == (5, 6, 5, 6)
    assert second.why == {"no film of this clip": 1} and first.low < first.mean < first.high
    apart = results.difference("good", "bad", column)
    assert apart.mean == pytest.approx(27, abs=0.5) and apart.low > 24 and apart.n == 5 and apart.is_sure
    assert results.best(column) == {"good"} and results.worst_first(column)[0] == "4"
    assert results.pooled["good"]["spread"]["spread"] == pytest.approx(np.std([65, 86, 107, 128, 149]), abs=0.5)
    assert "5 of 6" in done.output and "difference, paired" in done.output


@pytest.mark.usefixtures("offered")
def test_reports_are_compared_as_they_are(systems, tmp_path, film):
    good, bad, real = systems
    for name, scale in ((good, 1), (bad, 1)):
        run("evaluate", name, "--reference", real, "--out", tmp_path / f"{name.name}-report", "--metric", "difference",
            "--metric", f"brightness:scale={scale}", "--metric", "spread")
    done = run("compare", tmp_path / "good-report", f"poor={tmp_path / 'bad-report'}", "--out", tmp_path / "out")
    results = Results.load(tmp_path / "out")
    assert done.exit_code == 0 and results.systems == ["good-report", "poor"] and "measured before" not in done.output
    assert results.pooled["poor"]["spread"]["spread"] > 0
    run("evaluate", bad, "--reference", real, "--out", tmp_path / "other", "--metric", "brightness:scale=2")
    refused = run("compare", tmp_path / "good-report", tmp_path / "other", "--out", tmp_path / "none")
    assert refused.exit_code == 1 and "No metric was measured alike for all of them." in refused.output


@pytest.mark.parametrize("arguments, message", [
    (["nowhere"], "There is no file or folder nowhere"),
    (["run"], "run is a run: give --reference FOLDER"),
    (["run", "x/run"], "Two systems are called 'run'"),
])
def test_what_cannot_be_compared_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "x/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.yaml").write_text("name: x\n")
    done = run("compare", *arguments)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1
