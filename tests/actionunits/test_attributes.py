"""The three formats of attributes.txt."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.actionunits import read_attributes
from fctfg.errors import BadMedia

STRENGTHS = " ".join(f"{unit / 4:.2f}" for unit in range(17))


@pytest.mark.parametrize("header", ["", "2\nAU01_r AU02_r\n"])
def test_pictures_with_strengths_with_and_without_a_header(tmp_path, header):
    (tmp_path / "attributes.txt").write_text(f"{header}22.jpg {STRENGTHS}\n7.jpg {STRENGTHS}\n")
    read = read_attributes(tmp_path / "attributes.txt")
    assert read.names == ["22.jpg", "7.jpg"] and read.spectrograms is None
    np.testing.assert_allclose(read.action_units, np.tile(np.arange(17) / 20, (2, 1)), atol=1e-6)


def test_spectrograms_with_labels_and_frames(tmp_path):
    (tmp_path / "Labels").mkdir()
    for index in range(2):
        (tmp_path / f"spec_{index}.npy").touch()
        np.save(tmp_path / f"Labels/{index}.npy", np.full(17, index / 2))
    (tmp_path / "attributes.txt").write_text("".join(f"spec_{i}.npy Labels/{i}.npy clip/{i:03}.jpg\n" for i in range(2)))
    read = read_attributes(tmp_path / "attributes.txt")
    assert read.names == ["clip/000.jpg", "clip/001.jpg"] and read.spectrograms[1] == tmp_path / "spec_1.npy"
    np.testing.assert_array_equal(read.action_units, np.repeat([[0.0], [0.5]], 17, 1))


def test_spectrograms_with_frames_to_write(tmp_path):
    (tmp_path / "a.npy").touch()
    (tmp_path / "attributes.txt").write_text("a.npy 000.jpg\n\n")
    read = read_attributes(tmp_path / "attributes.txt")
    assert read.names == ["000.jpg"] and read.action_units is None and read.spectrograms == [tmp_path / "a.npy"]


@pytest.mark.parametrize("content, line", [
    ("", "has no rows"),
    ("a.npy b c d\n", "line 1 has 4 fields"),
    (f"a.jpg {STRENGTHS}\nb.jpg 0 1\n", "line 2 has 3 fields"),
    (f"a.jpg {STRENGTHS}\nb.jpg {STRENGTHS[:-4]}much\n", "line 2: 'much' is no number"),
    (f"a.jpg {STRENGTHS[:-4]}40.0\n", "line 1: AU45 is 40; strengths go from 0 to 5"),
    ("a.npy 000.jpg\nb.npy 001.jpg\n", "names 2 spectrograms that are not in"),
])
def test_what_is_wrong_is_said_in_a_line(tmp_path, content, line):
    (tmp_path / "attributes.txt").write_text(content)
    with pytest.raises(BadMedia) as refused:
        read_attributes(tmp_path / "attributes.txt")
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_missing_pictures_are_named_where_they_are_needed(tmp_path):
    (tmp_path / "attributes.txt").write_text("".join(f"{name}.jpg {STRENGTHS}\n" for name in "abcde"))
    (tmp_path / "b.jpg").touch()
    read_attributes(tmp_path / "attributes.txt")
    with pytest.raises(BadMedia, match="names 4 pictures that are not in .*: a.jpg, c.jpg, d.jpg and 1 more"):
        read_attributes(tmp_path / "attributes.txt", images=tmp_path)


def test_a_label_that_is_none_is_refused(tmp_path):
    (tmp_path / "s.npy").touch()
    np.save(tmp_path / "l.npy", np.full(17, 3.0))
    (tmp_path / "attributes.txt").write_text("s.npy l.npy f.jpg\n")
    with pytest.raises(BadMedia, match="l.npy is no label: it should hold 17 strengths from 0 to 1"):
        read_attributes(tmp_path / "attributes.txt")
