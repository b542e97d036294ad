"""The clip file: what goes in comes out, by any zip tool; what is broken is named."""

import io
import json
import os
import pickle
import subprocess
import sys
import threading
import wave
import zipfile

import numpy as np
import pytest
from PIL import Image

from fctfg.data.clipfile import ClipFile, write_clip
from fctfg.errors import BadData

T, SIZE = 6, 48


def picture(index):
    """A smooth picture, which JPEG keeps well, different for every index."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return np.stack([255 * x, 255 * y, np.full_like(x, 40 * index)], -1).astype(np.uint8)


@pytest.fixture
def content():
    rng = np.random.default_rng(0)
    return {
        "frames": [picture(i) for i in range(T)],
        "wave": np.round(rng.uniform(-1, 1, T * 640) * 32767) / 32768,
        "landmarks": rng.uniform(0, SIZE, (T, 68, 2)).astype(np.float32),
        "boxes": rng.uniform(0, 500, (T, 4)).astype(np.float32),
        "about": {"name": "née", "speaker": "S1"},
    }


@pytest.fixture
def path(tmp_path, content):
    write_clip(tmp_path / "clip.zip", **content)
    return tmp_path / "clip.zip"


def test_what_goes_in_comes_out(path, content):
    clip = ClipFile(path)
    assert clip.num_frames == T and clip.num_samples == T * 640
    frames = clip.frames([4, 1, 1])
    assert frames.dtype == np.uint8
    for frame, index in zip(frames, [4, 1, 1]):
        assert np.abs(frame.astype(int) - content["frames"][index]).mean() < 1.5
    np.testing.assert_array_equal(clip.wave(), content["wave"].astype(np.float32))
    np.testing.assert_array_equal(clip.landmarks([5, 0]), content["landmarks"][[5, 0]])
    np.testing.assert_array_equal(clip.boxes(), content["boxes"])
    assert clip.about == {**content["about"], "format": 1, "frames": T, "height": SIZE, "width": SIZE, "frame_rate": 25,
                          "samples": T * 640, "sample_rate": 16000}


def test_sound_beyond_the_ends_is_silence(path, content):
    clip = ClipFile(path)
    np.testing.assert_array_equal(clip.wave(-3, 5), [0, 0, 0, *content["wave"][:2].astype(np.float32)])
    np.testing.assert_array_equal(clip.wave(T * 640 - 2, 4), [*content["wave"][-2:].astype(np.float32), 0, 0])
    np.testing.assert_array_equal(clip.wave(10**6, 3), np.zeros(3))
    np.testing.assert_array_equal(clip.wave(-10, 3), np.zeros(3))


def test_loud_sound_is_clipped_and_not_wrapped(tmp_path, content):
    write_clip(tmp_path / "loud.zip", **{**content, "wave": [1.0, 2.0, -1.0, -2.0]})
    np.testing.assert_allclose(ClipFile(tmp_path / "loud.zip").wave(), [32767 / 32768, 32767 / 32768, -1, -1])


def test_any_zip_tool_opens_it(path, content):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        with wave.open(io.BytesIO(archive.read("wave.wav"))) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16000)
            assert sound.getnframes() == T * 640
        assert Image.open(archive.open("frames/000003.jpg")).size == (SIZE, SIZE)
        np.testing.assert_array_equal(np.load(archive.open("landmarks.npy"), allow_pickle=False), content["landmarks"])
        assert json.loads(archive.read("clip.json"))["speaker"] == "S1"
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", path], capture_output=True, text=True, check=True)
    assert "frames/000005.jpg" in listed.stdout and "clip.json" in listed.stdout


def test_a_zip_written_by_another_tool_is_read(path, tmp_path):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "other.zip", "w") as new:
        for name in reversed(old.namelist()):
            info = zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10))
            info.extra = b"UT\x05\x00\x01\x00\x00\x00\x00"  # a time stamp, as Info-ZIP adds
            new.writestr(info, old.read(name))
    assert (ClipFile(tmp_path / "other.zip").frames(range(T)) == ClipFile(path).frames(range(T))).all()


def test_equal_input_gives_equal_bytes(path, tmp_path, content):
    write_clip(tmp_path / "again.zip", **content)
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_frames_are_streamed_and_lists_may_be_filled_on_the_way(tmp_path, content):
    landmarks, alive = [], []

    def frames():
        for index, frame in enumerate(content["frames"]):
            landmarks.append(content["landmarks"][index])
            alive.append(index)
            yield frame

    count = write_clip(tmp_path / "clip.zip", frames(), content["wave"], landmarks, content["boxes"], {})
    assert count == T == len(alive)
    np.testing.assert_array_equal(ClipFile(tmp_path / "clip.zip").landmarks(), content["landmarks"])


def test_a_failure_leaves_nothing_and_keeps_the_old_file(path, content):
    before = path.read_bytes()

    def frames():
        yield content["frames"][0]
        raise RuntimeError("the camera fell over")

    with pytest.raises(RuntimeError, match="camera"):
        write_clip(path, **{**content, "frames": frames()})
    assert os.listdir(path.parent) == ["clip.zip"] and path.read_bytes() == before


@pytest.mark.parametrize("change, message", [
    ({"frames": []}, "needs a frame"),
    ({"frames": [picture(0), picture(0)[:9]] * 3}, "frame 1 is"),
    ({"frames": [picture(0).astype(float)] * T}, "expected uint8"),
    ({"landmarks": np.zeros((T - 1, 68, 2))}, "landmarks is"),
    ({"boxes": np.full((T, 4), np.nan)}, "not finite"),
    ({"wave": np.zeros((2, 9))}, "wave is"),
])
def test_wrong_shapes_are_refused(tmp_path, content, change, message):
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / "clip.zip", **{**content, **change})
    assert not os.listdir(tmp_path)


def test_frames_are_resized_with_antialiasing(tmp_path, content):
    stripes = np.zeros((SIZE, SIZE, 3), np.uint8)
    stripes[:, ::2] = 255
    write_clip(tmp_path / "clip.zip", **{**content, "frames": [stripes] * T})
    small = ClipFile(tmp_path / "clip.zip").frames([0, 1], size=16)
    assert small.shape == (2, 16, 16, 3)
    assert np.abs(small[0, 2:-2, 2:-2].astype(int) - 128).max() < 40  # grey: picking every third would give 0 or 255
    assert ClipFile(tmp_path / "clip.zip").frames([0], size=64).shape == (1, 64, 64, 3)


def test_it_may_be_pickled_after_use(path):
    clip = ClipFile(path)
    frames = clip.frames([2])
    assert (pickle.loads(pickle.dumps(clip)).frames([2]) == frames).all()


def test_it_opens_again_after_close(path):
    clip = ClipFile(path)
    first = clip.frames([0])
    clip.close()
    assert (clip.frames([0]) == first).all()


def test_threads_may_share_it(path):
    clip, wrong = ClipFile(path), []
    truth = {i: ClipFile(path).frames([i]) for i in range(T)}

    def read(index):
        for _ in range(40):
            if (clip.frames([index]) != truth[index]).any():
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(T)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_index_outside_is_an_index_error(path):
    with pytest.raises(IndexError, match="has no frame 6"):
        ClipFile(path).frames([T])


def rewritten(path, **changes):
    """A copy with members replaced, or left out where None."""
    copy = path.with_name("copy.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", changes.pop("compression", 0)) as new:
        for name in old.namelist():
            content = changes.get(name.rpartition("/")[2].replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return copy


@pytest.mark.parametrize("changes, message", [
    ({"000002_jpg": None}, "frames/00000"),
    ({"wave_wav": None}, "no wave.wav"),
    ({"wave_wav": b"RIFF"}, "16 bit mono"),
    ({"clip_json": b"{"}, "clip.json"),
    ({"clip_json": b'{"format": 2, "width": 9, "height": 9}'}, "format 2"),
    ({"landmarks_npy": b"no numbers"}, "landmarks.npy is no array"),
    ({"000002_jpg": b"no picture"}, "000002.jpg is no JPEG"),
    ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
])
def test_what_is_no_clip_is_named(path, changes, message):
    broken = rewritten(path, **changes)
    with pytest.raises(BadData, match=message) as caught:
        clip = ClipFile(broken)
        clip.frames(range(clip.num_frames))
        clip.landmarks()
    assert str(broken) in str(caught.value) and "\n" not in str(caught.value)


def test_pickled_objects_are_never_loaded(path):
    array = io.BytesIO()
    np.save(array, np.array([{"a": 1}] * T, dtype=object))
    with pytest.raises(BadData, match="landmarks.npy is no array"):
        ClipFile(rewritten(path, landmarks_npy=array.getvalue())).landmarks()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named(path, share):
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * share)])
    with pytest.raises(BadData, match="clip.zip is no clip"):
        ClipFile(path).frames([0])


def test_a_changed_byte_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"frames/000000.jpg") + 300] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(BadData, match="damaged"):
        ClipFile(path).frames([0])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadData, match="nothing.zip cannot be read"):
        ClipFile(tmp_path / "nothing.zip").num_frames


def test_action_units_keep_what_is_not_known(tmp_path, path, content):
    units = np.linspace(0, 1, T * 17, dtype=np.float32).reshape(T, 17)
    units[2, 3] = units[4] = np.nan
    write_clip(tmp_path / "units.zip", **content, action_units=units)
    clip = ClipFile(tmp_path / "units.zip")
    np.testing.assert_array_equal(clip.action_units(), units)
    np.testing.assert_array_equal(clip.action_units([4, 1]), units[[4, 1]])
    assert ClipFile(path).action_units([0]) is None and "action_units.npy" not in zipfile.ZipFile(path).namelist()


@pytest.mark.parametrize("wrong, problem", [(np.zeros((T - 1, 17)), r"action_units is \(5, 17\)"),
                                            (np.full((T, 17), 5.0), "outside"), (np.full((T, 17), np.inf), "finite")])
def test_action_units_that_are_none_are_refused(tmp_path, content, wrong, problem):
    with pytest.raises(ValueError, match=problem):
        write_clip(tmp_path / "units.zip", **content, action_units=wrong)
    assert not list(tmp_path.iterdir())
