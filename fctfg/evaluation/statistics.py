"""How sure a mean is, how sure a difference is, and how well two orders agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIMES = 2000
"""Resamplings of a bootstrap."""
SURE = 0.95
LEAST = 5
"""Clips under which no difference is believed."""


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Within which the mean of `values` lies with 95 %: the percentile bootstrap (Efron, 1979), equal for equal seeds.

    Both ends are NaN for a single value.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(values), size=(TIMES, len(values)))
    with np.errstate(invalid="ignore"):  # infinite ones, as the PSNR of equal pictures
        means = np.sort(values[draws].mean(1))
    if not np.isfinite(means).all():
        return float("nan"), float("nan")
    tail = (1 - SURE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's: 1 where both are in the same order, -1 in the opposite one; NaN where either is all the same."""
    one, other = _ranks(one), _ranks(other)
    one, other = one - one.mean(), other - other.mean()
    size = np.sqrt((one ** 2).sum() * (other ** 2).sum())
    return float((one * other).sum() / size) if size else float("nan")


def _ranks(values: Sequence[float]) -> np.ndarray:
    """From 0 on; equal values share the mean of theirs."""
    values = np.asarray(values, float)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse.ravel()]
