"""Whole generations: a photographed face that moves about, dubbed by the smallest model, and all that can go wrong."""

from __future__ import annotations

import json
import threading
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from fctfg import media, registry
from fctfg.errors import BadMedia, FctfgError
from fctfg.interfaces import Detector
from fctfg.model import build_model
from fctfg.pipeline import generate
from fctfg.recipe import Recipe

NTSC = Fraction(30000, 1001)
SIDE = 240
RECIPE = Recipe.find("tiny")


class OneDetector(Detector):
    """The default detector, whose files are read once for all of these tests."""

    real = None

    def __new__(cls):
        cls.real = cls.real or registry.build("detector", "dlib-hog")
        return cls.real


@pytest.fixture(autouse=True)
def _one_detector():
    with registry.offering("detector", one=OneDetector):
        yield


@pytest.fixture(scope="module")
def model():
    return build_model(RECIPE).eval()


def footage(count, faceless=()):
    """A face that moves to the upper left, or the badge on her arm."""
    for i in range(count):
        corner = (270, 0) if i in faceless else (i, 80 + 2 * i)
        yield np.ascontiguousarray(astronaut()[corner[0]:, corner[1]:][:SIDE, :SIDE])


def write_video(path, frames, rate=NTSC, sound=None):
    with media.VideoWriter(path, SIDE, SIDE, rate, sound, crf=10) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_tone(path, frames, rate=NTSC, sample_rate=22050):
    """A voice-like sound as long as `frames` frames."""
    time = np.arange(round(frames / rate * sample_rate)) / sample_rate
    media.write_wave(path, 0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time), sample_rate)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """12 frames."""
    return write_video(tmp_path_factory.mktemp("face") / "face.mp4", footage(12))


@pytest.fixture
def written(monkeypatch):
    """The frames as they go to the encoder."""
    frames = []

    class Recording(media.VideoWriter):
        def write(self, frame):
            frames.append(frame.copy())
            super().write(frame)

    monkeypatch.setattr(media, "VideoWriter", Recording)
    return frames


@pytest.fixture
def dub(model, tmp_path, video):
    """Generate into tmp_path/out.mp4, by default 12 frames of the video with as long a tone."""

    def run(face=video, audio=None, out=None, recipe=RECIPE, model=model, **options):
        audio = audio or write_tone(tmp_path / "tone.wav", 12)
        return generate(face, audio, out or tmp_path / "out.mp4", model, recipe, **{"detector": "one", **options})

    return run


def frames_of(path):
    return list(media.read_video(path))


def test_a_video_is_dubbed_frame_for_frame(dub, video, tmp_path, written):
    report = dub(batch=5)
    info = media.probe_video(tmp_path / "out.mp4")
    source, result = frames_of(video), frames_of(tmp_path / "out.mp4")
    assert len(result) == len(written) == 12 and info.frame_rate == NTSC
    assert (info.width, info.height) == (SIDE, SIDE) and info.has_sound
    assert abs(len(media.read_sound(tmp_path / "out.mp4")) / 16000 - 12 / NTSC) < 0.06
    with media.container.open_media(tmp_path / "out.mp4") as container:
        assert container.streams.audio[0].rate == 22050
    assert "synthetic" in info.metadata["comment"]
    for before, after in zip(source, written):
        changed = (before != after).any(-1)
        assert 0.02 < changed.mean() < 0.5  # the face, and not the rest
        assert not changed[:, :8].any() and not changed[-20:].any()

    assert json.loads((tmp_path / "out.json").read_text()) == report
    assert [report[f"frames_{what}"] for what in ("in", "out", "drawn", "passed_through")] == [12, 12, 12, 0]
    assert report["frame_rate"] == "30000/1001"
    assert list(report["busy_seconds"]) == ["read", "find", "draw", "paste", "encode"]
    assert all(0 < seconds <= report["wall_seconds"] for seconds in report["busy_seconds"].values())
    assert report["warnings"] == [] and report["recipe"] == "tiny"


def test_frames_without_a_face_pass_bit_for_bit_and_are_told(dub, tmp_path, written):
    away = [*range(5), *range(12, 17)]
    face = write_video(tmp_path / "away.mp4", footage(20, faceless=away))
    written.clear()
    report = dub(face, write_tone(tmp_path / "long.wav", 20))
    source = frames_of(face)
    same = [i for i, (before, after) in enumerate(zip(source, written)) if np.array_equal(before, after)]
    assert same == away
    assert report["frames_passed_through"] == report["frames_drawn"] == 10
    assert report["passed_through"] == [{"frames": [0, 4], "seconds": [0.0, 0.167]},
                                        {"frames": [12, 16], "seconds": [0.4, 0.567]}]


@pytest.mark.parametrize(("how", "shown"), [
    ("bounce", [*range(12), *range(10, -1, -1), 1, 2]),
    ("loop", [*range(12), *range(12), 0]),
    ("freeze", [*range(12), *[11] * 13]),
    ("cut", range(12)),
])
def test_longer_sound_fills_the_picture(dub, video, tmp_path, written, how, shown):
    report = dub(audio=write_tone(tmp_path / "long.wav", 25), when_audio_is_longer=how)
    source = frames_of(video)
    assert len(written) == len(shown) == report["frames_out"] == report["frames_drawn"]
    for index, frame in zip(shown, written):
        assert np.array_equal(frame[:, :8], source[index][:, :8])  # beside the face
    assert report["frames_in"] == 12
    assert abs(len(media.read_sound(tmp_path / "out.mp4")) / 16000 - len(shown) / NTSC) < 0.06


def test_shorter_sound_cuts_the_picture_or_leaves_it_silent(dub, tmp_path, written):
    short = write_tone(tmp_path / "short.wav", 5)
    assert dub(audio=short)["frames_out"] == 5
    assert dub(audio=short, when_audio_is_shorter="silence")["frames_out"] == 12
    assert len(written) == 17


def test_a_picture_is_animated(dub, tmp_path, written):
    picture = tmp_path / "odd.png"
    Image.fromarray(astronaut()[:SIDE - 1, 80:80 + SIDE - 3]).save(picture)
    report = dub(picture, fps="24000/1001", when_audio_is_longer="cut")  # a picture has no end to cut at
    assert report["frame_rate"] == "24000/1001" and report["frames_in"] == 1
    assert report["frames_out"] == len(written) == 10  # 12 frames of 30000/1001 are 9.6 of these
    assert all(frame.shape == (SIDE - 1, SIDE - 3, 3) for frame in written)
    assert media.probe_video(tmp_path / "out.mp4").width == SIDE - 2  # the codec takes even sizes only


def test_the_speaker_is_chosen(dub, tmp_path, written):
    two = tmp_path / "two.png"
    face = astronaut()[:SIDE, 80:80 + SIDE]
    Image.fromarray(np.hstack([face, face])).save(two)
    both = np.asarray(Image.open(two))
    left, right = slice(0, SIDE), slice(SIDE, None)
    sides = {"left:1": left, "left:2": right, "right:1": right, "380,130": right, "140,130": left}
    for speaker, side in sides.items():
        written.clear()
        dub(two, write_tone(tmp_path / "short.wav", 2), speaker=speaker)
        changed = (written[0] != both).any(-1)
        assert changed[:, side].any(), speaker
        changed[:, side] = False
        assert not changed.any(), speaker


def test_a_pixel_names_the_speaker_of_a_picture_that_is_shrunk(dub, tmp_path, written, monkeypatch):
    monkeypatch.setattr("fctfg.pipeline.footage.LARGEST_PICTURE", 400)
    face = astronaut()[:SIDE, 80:80 + SIDE]
    Image.fromarray(np.hstack([face, face])).save(tmp_path / "two.png")
    report = dub(tmp_path / "two.png", write_tone(tmp_path / "short.wav", 2), speaker="380,130")
    assert written[0].shape == (200, 400, 3) and "shrunk" in report["warnings"][0]
    unlike = np.abs(written[0][:, :200].astype(int) - written[0][:, 200:]).mean(-1)
    assert unlike.max() > 30  # one of the two is drawn over
    both = Image.fromarray(np.hstack([face, face]))
    before = np.asarray(both.resize((400, 200), Image.Resampling.LANCZOS, reducing_gap=3.0))
    assert np.array_equal(written[0][:, :200], before[:, :200])


def test_the_batch_changes_no_pixel(dub, written):
    dub(batch=1)
    dub(batch=12)
    one, many = np.stack(written[:12]).astype(int), np.stack(written[12:])
    assert np.abs(one - many).max() <= 1


def test_a_driving_video_moves_a_picture(dub, video, tmp_path, written):
    picture = tmp_path / "face.png"
    Image.fromarray(astronaut()[:SIDE, 80:80 + SIDE]).save(picture)
    still = RECIPE.model_copy(update={"references": RECIPE.references.model_copy(update={"generate": "first"})})
    report = dub(picture, driving=video, recipe=still)
    assert report["frames_out"] == 12 and report["frame_rate"] == "30000/1001"
    for frame in written:
        changed = (frame != np.asarray(Image.open(picture))).any(-1)
        assert changed.any() and not changed[:, :8].any()
    with pytest.raises(BadMedia, match="redraws the frames"):
        dub(picture, driving=video)
    with pytest.raises(BadMedia, match="goes with a picture"):
        dub(video, driving=video, recipe=still)


def left_in(folder, *known):
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


@pytest.mark.parametrize(("given", "says"), [
    ({"face": "nothing.mp4"}, "nothing.mp4"),
    ({"face": "tone.wav"}, "tone.wav"),
    ({"face": "empty.mp4"}, "empty.mp4 has no face that one finds"),
    ({"face": "empty.png"}, "empty.png has no face that one finds"),
    ({"audio": "nothing.wav"}, "nothing.wav"),
    ({"audio": "empty.mp4"}, "has no sound"),
    ({"audio": "empty.png"}, "empty.png"),
    ({"out": "out.avi"}, r"\.mp4"),
    ({"out": "face.mp4"}, "written over"),
    ({"out": "nowhere/out.mp4"}, "nowhere"),
    ({"fps": "fast"}, "--fps"),
    ({"speaker": "tallest"}, "tallest"),
    ({"detector": "dlib-hug"}, "dlib-h"),
])
def test_what_cannot_be_used_is_refused_and_nothing_is_left(dub, tmp_path, given, says):
    write_tone(tmp_path / "tone.wav", 12)
    write_video(tmp_path / "empty.mp4", footage(3, faceless=range(3)))
    write_video(tmp_path / "face.mp4", footage(3))
    Image.fromarray(astronaut()[270:, :SIDE]).save(tmp_path / "empty.png")
    before = left_in(tmp_path)
    paths = {key: tmp_path / value if key in ("face", "audio", "out") else value for key, value in given.items()}
    with pytest.raises(FctfgError, match=says) as error:
        dub(**{"face": tmp_path / "face.mp4", "audio": tmp_path / "tone.wav", **paths})
    assert "\n" not in str(error.value)
    assert left_in(tmp_path) == before


class Broken(Exception):
    pass


def failing(*_, **__):
    raise Broken


@pytest.mark.parametrize("place", [
    "fctfg.pipeline.footage.Footage.read", "fctfg.faces.FaceTracker.track", "fctfg.pipeline.find.crop",
    "fctfg.model.TalkingFace.forward", "fctfg.pipeline.paste.paste", "fctfg.media.VideoWriter.write"])
def test_an_error_in_any_stage_ends_all_and_leaves_nothing(dub, tmp_path, monkeypatch, place):
    monkeypatch.setattr(place, failing)
    threads = threading.active_count()
    with pytest.raises(Broken):
        dub()
    assert left_in(tmp_path) == ["tone.wav"]
    assert threading.active_count() == threads


def test_an_interrupt_leaves_nothing(dub, tmp_path):
    def interrupt(done, total):
        assert total == 12
        if done == 3:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        dub(progress=interrupt)
    assert left_in(tmp_path) == ["tone.wav"] and threading.active_count() == threads


def test_an_older_result_survives_a_failure(dub, tmp_path, monkeypatch):
    (tmp_path / "out.mp4").write_bytes(b"older")
    monkeypatch.setattr("fctfg.pipeline.paste.paste", failing)
    with pytest.raises(Broken):
        dub()
    assert (tmp_path / "out.mp4").read_bytes() == b"older"


def test_a_video_cut_short_is_used_as_far_as_it_goes(dub, video, tmp_path):
    whole = write_video(tmp_path / "whole.mp4", footage(40))
    cut = tmp_path / "cut.mp4"
    content = whole.read_bytes()
    cut.write_bytes(content[:int(0.8 * len(content))])
    report = dub(cut, audio=write_tone(tmp_path / "long.wav", 40))
    assert report["frames_in"] < 40 and report["frames_out"] == 40
    assert any("cut.mp4" in warning for warning in report["warnings"])


def test_progress_is_told(dub):
    told = []
    dub(progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 12) for i in range(1, 13)]
