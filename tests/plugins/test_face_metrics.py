"""Metrics of faces against closed forms and drawn heads whose pose is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fctfg import registry
from fctfg.action_units import MOUTH, NAMES
from fctfg.data import TalkingHead
from fctfg.errors import BadOption, BadWeights, CannotMeasure
from fctfg.faces.profiles import Measures
from fctfg.interfaces import Detector
from fctfg.testing import DrawnFilm, MetricContract, drawn_film, score_of
from fctfg_plugins.arcface.irse import IRSE50
from fctfg_plugins.face_metrics import ActionUnitMetric, BlinkMetric, CSIMMetric, HeadPoseMetric, LandmarkMetric
from fctfg_plugins.face_metrics.blinks import aspect_ratios, blinks
from fctfg_plugins.face_metrics.pose import angles, between, rotations


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead(seed=0, identity=2, seconds=4.0)


def watched(landmarks: np.ndarray, reference: np.ndarray | None = None) -> DrawnFilm:
    """Points alone, without pictures."""
    frames = np.zeros((len(landmarks), 1, 1, 3), np.uint8)
    return DrawnFilm(frames, landmarks.astype(np.float32), None, None if reference is None else watched(reference))


class Means(nn.Module):
    """A recogniser that sees the mean colour."""

    def forward(self, pictures):
        return pictures.mean((2, 3))


class TestCSIMContract(MetricContract):
    plugin = "csim"

    def make(self):
        metric = CSIMMetric(backbone="irse50", every=4)
        metric.use(Means())
        return metric


class TestLandmarks:
    def test_a_face_that_is_moved(self, head):
        true = head.landmarks
        moved = watched(true + (3, 4), true)
        assert score_of(LandmarkMetric(align="none", unit="pixels"), moved).values == pytest.approx({"lmd": 5, "mouth-lmd": 5}, rel=1e-4)
        assert score_of(LandmarkMetric(align="centre", unit="pixels"), moved).values["lmd"] == pytest.approx(0, abs=1e-4)
        in_eyes = 5 * (1 / Measures.of(true).unit).mean()
        assert score_of(LandmarkMetric(align="none"), moved).values["lmd"] == pytest.approx(in_eyes, rel=1e-4)
        crop = score_of(LandmarkMetric(align="none", unit="face256"), moved).values["lmd"]
        assert crop == pytest.approx(in_eyes * 256 / 4.6, rel=1e-4)

    def test_a_similarity_takes_off_size_and_tilt_and_leaves_the_mouth(self, head):
        true = head.landmarks
        turn = np.array([[0.9, -0.3], [0.3, 0.9]])
        metric = LandmarkMetric(align="similarity")
        assert score_of(metric, watched(true @ turn.T + 7, true)).values["lmd"] == pytest.approx(0, abs=1e-4)
        opened = true.copy()
        opened[:, 55:60, 1] += 0.2 * Measures.of(true).unit[:, None]  # 5 of 20 points by 0.2
        values = score_of(metric, watched(opened, true)).values
        assert values == pytest.approx({"mouth-lmd": 0.05, "lmd": 0.2 * 5 / 68}, rel=1e-4)

    def test_frames_where_one_face_is_missing_do_not_count(self, head):
        drawn, true = head.landmarks + 1, head.landmarks.copy()
        true[5] = drawn[9] = np.nan
        curve = score_of(LandmarkMetric(), watched(drawn, true)).curves["lmd"]
        assert np.flatnonzero(np.isnan(curve)).tolist() == [5, 9]
        with pytest.raises(BadOption, match="no unit 'eye'. Did you mean 'eyes'"):
            LandmarkMetric(unit="eye")


class TestPose:
    def test_angles_follow_the_drawn_heads(self, head):
        read = angles(rotations(head.landmarks))
        true = np.degrees([[pose.yaw, pose.pitch, pose.roll] for pose in head.poses])
        for place, least in enumerate((0.99, 0.97, 0.95)):
            assert np.corrcoef(read[:, place], true[:, place])[0, 1] > least
        assert np.abs(read - true).mean() < 3

    def test_speed_and_spread_are_those_of_a_known_turn(self, head):
        """A head that tilts by one degree a frame."""
        points, degrees = head.landmarks[:1] - head.landmarks[0].mean(0), np.radians(np.arange(20))
        turns = np.stack([np.stack([np.cos(degrees), -np.sin(degrees)], -1), np.stack([np.sin(degrees), np.cos(degrees)], -1)], 1)
        tilting = np.einsum("tij,pj->tpi", turns, points[0])
        values = score_of(HeadPoseMetric(), watched(tilting)).values
        assert values["head-speed"] == pytest.approx(25, rel=1e-2)
        assert values["roll-std"] == pytest.approx(np.arange(20).std(), rel=0.05)

    def test_a_constant_difference_between_faces_is_no_error(self, head):
        away = TalkingHead(seed=0, identity=3, seconds=4.0).landmarks
        values = score_of(HeadPoseMetric(), watched(head.landmarks, head.landmarks)).values
        assert values["pose-error"] == pytest.approx(0, abs=1e-3)
        assert score_of(HeadPoseMetric(), watched(head.landmarks, away)).values["pose-error"] > 1

    def test_between_is_the_angle_of_one_to_the_other(self):
        turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
        assert between(turn[None], np.eye(3)[None]) == pytest.approx([90])


class TestBlinks:
    def test_they_are_counted_and_timed(self):
        ratios = np.full(100, 0.3)
        ratios[20:24] = ratios[50:53] = 0.1  # two blinks
        ratios[70] = np.nan
        ratios[80:98] = 0.15  # eyes that rest
        ratios[98:] = 0.3
        assert blinks(ratios, 25.0).tolist() == pytest.approx([0.16, 0.12])

    def test_drawn_eyes_blink_as_they_were_drawn(self):
        blinking = TalkingHead(seed=0, identity=2, seconds=6.0)
        shut = np.array([pose.blink for pose in blinking.poses]) > 0.5
        expected = (np.diff(shut.astype(int)) == 1).sum()
        values = score_of(BlinkMetric(), watched(blinking.landmarks)).values
        assert expected and values["blink-rate"] == pytest.approx(60 * expected / 6)
        ratios = aspect_ratios(blinking.landmarks)
        assert ratios[shut].max() < 0.7 * ratios[~shut].max()

    def test_a_short_film_has_no_rate(self, head):
        with pytest.raises(CannotMeasure, match="seen for 1.0 s"):
            score_of(BlinkMetric(), watched(head.landmarks[:25]))


class TestIdentity:
    def test_it_is_the_cosine_of_what_the_network_sees(self):
        film = drawn_film()
        metric = TestCSIMContract().make()
        found = score_of(metric, film)
        assert np.flatnonzero(np.isfinite(found.curves["csim"])).tolist() == list(range(0, 52, 4))
        watched_twice = replace(film.reference, reference=film.reference)
        assert score_of(metric, watched_twice).values["csim"] == pytest.approx(1, abs=1e-6) and found.values["csim"] < 0.9999

    def test_a_file_is_read_and_another_refused(self, tmp_path):
        torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
        with pytest.raises(BadWeights, match="not what backbone irse50 reads"):
            CSIMMetric(backbone="irse50", weights=str(tmp_path / "other.pth")).load()
        with pytest.raises(BadOption, match="dlib takes no weights"):
            CSIMMetric(weights="x.pth")

    @pytest.mark.slow
    def test_the_public_file_of_irse50_is_read(self, tmp_path):
        torch.save(IRSE50().state_dict(), tmp_path / "model_ir_se50.pth")
        metric = CSIMMetric(backbone="irse50", weights=str(tmp_path / "model_ir_se50.pth"), every=60)
        film = drawn_film()
        assert score_of(metric, replace(film.reference, reference=film.reference)).values["csim"] == pytest.approx(1, abs=1e-5)


class Reader(Detector):
    """Knows one unit of the mouth and one of the brows, by how dark the frame is; nothing of black ones."""

    def detect(self, frame):
        return []

    def landmarks(self, frame, box):
        return np.zeros((68, 2))

    def action_units(self, frame, landmarks):
        if not frame.any():
            return None
        units = np.full(17, np.nan, np.float32)
        units[NAMES.index("AU01")], units[NAMES.index(MOUTH[0])] = frame.mean() / 255, 0.5 * frame.mean() / 255
        return units


class TestActionUnits:
    def test_errors_are_those_of_the_units_that_are_known(self):
        film = drawn_film(frames=9)
        drawn, true = (np.full((9, 8, 8, 3), value, np.uint8) for value in (51, 153))
        drawn[4] = 0
        pair = replace(film, frames=drawn, reference=replace(film.reference, frames=true))
        with registry.offering("detector", reader=Reader):
            score = score_of(ActionUnitMetric(detector="reader", every=2), pair, 3)
        assert score.values == pytest.approx({"au-error": 0.3, "au-error-mouth": 0.2})
        assert np.flatnonzero(np.isfinite(score.curves["au-error"])).tolist() == [0, 2, 6, 8]

    def test_a_detector_without_action_units_is_refused(self):
        with pytest.raises(BadOption, match="'dlib-hog' knows nothing of action units"):
            ActionUnitMetric(detector="dlib-hog").load()
