"""Small real videos through the whole of prepare, with the real detector."""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fctfg.data.clipfile import ClipFile
from fctfg.data.manifest import read_manifest
from fctfg.errors import BadData, UnknownPlugin
from fctfg.media import VideoWriter, write_wave
from fctfg.prepare import Summary, prepare

RATE = Fraction(25)


@pytest.fixture(scope="module", autouse=True)
def dlib_loads_once():
    """Every run loads dlib's models anew, which takes longer than these small videos."""
    import dlib

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_frontal_face_detector", "shape_predictor"):
            patch.setattr(dlib, name, functools.cache(getattr(dlib, name)))
        yield


def portrait(left: int = 0, width: int = 320) -> np.ndarray:
    """(240, width, 3): the face that scikit-image ships, about 110 pixels high, through a window from `left` on."""
    from skimage.data import astronaut

    return astronaut()[:240, 60 + left:60 + left + width]


def backdrop() -> np.ndarray:
    """(240, 320, 3): soft patches that are nobody's face."""
    patches = np.random.default_rng(1).integers(0, 256, (6, 8, 3))
    return np.kron(patches, np.ones((40, 40, 1))).astype(np.uint8)


def make_video(path: Path, frames, loud: float | None = 0.1) -> Path:
    """A video at 25 frames a second with a tone of amplitude `loud`; without sound where that is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(frames)
    sound = None
    if loud is not None:
        sound = path.with_suffix(".wav")
        write_wave(sound, (loud * np.sin(0.1 * np.arange(640 * len(frames)))).astype(np.float32))
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], RATE, sound=sound) as writer:
        for frame in frames:
            writer.write(frame)
    if sound:
        sound.unlink()
    return path


def moving(count: int, **options) -> list[np.ndarray]:
    return [portrait(number, **options) for number in range(count)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """A folder of what people have."""
    raw = tmp_path_factory.mktemp("raw videos")
    make_video(raw / "anna" / "a talk, with cut.mp4", moving(40) + [backdrop()] * 20)
    make_video(raw / "ben" / "größe 说话.mp4", moving(30))
    make_video(raw / "ben" / "nobody.mp4", [backdrop()] * 15)
    make_video(raw / "ben" / "two.mp4", [np.hstack([portrait(number, 200)] * 2) for number in range(15)])
    make_video(raw / "ben" / "brief.mp4", moving(15))
    make_video(raw / "mute.mp4", moving(10), loud=None)
    make_video(raw / "silent.mp4", moving(10), loud=0.0)
    (raw / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    (raw / "empty.mkv").touch()
    (raw / "readme.txt").write_text("hello")
    return raw


@pytest.fixture(scope="module")
def done(raw, tmp_path_factory) -> tuple[Path, Summary]:
    """That folder, prepared in this process."""
    out = tmp_path_factory.mktemp("out") / "prepared"
    return out, prepare(raw, out, workers=0)


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_faces_with_sound_are_kept_and_all_else_is_accounted_for(done):
    out, summary = done
    manifest = read_manifest(out)
    kept = {clip.source: (clip.start, clip.frames, clip.speaker) for clip in manifest.clips}
    assert kept == {"anna/a talk, with cut.mp4": (0.0, 40, "anna"), "ben/größe 说话.mp4": (0.0, 30, "ben")}
    dropped = {entry.source: (entry.reason, entry.start, entry.end) for entry in manifest.dropped}
    assert dropped == {
        "anna/a talk, with cut.mp4": ("no face", 1.6, 2.4),
        "ben/nobody.mp4": ("no face", 0.0, 0.6),
        "ben/two.mp4": ("several faces", 0.0, 0.6),
        "ben/brief.mp4": ("too short", 0.0, 0.6),
        "mute.mp4": ("no sound", 0.0, 0.4),
        "silent.mp4": ("silent", 0.0, 0.4),
        "broken.mp4": ("unreadable", None, None),
        "empty.mkv": ("unreadable", None, None),
        "*.txt": ("not a video", None, None),
    }
    assert (summary.videos, summary.clips, summary.speakers, summary.seconds) == (9, 2, 2, 2.8)
    assert summary.dropped["no face"] == 2 and len(summary.failures) == 2
    assert "2 clips" in str(summary) and "2 no face" in str(summary)


def test_a_clip_holds_the_face_its_landmarks_and_its_sound(done, raw):
    from fctfg import registry
    from fctfg.faces import find_profile

    out, _ = done
    entry = next(clip for clip in read_manifest(out).clips if clip.speaker == "anna")
    clip = ClipFile(out / entry.file)
    assert clip.about.items() >= {"speaker": "anna", "source": "anna/a talk, with cut.mp4", "start": 0.0,
                                  "crop": "wav2lip", "vocals": False}.items()
    frames, points = clip.frames(range(40)), clip.landmarks()
    size = find_profile("wav2lip").size
    assert frames.shape == (40, size, size, 3) and clip.boxes().shape == (40, 4)
    # The points are in the crop, where a detector that sees only the crop, enlarged, puts them too.
    assert (points > -0.05 * size).all() and (points < 1.05 * size).all()
    large = np.pad(np.kron(frames[20], np.ones((3, 3, 1), np.uint8)), ((60, 60), (60, 60), (0, 0)), mode="edge")
    box = np.array([60, 60, 60 + 3 * size, 60 + 3 * size], float)
    again = registry.build("detector", "dlib-hog").landmarks(large, box)
    mouth = slice(48, 68)
    assert np.abs((again[mouth].mean(0) - 60) / 3 - points[20, mouth].mean(0)).max() < 0.08 * size
    assert points[:, mouth, 1].min() > size / 2  # the mouth is in the lower half
    # The face stands still in the crop while it drifts through the video.
    assert np.ptp(points[:, 30], axis=0).max() < 0.06 * size
    assert clip.boxes()[0, 0] - clip.boxes()[-1, 0] == pytest.approx(39, abs=4)
    wave = clip.wave()
    assert len(wave) == 40 * 640 and 0.05 < np.sqrt(np.mean(wave**2)) < 0.09


def test_a_second_run_does_nothing(done, raw):
    out, first = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.zip")}
    told = []
    again = prepare(raw, out, workers=0, progress=lambda progress: told.append(progress.done))
    assert again.already == 9 and again.frames == 0 and told == [9]
    assert (again.clips, again.dropped) == (first.clips, first.dropped)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.zip")} == before
    with pytest.raises(BadData, match="crop wav2lip.*not crop face"):
        prepare(raw, out, workers=0, crop="face")


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
def test_a_killed_run_goes_on_where_it_was(done, raw, tmp_path):
    out = tmp_path / "out"
    script = (  # dies by kill -9 in the middle of the third video, on a half-written clip
        "import os, signal, sys\nfrom fctfg.prepare import prepare, video\nwhole = video.write_clip\n"
        "def cut_off(path, frames, *rest):\n"
        "    if len(os.listdir(sys.argv[2] + '/records')) >= 2:\n"
        "        frames = (os.kill(os.getpid(), signal.SIGKILL) if n == 9 else f for n, f in enumerate(frames))\n"
        "    return whole(path, frames, *rest)\n"
        "video.write_clip = cut_off\nprepare(sys.argv[1], sys.argv[2], workers=0)\n")
    killed = subprocess.run([sys.executable, "-c", script, str(raw), str(out)],
                            env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -9
    finished = {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert len(finished) >= 2 and list(out.glob("clips/*.part"))
    summary = prepare(raw, out, workers=0)
    assert summary.already == len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert contents(out) == contents(done[0])


def test_shards_give_the_same_clips_here_and_in_a_worker_process(done, raw, tmp_path):
    out = tmp_path / "out"
    summaries = [prepare(raw, out, workers=workers, shard=(k, 2)) for k, workers in ((1, 1), (2, 0))]
    assert [bool(summary.videos) for summary in summaries] == [True, True] and sum(s.videos for s in summaries) == 9
    shared, whole = ({name: content for name, content in contents(folder).items() if not name.startswith("manifest")}
                     for folder in (out, done[0]))
    assert shared == whole
    assert read_manifest(out).clips == read_manifest(done[0]).clips


def test_what_can_be_read_of_a_truncated_video_is_kept(tmp_path):
    video = make_video(tmp_path / "raw" / "cut off.mp4", moving(50))
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 3 // 4])
    summary = prepare(tmp_path / "raw", tmp_path / "out", workers=0, min_seconds=0.4)
    kept, = read_manifest(tmp_path / "out").clips
    dropped, = read_manifest(tmp_path / "out").dropped
    assert 0.4 < kept.seconds < 1.9 and (dropped.start, dropped.end) == (kept.seconds, 2.0)
    assert dropped.reason in ("unreadable", "no sound")
    assert summary.clips == 1


@pytest.mark.parametrize("options, error, says", [
    ({"crop": "wav2lop"}, None, "wav2lip"),
    ({"detector": "dlib-hug"}, UnknownPlugin, "dlib-hog"),
    ({"min_seconds": 5, "max_seconds": 2}, BadData, "5 to 2 seconds"),
    ({"shard": (5, 4)}, BadData, "no shard 5 of 4"),
])
def test_impossible_wishes_are_refused_before_anything_is_made(tmp_path, options, error, says):
    from fctfg.errors import FctfgError

    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").touch()
    with pytest.raises(error or FctfgError, match=says):
        prepare(tmp_path / "raw", tmp_path / "out", workers=0, **options)
    assert not (tmp_path / "out").exists()


def test_folders_inside_each_other_are_refused(raw):
    for out in (raw, raw / "prepared"):
        with pytest.raises(BadData, match="in the folder of raw videos"):
            prepare(raw, out)
    assert not (raw / "prepared").exists()


def test_no_usable_clip_is_said_with_the_reasons_and_leaves_nothing(tmp_path):
    make_video(tmp_path / "raw" / "nobody.mp4", [backdrop()] * 10)
    (tmp_path / "raw" / "broken.mp4").write_bytes(b"nothing" * 100)
    with pytest.raises(BadData, match="no usable clip: 1 .*, 1 .*") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", workers=0)
    assert "1 unreadable" in str(caught.value) and "1 no face" in str(caught.value)
    assert "\n" not in str(caught.value) and "broken.mp4" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bug_costs_one_video_which_is_tried_again_as_is_one_that_changed(tmp_path, monkeypatch):
    from fctfg import media

    raw, out, wishes = tmp_path / "raw", tmp_path / "out", {"workers": 0, "min_seconds": 0.4, "max_seconds": 0.8}
    make_video(raw / "changes.mp4", moving(30))
    make_video(raw / "fails.mp4", moving(15))
    read_sound = media.read_sound

    def buggy(path, *rest):
        if path.name == "fails.mp4":
            raise RuntimeError("of ours")
        return read_sound(path, *rest)

    monkeypatch.setattr(media, "read_sound", buggy)
    summary = prepare(raw, out, **wishes)
    assert summary.clips == 2 and summary.dropped == {"failed": 1}
    assert ["RuntimeError: of ours" in failure for failure in summary.failures] == [True]

    monkeypatch.undo()
    make_video(raw / "changes.mp4", moving(15))
    summary = prepare(raw, out, **wishes)
    assert (summary.already, summary.clips, summary.failures) == (0, 2, [])
    assert len(list((out / "clips").iterdir())) == 2


def test_a_full_disk_stops_the_run_in_a_line(tmp_path, monkeypatch):
    from fctfg.prepare import video

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(video, "write_clip", full)
    make_video(tmp_path / "raw" / "a.mp4", moving(15))
    (tmp_path / "raw" / "never reached.mp4").touch()
    with pytest.raises(BadData, match="No space left.*same command again") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", workers=0, min_seconds=0.5)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("out/records/*"))


def test_a_video_that_ends_its_process_is_dropped_and_tried_again(tmp_path, monkeypatch):
    from fctfg.prepare import folder
    from fctfg.prepare.pool import Died, work_through

    def with_a_crash(tasks, setup, workers):
        for task, what in work_through(tasks, setup, workers):
            yield task, Died(-11) if task.path == "crashes.mp4" else what

    for name in ("crashes", "works"):
        make_video(tmp_path / "raw" / f"{name}.mp4", moving(15))
    monkeypatch.setattr(folder, "work_through", with_a_crash)
    summary = prepare(tmp_path / "raw", tmp_path / "out", workers=0, min_seconds=0.5)
    assert (summary.clips, summary.dropped) == (1, {"died": 1})
    assert "crashes.mp4: its process was ended" in summary.failures[0]
    assert [clip.source for clip in read_manifest(tmp_path / "out").clips] == ["works.mp4"]
    monkeypatch.undo()
    assert prepare(tmp_path / "raw", tmp_path / "out", workers=0, min_seconds=0.5).clips == 2
