"""Which files are taken for videos, what they are called, and who takes them."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import pytest

from fctfg.errors import BadData
from fctfg.prepare.sources import Source, find_sources, in_shard, parse_shard


def source(path: str) -> Source:
    return Source(Path("raw"), path, 1, 1)


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_finds_videos_below_the_folder_in_order(tmp_path):
    touch(tmp_path, "b/2 lips.MKV", "b/a/é.webm", "a.mp4", "odd", "b/notes.txt", "sound.wav", ".git/x.mp4", "b/._a.mp4")
    videos, others = find_sources(tmp_path)
    paths = [unicodedata.normalize("NFC", video.path) for video in videos]
    assert paths == ["a.mp4", "b/2 lips.MKV", "b/a/é.webm", "odd"]
    assert sorted(other.path for other in others) == ["b/notes.txt", "sound.wav"]
    assert all(video.file.is_file() for video in videos)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "store/talk.mp4", "raw/ben/talk.mp4")
    (tmp_path / "raw" / "anna").symlink_to(tmp_path / "store")
    (tmp_path / "raw" / "dora").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "round").symlink_to(tmp_path / "raw")
    (tmp_path / "raw" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    videos, _ = find_sources(tmp_path / "raw")
    assert [video.path for video in videos] == ["anna/talk.mp4", "ben/talk.mp4", "dora/talk.mp4"]


@pytest.mark.parametrize("make, says", [
    (lambda root: root.rmdir(), "no such folder"),
    (lambda root: (root.rmdir(), root.touch()), "is a file"),
    (lambda root: None, "is empty"),
    (lambda root: touch(root, "a.txt", "b/c.json"), "holds 2 files but no video"),
])
def test_says_in_a_line_why_there_is_nothing_to_find(tmp_path, make, says):
    root = tmp_path / "raw"
    root.mkdir()
    make(root)
    with pytest.raises(BadData, match=says) as caught:
        find_sources(root)
    assert "\n" not in str(caught.value)


def test_names_are_readable_unique_and_legal_everywhere():
    paths = ["a/b.mp4", "a/b.mkv", "a-b.mp4", "A/b.mp4", "a b.mp4", "a_b.mp4", "CON.mp4", "x" * 300 + ".mp4", "..mp4",
             "说话.mp4", "é.mp4", "trailing. .mp4", 'q?:*"<>|.mp4', "no suffix", "v1.2/talk.mp4"]
    names = [source(path).name for path in paths]
    assert len({name.lower() for name in names}) == len(paths)
    assert all(re.fullmatch(r"[0-9a-zA-Z]+(-[0-9a-zA-Z]+)*-[0-9a-f]{8}", name) and len(name) < 100 for name in names)
    assert names[0].startswith("a-b-") and names[-1].startswith("v1-2-talk-")


def test_a_name_does_not_depend_on_how_accents_are_stored():
    composed, decomposed = (unicodedata.normalize(form, "Zoé/ça.mp4") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert source(composed).name == source(decomposed).name


def test_a_name_in_no_known_encoding_can_still_be_written():
    odd = source(b"caf\xe9/a.mp4".decode("utf-8", "surrogateescape"))
    odd.shown.encode("utf-8"), odd.speaker.encode("utf-8"), odd.name.encode("ascii")


def test_the_speaker_is_the_first_folder_else_the_file():
    assert source("anna/talks/1.mp4").speaker == "anna"
    assert source("anna at work.mp4").speaker == "anna at work"


def test_shards_share_everything_once():
    videos = [source(f"{i}.mp4") for i in range(200)]
    shares = [[video for video in videos if in_shard(video.digest, (k, 7))] for k in range(1, 8)]
    assert sorted(sum(shares, []), key=videos.index) == videos
    assert all(10 < len(share) < 50 for share in shares)
    assert all(in_shard(video.digest, (1, 1)) for video in videos)


def test_shards_are_written_as_a_fraction():
    assert parse_shard("3/64") == (3, 64)
    for wrong in ("0/4", "5/4", "3", "a/b", "3/0", "-1/2"):
        with pytest.raises(BadData, match="3/64"):
            parse_shard(wrong)
