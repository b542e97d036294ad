"""Action units in a prepared folder: those of each frame beside it, whoever says them."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest

from fctfg import registry
from fctfg.action_units import NAMES
from fctfg.data import PreparedClips
from fctfg.data.clipfile import ClipFile
from fctfg.data.manifest import read_manifest
from fctfg.errors import BadData
from fctfg.interfaces import Detector
from fctfg.media import VideoWriter, write_wave
from fctfg.prepare import prepare
from fctfg.recipe import Recipe

FRAMES = 26


class BrightDetector(Detector):
    """Sees how bright the face's surroundings are, as AU12; nothing else."""

    def detect(self, frame):
        raise AssertionError("faces are found by the other detector")

    landmarks = detect

    def action_units(self, frame, landmarks):
        left, top = landmarks.min(0).astype(int)
        right, bottom = landmarks.max(0).astype(int)
        assert 60 < right - left < 200 and 60 < bottom - top < 200, "landmarks are in pixels of the frame"
        brightness = frame[8:16, 8:16].mean() / 255
        if brightness > 0.9:
            return None
        return np.where(np.array(NAMES) == "AU12", np.float32(brightness), np.float32(np.nan))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A portrait in a corner of which a patch gets brighter with each frame."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("raw")
    (folder / "anna").mkdir()
    write_wave(folder / "tone.wav", (0.1 * np.sin(0.1 * np.arange(640 * FRAMES))).astype(np.float32))
    with VideoWriter(folder / "anna" / "one.mp4", 320, 240, Fraction(25), sound=folder / "tone.wav") as writer:
        for index in range(FRAMES):
            frame = astronaut()[:240, 60:380].copy()
            frame[:32, :32] = 50 + 5 * index
            writer.write(frame)
    (folder / "tone.wav").unlink()
    return folder


@pytest.fixture(scope="module", autouse=True)
def dlib_loads_once():
    import dlib

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_frontal_face_detector", "shape_predictor"):
            patch.setattr(dlib, name, functools.cache(getattr(dlib, name)))
        yield


def the_clip(out) -> ClipFile:
    kept, = read_manifest(out).clips
    assert kept.action_units and kept.frames == FRAMES
    return ClipFile(out / kept.file)


def test_a_detector_says_them_frame_by_frame(raw, tmp_path):
    with registry.offering("detector", bright=BrightDetector):
        prepare(raw, tmp_path / "out", workers=0, size=64, action_units="bright")
        assert prepare(raw, tmp_path / "out", workers=0, size=64, action_units="bright").already == 1
    clip = the_clip(tmp_path / "out")
    units = dict(zip(NAMES, clip.action_units().T))
    np.testing.assert_allclose(units["AU12"], (50 + 5 * np.arange(FRAMES)) / 255, atol=0.02)
    assert np.isnan(units["AU45"]).all() and clip.about["action_units_from"] == "bright"
    recipe = Recipe.from_dict({"name": "t", "visual_encoder": "a", "audio_encoder": "b", "fusion": "c", "decoder": "d",
                               "size": 64, "crop": "wav2lip", "clip_frames": 5})
    sample = PreparedClips(tmp_path / "out", recipe)[0]
    assert sample["action_units_known"].sum() == 5 and sample["action_units"].max() > 0.1


def test_a_folder_prepared_without_them_gets_them_and_keeps_the_rest(raw, tmp_path):
    prepare(raw, tmp_path / "out", workers=0, size=64)
    kept, = read_manifest(tmp_path / "out").clips
    before = ClipFile(tmp_path / "out" / kept.file)
    assert not kept.action_units and before.action_units() is None
    with registry.offering("detector", bright=BrightDetector):
        summary = prepare(raw, tmp_path / "out", workers=0, size=64, action_units="bright")
        assert (summary.already, summary.clips) == (0, 1)
        assert prepare(raw, tmp_path / "out", workers=0, size=64, action_units="bright").already == 1
    after = the_clip(tmp_path / "out")
    np.testing.assert_allclose(after.action_units()[:, NAMES.index("AU12")], (50 + 5 * np.arange(FRAMES)) / 255, atol=0.02)
    np.testing.assert_array_equal(after.frames(range(FRAMES)), before.frames(range(FRAMES)))
    np.testing.assert_array_equal(after.landmarks(), before.landmarks())
    with pytest.raises(BadData, match="was prepared with action_units bright, not action_units None"):
        prepare(raw, tmp_path / "out", workers=0, size=64)
    with pytest.raises(BadData, match="was prepared with action_units bright, not action_units .*m.csv"):
        prepare(raw, tmp_path / "out", workers=0, size=64, action_units=str(write_table(tmp_path / "m.csv", 5)))


def test_clips_stay_where_no_action_units_can_be_added(raw, tmp_path):
    prepare(raw, tmp_path / "out", workers=0, size=64)
    write_table(tmp_path / "tables" / "two.csv", FRAMES)
    for _ in range(2):
        summary = prepare(raw, tmp_path / "out", workers=0, size=64, action_units=str(tmp_path / "tables"))
        assert summary.clips == 1 and summary.dropped == {"no action units": 1}
        assert "one.csv is not there" in summary.failures[0]


def write_table(path, frames, rate=25):
    rows = [f"{index + 1},{index / rate:.3f},1,{index / 10:.2f}" for index in range(frames)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["frame, timestamp, success, AU26_r", *rows]))
    return path


@pytest.mark.parametrize("place", ["tables", "tables/anna/one.csv"])
def test_tables_say_them_too(raw, tmp_path, place):
    (tmp_path / "tables").mkdir()
    write_table(tmp_path / "tables/anna/one.csv", FRAMES)
    prepare(raw, tmp_path / "out", workers=0, size=64, action_units=str(tmp_path / place))
    units = the_clip(tmp_path / "out").action_units()
    np.testing.assert_allclose(units[:, NAMES.index("AU26")], np.arange(FRAMES) / 50, atol=1e-6)


def test_a_video_without_its_table_is_dropped_with_the_reason(raw, tmp_path):
    write_table(tmp_path / "tables" / "two.csv", FRAMES)
    with pytest.raises(BadData, match="no table of action units for one.mp4: one.csv is not there"):
        prepare(raw, tmp_path / "out", workers=0, size=64, action_units=str(tmp_path / "tables"))


@pytest.mark.parametrize("source, line", [
    ("dlib-hog", "Detector 'dlib-hog' sees no action units; mediapipe does"),
    ("mediapip", "neither a file or folder of tables nor a detector. Did you mean 'mediapipe'?")])
def test_sources_that_are_none_are_refused_at_once(raw, tmp_path, source, line):
    with pytest.raises(BadData) as refused:
        prepare(raw, tmp_path / "out", action_units=source)
    assert line in str(refused.value) and not (tmp_path / "out").exists()
