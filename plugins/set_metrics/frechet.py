"""The distance of two sets of features, taken for two normal distributions."""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of features `a` (n, D) and `b` (m, D), each of two or more: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    Dowson and Landau, 1982; as FID in Heusel et al., 2017, arXiv:1706.08500, eq. 6, with covariances over n - 1. The
    trace of the root is the sum of the singular values of A B', where C_a = A' A and C_b = B' B. That is exact for sets
    with fewer members than features, too, whose covariances have no root that can be computed safely.
    """
    means, roots, spread = [], [], 0.0
    for features in (np.asarray(a, np.float64), np.asarray(b, np.float64)):
        mean = features.mean(0)
        root = (features - mean) / np.sqrt(len(features) - 1)
        means.append(mean)
        roots.append(np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root)
        spread += np.square(root).sum()
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(max(0.0, np.square(means[0] - means[1]).sum() + spread - 2 * shared))
