"""Drawn people: known motion, true landmarks, lips that follow the voice, found by a real face detector."""

import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fctfg.action_units import NAMES
from fctfg.data import SyntheticClips, TalkingHead, clip_loader, make_dataset, write_synthetic_video
from fctfg.data.heads import Look, Pose, Shape, smooth, turned
from fctfg.data.painting import paint
from fctfg.data.synthetic import HeadFootage
from fctfg.errors import BadData, FctfgError
from fctfg.recipe import Recipe

UNITS = np.array([[60.0, 0, 80], [0, 60, 60]])  # 160 x 160 pixels, a face 120 wide


def look(seed=4):
    return Look.of(np.random.default_rng(seed))


def seen(person, pose):
    return turned(Shape(person, pose).landmarks, pose) @ UNITS[:, :2].T + UNITS[:, 2]


def test_equal_arguments_give_equal_people():
    one, two = TalkingHead(3, 5, 1.0), TalkingHead(3, 5, 1.0)
    assert (one.frame(7) == two.frame(7)).all() and (one.speech.wave == two.speech.wave).all()
    for other in (TalkingHead(3, 6, 1.0), TalkingHead(4, 5, 1.0)):
        assert other.look != one.look and (other.speech.wave != one.speech.wave).any()


def test_a_longer_video_begins_no_differently_at_another_frame_rate():
    slow, fast = TalkingHead(0, 0, 2.0, frame_rate=25), TalkingHead(0, 0, 2.0, frame_rate=75)
    assert (slow.num_frames, fast.num_frames) == (50, 150)
    np.testing.assert_allclose(slow.opening, fast.opening[1::3], atol=1e-9)


def test_landmarks_are_ordered_as_ibug_orders_them():
    points = seen(look(), Pose(opening=0.5))
    x, y = points.T
    assert (np.diff(x[:17]) > 0).all() and y[8] == y.max()  # jaw from left to right, the chin lowest
    assert (np.diff(x[17:27]) > 0).all() and (np.diff(y[27:31]) > 0).all() and (np.diff(x[31:36]) > 0).all()
    for first in (36, 42):  # from the left corner over the upper lid to the right one and back
        assert x[first] == x[first:first + 6].min() and x[first + 3] == x[first:first + 6].max()
        assert (y[first + 1:first + 3] < y[[first + 5, first + 4]]).all() and x[first + 1] < x[first + 2]
    assert (np.diff(x[48:55]) > 0).all() and (np.diff(x[54:60]) < 0).all() and (y[55:60] > y[49:54][::-1]).all()
    assert (np.diff(x[60:65]) > 0).all() and (y[65:68] > y[61:64][::-1]).all()
    np.testing.assert_allclose(x[36:40] + x[[45, 44, 43, 42]], 160, atol=1e-9)  # from the front it is symmetric


def test_the_mouth_opens_as_told_and_takes_the_chin_along():
    gap, chin = [], []
    for opening in (0, 0.25, 0.5, 1):
        points = seen(look(), Pose(opening=opening))
        gap.append(points[66, 1] - points[62, 1])
        chin.append(points[8, 1])
    assert gap[0] == pytest.approx(0, abs=1e-9) and (np.diff(chin) > 0).all()
    np.testing.assert_allclose(np.array(gap) / gap[-1], [0, 0.25, 0.5, 1], atol=0.03)


def test_spread_lips_are_wide_and_rounded_ones_narrow():
    width = [np.ptp(seen(look(), Pose(spread=spread))[48:60, 0]) for spread in (-1, 0, 1)]
    assert width[0] < 0.8 * width[1] and width[2] > 1.1 * width[1]


def test_the_nose_leads_where_the_head_turns():
    still, right, down = (seen(look(), pose) for pose in (Pose(), Pose(yaw=0.3), Pose(pitch=0.3)))
    middle = [(p[30] - (p[36] + p[45]) / 2) for p in (still, right, down)]
    assert middle[1][0] > middle[0][0] + 5 and middle[2][1] > middle[0][1] + 3


def test_the_picture_is_where_its_landmarks_are():
    """Painted with the eyes shut, or the lips of another colour, it changes there and nowhere else."""
    def change(least, other, pose):
        before, after = paint(person, Pose(), UNITS, 160, 160), paint(other, pose, UNITS, 160, 160)
        return np.nonzero(np.abs(before.astype(int) - after).sum(-1) > least)

    person = look()
    points = seen(person, Pose())
    rows, columns = change(20, person, Pose(blink=1))
    left, right = points[36, 0], points[45, 0]
    assert columns.min() > left - 3 and columns.max() < right + 3 and len(rows) > 100
    assert rows.min() > points[36:48, 1].min() - 6 and rows.max() < points[36:48, 1].max() + 6

    rows, columns = change(60, replace(person, lips=(0, 255, 0)), Pose())
    mouth = points[48:60]
    assert abs(columns.min() - mouth[:, 0].min()) < 3 and abs(columns.max() + 1 - mouth[:, 0].max()) < 3
    assert abs(rows.min() - mouth[:, 1].min()) < 3 and abs(rows.max() + 1 - mouth[:, 1].max()) < 3


def test_a_curve_passes_through_its_points():
    points = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_allclose(smooth(points, steps=4)[::4], points)
    assert smooth(points, closed=True, steps=4).shape == (24, 3)
    np.testing.assert_allclose(smooth(points, closed=True, steps=4)[::4], points)
    line = np.linspace(0, 1, 5)[:, None] * np.ones(2)
    np.testing.assert_allclose(smooth(line)[5:-5], np.linspace(0.25, 0.75, 11)[:, None] * np.ones(2))


def test_a_crop_is_drawn_where_the_frame_has_it():
    """Drawing straight into the crop gives what cutting the whole frame gives, but finer."""
    head = TalkingHead(1, 2, 1.0, width=512, height=512)
    matrix = np.array([[192.0, 0, 160], [0, 256, 128]])  # pixels 160..352 x 128..384, squeezed to a square
    cut = torch.from_numpy(head.frame(3)[128:384, 160:352].copy()).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(cut, (96, 96), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    assert np.abs(resized.numpy() - head.crop(3, matrix, 96)).mean() < 4


@pytest.mark.parametrize("crop", ["wav2lip", "face"])
def test_samples_are_those_of_a_prepared_folder(make_recipe, crop):
    dataset = make_dataset("synthetic", make_recipe(size=64, crop=crop), context=(0.1, 0.2), seed=1)
    clip = next(clip_loader(dataset, 2, workers=0))
    assert clip.source.shape == clip.frames.shape == (2, 5, 3, 64, 64)
    assert -1 <= clip.frames.min() < clip.frames.max() <= 1
    assert clip.wave.shape == clip.other_wave.shape == (2, dataset.num_wave) and clip.landmarks.shape == (2, 5, 68, 2)
    assert clip.landmarks.abs().max() < 1.3
    if crop == "wav2lip":
        assert (clip.landmarks[:, :, 48:68, 1] > 0).all() and (clip.landmarks[:, :, 36:48, 1] < 0).all()


def test_a_drawn_face_says_what_its_muscles_do():
    head = TalkingHead(seconds=1.0)
    units = HeadFootage(head, "wav2lip", 32).action_units(range(25))
    assert units.shape == (25, 17) and units.dtype == np.float32
    of = dict(zip(NAMES, units.T))
    np.testing.assert_allclose(of["AU26"], head.opening, rtol=1e-6)
    np.testing.assert_allclose(of["AU45"], [pose.blink for pose in head.poses], rtol=1e-6)
    assert (of["AU25"] >= of["AU26"]).all() and np.isnan(of["AU12"]).all()
    known = units[np.isfinite(units)]
    assert known.min() >= 0 and known.max() <= 1


def test_speakers_of_the_splits_differ(make_recipe):
    recipe = make_recipe(held_out=0.2)
    train, held_out = (SyntheticClips(recipe, split, speakers=10) for split in ("train", "held-out"))
    assert {span.clip for span in train.spans} == set(range(2, 10)) and {span.clip for span in held_out.spans} == {0, 1}


def test_samples_depend_on_seed_and_number_alone(make_recipe):
    one = SyntheticClips(make_recipe(), seed=2)
    sample, again = one[11], pickle.loads(pickle.dumps(one))[11]
    assert all(torch.equal(sample[name], again[name]) for name in sample)
    assert not torch.equal(sample["frames"], SyntheticClips(make_recipe(), seed=3)[11]["frames"])


def test_an_unknown_crop_is_refused_at_once(make_recipe):
    with pytest.raises(FctfgError, match="No crop profile called 'fase'. Did you mean 'face'?"):
        make_dataset("synthetic", make_recipe(crop="fase"))


def test_long_windows_get_long_speeches(make_recipe):
    dataset = SyntheticClips(make_recipe(clip_frames=200))
    assert dataset.draw(0).start >= 0 and dataset.spans[0].last >= 2 * 200


def test_sound_beyond_a_speech_is_silence():
    footage = HeadFootage(TalkingHead(0, 0, 1.0), "wav2lip", 32)
    whole = footage.head.speech.wave
    for start, num in ((-100, 300), (15900, 300), (-400, 300), (16000, 50), (-10, 16020)):
        expected = [whole[i] if 0 <= i < 16000 else 0 for i in range(start, start + num)]
        np.testing.assert_array_equal(footage.wave(start, num), expected)


def test_lips_and_voice_can_be_told_in_and_out_of_step():
    """The loudness heard during a frame says more of its lips than that of frames nearby."""
    agreement = {shift: [] for shift in (-6, -3, 0, 3, 6)}
    for identity in range(6):
        head = TalkingHead(0, identity, 6.0)
        gap = np.linalg.norm(head.landmarks[:, 66] - head.landmarks[:, 62], axis=1)
        loudness = np.sqrt((head.speech.wave.reshape(150, 640) ** 2).mean(1))
        for shift in agreement:
            agreement[shift].append(np.corrcoef(gap[10:-10], np.roll(loudness, shift)[10:-10])[0, 1])
    means = {shift: np.mean(values) for shift, values in agreement.items()}
    assert means[0] > 0.65 and all(means[0] > means[shift] + 0.2 for shift in means if shift)


def test_a_written_video_has_the_head_and_its_voice(tmp_path):
    from fctfg.media import read_sound, read_video

    head = write_synthetic_video(tmp_path / "head.mp4", seed=1, seconds=0.6, width=160, height=120)
    frames = list(read_video(tmp_path / "head.mp4"))
    assert len(frames) == head.num_frames == 15 and frames[0].shape == (120, 160, 3)
    assert np.abs(frames[9].astype(int) - head.frame(9)).mean() < 6
    wave, truth = read_sound(tmp_path / "head.mp4")[:9600], head.speech.wave
    assert np.corrcoef(wave[:9000], truth[:9000])[0, 1] > 0.95


def test_a_face_detector_finds_them_and_their_landmarks():
    """dlib learnt from photographs; that it finds these faces makes them fit to test with."""
    dlib = pytest.importorskip("dlib")
    models = Path(importlib.util.find_spec("face_recognition_models").origin).parent / "models"
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
    for identity in range(8):
        head = TalkingHead(0, identity, 1.0, width=256, height=256)
        frame, truth = head.frame(20), head.landmarks[20]
        boxes = detector(frame)
        assert len(boxes) == 1
        found = np.array([(p.x, p.y) for p in predictor(frame, boxes[0]).parts()])
        eyes_apart = np.linalg.norm(truth[36] - truth[45])
        assert np.linalg.norm(found - truth, axis=1).mean() < 0.1 * eyes_apart


def test_as_many_people_as_asked_for():
    recipe = Recipe.find("tiny")
    spans = make_dataset("synthetic:5", recipe).spans + make_dataset("synthetic:5", recipe, "held-out").spans
    assert sorted(span.clip for span in spans) == list(range(5))
    for wrong in ("synthetic:", "synthetic:1", "synthetic:many"):
        with pytest.raises(BadData, match="synthetic:200"):
            make_dataset(wrong, recipe)
