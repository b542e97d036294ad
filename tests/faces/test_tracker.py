from __future__ import annotations

import numpy as np
import pytest

from fctfg.faces import FaceTracker
from fctfg.faces.shots import AHEAD
from fctfg.interfaces import Detector


def seen(detector, frames=None, **options) -> list[list]:
    """The faces of each frame."""
    frames = detector.frames() if frames is None else frames
    found = list(FaceTracker(detector, **options).track(frames))
    assert all(given is frame for given, (frame, _) in zip(frames, found)) and len(found) == len(frames)
    return [faces for _, faces in found]


def walking(face: np.ndarray, count: int, start=(80, 90), speed=(0.0, 0.0)) -> list[dict]:
    return [{"a": 30 * face + start + np.multiply(t, speed)} for t in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_a_face_is_followed_from_the_first_frame_to_the_last(face, knowing, count):
    truth = walking(face, count, speed=(2, 0.5))
    faces = seen(knowing(truth))
    assert [len(some) for some in faces] == [1] * count
    assert {some[0].track for some in faces} == {faces[0][0].track}
    np.testing.assert_allclose([some[0].landmarks for some in faces], [frame["a"] for frame in truth], atol=1e-6)


def test_the_whole_frame_is_looked_at_now_and_then(face, knowing):
    detector = knowing(walking(face, 60, speed=(1, 0)))
    seen(detector, every=10)
    assert detector.looks == [0, 10, 20, 30, 40, 50]


def test_noise_is_smoothed_and_nothing_lags(face, knowing):
    motion = np.stack([20 * np.sin(2 * np.pi * np.arange(100) / 25), np.zeros(100)], axis=-1)
    truth = [{"a": 30 * face + [150, 110] + away} for away in motion]
    faces = seen(knowing(truth, noise=0.8))
    left = np.array([some[0].landmarks - frame["a"] for some, frame in zip(faces, truth)])
    assert left[:, 17:48].std() < 0.6
    middle = np.array([(some[0].box[0] + some[0].box[2]) / 2 for some in faces])
    still = middle - motion[:, 0]
    assert still.std() < 0.5, "the box keeps its place on the face"
    assert np.std(middle[:-1] - motion[1:, 0]) > 2 < np.std(middle[1:] - motion[:-1, 0])


def test_a_short_gap_is_bridged(face, knowing):
    truth = walking(face, 40, speed=(1, 0))
    for t in range(15, 23):
        truth[t] = {}
    faces = seen(knowing(truth))
    assert all(len(some) == 1 and some[0].track == faces[0][0].track for some in faces)
    assert [t for t, some in enumerate(faces) if some[0].score == 0] == list(range(15, 23))
    wanted = [frame["a"] for frame in walking(face, 40, speed=(1, 0))]
    np.testing.assert_allclose([some[0].landmarks for some in faces], wanted, atol=0.05)


def test_in_a_long_gap_there_is_no_face(face, knowing):
    truth = walking(face, 60)
    for t in range(20, 40):
        truth[t] = {}
    faces = seen(knowing(truth))
    assert [t for t, some in enumerate(faces) if not some] == list(range(20, 40))
    assert faces[0][0].track == faces[19][0].track != faces[40][0].track == faces[59][0].track


@pytest.mark.parametrize("enters", [1, 7, 10, 13])
def test_a_face_that_enters_between_two_looks_is_followed_back(face, knowing, enters):
    truth = [{} for _ in range(enters)] + walking(face, 30 - enters, speed=(1, 0))
    assert [len(some) for some in seen(knowing(truth))] == [0] * enters + [1] * (30 - enters)


@pytest.mark.parametrize("leaves", [6, 10, 11, 12])
def test_a_face_that_leaves_is_gone_at_once(face, knowing, leaves):
    truth = walking(face, leaves, speed=(1, 0)) + [{}] * 25
    assert [len(some) for some in seen(knowing(truth))] == [1] * leaves + [0] * 25


def test_nothing_is_smeared_over_a_cut(face, knowing):
    truth = walking(face, 15) + walking(face, 15, start=(110, 120))
    detector = knowing(truth)
    faces = seen(detector, detector.frames([40] * 15 + [200] * 15))
    np.testing.assert_allclose([some[0].landmarks for some in faces], [frame["a"] for frame in truth], atol=1e-6)
    assert len({some[0].track for some in faces}) == 2 and faces[14][0].track != faces[15][0].track


def test_two_faces_keep_their_numbers_the_largest_first(face, knowing):
    truth = [{"a": 30 * face + [60 + t, 90], "b": 24 * face + [230 - t, 150]} for t in range(40)]
    faces = seen(knowing(truth))
    assert all([face.track for face in some] == [face.track for face in faces[0]] for some in faces)
    for some, frame in zip(faces, truth):
        np.testing.assert_allclose(some[0].landmarks, frame["a"], atol=1e-6)
        np.testing.assert_allclose(some[1].landmarks, frame["b"], atol=1e-6)


def test_of_many_faces_the_largest_are_followed(face, knowing):
    truth = [{name: size * face + place for name, size, place in
              (("a", 14, (50, 60)), ("b", 20, (150, 60)), ("c", 17, (260, 60)))}] * 5
    faces = seen(knowing(truth), most=2)
    for some in faces:
        np.testing.assert_allclose([face.landmarks for face in some], [truth[0]["b"], truth[0]["c"]], atol=1e-6)


def test_few_frames_are_held(face, knowing):
    detector, taken = knowing(walking(face, 60)), []
    tracker = FaceTracker(detector, every=8, max_gap=6)

    def taking():
        for t, frame in enumerate(detector.frames()):
            taken.append(t)
            yield frame

    most = max(len(taken) - t for t, _ in enumerate(tracker.track(taking())))
    assert most <= tracker.ahead + AHEAD + 1


def test_numbers_are_not_used_again(face, knowing):
    tracker = FaceTracker(knowing(walking(face, 3)))
    numbers = [faces[0].track for _ in range(2) for _, faces in tracker.track(tracker.detector.frames())]
    assert numbers == [0, 0, 0, 1, 1, 1]


def test_no_frames_are_no_frames(face, knowing):
    assert list(FaceTracker(knowing([])).track([])) == []


def test_a_detector_need_only_detect_and_place_landmarks(face, knowing, monkeypatch):
    detector = knowing(walking(face, 12, speed=(1, 0)) + [{}] * 20)
    monkeypatch.setattr(type(detector), "confirm", Detector.confirm)
    assert [len(some) for some in seen(detector)] == [1] * 12 + [0] * 20
