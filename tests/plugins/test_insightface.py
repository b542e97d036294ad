"""InsightFace: SCRFD where its file is at hand; the rest of a pack by small networks of the same inputs and outputs, which
the package's own classes read."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fctfg import registry
from fctfg.errors import BadWeights, MissingExtra
from fctfg.faces.boxes import five_of, square
from fctfg.testing import DetectorContract


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture
def package(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return pytest.importorskip("insightface", reason="the extra insightface is not installed")


def write_network(path, side: int, outputs: np.ndarray) -> None:
    """A network that gives `outputs` (n, 3) times the mean colour of a picture (1, 3, side, side)."""
    from onnx import TensorProto, helper, numpy_helper, save

    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["data"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["colour"]),
         helper.make_node("Gemm", ["colour", "weight"], ["out"], transB=1)], "test",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, len(outputs)])],
        [numpy_helper.from_array(outputs.astype(np.float32), "weight")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


@pytest.fixture
def pack(package, tmp_path):
    folder = tmp_path / "weights" / "buffalo_l"
    folder.mkdir(parents=True)
    (folder / "det_10g.onnx").write_bytes(b"not read in these tests")
    write_network(folder / "w600k_r50.onnx", 112, np.random.default_rng(0).normal(size=(512, 3)))
    return folder


def test_identities_come_from_the_pack_and_are_scaled_to_the_interface(pack, photo):
    detector = registry.build("detector", "insightface")
    dlib = registry.build("detector", "dlib-hog")
    points = dlib.landmarks(photo, dlib.detect(photo)[0].box)
    code = detector.embed(photo, points)
    assert code.shape == (512,)
    turned = np.linalg.norm(code) * np.array([np.cos(np.arccos(0.28)), np.sin(np.arccos(0.28))])
    assert np.linalg.norm(turned - [np.linalg.norm(code), 0]) == pytest.approx(0.56)  # a cosine of 0.28 is that far apart
    np.testing.assert_allclose(detector.embed(photo[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1], points), code)
    assert not np.allclose(detector.embed((0.3 * photo * [1, 0.2, 1]).astype(np.uint8), points), code, atol=1e-3)


def test_landmarks_come_from_the_pack_in_pixels_of_the_frame(pack, photo):
    """Points in [-1, 1] of what the network sees: here all at its middle, times the brightness of a white picture."""
    write_network(pack / "1k3d68.onnx", 192, np.zeros((3309, 3)))
    white = np.full((300, 400, 3), 255, np.uint8)
    points = registry.build("detector", "insightface").landmarks(white, np.array([100.0, 80.0, 200.0, 180.0]))
    assert points.shape == (68, 2)
    np.testing.assert_allclose(points, np.tile([150.0, 130.0 - 8.0], (68, 1)), atol=1.0)  # SCRFD's box lies a little higher


def test_what_cannot_be_read_is_refused(package, monkeypatch, tmp_path, photo):
    with pytest.raises(BadWeights, match="scrfd_500m_bnkps.onnx is missing"):
        registry.build("detector", "insightface").detect(photo)
    with pytest.raises(BadWeights, match="gone.onnx is not there"):
        registry.build("detector", "insightface", model=str(tmp_path / "gone.onnx")).detect(photo)
    (tmp_path / "page.onnx").write_bytes(b"<html>")
    with pytest.raises(BadWeights, match="page.onnx cannot be read by onnxruntime"):
        registry.build("detector", "insightface", model=str(tmp_path / "page.onnx")).detect(photo)
    write_network(tmp_path / "other.onnx", 112, np.ones((8, 3)))
    with pytest.raises(BadWeights, match="other.onnx is no network for detection"):
        registry.build("detector", "insightface", model=str(tmp_path / "other.onnx")).detect(photo)
    with pytest.raises(BadWeights, match="is no pack of InsightFace"):
        registry.build("detector", "insightface", pack=str(tmp_path)).detect(photo)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    monkeypatch.delitem(sys.modules, "fctfg_plugins.insightface.detector", raising=False)
    pytest.importorskip("onnxruntime", reason="the extra insightface is not installed")
    with pytest.raises(MissingExtra, match=r"pip install 'fctfg\[insightface\]'"):
        registry.find("detector", "insightface").load()


@pytest.mark.shared
class TestSCRFD(DetectorContract):
    plugin = "insightface"

    @pytest.fixture
    def detector(self, package, shared_data, monkeypatch):
        monkeypatch.setenv("FCTFG_WEIGHTS", str(shared_data / "weights"))
        return registry.build("detector", "insightface")

    def test_its_points_and_box_are_dlibs(self, detector, portrait):
        dlib = registry.build("detector", "dlib-hog")
        points = dlib.landmarks(portrait, dlib.detect(portrait)[0].box)
        (five, score), = detector.find(portrait, 0.5)
        eyes = np.hypot(*(points[36] - points[45]))
        assert score > 0.7 and np.hypot(*(five - five_of(points)).T).max() < 0.12 * eyes
        box = detector.detect(portrait)[0].box
        assert np.abs(box - square(points)).max() < 0.1 * (box[2] - box[0])
        assert detector.embed(portrait, points).shape == (128,)  # dlib's

    def test_a_mirrored_face_is_mirrored(self, detector, portrait):
        (points, _), = detector.find(portrait, 0.5)
        (mirrored, _), = detector.find(np.ascontiguousarray(portrait[:, ::-1]), 0.5)
        off = mirrored[[1, 0, 2, 4, 3]] * [-1, 1] + [portrait.shape[1], 0] - points
        assert abs(off[:, 0].mean()) < 1.5
