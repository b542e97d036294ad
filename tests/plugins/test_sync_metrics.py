"""Metrics of lip sync: SyncNet in a stream against the whole track, crops against slow loops, openness against shifts."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from fctfg.data import TalkingHead
from fctfg.errors import BadOption, BadRun, BadWeights, CannotMeasure
from fctfg.interfaces import SAMPLE_RATE
from fctfg.testing import DrawnFilm, MetricContract, drawn_film, score_of
from fctfg_plugins.sync_metrics import OpennessMetric, SilentLipsMetric, SyncExpertMetric, SyncNetMetric
from fctfg_plugins.sync_metrics import expert as expert_module
from fctfg_plugins.sync_metrics.openness import loudness, without_slow
from fctfg_plugins.sync_metrics.silence import silent
from fctfg_plugins.sync_metrics.towers import QuickTowers
from fctfg_plugins.sync_metrics.tracks import Box, Track, cut, resized
from fctfg_plugins.syncnet import SyncNet, lip_sync

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


def network(scale: float = 1 / 32) -> SyncNet:
    torch.manual_seed(0)
    return SyncNet(scale).eval()


def with_network(**options) -> SyncNetMetric:
    metric = SyncNetMetric(**{"precision": "fp32", **options})
    metric.use(network())
    return metric


def noise_film(count: int, size: int = 224) -> DrawnFilm:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    wave = (0.1 * rng.standard_normal(count * 640 + 100)).astype(np.float32)
    return DrawnFilm(frames, np.full((count, 68, 2), np.nan, np.float32), wave)


class TestSyncNetContract(MetricContract):
    plugin = "syncnet"

    def make(self):
        return with_network(min_track=20, min_face=20)


class TestTowers:
    @pytest.fixture
    def golden(self):
        spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
        fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fill)
        full = SyncNet()
        full.load_state_dict({key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / "syncnet_s")).items()},
                             strict=False)
        return full, fill.inputs(str(GOLDEN / "syncnet_s")), fill

    def test_folded_and_reordered_they_equal_the_golden(self, golden):
        full, given, fill = golden
        towers = QuickTowers(full, CPU, "fp32")
        lips = torch.from_numpy(given["lip"]).transpose(1, 2)  # (2, 5, 3, 224, 224), BGR, and no whole numbers
        stacked = lips.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            features = towers.network.netcnnlip(stacked).flatten(1)
            mouths = towers.network.netfclip(features)
        sounds = towers.listen(torch.from_numpy(given["mfcc"])[:, 0])
        found = {"lip": mouths.numpy(), "lipfeat": features.numpy(), "audio": sounds.numpy()}
        for key, _, relative in fill.compare(found, GOLDEN / "syncnet_s" / "out.npz"):
            assert relative < 1e-4, key

    def test_bf16_is_as_near_as_said(self):
        faces = noise_film(8).frames
        exact, rough = (QuickTowers(network(1 / 8), CPU, precision).watch(faces) for precision in ("fp32", "bf16"))
        assert (rough - exact).abs().max() < 0.05 * exact.std()


class TestDistances:
    def test_a_stream_equals_the_whole_track(self):
        """16 windows at a time, 60 frames: the reach is cut at both ends and crosses every seam."""
        film = noise_film(60)
        frames = torch.from_numpy(film.frames).permute(0, 3, 1, 2) / 127.5 - 1
        whole = lip_sync(network(), frames, torch.from_numpy(film.wave))
        score = score_of(with_network(protocol="wav2lip-lrs"), film, 13)
        assert score.values["av-offset"] == whole.offset
        assert score.values["lse-d"] == pytest.approx(whole.distance, rel=1e-5)
        assert score.values["lse-c"] == pytest.approx(whole.confidence, rel=1e-4)
        np.testing.assert_allclose(score.curves["distance over offset"], whole.by_offset, rtol=1e-5)

    @pytest.mark.parametrize("count, seconds", [(40, 0.9), (9, 9.0)])
    def test_the_shorter_of_picture_and_sound_counts(self, count, seconds):
        film = noise_film(count)
        film = replace(film, wave=np.resize(film.wave, int(seconds * SAMPLE_RATE)))
        whole = lip_sync(network(), torch.from_numpy(film.frames).permute(0, 3, 1, 2) / 127.5 - 1, torch.from_numpy(film.wave))
        score = score_of(with_network(protocol="wav2lip-lrs"), film)
        np.testing.assert_allclose(score.curves["distance over offset"], whole.by_offset, rtol=1e-5)
        assert np.isfinite(score.curves["confidence"]).sum() == len(whole.by_window)


class TestTracks:
    def test_the_box_is_smoothed_as_scipy_does(self):
        rng = np.random.default_rng(0)
        boxes = [Box(*row) for row in np.column_stack([rng.uniform(40, 44, 30), rng.uniform(90, 94, 30), rng.uniform(90, 94, 30)])]
        smooth = np.stack([medfilt(np.array(column), 13) for column in zip(*boxes)], -1)
        frame = rng.integers(0, 256, (200, 180, 3), np.uint8)
        faces = []
        track = Track(0, faces.append)
        for box in boxes:
            track.add(frame, box)
        assert len(faces) == 30 - 6
        track.finish()
        assert all(np.array_equal(face, cut(frame, Box(*row))) for face, row in zip(faces, smooth, strict=True))

    @pytest.mark.parametrize("box", [Box(30.2, 50.7, 40.1), Box(41.0, 5.0, 8.0), Box(25.0, 88.0, 93.0)])
    def test_the_crop_is_that_of_the_authors(self, box):
        """The frame padded with 110 on all sides, sliced by truncated numbers, then bilinear between four pixels."""
        frame = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
        pad = int(box.half * 1.8)
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
        y, x = box.y + pad, box.x + pad
        part = padded[int(y - box.half):int(y + 1.8 * box.half), int(x - 1.4 * box.half):int(x + 1.4 * box.half)]
        assert np.array_equal(cut(frame, box), resized(part))

    def test_resizing_takes_no_more_than_four_pixels(self):
        picture = np.random.default_rng(0).integers(0, 256, (300, 450, 3), np.uint8)
        seen = resized(picture)
        for row, column in ((0, 0), (100, 17), (223, 223)):
            y, x = (row + 0.5) * 300 / 224 - 0.5, (column + 0.5) * 450 / 224 - 0.5
            (top, left), (down, right) = (int(max(0, y)), int(max(0, x))), (max(0, y) % 1, max(0, x) % 1)
            four = picture[top:top + 2, left:left + 2].astype(float)
            value = np.tensordot(np.outer([1 - down, down], [1 - right, right]), four, 2)
            assert np.abs(seen[row, column] - value).max() <= 0.51

    def test_a_film_is_cut_where_the_face_is_lost_or_jumps(self):
        metric, film = with_network(min_track=10, min_face=20), drawn_film()
        landmarks = film.landmarks.copy()
        landmarks[20] = np.nan
        landmarks[40:] += 60
        measurement = metric.begin(film.film)
        broken = replace(film, landmarks=landmarks)
        measurement.see(broken.moments(0, 52))
        score = measurement.score()
        assert [(first, len(found)) for first, found in measurement.tracks] == [(0, 15), (21, 14), (40, 7)]
        assert np.isfinite(score.curves["confidence"]).sum() == 36
        assert score_of(with_network(min_track=18, min_face=20, tracks="longest"), broken).values["lse-d"] != score.values["lse-d"]

    def test_what_is_too_short_or_too_small_is_said(self):
        film = drawn_film()
        with pytest.raises(CannotMeasure, match="too short: 52 frames with sound; .*'syncnet-python' measures from 101 on"):
            with_network().begin(film.film)
        with pytest.raises(CannotMeasure, match="longest track of the face has 52 frames and 53 px.*more than 20 frames and 100 px"):
            score_of(with_network(min_track=20), film)


class TestSyncNetOptions:
    def test_unknown_names_are_refused(self):
        with pytest.raises(BadOption, match="no protocol 'syncnet'. Did you mean 'syncnet-python'"):
            SyncNetMetric(protocol="syncnet")
        with pytest.raises(BadOption, match="weights or run, not both"):
            SyncNetMetric(weights="a", run="b")

    def test_missing_weights_name_the_way_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
        with pytest.raises(BadWeights, match="syncnet_v2.model, which is not there.*weights=FILE"):
            SyncNetMetric().load()
        torch.save({"netcnnaud.0.weight": torch.zeros(3)}, tmp_path / "other.model")
        with pytest.raises(BadWeights, match="other.model is not syncnet_v2.model"):
            SyncNetMetric(weights=str(tmp_path / "other.model")).load()

    def test_a_file_of_the_right_form_is_read(self, tmp_path):
        torch.save(SyncNet().state_dict(), tmp_path / "syncnet_v2.model")
        metric = SyncNetMetric(weights=str(tmp_path / "syncnet_v2.model"))
        before = metric.protocol
        metric.load()
        assert metric.towers is not None and metric.protocol == before


@pytest.fixture(scope="module")
def head() -> DrawnFilm:
    """Six seconds of a drawn head; only its points and its voice matter here."""
    drawn = TalkingHead(seed=0, identity=0, seconds=6.0)
    count = drawn.num_frames
    return DrawnFilm(np.zeros((count, 1, 1, 3), np.uint8), drawn.landmarks.astype(np.float32), drawn.speech.wave.astype(np.float32))


class TestOpenness:
    @pytest.mark.parametrize("frames", [0, -7, 10])
    def test_a_sound_that_is_moved_is_found(self, head, frames):
        """Above 0 the sound is early."""
        moved = head.wave[frames * 640:] if frames > 0 else np.pad(head.wave, (-frames * 640, 0))
        values = score_of(OpennessMetric(), replace(head, wave=moved)).values
        in_step = score_of(OpennessMetric(), head).values
        assert values["openness-offset"] == frames
        assert frames == 0 or values["openness-correlation"] < in_step["openness-correlation"] - 0.3
        assert in_step["openness-correlation"] > 0.5 and in_step["openness-confidence"] > 0.5

    def test_it_is_pearsons_correlation_of_what_changes(self, head):
        score = score_of(OpennessMetric(), head)
        mouth, sound = score.curves["opening"].astype(float), score.curves["loudness"].astype(float)
        for offset in (-15, -2, 0, 11):
            a, b = (mouth[:len(mouth) + offset], sound[-offset:]) if offset <= 0 else (mouth[offset:], sound[:-offset])
            assert score.curves["correlation over offset"][15 - offset] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)

    def test_loudness_equals_a_slow_loop(self):
        wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
        found = loudness(wave, 20)
        window = np.hanning(960)
        for frame in (3, 7):
            middle = frame * 640 + 320
            spectrum = np.abs(np.fft.rfft(wave[middle - 480:middle + 480] * window)) ** 2
            hertz = np.arange(481) * 16000 / 960
            assert found[frame] == pytest.approx(spectrum[(hertz >= 200) & (hertz < 3500)].mean() / window.sum(), rel=1e-4)
        assert np.isnan(found[13:]).all(), "beyond its end there is no sound"

    def test_a_slow_drift_is_taken_off_and_gaps_stay(self):
        curve = np.sin(np.arange(200) * 2 * np.pi / 10) + np.linspace(0, 50, 200)
        curve[50:60] = np.nan
        quick = without_slow(curve)
        assert np.isnan(quick[50:60]).all() and np.abs(quick[110:150] - np.sin(np.arange(110, 150) * 2 * np.pi / 10)).max() < 0.1

    def test_a_still_mouth_goes_with_nothing(self, head):
        still = replace(head, landmarks=np.broadcast_to(head.landmarks[:1], head.landmarks.shape))
        assert score_of(OpennessMetric(), still).values == {"openness-correlation": 0.0}

    def test_silence_cannot_be_compared_with(self, head):
        with pytest.raises(CannotMeasure, match="silent"):
            score_of(OpennessMetric(), replace(head, wave=np.zeros_like(head.wave)))


class TestSilentLips:
    def test_speed_is_that_of_the_lips(self, head):
        """Two seconds of noise, two of silence, in which the lower lip goes up and down by a tenth of an eye distance."""
        from fctfg.faces.profiles import Measures

        wave = np.zeros(4 * SAMPLE_RATE, np.float32)
        wave[:2 * SAMPLE_RATE] = 0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
        landmarks = np.repeat(head.landmarks[:1], 100, 0)
        step = 0.1 * Measures.of(landmarks[:1]).unit[0]
        landmarks[61:100:2, 56:59, 1] += step
        film = DrawnFilm(head.frames[:100], landmarks, wave)
        assert score_of(SilentLipsMetric(), film).values["silent-motion"] == pytest.approx(0.1 * 25 * 39 / (99 - 53), rel=0.05)
        assert "silent-share" not in score_of(SilentLipsMetric(), film).values, "lips that rest in speech are no measure"

    def test_silence_keeps_away_from_sound(self):
        wave = np.zeros(4 * SAMPLE_RATE, np.float32)
        wave[SAMPLE_RATE:2 * SAMPLE_RATE] = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
        quiet = silent(wave, 100)
        assert quiet[:21].all() and not quiet[22:53].any() and quiet[54:].all()


class TestSyncExpert:
    def test_it_asks_the_expert_stretch_by_stretch(self, monkeypatch):
        """An expert that hears the sound 3 frames early; 60 frames with a gap make two stretches."""
        asked = []

        class Expert(torch.nn.Module):
            context, window, sees = (0.0, 0.2), 5, None

            def log_odds(self, clip, reach):
                asked.append(clip)
                found = torch.full((1, clip.frames.shape[1] - 4, 2 * reach + 1), -1.0)
                found[..., reach + 3] = 2.0
                return found

        recipe = SimpleNamespace(crop="face", size=32)
        monkeypatch.setattr(expert_module, "open_judge", lambda *_: (Expert(), recipe))
        film = drawn_film(frames=60)
        landmarks = film.landmarks.copy()
        landmarks[30] = np.nan
        score = score_of(SyncExpertMetric(run="RUN"), replace(film, landmarks=landmarks), 11)
        assert [clip.frames.shape[1] for clip in asked] == [30, 29]
        assert score.values["sync-offset"] == 3 and score.values["sync-odds"] == pytest.approx(-1)
        assert score.curves["log odds over offset"].argmax() == 15 - 3
        inside = asked[0].landmarks[0]
        assert inside.abs().max() < 1 and (inside[:, 8, 1] > inside[:, 27, 1]).all(), "the chin is under the nose"

    def test_without_an_expert_it_says_how_to_get_one(self):
        with pytest.raises(BadRun, match="run=RUN, trained by fctfg train --recipe sync-expert-small"):
            SyncExpertMetric().load()


@pytest.mark.shared
@pytest.mark.slow
def test_real_clips_in_step_are_above_those_moved_by_ten_frames(shared_data):
    from fctfg.evaluation.measuring import Pair, measure

    ahead, clips = 0, sorted((shared_data / "clips" / "real").glob("talking-face-pc-avs__*.mp4"))
    for clip in clips:
        curve = next(found for found in measure(Pair(clip.stem, clip), {"openness": OpennessMetric()})
                     if not isinstance(found, float)).score.curves["correlation over offset"]
        ahead += int(curve[15] > max(curve[5], curve[25]))
    assert clips and ahead > len(clips) / 2
