"""face-alignment with stand-ins for its two networks, whose files cannot be had here: they see a white dot. All around them,
from reading files to points in the frame, is the package's own code."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from fctfg import registry
from fctfg.errors import BadWeights, MissingExtra


class DotFAN(nn.Module):
    """Heat (1, 68, 64, 64) where a picture (1, 3, 256, 256) in [0, 1] is brightest."""

    def __init__(self, num_modules=1):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        heat = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 9, 4, 4) * self.gain
        return [heat.repeat(1, 68, 1, 1)]


class DotS3FD(nn.Module):
    """What S3FD gives for its six strides: at stride 16, a face whose default box is about each white pixel."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        white = (nn.functional.max_pool2d(x.mean(1, keepdim=True), 16, 16, ceil_mode=True) > 100).float()
        out = []
        for stride in (4, 8, 16, 32, 64, 128):
            shape = [-(-side // stride) for side in x.shape[-2:]]
            score = 20 * white - 10 if stride == 16 else torch.full((1, 1, *shape), -10.0)
            out += [torch.cat([-score, score], 1) * self.gain, torch.zeros(1, 4, *shape)]
        return out


@pytest.fixture
def package(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return pytest.importorskip("face_alignment", reason="the extra face-alignment is not installed")


@pytest.fixture
def detector(package, monkeypatch, tmp_path):
    from face_alignment.detection.sfd import sfd_detector

    monkeypatch.setattr(package.api, "FAN", DotFAN)
    monkeypatch.setattr(sfd_detector, "s3fd", DotS3FD)
    torch.save({"gain": torch.ones(1)}, tmp_path / "2DFAN4-11f355bf06.pth.tar")
    torch.save({"gain": torch.ones(1)}, tmp_path / "s3fd-619a316812.pth")
    return registry.build("detector", "face-alignment", device="cpu")


def dotted(x: int, y: int, side: int = 8) -> np.ndarray:
    frame = np.zeros((320, 480, 3), np.uint8)
    frame[y - side // 2:y + side // 2, x - side // 2:x + side // 2] = 255
    return frame


def test_a_face_is_found_and_confirmed_where_it_is(detector):
    frame = dotted(200, 136)
    face = detector.detect(frame)[0]
    assert face.score > 0.9 and face.box[2] - face.box[0] == pytest.approx(64)
    np.testing.assert_allclose((face.box[:2] + face.box[2:]) / 2, [200, 136], atol=8)
    assert detector.confirm(frame, face.box) is not None
    assert detector.confirm(frame, face.box + [150, 100, 150, 100]) is None
    assert detector.detect(np.zeros_like(frame)) == []


@pytest.mark.slow  # numba compiles for seconds
@pytest.mark.parametrize("x, y, box", [(200, 136, [160, 100, 240, 190]), (210, 140, [150, 60, 300, 240]), (30, 20, [-20, -30, 70, 70])])
def test_landmarks_are_in_pixels_of_the_frame(detector, x, y, box):
    points = detector.landmarks(dotted(x, y), np.array(box, float))
    assert points.shape == (68, 2)
    np.testing.assert_allclose(points, np.tile([x, y], (68, 1)), atol=0.035 * (box[2] - box[0]))


def test_nothing_is_fetched_and_what_is_missing_is_said(package, tmp_path):
    frame = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(BadWeights, match="2DFAN4-11f355bf06.pth.tar is missing"):
        registry.build("detector", "face-alignment").detect(frame)
    with pytest.raises(BadWeights, match="gone.pth is not there"):
        registry.build("detector", "face-alignment", landmark_model=str(tmp_path / "gone.pth")).detect(frame)
    for name in ("2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth"):
        torch.save({"other": torch.ones(1)}, tmp_path / name)
    with pytest.raises(BadWeights, match="are not FAN and S3FD as face-alignment"):
        registry.build("detector", "face-alignment").detect(frame)


@pytest.mark.slow
def test_files_of_the_real_networks_are_read(package, tmp_path):
    """Untrained, they see nothing; but every weight has its place, and landmarks lie within what is looked at."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    torch.manual_seed(0)
    torch.save(package.api.FAN(4).state_dict(), tmp_path / "2DFAN4-11f355bf06.pth.tar")
    torch.save(s3fd().state_dict(), tmp_path / "s3fd-619a316812.pth")
    detector = registry.build("detector", "face-alignment", device="cpu", flip=False, min_score=0.999)
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    points = detector.landmarks(frame, np.array([10.0, 10.0, 50.0, 60.0]))
    assert points.shape == (68, 2) and np.abs(points - 32).max() < 64
    assert isinstance(detector.detect(frame), list)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    monkeypatch.delitem(sys.modules, "fctfg_plugins.face_alignment.detector", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'fctfg\[face-alignment\]'"):
        registry.find("detector", "face-alignment").load()
