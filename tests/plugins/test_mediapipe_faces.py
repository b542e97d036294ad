"""MediaPipe's tables, its refusals, and, where its model file is at hand, what it sees."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from fctfg import registry
from fctfg.action_units import NAMES
from fctfg.errors import BadWeights, BrokenPlugin, MissingExtra
from fctfg.testing import DetectorContract
from fctfg_plugins.mediapipe_faces import mesh
from fctfg_plugins.mediapipe_faces.blendshapes import SOURCES, to_action_units

IBUG_MIRROR = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
               41, 40, *range(54, 47, -1), *range(59, 54, -1), 64, 63, 62, 61, 60, 67, 66, 65]


def test_the_table_names_68_different_points():
    assert len(mesh.IBUG) == len(set(mesh.IBUG)) == 68 and max(mesh.IBUG) < 468


def test_blendshapes_become_action_units_by_the_table():
    shapes = {channel: 0.0 for channels in SOURCES.values() for channel in channels}
    shapes |= {"mouthClose": 0.0, "mouthLowerDownLeft": 0.0, "mouthLowerDownRight": 0.0, "jawOpen": 0.4,
               "mouthSmileLeft": 0.9, "mouthSmileRight": 0.5, "eyeBlinkLeft": 1.3, "eyeBlinkRight": 1.1}
    units = dict(zip(NAMES, to_action_units(shapes).tolist()))
    assert units["AU12"] == pytest.approx(0.7) and units["AU26"] == pytest.approx(0.4) and units["AU45"] == 1
    assert units["AU25"] == pytest.approx(0.8) and units["AU04"] == 0
    assert np.isnan([units["AU06"], units["AU09"]]).all()


def test_lips_closed_over_an_open_jaw_are_not_parted():
    shapes = {"jawOpen": 0.4, "mouthClose": 0.35, "mouthLowerDownLeft": 0.0, "mouthLowerDownRight": 0.0}
    units = dict(zip(NAMES, to_action_units(shapes).tolist()))
    assert units["AU25"] == pytest.approx(0.1) and np.isnan(units["AU12"])
    shapes |= {"mouthLowerDownLeft": 0.6, "mouthLowerDownRight": 0.8}  # teeth shown
    assert to_action_units(shapes)[NAMES.index("AU25")] == 1


def test_without_the_package_the_extra_is_named(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "mediapipe" or name == "fctfg_plugins.mediapipe_faces.detector":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fctfg\[mediapipe\]'"):
        registry.find("detector", "mediapipe").load()


@pytest.fixture
def package():
    return pytest.importorskip("mediapipe", reason="the extra mediapipe is not installed")


def test_without_its_file_it_says_how_to_get_it(package, monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    with pytest.raises(BadWeights, match="face_landmarker_v2_with_blendshapes.task is missing"):
        registry.build("detector", "mediapipe").detect(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(BadWeights, match="gone.task is not there; give the path"):
        registry.build("detector", "mediapipe", model=str(tmp_path / "gone.task")).detect(np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "other.task").write_bytes(b"no zip")
    with pytest.raises(BadWeights, match="is no face landmarker"):
        registry.build("detector", "mediapipe", model=str(tmp_path / "other.task")).detect(np.zeros((64, 64, 3), np.uint8))


def test_a_missing_system_library_gives_a_sentence(package, monkeypatch, tmp_path):
    """What the loader says where there is no libEGL, word for word."""
    import zipfile

    from fctfg_plugins.mediapipe_faces import detector

    with zipfile.ZipFile(tmp_path / "m.task", "w") as archive:
        archive.writestr("face_detector.tflite", b"")

    def fail(options):
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(detector.vision.FaceDetector, "create_from_options", fail)
    with pytest.raises(BrokenPlugin, match="libEGL.so.1, which this machine lacks; `apt-get install libegl1 libgles2`"):
        registry.build("detector", "mediapipe", model=str(tmp_path / "m.task")).detect(np.zeros((64, 64, 3), np.uint8))


def real_detector(shared_data, monkeypatch, package):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(shared_data / "weights"))
    return registry.build("detector", "mediapipe")


@pytest.fixture
def detector(shared_data, monkeypatch, package):
    return real_detector(shared_data, monkeypatch, package)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.mark.shared
class TestMediaPipe(DetectorContract):
    plugin = "mediapipe"

    @pytest.fixture
    def detector(self, shared_data, monkeypatch, package):
        return real_detector(shared_data, monkeypatch, package)


@pytest.mark.shared
@pytest.mark.parametrize("scale", [0.55, 1.0, 2.0])
def test_size_and_place_do_not_matter(detector, photo, scale):
    points = detector.detect(photo)[0].landmarks
    away = (1 / scale, 0, -113.4 / scale, 0, 1 / scale, -57.8 / scale)
    frame = np.array(Image.fromarray(photo).transform((1280, 720), Image.Transform.AFFINE, away, Image.Resampling.BICUBIC,
                                                      fillcolor=(99, 99, 99)))
    faces = detector.detect(frame)
    assert len(faces) == 1
    off = faces[0].landmarks - (scale * points + [113.4, 57.8])
    assert np.hypot(*off.T).mean() < 0.05 * scale * np.hypot(*(points[36] - points[45]))


@pytest.mark.shared
def test_its_points_are_where_dlibs_are(detector, photo):
    dlib = registry.build("detector", "dlib-hog")
    theirs = dlib.landmarks(photo, dlib.detect(photo)[0].box)
    ours = detector.detect(photo)[0].landmarks
    away = np.hypot(*(ours - theirs).T) / np.hypot(*(theirs[36] - theirs[45]))
    assert away[36:48].mean() < 0.04 and away[48:].mean() < 0.05 and away[:17].mean() < 0.15


@pytest.mark.shared
def test_a_mirrored_face_has_mirrored_points(detector, photo):
    points = detector.detect(photo)[0].landmarks
    mirrored = detector.detect(np.ascontiguousarray(photo[:, ::-1]))[0].landmarks[IBUG_MIRROR]
    off = mirrored * [-1, 1] + [photo.shape[1], 0] - points
    assert np.abs(off.mean(0)).max() < 1.0 and np.hypot(*off.T).mean() < 2.5


@pytest.mark.shared
def test_a_smile_is_seen_and_no_face_has_no_action_units(detector, photo):
    face = detector.detect(photo)[0]
    units = dict(zip(NAMES, detector.action_units(photo, face.landmarks)))
    assert units["AU12"] > 0.6 and units["AU04"] < 0.3 and units["AU45"] < 0.3
    assert detector.action_units(np.full_like(photo, 99), face.landmarks) is None
    assert detector.confirm(np.full_like(photo, 99), face.box) is None
    assert detector.landmarks(np.full_like(photo, 99), face.box).shape == (68, 2)


@pytest.mark.shared
def test_a_box_beyond_the_frame_is_no_error(detector, photo):
    for box in ([-80.0, -60.0, 40.0, 60.0], [480.0, 480.0, 600.0, 600.0], [700.0, 700.0, 800.0, 800.0]):
        assert detector.landmarks(photo, np.array(box)).shape == (68, 2)
        assert detector.confirm(photo, np.array(box)) is None
