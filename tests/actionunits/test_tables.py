"""Tables of action units as other programs write them: their columns, their scale, their rows that failed, their clock."""

from __future__ import annotations

import csv
import logging

import numpy as np
import pytest

from fctfg.action_units import NAMES
from fctfg.actionunits import find_table, read_action_units
from fctfg.errors import BadMedia

HEADERS = {name: f"{name}_r" for name in NAMES}


@pytest.fixture
def write(tmp_path):
    def write(columns, rows, comma=",", name="expr.csv"):
        path = tmp_path / name
        path.write_text("".join(comma.join(map(str, row)) + "\n" for row in [columns, *rows]), encoding="utf-8")
        return path
    return write


def openface(count, rate=25.0, value=lambda unit, index: unit / 10 + index / 100, success=lambda index: 1, confidence=0.98):
    """Columns and rows of FeatureExtraction: presence too, which the order of the columns does not tell from strength."""
    columns = ["frame", "face_id", "timestamp", "confidence", "success", *(f"{name}_r" for name in NAMES),
               *(f"{name}_c" for name in (*NAMES, "AU28"))]
    rows = [[index + 1, 0, f"{index / rate:.3f}", confidence, success(index), *(f"{value(unit, index):.2f}" for unit in range(17)),
             *[1.0] * 18] for index in range(count)]
    return columns, rows


@pytest.mark.parametrize("comma", [",", ", "])
def test_openface_is_read_by_name_and_divided_by_five(write, comma):
    units = read_action_units(write(*openface(30), comma=comma), 30)
    assert units.shape == (30, 17) and units.dtype == np.float32
    expected = (np.arange(17)[None] / 10 + np.arange(30)[:, None] / 100) / 5
    np.testing.assert_allclose(units, expected, atol=1e-3)


def test_columns_may_come_in_any_order(write):
    columns, rows = openface(8)
    order = np.random.default_rng(0).permutation(len(columns))
    shuffled = write([columns[i] for i in order], [[row[i] for i in order] for row in rows], name="shuffled.csv")
    np.testing.assert_array_equal(read_action_units(shuffled, 8), read_action_units(write(columns, rows), 8))


def test_failed_and_doubtful_rows_are_not_known(write):
    units = read_action_units(write(*openface(10, success=lambda index: int(index != 4))), 10)
    assert np.isnan(units[4]).all() and np.isfinite(np.delete(units, 4, 0)).all()
    assert np.isnan(read_action_units(write(*openface(10, confidence=0.5)), 10)).all()


@pytest.mark.parametrize("rate, expected", [(50.0, [0, 2, 4, 6, 8]), (30.0, [0, 1, 2, 3, 4, 6, 7]), (12.5, [0, 0, 1, 1, 2, 2])])
def test_rows_come_at_the_moment_of_their_frames(write, rate, expected):
    """Frame k shows what is on screen k / 25 s after the first: of 50 frames a second every other, of 12.5 each twice."""
    path = write(*openface(20, rate, value=lambda unit, index: index / 5))
    units = read_action_units(path, len(expected))
    np.testing.assert_allclose(25 * units[:, 0], expected, atol=0.06)


def test_frame_numbers_go_with_the_rate_of_the_video(write):
    """pyfaceau writes no time stamps; its frames are those of the video."""
    columns = ["frame", "success", *HEADERS.values()]
    path = write(columns, [[index + 1, True, *[index / 10] * 17] for index in range(40)])
    every_other = read_action_units(path, 20, 25, source_rate=50)
    np.testing.assert_allclose(50 * every_other[:, 3], 2 * np.arange(20), atol=1e-4)
    np.testing.assert_allclose(50 * read_action_units(path)[:, 3], np.arange(40), atol=1e-4)


def test_frames_without_a_row_are_not_known(write):
    columns, rows = openface(30)
    units = read_action_units(write(columns, rows[3:10] + rows[15:]), 30)
    assert np.isnan(units[[0, 1, 2, 11, 14]]).all() and np.isfinite(units[[3, 9, 15, 29]]).all()


def test_py_feat_is_taken_as_it_is_and_closed_eyes_are_blinks(write):
    columns = ["frame", "FaceScore", "AU01", "AU12", "AU43", "AU28", "happiness"]
    path = write(columns, [[index, 0.99, 0.25, index / 10, 0.5, 0.9, 1] for index in range(10)] + [[10, "", "", "", "", "", ""]])
    units = read_action_units(path, 11)
    known = dict(zip(NAMES, units.T))
    np.testing.assert_allclose(known["AU12"][:10], np.arange(10) / 10)
    assert known["AU45"][3] == 0.5 and known["AU01"][3] == 0.25 and np.isnan(known["AU04"]).all() and np.isnan(units[10]).all()


def test_libreface_has_twelve_and_presence_is_no_strength(write):
    columns = ["frame_idx", "au_1", "au_12", "au_7", "au_1_intensity", "au_12_intensity", "au_26_intensity"]
    units = read_action_units(write(columns, [[index, 1, 1, 1, 2.5, 5, 0] for index in range(6)]), 6)
    known = dict(zip(NAMES, units[2]))
    assert (known["AU01"], known["AU12"], known["AU26"]) == (0.5, 1, 0) and np.isnan(known["AU07"])


def test_of_several_faces_the_surest_counts(write):
    columns = ["frame", "FaceScore", "AU12"]
    rows = [[index, score, value] for index in range(6) for score, value in ((0.99, 0.75), (0.9, 0.25))]
    np.testing.assert_allclose(read_action_units(write(columns, rows), 6)[:, NAMES.index("AU12")], 0.75)


def test_a_single_picture_goes_for_all_frames(write):
    """FaceLandmarkImg: no frames, a row for each face."""
    columns = ["face", "confidence", *HEADERS.values()]
    units = read_action_units(write(columns, [[0, 0.85, *[1] * 17], [1, 0.99, *[2] * 17]], comma=", "), 5)
    np.testing.assert_allclose(units, np.full((5, 17), 0.4))


def test_what_lies_a_little_outside_is_clamped_and_counted(write, caplog):
    path = write(*openface(10, value=lambda unit, index: -0.3 if (unit, index) == (2, 3) else 5.4 if unit == 5 else 1))
    with caplog.at_level(logging.WARNING):
        units = read_action_units(path, 10)
    assert units[3, 2] == 0 and (units[:, 5] == 1).all()
    assert "11 of 170 values lie outside 0 to 5 and were clamped" in caplog.text


@pytest.mark.parametrize("columns, rows, line", [
    (["frame", "smile"], [[1, 2]], "has no column of an action unit, only frame, smile; it should have columns such as AU01_r"),
    (["frame", "AU72_r"], [[1, 2]], "column 'au72_r' is no action unit"),
    (["frame", "AU12_r"], [[1, 2], [2, 80]], "row 2: au12_r is 80, where OpenFace gives 0 to 5"),
    (["frame", "AU12"], [[1, 0.5], [2, 3.5]], "row 2: au12 is 3.5, where py-feat gives 0 to 1. Columns of strengths from 0 to 5 "
                                              "are called AU01_r"),
    (["frame", "AU12"], [[1, 1.5], [2, 1.5]], "2 of 2 values lie outside 0 to 1"),
    (["frame", "AU12_r"], [[1, "much"]], "row 1: au12_r is 'much', which is no number"),
    (["frame", "AU12_r"], [], "has no rows"),
])
def test_what_is_wrong_is_said_in_a_line(write, columns, rows, line):
    with pytest.raises(BadMedia) as refused:
        read_action_units(write(columns, rows))
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_a_table_that_ends_before_its_video_is_refused(write):
    path = write(*openface(40))
    assert np.isnan(read_action_units(path, 44)[41:]).all()  # the last frames are often lost
    with pytest.raises(BadMedia, match=r"has 40 frames and ends after 1.60 s; 100 frames of 4.00 s"):
        read_action_units(path, 100)


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(BadMedia, match="gone.csv cannot be read: No such file"):
        read_action_units(tmp_path / "gone.csv")
    (tmp_path / "video.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadMedia, match="is no table"):
        read_action_units(tmp_path / "video.csv")


def test_a_table_is_found_by_its_videos_name(tmp_path):
    (tmp_path / "anna").mkdir()
    for place in ("anna/one.csv", "one.csv", "two.csv"):
        (tmp_path / place).write_text("x")
    assert find_table(tmp_path, "raw/anna/one.mp4") == tmp_path / "anna/one.csv"
    assert find_table(tmp_path, "raw/berta/one.mp4") == tmp_path / "one.csv"
    with pytest.raises(BadMedia, match="no table of action units for three.mp4: three.csv is not there"):
        find_table(tmp_path, "raw/three.mp4")


def test_a_table_by_pythons_writer_is_read(tmp_path):
    with open(tmp_path / "quoted.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["AU12"], ["0.5"], ["1"]])
    assert read_action_units(tmp_path / "quoted.csv")[:, NAMES.index("AU12")].tolist() == [0.5, 1]
