"""What metrics share: regions beside a reference, and means over frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fctfg.errors import BadOption, BadWeights, CannotMeasure
from fctfg.faces import PROFILES, crop
from fctfg.metrics import FrameMeans, Region, weight_file
from fctfg.testing import drawn_film


def test_both_films_are_cut_where_the_references_face_is():
    film = drawn_film()
    moments = film.moments(0, 4)
    place, picture, reference = list(Region("face", 48).show(moments))[3]
    matrix = PROFILES["face"].matrices(film.reference.landmarks[3:4])[0]
    assert place == 3 and picture.shape == (48, 48, 3)
    assert np.array_equal(picture, crop(film.frames[3], matrix, 48))
    assert np.array_equal(reference, crop(film.reference.frames[3], matrix, 48))


def test_frames_without_the_face_are_passed_over():
    moments = drawn_film().moments(0, 5)
    landmarks = moments.reference.landmarks.copy()
    landmarks[[1, 3]] = np.nan
    hidden = replace(moments, reference=replace(moments.reference, landmarks=landmarks))
    assert [shown.place for shown in Region("mouth").show(hidden)] == [0, 2, 4]
    assert [shown.place for shown in Region("frame").show(hidden)] == [0, 1, 2, 3, 4]


def test_the_mouth_is_in_the_middle_of_its_region():
    film = replace(drawn_film(), reference=None)
    moments = film.moments(0, 1)
    region = Region("mouth", 40)
    matrix = region._matrices(moments.landmarks)[0]
    inside = (moments.landmarks[0, 48:68] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    assert np.allclose(inside.mean(0), 0.5, atol=1e-6) and inside.min() > 0.05 and inside.max() < 0.95
    assert Region("frame").needs == frozenset() and region.needs == {"face"}


def test_unknown_regions_and_sizes_are_refused():
    with pytest.raises(BadOption, match="No region 'fase'. Did you mean 'face'"):
        Region("fase")
    with pytest.raises(BadOption, match="a whole frame keeps its size"):
        Region("frame", 96)


def test_means_leave_out_what_is_not_known():
    given = iter([[1.0, np.nan], [3.0, 8.0]])
    means = FrameMeans(["a", "b"], lambda moments: {"a": np.array(next(given)), "b": np.full(2, np.nan)}, "nothing there")
    means.see(None)
    means.see(None)
    score = means.score()
    assert score.values == {"a": 4.0} and np.array_equal(score.curves["a"], [1, np.nan, 3, 8], equal_nan=True)
    with pytest.raises(CannotMeasure, match="nothing there"):
        FrameMeans(["a"], dict, "nothing there").score()


def test_a_weight_file_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    with pytest.raises(BadWeights, match="'fid' looks through some.pth, which is not there.*--metric fid:weights=FILE"):
        weight_file("fid", None, "some.pth")
    (tmp_path / "some.pth").write_bytes(b"x")
    assert weight_file("fid", None, "some.pth") == tmp_path / "some.pth"
