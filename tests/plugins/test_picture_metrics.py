"""Metrics of pictures against scikit-image, slow loops and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from fctfg.errors import BadOption, BadWeights, CannotMeasure
from fctfg.testing import DrawnFilm, MetricContract, drawn_film, score_of
from fctfg_plugins.perceptual.lpips import LPIPS
from fctfg_plugins.picture_metrics import (JitterMetric, LPIPSMetric, MSSSIMMetric, PSNRMetric, SharpnessMetric,
                                           SSIMMetric)
from fctfg_plugins.picture_metrics.pictures import GREY, detail
from fctfg_plugins.picture_metrics.similarity import WEIGHTS, ms_ssim, ssim

UNSEEN = np.full((1, 68, 2), np.nan, np.float32)


def pair(size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture, and the same with noise and less contrast."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    one = 127 + 60 * np.sin(x / 9 + y / 17)[..., None] * np.array([1, 0.8, -0.5]) + rng.normal(0, 8, (size, size, 3))
    other = 0.8 * one + 20 + rng.normal(0, 15, one.shape)
    return tuple(np.clip(picture, 0, 255).astype(np.uint8) for picture in (one, other))


def film(*frames: np.ndarray, reference: DrawnFilm | None = None) -> DrawnFilm:
    return DrawnFilm(np.stack(frames), np.repeat(UNSEEN, len(frames), 0), None, reference)


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def network() -> LPIPS:
    torch.manual_seed(0)
    found = LPIPS("squeeze")
    for number in range(found.count):
        torch.nn.init.uniform_(found.get_submodule(f"lin{number}.model.1").weight)
    return found


class TestLPIPSContract(MetricContract):
    plugin = "lpips"

    def make(self):
        metric = LPIPSMetric(size=32, net="squeeze")
        metric.use(network())
        return metric


class TestSimilarity:
    def test_ssim_equals_scikit_image(self):
        one, other = pair(90)
        expected = structural_similarity(one, other, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                         use_sample_covariance=False, data_range=255)
        assert score_of(SSIMMetric(region="frame"), film(other, reference=film(one))).values["ssim"] == pytest.approx(expected, abs=1e-5)

    def test_ms_ssim_equals_a_slow_one_in_float64(self):
        one, other = pair()
        taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
        taps /= taps.sum()

        def blur(x):
            return correlate1d(correlate1d(x, taps, 0), taps, 1)[5:-5, 5:-5]

        total = []
        for channel in range(3):
            a, b, product = one[..., channel].astype(float), other[..., channel].astype(float), 1.0
            for scale, weight in enumerate(WEIGHTS):
                ma, mb = blur(a), blur(b)
                va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
                term = (2 * vab + 58.5225) / (va + vb + 58.5225)
                if scale == 4:
                    term = term * (2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025)
                product *= term.mean() ** weight
                a, b = (x[:x.shape[0] // 2 * 2, :x.shape[1] // 2 * 2] for x in (a, b))
                a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
            total.append(product)
        assert float(ms_ssim(tensor(one), tensor(other))) == pytest.approx(np.mean(total), abs=1e-5)

    def test_equal_pictures_are_equal(self):
        one, _ = pair()
        assert float(ssim(tensor(one), tensor(one))) == 1 and float(ms_ssim(tensor(one), tensor(one))) == 1
        same = film(one, reference=film(one))
        assert score_of(PSNRMetric(region="frame"), same).values == {"psnr": float("inf")}
        for metric in (SharpnessMetric(region="frame"), ):
            assert score_of(metric, same).values["sharpness-ratio"] == 1
        metric = TestLPIPSContract().make()
        watched = drawn_film().reference
        assert score_of(metric, replace(watched, reference=watched)).values == {"lpips": 0.0}

    def test_small_pictures_are_refused(self):
        with pytest.raises(CannotMeasure, match="96 px a side, and this takes 176 or more"):
            MSSSIMMetric(region="frame").begin(drawn_film().film)


class TestPSNR:
    def test_it_is_that_of_a_known_error(self):
        grey = np.full((8, 8, 3), 100, np.uint8)
        two = film(grey + 1, grey + 10, reference=film(grey, grey))
        frames = 20 * np.log10(255 / np.array([1, 10]))
        assert score_of(PSNRMetric(region="frame"), two).values["psnr"] == pytest.approx(frames.mean())
        whole = score_of(PSNRMetric(region="frame", mean="film"), two)
        assert whole.values["psnr"] == pytest.approx(10 * np.log10(255**2 / 50.5))
        np.testing.assert_allclose(whole.curves["psnr"], frames, rtol=1e-6)

    def test_an_unknown_mean_is_refused(self):
        with pytest.raises(BadOption, match="mean 'clip'.*frames or film"):
            PSNRMetric(mean="clip")


class TestLPIPS:
    def test_in_stretches_it_equals_the_network_on_each_frame(self):
        watched = drawn_film(frames=9)
        score = score_of(TestLPIPSContract().make(), watched, 4)
        from fctfg.metrics import Region

        net = network()
        for place, picture, reference in Region("face", 32).show(watched.moments(0, 9)):
            a, b = (net.features(tensor(side) / 127.5 - 1) for side in (picture, reference))
            assert score.curves["lpips"][place] == pytest.approx(float(net.distances(a, b).sum()), rel=1e-4)

    def test_it_never_looks_through_random_features(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
        with pytest.raises(BadWeights, match="alexnet-owt-7be5be79.pth, which is not there"):
            LPIPSMetric().begin(drawn_film().film)


class TestSharpness:
    def test_it_is_the_variance_of_four_neighbours_less_four_times_the_middle(self):
        one, _ = pair(24)
        grey = one @ GREY.astype(float)
        slow = [grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
                for y in range(1, 23) for x in range(1, 23)]
        assert detail(one) == pytest.approx(np.var(slow), rel=1e-5)

    def test_a_blurred_film_is_less_sharp_than_its_reference(self):
        one, _ = pair(64)
        blurred = np.stack([one, np.roll(one, 1, 0), np.roll(one, 1, 1), np.roll(one, (1, 1), (0, 1))]).mean(0).astype(np.uint8)
        assert score_of(SharpnessMetric(region="frame"), film(blurred, reference=film(one))).values["sharpness-ratio"] < 0.5


class TestJitter:
    def test_even_change_is_none_and_flicker_counts_four_times(self):
        grey = np.full((8, 8, 3), 100, np.uint8)
        even = film(*(grey + 3 * k for k in range(6)))
        flicker = film(*(grey + 5 * (k % 2) for k in range(6)), reference=film(*(grey + (k % 2) for k in range(6))))
        assert score_of(JitterMetric(region="frame"), even, 2).values["jitter"] == pytest.approx(0, abs=1e-3)
        values = score_of(JitterMetric(region="frame"), flicker, 2).values
        assert values == pytest.approx({"jitter": 10, "jitter-ratio": 5}, rel=1e-4)

    def test_frames_beside_a_gap_do_not_count(self):
        watched = replace(drawn_film(frames=8), reference=None)
        landmarks = watched.landmarks.copy()
        landmarks[3] = np.nan
        curve = score_of(JitterMetric(size=32), replace(watched, landmarks=landmarks)).curves["jitter"]
        assert np.flatnonzero(np.isfinite(curve)).tolist() == [1, 5, 6]
