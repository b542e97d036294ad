"""FID and FVD: the distance against scipy and closed forms, the networks against what is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchvision.models import Inception3
from torchvision.models.inception import InceptionA

from fctfg.errors import BadWeights, CannotMeasure
from fctfg.testing import MetricContract, drawn_film, score_of
from fctfg_plugins.set_metrics import FIDMetric, FVDMetric, frechet_distance
from fctfg_plugins.set_metrics.i3d import I3D, same
from fctfg_plugins.set_metrics.inception import FIDInception, _InceptionA
from fctfg_plugins.set_metrics.sets import spread


class Patches(nn.Module):
    """The mean colours of four corners, of clips over all of their time."""

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x.mean(2) if x.ndim == 5 else x, 2).flatten(1)


class TestFIDContract(MetricContract):
    plugin = "fid"

    def make(self):
        metric = FIDMetric(size=32, most=10)
        metric.use(Patches())
        return metric


class TestFVDContract(MetricContract):
    plugin = "fvd"

    def make(self):
        metric = FVDMetric()
        metric.use(Patches())
        return metric


class TestDistance:
    @pytest.mark.parametrize("count, other", [(300, 200), (300, 15), (40, 30)])
    def test_it_equals_the_formula_with_a_matrix_root(self, count, other):
        rng = np.random.default_rng(0)
        mix = rng.normal(size=(20, 20))
        a, b = rng.normal(size=(count, 20)) @ mix, rng.normal(size=(other, 20)) + 0.5
        covariances = np.cov(a.T), np.cov(b.T)
        root = sqrtm(covariances[0] @ covariances[1]).real
        expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3 if other == 15 else 1e-8)

    def test_equal_sets_have_none_and_a_shift_has_its_square(self):
        a = np.random.default_rng(0).normal(size=(7, 2048))
        assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
        assert frechet_distance(a, a[::-1] + 0.1) == pytest.approx(2048 * 0.01, rel=1e-6)

    def test_known_variances(self):
        """Of one number with spreads 1 and 3 (n - 1 below): (3 - 1)^2."""
        a = np.array([[-1.0], [1.0]]) / np.sqrt(2)
        assert frechet_distance(a, 3 * a) == pytest.approx(4)


class TestPooling:
    def test_all_films_are_one_set(self):
        metric = TestFIDContract().make()
        films = [drawn_film(), drawn_film(seed=1)]
        scores = [score_of(metric, film) for film in films]
        assert scores[0].values == {} and scores[0].features.shape == (10, 12)
        features = [np.concatenate([getattr(score, side) for score in scores]) for side in ("features", "reference_features")]
        pooled = metric.pool(scores)
        assert pooled == {"fid": pytest.approx(frechet_distance(*features)), "fid-n": 20.0} and pooled["fid"] > 0.01
        same_films = score_of(metric, replace(films[0].reference, reference=films[0].reference))
        assert metric.pool([same_films])["fid"] == pytest.approx(0, abs=1e-9)
        assert metric.pool([]) == {}

    def test_frames_and_clips_are_spread_evenly(self):
        assert spread(100, 4) == {12, 37, 62, 87} and spread(3, 10) == {0, 1, 2}

    def test_clips_are_whole(self):
        """Of 52 frames three clips of 16; the one that lacks a frame is left out."""
        metric, film = TestFVDContract().make(), drawn_film()
        assert len(score_of(metric, film, 5).features) == 3
        landmarks = film.reference.landmarks.copy()
        landmarks[20] = np.nan
        hidden = replace(film, reference=replace(film.reference, landmarks=landmarks))
        assert len(score_of(metric, hidden, 5).features) == 2
        with pytest.raises(CannotMeasure, match="15 frames, and a clip has 16"):
            metric.begin(film.first(15).film)


class TestNetworks:
    def test_fids_inception_has_the_keys_of_the_public_file(self):
        with torch.device("meta"):
            network, plain = FIDInception(), Inception3(num_classes=1008, aux_logits=False, init_weights=False)
        assert {k: v.shape for k, v in network.network.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
        assert network.network.fc.weight.shape == (1008, 2048)
        assert type(network.network.Mixed_7b) is not type(network.network.Mixed_7c)

    def test_means_at_the_border_leave_out_what_is_beyond(self):
        torch.manual_seed(0)
        plain = InceptionA(8, 4).eval()
        x = torch.rand(1, 8, 9, 9)
        with torch.no_grad():
            expected = plain(x)
            plain.__class__ = _InceptionA
            found = plain(x)
            torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
            assert (found[:, :-4] == expected[:, :-4]).all() and not torch.allclose(found[:, -4:], expected[:, -4:])
            corner = x[..., :2, :2].mean((2, 3), keepdim=True)
            torch.testing.assert_close(found[:, -4:, :1, :1], plain.branch_pool(corner))

    def test_i3d_is_of_the_known_size(self):
        with torch.device("meta"):
            network = I3D()
            assert network(torch.empty(2, 3, 16, 224, 224)).shape == (2, 400)
        assert sum(parameter.numel() for parameter in network.parameters()) == 12_697_264
        names = set(network.state_dict())
        assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b1a.bn.running_mean", "Mixed_5c.b3b.conv3d.weight", "logits.conv3d.bias"} <= names

    @pytest.mark.parametrize("size, kernel, stride", [(16, 7, 2), (15, 7, 2), (7, 2, 2), (5, 3, 1), (14, 3, 2)])
    def test_padding_is_tensorflows_same(self, size, kernel, stride):
        """As many windows as strides begin in the picture; of an odd number of zeros the last comes behind."""
        padded = same(torch.ones(1, 1, size, size, size), (kernel,) * 3, (stride,) * 3)[0, 0, :, size // 2, size // 2]
        assert (len(padded) - kernel) // stride + 1 == -(-size // stride)
        zeros = len(padded) - size
        assert padded[:zeros // 2].sum() == 0 and padded[zeros // 2:zeros // 2 + size].all()

    def test_another_file_is_refused(self, tmp_path):
        torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
        with pytest.raises(BadWeights, match="other.pth is not rgb_imagenet.pt"):
            FVDMetric(weights=str(tmp_path / "other.pth")).load()
