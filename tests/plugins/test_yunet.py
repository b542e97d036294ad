"""What detectors of five points share, by a detector that is told what to see; YuNet itself where its file is at hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from fctfg import registry
from fctfg.errors import BadWeights, MissingExtra
from fctfg.faces.boxes import five_of, overlap, square, square_of_five, usual_place
from fctfg.faces.fivepoints import FivePointDetector
from fctfg.testing import DetectorContract


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


def test_the_box_of_five_points_is_that_of_sixty_eight(photo):
    dlib = registry.build("detector", "dlib-hog")
    landmarks = dlib.landmarks(photo, dlib.detect(photo)[0].box)
    box, of_five = square(landmarks), square_of_five(five_of(landmarks))
    assert np.abs(of_five - box).max() < 0.12 * (box[2] - box[0])
    np.testing.assert_allclose(square_of_five(2 * five_of(landmarks) + 7), 2 * of_five + 7)
    assert np.hypot(*(usual_place(box) - landmarks).T).mean() < 0.15 * (box[2] - box[0])


@pytest.mark.parametrize("a, b, share", [((0, 0, 2, 2), (1, 1, 3, 3), 0.25), ((0, 0, 4, 4), (1, 1, 2, 2), 1.0),
                                         ((0, 0, 1, 1), (2, 0, 3, 1), 0.0)])
def test_overlap_is_the_part_of_the_smaller_box(a, b, share):
    assert overlap(np.array(a, float), np.array(b, float)) == pytest.approx(share)


RED = np.array([[-1, 0], [1, 0], [0, 0.7], [-0.8, 1.3], [0.8, 1.3]])  # five points about a red dot


class RedDots(FivePointDetector):
    """Takes a red dot for the middle between two eyes, where it has 3 pixels; what it finds depends on the size it sees."""

    def find(self, picture, min_score):
        red = (picture[..., 0].astype(int) - picture[..., 1] > 128)
        if red.sum() < 3:
            return []
        middle = np.argwhere(red).mean(0)[::-1] + 0.5
        return [(middle + 10 * RED, 0.9)]


def dotted(size, side):
    frame = np.full((300, 500, 3), 99, np.uint8)
    frame[100:100 + side, 200:200 + side] = [255, 0, 0]
    return frame


@pytest.mark.parametrize("pixels, side", [(10**6, 8), (300 * 500 // 4, 8), (300 * 500 // 100, 8)])
def test_faces_are_where_they_are_whatever_size_they_are_seen_at(pixels, side):
    """Looked at whole, at half the size, and with the closer look only."""
    face = RedDots(pixels=pixels).detect(dotted(None, side))[0]
    middle = square_of_five(RED)
    at = (face.box[[0, 2]].mean(), face.box[1] + (face.box[3] - face.box[1]) * -middle[1] / (middle[3] - middle[1]))
    np.testing.assert_allclose(at, [204, 104], atol=1.5)


def test_without_the_closer_look_nothing_is_found():
    assert RedDots(pixels=1500, zoom=1).detect(dotted(None, 8)) == []


def test_a_face_is_confirmed_where_it_is():
    detector = RedDots(pixels=10**6)
    frame = dotted(None, 8)
    box = detector.detect(frame)[0].box
    assert detector.confirm(frame, box).score == 0.9
    assert detector.confirm(frame, box + [200, 100, 200, 100]) is None
    assert detector.confirm(frame, np.array([700.0, 700.0, 800.0, 800.0])) is None


def test_the_rest_is_said_by_the_other_detector(photo):
    dlib = registry.build("detector", "dlib-hog")
    box = dlib.detect(photo)[0].box
    detector = RedDots()
    np.testing.assert_array_equal(detector.landmarks(photo, box), dlib.landmarks(photo, box))


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "fctfg_plugins.yunet.detector", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'fctfg\[yunet\]'"):
        registry.find("detector", "yunet").load()


def test_files_that_are_no_yunet_are_refused(monkeypatch, tmp_path, photo):
    pytest.importorskip("cv2", reason="the extra yunet is not installed")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    with pytest.raises(BadWeights, match="yunet_n_640_640.onnx is missing"):
        registry.build("detector", "yunet").detect(photo)
    with pytest.raises(BadWeights, match="gone.onnx is not there"):
        registry.build("detector", "yunet", model=str(tmp_path / "gone.onnx")).detect(photo)
    (tmp_path / "page.onnx").write_bytes(b"<html>")
    with pytest.raises(BadWeights, match="page.onnx is no YuNet network"):
        registry.build("detector", "yunet", model=str(tmp_path / "page.onnx")).detect(photo)


@pytest.mark.shared
class TestYuNet(DetectorContract):
    plugin = "yunet"

    @pytest.fixture
    def detector(self, shared_data, monkeypatch):
        pytest.importorskip("cv2", reason="the extra yunet is not installed")
        monkeypatch.setenv("FCTFG_WEIGHTS", str(shared_data / "weights"))
        return registry.build("detector", "yunet")

    def test_another_file_is_refused(self, detector, shared_data, portrait):
        with pytest.raises(BadWeights, match="is no YuNet network"):
            registry.build("detector", "yunet", model=str(shared_data / "weights/scrfd_500m_bnkps.onnx")).detect(portrait)

    def test_its_box_is_dlibs(self, detector, portrait):
        dlib = registry.build("detector", "dlib-hog")
        points = dlib.landmarks(portrait, dlib.detect(portrait)[0].box)
        box = detector.detect(portrait)[0].box
        assert np.abs(box - square(points)).max() < 0.1 * (box[2] - box[0])
        in_its_box = detector.landmarks(portrait, box)
        assert np.hypot(*(in_its_box - points)[17:].T).mean() < 0.03 * np.hypot(*(points[36] - points[45]))

    def test_a_mirrored_face_is_mirrored(self, detector, portrait):
        (points, _), = detector.find(portrait, 0.5)
        (mirrored, _), = detector.find(np.ascontiguousarray(portrait[:, ::-1]), 0.5)
        off = mirrored[[1, 0, 2, 4, 3]] * [-1, 1] + [portrait.shape[1], 0] - points
        assert abs(off[:, 0].mean()) < 1.0

    @pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
    def test_small_faces_are_found_by_the_closer_look(self, detector, portrait, scale):
        away = (1 / scale, 0, -113.4 / scale, 0, 1 / scale, -57.8 / scale)
        frame = np.array(Image.fromarray(portrait).transform((1280, 720), Image.Transform.AFFINE, away,
                                                             Image.Resampling.BICUBIC, fillcolor=(99, 99, 99)))
        face, = detector.detect(frame)
        expected = detector.detect(portrait)[0].box * scale + np.tile([113.4, 57.8], 2)
        assert np.abs(face.box - expected).max() < 0.12 * (expected[2] - expected[0])
