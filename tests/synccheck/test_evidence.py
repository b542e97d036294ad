"""From windows to a verdict, against arithmetic by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fctfg.synccheck import weigh

WINDOW = 2


def parabolas(summit: float, windows: int = 40, reach: int = 4, height: float = 1.0) -> np.ndarray:
    """Log odds (W, 2 R + 1) that are highest where the sound is `summit` frames early."""
    offsets = np.arange(-reach, reach + 1)
    return np.tile(height - 0.3 * (offsets - summit) ** 2, (windows, 1))


def test_the_best_offset_is_found_between_frames():
    verdict = weigh(parabolas(1.75), np.arange(40) / 25, WINDOW)
    assert verdict.offset == 2 and verdict.seconds == pytest.approx(1.75 / 25)
    assert verdict.offsets.tolist() == list(range(-4, 5))
    late = weigh(parabolas(-3.0), np.arange(40) / 25, WINDOW)
    assert late.offset == -3 and late.seconds == pytest.approx(-0.12)


def test_probabilities_are_those_of_bayes():
    log_odds = np.random.default_rng(0).normal(0, 0.8, (12, 5))
    verdict = weigh(log_odds, np.arange(12) / 25, WINDOW)
    likely = [math.exp(sum(log_odds[:, j]) / (2 * WINDOW)) / 5 for j in range(5)]
    whole = sum(likely) + 1
    best = max(range(5), key=lambda j: likely[j])
    assert verdict.unrelated == pytest.approx(1 / whole)
    assert verdict.agreement == pytest.approx(sum(likely[1:4]) / whole)
    assert verdict.offset == best - 2
    assert verdict.confidence == pytest.approx(sum(likely[max(0, best - 1):best + 2]) / whole)
    np.testing.assert_allclose(verdict.probability(-1), 1 / (1 + np.exp(-log_odds[:, 1])))


def test_more_of_the_same_makes_surer():
    short, long = (weigh(parabolas(0, windows), np.arange(windows) / 25, WINDOW) for windows in (10, 200))
    assert 0.5 < short.confidence < long.confidence and long.confidence > 0.99
    assert weigh(-np.ones((200, 9)), np.arange(200) / 25, WINDOW).unrelated > 0.99


def test_what_could_not_be_heard_says_nothing():
    log_odds = parabolas(0)
    log_odds[:3, 6:] = np.nan  # the sound has not begun
    verdict = weigh(log_odds, np.arange(40) / 25, WINDOW)
    np.testing.assert_allclose(verdict.scores, parabolas(0)[0])
    log_odds[:, 8] = np.nan
    verdict = weigh(log_odds, np.arange(40) / 25, WINDOW)
    assert np.isnan(verdict.scores[8]) and verdict.offset == 0 and verdict.agreement > 0.9
    plain = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert plain["scores"][8] is None and plain["offset_ms"] == 0 and len(plain["windows"]["agreement"]) == 40
