"""The manifest: shards come together, and a folder that was not prepared is told apart."""

import pytest

from fctfg.data.manifest import Manifest, read_manifest, write_manifest
from fctfg.errors import BadData


def clip(name, **extra):
    return {"name": name, "file": f"clips/{name}.zip", "speaker": "s", "source": "v.mp4", "start": 0.0, "frames": 30,
            "seconds": 1.2, **extra}


def test_what_is_written_is_read(tmp_path):
    manifest = {"crop": "face", "size": 256, "clips": [clip("b", shot=3), clip("a")],
                "dropped": [{"source": "w.mp4", "reason": "no sound"}], "settings": {"detector": "dlib-hog"}}
    path = write_manifest(tmp_path, manifest)
    read = read_manifest(tmp_path)
    assert path.name == "manifest.json" and [c.name for c in read.clips] == ["a", "b"]
    assert read.clips[1].shot == 3 and read.dropped[0].reason == "no sound"
    assert read.settings == {"detector": "dlib-hog"}
    assert (read.format, read.frame_rate, read.sample_rate) == (1, 25, 16000)


def test_shards_are_merged_and_a_clip_counts_once(tmp_path):
    write_manifest(tmp_path, {"crop": "face", "size": 96, "clips": [clip("a")]}, shard=(1, 2))
    path = write_manifest(tmp_path, Manifest(crop="face", size=96, clips=[clip("b"), clip("a")]), shard=(2, 2))
    assert path.name == "manifest-2-of-2.json"
    (tmp_path / "manifest-2-of-2.json.99.part").write_text("{")
    assert [c.name for c in read_manifest(tmp_path).clips] == ["a", "b"]


def test_shards_that_differ_are_refused(tmp_path):
    write_manifest(tmp_path, {"crop": "face", "size": 96}, shard=(1, 2))
    write_manifest(tmp_path, {"crop": "face", "size": 256}, shard=(2, 2))
    with pytest.raises(BadData, match=r"differ in size \(96 and 256\)"):
        read_manifest(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadData, match="nowhere is not there.*fctfg prepare"):
        read_manifest(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(BadData, match="is no folder"):
        read_manifest(tmp_path / "x.mp4")


def test_an_empty_folder_is_told_so(tmp_path):
    with pytest.raises(BadData, match="is empty"):
        read_manifest(tmp_path)


def test_raw_videos_are_to_be_prepared_first(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.MP4").write_bytes(b"")
    with pytest.raises(BadData, match=f"raw videos; run `fctfg prepare {tmp_path} OUT` first"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text, message", [
    ("{", "not JSON"),
    ("[]", "prepare the folder again"),
    ('{"format": 2, "crop": "face", "size": 9}', "format"),
    ('{"crop": "face", "size": 9, "clips": [{"name": "a"}]}', "clips.0.file"),
])
def test_what_is_no_manifest_is_refused_in_a_line(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadData, match=message) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)
