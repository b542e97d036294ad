"""What a newcomer sees first."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from PIL import Image

from fctfg import demo as module
from fctfg.demo import MOUTH, SHOTS, SIDE, SPEECH, demo
from fctfg.errors import BadMedia
from fctfg.media import probe_video, read_video


def test_the_shipped_speech_is_small_and_says_where_it_comes_from():
    with wave.open(str(SPEECH)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        assert 5 < file.getnframes() / file.getframerate() < 8
    assert SPEECH.stat().st_size < 350_000
    assert "espeak-ng -v" in SPEECH.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.fixture
def short_speech(tmp_path, monkeypatch) -> None:
    """The first words of it."""
    with wave.open(str(SPEECH)) as whole, wave.open(str(tmp_path / "hello.wav"), "wb") as hello:
        hello.setparams(whole.getparams())
        hello.writeframes(whole.readframes(whole.getframerate()))
    monkeypatch.setattr(module, "SPEECH", tmp_path / "hello.wav")


def test_a_portrait_talks(tmp_path, short_speech, capsys):
    video, preview = demo(tmp_path / "new" / "folder")

    info = probe_video(video)
    assert info.has_sound and info.num_frames == 25
    frames = np.stack(list(read_video(video))).astype(float)
    left, top, right, bottom = MOUTH
    mouth = frames[:, top:bottom, left:right].std(0).mean()
    hair = frames[:, :100].std(0).mean()
    assert mouth > 3 and mouth > 10 * hair, "the mouth moves, and nothing above the face does"

    with Image.open(preview) as picture:
        assert picture.width == SHOTS * SIDE and picture.height > SIDE
    assert {path.name for path in video.parent.iterdir()} == {"demo.mp4", "demo.json", "portrait.png", "preview.png"}
    said = capsys.readouterr().out
    assert str(video) in said and str(preview) in said


def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadMedia, match="cannot be made"):
        demo(tmp_path / "file" / "folder")


@pytest.mark.slow
def test_the_command_says_where_the_video_is(fctfg, tmp_path):
    done = fctfg("demo", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "demo.mp4").is_file() and "demo.mp4" in done.stdout
