"""Scores of heights: RMSE, MAE and delta, over all labelled pixels and over those of roofs.

delta is the share of pixels where max(p / t, t / p) < 1.25 (Eigen et al. 2014), of predicted height p and true height
t. Near the ground a ratio says nothing, and at 0 there is none: both are raised to 1 m before they are divided. So
ground that is predicted as less than 1.25 m high is right.

A pixel whose true height is NaN counts nowhere. Where there is none to count, a score is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DELTA = 1.25
LEAST_HEIGHT_M = 1.0


def height_counts(
    truth: NDArray[np.float32], predicted: NDArray[np.float32], roof: NDArray[np.uint8] | None
) -> NDArray[np.float64]:
    """Sums that scores are made of, (2, 4): pixels, squared errors, absolute errors, pixels that are right by delta.

    The first row is of all labelled pixels, the second of those that are labelled as roof.

    Args:
        truth: Metres above ground (H, W), NaN where unknown.
        predicted: The same.
        roof: 1 on roofs (H, W); None where it is not labelled.
    """
    known = ~np.isnan(truth)
    true, found = truth[known].astype(np.float64), predicted[known].astype(np.float64)
    raised_true, raised_found = np.maximum(true, LEAST_HEIGHT_M), np.maximum(found, LEAST_HEIGHT_M)
    right = np.maximum(raised_true, raised_found) < DELTA * np.minimum(raised_true, raised_found)
    terms = np.stack([np.ones_like(true), (found - true) ** 2, np.abs(found - true), right.astype(np.float64)])
    on_roof = np.zeros(true.shape, bool) if roof is None else roof[known] == 1
    return np.stack([terms.sum(axis=1), terms[:, on_roof].sum(axis=1)])


def height_scores(counts: NDArray[np.float64]) -> dict[str, float]:
    """`depth_rmse_m`, `depth_mae_m`, `depth_delta`, and the same of roofs as `depth_roof_...`."""
    scores = {}
    for prefix, (pixels, squared, absolute, right) in zip(("depth", "depth_roof"), counts, strict=True):
        squared, absolute, right = (value / pixels if pixels else float("nan") for value in (squared, absolute, right))
        scores[f"{prefix}_rmse_m"] = float(np.sqrt(squared))
        scores[f"{prefix}_mae_m"] = float(absolute)
        scores[f"{prefix}_delta"] = float(right)
    return scores
