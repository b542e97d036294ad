"""Every kind of real file, named by FCTFG_DATA."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fctfg.errors import BadMedia
from fctfg.media import is_picture, probe_video, read_picture, read_sound, read_video


def shared(kind: str) -> list[Path]:
    root = os.environ.get("FCTFG_DATA")
    return sorted(Path(root, *kind.split("/")).iterdir()) if root else []


@pytest.mark.shared
@pytest.mark.parametrize("path", [*shared("clips/awkward"), *shared("clips/derived"), *shared("clips/real")[::7]],
                         ids=lambda path: path.name)
def test_real_clips(path, capfd):
    try:
        info = probe_video(path)
    except BadMedia as refusal:
        assert "holds sound but no video" in str(refusal)
        assert 11 < len(read_sound(path)) / 16_000 < 12
        return
    own, resampled = read_video(path), read_video(path, Fraction(25))
    count = 0
    for count, frame in enumerate(own, 1):
        assert frame.shape == (info.height, info.width, 3)
    assert own.problem is None
    assert count == pytest.approx(info.num_frames, abs=3)
    assert sum(1 for _ in resampled) == pytest.approx(count / info.frame_rate * 25, abs=1)
    if info.has_sound:
        sound = read_sound(path)
        assert len(sound) / 16_000 == pytest.approx(info.duration, abs=0.25)
        assert np.isfinite(sound).all() and np.abs(sound).max() <= 1
    else:
        with pytest.raises(BadMedia, match="has no sound"):
            read_sound(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
@pytest.mark.parametrize("path", shared("images"), ids=lambda path: path.name)
def test_real_pictures(path):
    assert is_picture(path)
    picture = read_picture(path)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) > 60 and picture.std() > 5


@pytest.mark.shared
@pytest.mark.parametrize("path", shared("audio"), ids=lambda path: path.name)
def test_real_sounds(path):
    sound = read_sound(path)
    with av.open(str(path)) as container:
        assert len(sound) / 16_000 == pytest.approx(container.duration / 1e6, abs=0.06)
    assert 0.02 < np.abs(sound).max() <= 1
