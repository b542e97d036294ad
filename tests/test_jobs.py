"""Tables of jobs: read with the line of what is wrong, drawn with one model, gone on with after a failure."""

from __future__ import annotations

import json
import os
import wave

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage.data import astronaut

from fctfg import generating, media, registry
from fctfg.cli import main
from fctfg.errors import BadJobs
from fctfg.interfaces import Detector
from fctfg.jobs import Result, jobs_of_folder, read_jobs, render, run_jobs

HEADER = "face,audio,out\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str, encoding="utf-8"):
        (tmp_path / "jobs.csv").write_text(text, encoding=encoding, newline="")
        return tmp_path / "jobs.csv"

    return write


def test_rows_become_jobs_with_paths_beside_the_table(table, tmp_path):
    (tmp_path / "her.png").touch()
    jobs = read_jobs(table("Face,audio,OUT,driving,speaker,When-Audio-Is-Longer\n\n"
                           'a.mp4,"b, c.wav",out/d.mp4,,,loop\n'
                           f"{tmp_path / 'x.png'},,e.mp4,f.mp4,her.png,\n"))
    assert [job.line for job in jobs] == [3, 4]
    assert (jobs[0].face, jobs[0].audio) == (str(tmp_path / "a.mp4"), str(tmp_path / "b, c.wav"))
    assert jobs[0].out == str(tmp_path / "out" / "d.mp4") and jobs[0].options == {"when_audio_is_longer": "loop"}
    assert jobs[1].face == str(tmp_path / "x.png") and jobs[1].audio is None
    assert jobs[1].options == {"driving": str(tmp_path / "f.mp4"), "speaker": str(tmp_path / "her.png")}


@pytest.mark.parametrize("separator, encoding", [(";", "utf-8"), ("\t", "utf-8-sig")])
def test_spreadsheets_tables_are_read(table, separator, encoding):
    [job] = read_jobs(table("face;audio;out\r\nä.mp4;b.wav;c.mp4\r\n".replace(";", separator), encoding))
    assert job.face.endswith("ä.mp4") and job.out.endswith("c.mp4")


@pytest.mark.parametrize("text, problem", [
    ("face,out\na,b\n", r"line 1: there is no column audio. It takes face, audio, out, and where wanted driving"),
    ("", "line 1: there is no column face nor audio nor out"),
    ("face,audio,out,speeker\na,b,c,d\n", r"line 1: unknown column 'speeker'. Did you mean 'speaker'\?"),
    ("face,audio,out,face\na,b,c,d\n", "line 1: there are two columns 'face'"),
    (HEADER, "has no jobs below its header"),
    (HEADER + "a,b,c\nd,e\n", "line 3: 2 cells, and the header has 3"),
    (HEADER + "a,b,c\nd,e,f,g\n", "line 3: 4 cells, and the header has 3; quote a cell that holds the separator"),
    (HEADER + "\na,b,\n", "line 3: the cell of column out is empty"),
    (HEADER + "a,b,c.mp4\nd,e,f.mp4\ng,h,./c.mp4\n", r"line 4: \S+c.mp4 is written by line 2 already"),
    (HEADER + 'a,"b,c\n', "line 2: unexpected end of data"),
])
def test_what_is_wrong_with_a_table_is_said_with_its_line(table, text, problem):
    with pytest.raises(BadJobs, match=rf"jobs.csv,? {problem}"):
        read_jobs(table(text))


def test_a_table_that_cannot_be_read(table, tmp_path):
    with pytest.raises(BadJobs, match="nowhere.csv cannot be read: No such file"):
        read_jobs(tmp_path / "nowhere.csv")
    with pytest.raises(BadJobs, match="is not UTF-8 text .*save it as CSV in UTF-8"):
        read_jobs(table("face,audio,out\nä,b,c\n", "latin-1"))


class OneDetector(Detector):
    """The default detector, whose files are read once for all of these tests."""

    real = None

    def __new__(cls):
        cls.real = cls.real or registry.build("detector", "dlib-hog")
        return cls.real


@pytest.fixture
def run():
    with registry.offering("detector", one=OneDetector):
        yield lambda *arguments: CliRunner().invoke(
            main, ["generate", "--recipe", "warp", "--device", "cpu", "--detector", "one", *map(str, arguments)])


@pytest.fixture
def inputs(tmp_path):
    Image.fromarray(astronaut()[:240, 100:340]).save(tmp_path / "face.png")
    Image.new("RGB", (64, 48)).save(tmp_path / "blank.png")
    with wave.open(str(tmp_path / "hum.wav"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(16_000)
        sound.writeframes((3000 * np.sin(np.arange(4800) / 9)).astype("<i2").tobytes())
    return tmp_path


def test_a_table_is_drawn_goes_on_after_failures_and_keeps_what_is_there(table, inputs, run, monkeypatch):
    opened, open_model = [], generating.open_model
    monkeypatch.setattr(generating, "open_model", lambda *arguments: opened.append(arguments) or open_model(*arguments))
    jobs = table("face,audio,out,fps\nface.png,hum.wav,new/one.mp4,\nblank.png,hum.wav,two.mp4,\n"
                 "gone.png,hum.wav,three.mp4,\nface.png,hum.wav,four.mp4,50\n")
    done = run("--batch", jobs)
    assert len(opened) == 1
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "line 4: There is no file" in done.output.splitlines()[0], "what can be told at once is"
    rows = [line.split() for line in done.output.splitlines() if line[:4].strip().isdigit()]
    assert [row[:2] for row in rows] == [["2", "done"], ["3", "failed"], ["4", "failed"], ["5", "done"]]
    assert [row[2:4] for row in rows if row[1] == "done"] == [["8", "0.3"], ["15", "0.3"]]
    last = done.output.splitlines()[-1]
    assert last.startswith("Error: 2 of 4 jobs failed: line 3, ") and "two.mp4: " in last and "line 4, " in last
    assert media.probe_video(inputs / "new" / "one.mp4").num_frames == 8
    assert not list(inputs.glob("two*")) and not list(inputs.glob("three*")) and not list(inputs.glob(".*"))

    first = (inputs / "new" / "one.mp4").stat().st_mtime_ns
    jobs = table("face,audio,out,fps\nface.png,hum.wav,new/one.mp4,\nface.png,hum.wav,four.mp4,25\n")
    done = run("--batch", jobs)
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.output.splitlines()[-2:]] == ["kept", "done"]
    assert (inputs / "new" / "one.mp4").stat().st_mtime_ns == first
    assert json.loads((inputs / "four.json").read_text())["frames_out"] == 8
    later = (inputs / "four.mp4").stat().st_mtime + 10
    os.utime(inputs / "hum.wav", (later, later))
    done = run("--batch", table("face,audio,out,fps\nface.png,hum.wav,four.mp4,25\n"))
    assert done.output.splitlines()[-1].split()[1] == "done", "its sound is newer"


def test_options_of_one_drawing_do_not_go_with_a_table(table, run):
    jobs = table(HEADER + "a,b,c\n")
    for option in (["--face", "x"], ["--out", "y"], ["--canonical"]):
        done = run("--batch", jobs, *option)
        assert done.exit_code == 2 and f"{option[0]} goes with one drawing; with --batch" in done.output
    assert "Give --face, a video or a picture; or --batch TABLE.csv for many." in run().output


def test_many_plots_go_into_a_folder():
    with pytest.raises(BadJobs, match="--plot names a folder for them; not units.png"):
        run_jobs([], common={"plot": "units.png"})


def test_the_table_of_results_lines_up(table):
    [job, other] = read_jobs(table(HEADER + "a,b,c.mp4\nd,e,f.mp4\n"))
    lines = list(render([Result(job, "done", {"frames_out": 1234, "seconds": 49.36, "frames_per_second": 8.25}),
                         Result(other, "failed", problem="no face")]))
    ends = [line.index(word) for line, word in zip(lines, ("out", job.out, other.out))]
    assert len(set(ends)) == 1 and lines[1].split()[:5] == ["2", "done", "1234", "49.4", "8.2"]


def test_a_folder_gives_a_job_for_each_of_its_pictures(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    jobs = jobs_of_folder(tmp_path, "voice.wav", tmp_path / "videos")
    assert [(job.face, job.audio, job.out) for job in jobs] == [
        (str(tmp_path / name), "voice.wav", str(tmp_path / "videos" / video)) for name, video in
        (("a.JPG", "a.mp4"), ("b.png", "b.mp4"))]
    assert str(jobs[0]) == str(tmp_path / "a.JPG")
    with pytest.raises(BadJobs, match="is a folder, so --out names one too, .*; not out.mp4"):
        jobs_of_folder(tmp_path, "voice.wav", "out.mp4")
    (tmp_path / "a.png").touch()
    with pytest.raises(BadJobs, match=r"a.JPG and \S+a.png would both become \S+a.mp4"):
        jobs_of_folder(tmp_path, "voice.wav", tmp_path / "videos")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadJobs, match="empty has no pictures"):
        jobs_of_folder(tmp_path / "empty", "voice.wav", tmp_path / "videos")
