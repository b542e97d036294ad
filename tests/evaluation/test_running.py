from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from fctfg.cli import main
from fctfg.evaluation.results import Results


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def evaluate(*arguments):
    return run("evaluate", *arguments, "--processes", 1)


@pytest.fixture
def folders(film, tmp_path):
    """Three generated films, of which one has no reference and one another size."""
    for name, shade in (("a", 100), ("b", 120), ("c/d", 140)):
        film(f"made/{name}.mp4", [shade] * 25)
    film("real/a.mp4", [90] * 25)
    film("real/c/d.mp4", [90] * 25, size=(32, 32))
    film("real/nobody.mp4", [90] * 25)
    return tmp_path / "made", tmp_path / "real", tmp_path / "report"


@pytest.mark.usefixtures("offered")
def test_folders_are_paired_and_every_film_has_a_row(folders):
    made, real, report = folders
    done = evaluate(made, "--reference", real, "--out", report, "--metric", "difference", "--metric", "brightness:scale=2",
                    "--metric", "spread")
    assert done.exit_code == 0, done.output
    results = Results.load(report)
    assert results.clips == ["a", "b", "c/d"] and results.systems == ["made"]
    difference = next(column for column in results.columns if column.metric == "difference")
    cell = results.cell("made", difference)
    assert cell.mean == pytest.approx(10, abs=0.5) and (cell.n_scored, cell.n_given) == (1, 3)
    assert cell.why == {f"{real} has no video called b": 1, "it is 64x48 pixels and its reference 32x32": 1}
    assert results.pooled["made"]["spread"]["spread"] == pytest.approx(np.std([100, 120, 140]), abs=0.5)
    assert "1 of 3 references have no generated video: nobody." in done.output
    assert "times 2" in done.output and "3 of 3" in done.output and "1 of 3" in done.output
    rows = list(csv.DictReader((report / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 9 and {row["state"] for row in rows} == {"scored", "not measured"}
    assert float(next(row["value"] for row in rows if row["metric"] == "brightness:scale=2")) == pytest.approx(200, abs=2)
    assert r"made & " in (report / "table.tex").read_text() and "% 2: difference" in (report / "table.tex").read_text()


@pytest.mark.usefixtures("offered")
def test_what_was_measured_is_kept_until_the_film_or_the_protocol_changes(folders, film):
    made, _, report = folders
    arguments = (made, "--out", report, "--metric", "brightness", "--metric", "spread")
    evaluate(*arguments)
    lines = (report / "measured.jsonl").read_text().splitlines()
    assert len(lines) == 6
    (report / "measured.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])  # killed while it wrote
    film("made/a.mp4", [200] * 25)
    done = evaluate(*arguments)
    assert "3 of 6 rows were measured before and are kept." in done.output, done.output
    assert Results.load(report).rows[0].values["brightness"] == pytest.approx(200, abs=1)
    assert "6 of 6 rows" in evaluate(*arguments).output
    assert "are kept" not in evaluate(made, "--out", report, "--metric", "brightness:scale=3").output


@pytest.mark.usefixtures("offered")
def test_a_bug_is_told_by_the_exit_code_and_the_rest_is_there(folders):
    made, _, report = folders
    done = evaluate(made, "--out", report, "--metric", "broken", "--metric", "brightness")
    assert done.exit_code == 1 and "3 of 6 measurements failed by an error that is not the film's" in done.output
    rows = json.loads((report / "results.json").read_text())["rows"]
    assert sum("Traceback" in row["traceback"] for row in rows) == 3
    assert sum(row["state"] == "scored" for row in rows) == 3
    assert (report / "index.html").is_file()


@pytest.mark.usefixtures("offered")
def test_metrics_that_cannot_run_are_named(film, tmp_path):
    done = evaluate(film("a.mp4", [100] * 25), "--out", tmp_path / "report")
    assert "not run: difference: Metric difference needs a --reference." in done.output
    assert "no face was found by dlib-hog" in done.output


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("arguments, message", [
    (["gone.mp4"], "There is no file or folder gone.mp4"),
    (["a.mp4", "--metric", "brightnes"], "No metric called 'brightnes'. Did you mean 'brightness'?"),
    (["a.mp4", "--metric", "brightness:scale"], "No metric called 'brightness:scale'"),
    (["a.mp4", "--metric", "brightness:size=3"], "It takes: scale"),
    (["a.mp4", "--metric", "difference"], "Metric difference needs a --reference."),
    (["made", "--reference", "a.mp4"], "give a folder with videos of the same names, or a table of pairs"),
    (["a.mp4", "--out", "taken"], "holds other files"),
    (["empty"], "holds no video"),
    (["a.mp4", "--metric", "brightness:scale=much"], "metric 'brightness': scale is 'much', and should be float."),
    (["a.mp4", "--speaker", "left:0"], "'left:0' is no speaker"),
    (["a.mp4", "--out", "taken/thesis.txt/report"], "--out taken/thesis.txt/report cannot be written: "),
    (["table.csv"], "table.csv, line 1: unknown column 'real'"),
    (["nameless.csv"], "nameless.csv, line 1: there is no column generated."),
])
def test_what_cannot_be_measured_is_refused_in_one_line(film, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    film("a.mp4", [100] * 3, sound=False)
    film("made/a.mp4", [100] * 3, sound=False)
    for name in ("taken", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    (tmp_path / "table.csv").write_text("generated,real\na.mp4,b.mp4\n")
    (tmp_path / "nameless.csv").write_text("film,reference\na.mp4,b.mp4\n")
    done = evaluate(*arguments)
    assert done.exit_code == 1 and done.output.startswith("Error: ") and done.output.count("\n") == 1, done.output
    assert message in done.output and not (tmp_path / "report").exists()


@pytest.mark.usefixtures("offered")
def test_a_table_names_pairs(film, tmp_path):
    film("a.mp4", [100] * 25)
    film("b.mp4", [70] * 25)
    (tmp_path / "pairs.csv").write_text("name;generated;reference\none;a.mp4;b.mp4\ntwo;a.mp4;\n\n")
    done = evaluate(tmp_path / "pairs.csv", "--out", tmp_path / "report", "--metric", "difference")
    results = Results.load(tmp_path / "report")
    assert done.exit_code == 0 and results.clips == ["one", "two"]
    assert results.rows[0].values["difference"] == pytest.approx(30, abs=1) and results.rows[1].why == "no reference was given"


@pytest.mark.slow  # each process imports torch
def test_several_processes_measure_as_one_does(folders, installed, tmp_path, monkeypatch):
    (tmp_path / "brightness_plugin.py").write_text(PLUGIN)
    installed("bright", "fctfg.metrics", bright="brightness_plugin:Bright")
    monkeypatch.syspath_prepend(str(tmp_path))
    made, _, report = folders
    done = run("evaluate", made, "--out", report, "--metric", "bright", "--processes", 2)
    assert done.exit_code == 0, done.output
    assert [row.values["bright"] for row in Results.load(report).rows] == pytest.approx([100, 120, 140], abs=1)


PLUGIN = '''
from fctfg.interfaces import Measurement, Metric, Quantity, Score


class Bright(Metric):
    quantities = (Quantity("bright", "higher", 0, 255),)
    blindness = "colour"
    protocol = "mean"

    def begin(self, film):
        return Mean()


class Mean(Measurement):
    def __init__(self):
        self.seen = []

    def see(self, moments):
        self.seen += [float(frame.mean()) for frame in moments.frames]

    def score(self):
        return Score({"bright": sum(self.seen) / len(self.seen)})
'''
