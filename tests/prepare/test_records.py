"""What is finished is known, and whose settings a folder has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fctfg.data.manifest import read_manifest
from fctfg.errors import BadData
from fctfg.prepare.records import PreparedFolder, Record, Settings
from fctfg.prepare.sources import Source, in_shard

SETTINGS = Settings(crop="wav2lip", size=96, detector="dlib-hog", vocals=False, min_seconds=1.0, max_seconds=20.0,
                    min_face=48)


@pytest.fixture
def folder(tmp_path) -> PreparedFolder:
    folder = PreparedFolder(tmp_path / "out")
    folder.claim(SETTINGS)
    return folder


def finish(folder: PreparedFolder, source: Source, clips: int, dropped: int = 0, **values) -> Record:
    """A record of `source` with clips that are there."""
    record = Record.of(source, **values)
    for number in range(clips):
        name = f"{source.name}-{number:08}"
        (folder.clips / f"{name}.zip").touch()
        record.clips.append({"name": name, "file": f"clips/{name}.zip", "speaker": source.speaker,
                             "source": source.shown, "start": float(number), "frames": 25, "seconds": 1.0})
    for number in range(dropped):
        record.drop("no face", number, number + 1)
    folder.write_record(source, record)
    return record


def source(tmp_path, path: str, size: int = 10) -> Source:
    return Source(tmp_path / "raw", path, size, 1_700_000_000_000_000_000)


def test_a_finished_video_is_known(folder, tmp_path):
    video = source(tmp_path, "a/b.mp4")
    assert folder.record_of(video) is None
    record = finish(folder, video, clips=2, dropped=1)
    assert folder.record_of(video) == record


@pytest.mark.parametrize("change", [{"size": 11}, {"modified_ns": 5}])
def test_a_changed_video_is_done_again_and_its_old_clips_go(folder, tmp_path, change):
    video = source(tmp_path, "a/b.mp4")
    old = finish(folder, video, clips=3)
    assert folder.record_of(replace(video, **change)) is None
    finish(folder, replace(video, **change), clips=1)
    assert [(folder.root / clip["file"]).exists() for clip in old.clips] == [True, False, False]


def test_a_video_is_done_again_if_a_clip_is_gone_or_it_failed_or_its_record_is_damaged(folder, tmp_path):
    gone, failed, damaged = (source(tmp_path, f"{name}.mp4") for name in ("gone", "failed", "damaged"))
    (folder.root / finish(folder, gone, clips=2).clips[1]["file"]).unlink()
    finish(folder, failed, clips=1, failed=True)
    finish(folder, damaged, clips=1)
    (folder.records / f"{damaged.name}.json").write_text('{"source": "dam')
    assert [folder.record_of(video) for video in (gone, failed, damaged)] == [None] * 3


def test_other_settings_are_refused_in_a_line(folder):
    folder.claim(SETTINGS)
    with pytest.raises(BadData, match="crop wav2lip, size 96, not crop face, size 256") as caught:
        folder.claim(replace(SETTINGS, crop="face", size=256))
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(BadData, match="not empty"):
        PreparedFolder(tmp_path).claim(SETTINGS)
    with pytest.raises(BadData, match="is a file"):
        PreparedFolder(tmp_path / "thesis.txt").claim(SETTINGS)
    with pytest.raises(BadData, match="cannot be written to"):
        PreparedFolder(tmp_path / "thesis.txt" / "out").claim(SETTINGS)


def test_the_manifests_of_shards_are_together_that_of_the_whole(folder, tmp_path):
    videos = [source(tmp_path, f"{name}/{number}.mp4") for name in ("anna", "ben") for number in range(6)]
    for number, video in enumerate(videos):
        finish(folder, video, clips=number % 3, dropped=number % 2)
    shards = [folder.write_manifest(SETTINGS, (k, 3), []) for k in (1, 2, 3)]
    assert sorted(record.source for shard in shards for record in shard) == [video.path for video in videos]
    merged = read_manifest(folder.root)
    assert len(list(folder.root.glob("manifest-*-of-3.json"))) == 3
    folder.write_manifest(SETTINGS, (1, 1), [])
    assert [path.name for path in folder.root.glob("manifest*.json")] == ["manifest.json"]
    whole = read_manifest(folder.root)
    assert merged.clips == whole.clips and len(whole.clips) == 12
    assert sorted(entry.source for entry in merged.dropped) == sorted(entry.source for entry in whole.dropped)
    assert (whole.crop, whole.size, whole.settings["detector"]) == ("wav2lip", 96, "dlib-hog")


def test_files_that_are_no_videos_are_counted_in_the_manifest(folder, tmp_path):
    finish(folder, source(tmp_path, "a.mp4"), clips=1)
    folder.write_manifest(SETTINGS, (1, 1), [source(tmp_path, path) for path in ("a.txt", "b.TXT", "c.json")])
    dropped = [entry.model_dump() for entry in read_manifest(folder.root).dropped]
    assert [(entry["source"], entry["reason"], entry["files"]) for entry in dropped] == [
        ("*.json", "not a video", 1), ("*.txt", "not a video", 2)]


def test_what_a_killed_run_leaves_is_swept_but_not_what_another_shard_writes(folder, tmp_path):
    videos = [source(tmp_path, f"{number}.mp4") for number in range(99)]
    mine, other = (next(video for video in videos if in_shard(video.digest, shard)) for shard in ((1, 2), (2, 2)))
    names = [f"{mine.name}-00000000.zip", f".{other.name}-00000000.zip.77.part", f".{mine.name}-00000000.zip.77.part"]
    for name in names:
        (folder.clips / name).touch()
    folder.sweep((1, 2))
    assert sorted(path.name for path in folder.clips.iterdir()) == sorted(names[:2])


def test_clearing_takes_no_clip_away(folder, tmp_path):
    video = source(tmp_path, "a.mp4")
    finish(folder, video, clips=1)
    folder.clear()
    assert folder.record_of(video)
    finish(folder, replace(video, size=11), clips=0, dropped=1)
    folder.clear()
    assert not folder.root.exists()
