"""Whether a confidence of 0.8 is right in 80 of 100 pixels: expected calibration error and reliability table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.roof.classes import UNKNOWN

BINS = 15
"""Of equal width, as in Guo et al. 2017; a bin has its upper limit in it, and the first one 0 too."""


def calibration_counts(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], confidence: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Of each bin of confidence: pixels, sum of their confidences, and how many are right, (BINS, 3).

    Args:
        truth: True classes (H, W); UNKNOWN counts nowhere.
        predicted: The likeliest class of each pixel, (H, W).
        confidence: Its probability, (H, W).
    """
    known = truth != UNKNOWN
    shares = confidence[known].astype(np.float64)
    bins = np.clip(np.ceil(shares * BINS).astype(np.int64) - 1, 0, BINS - 1)
    right = (truth == predicted)[known]
    weights = (np.ones_like(shares), shares, right.astype(np.float64))
    return np.stack([np.bincount(bins, weight, BINS) for weight in weights], axis=1)


def calibration_error(counts: NDArray[np.float64]) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by their pixels; NaN without pixels."""
    pixels, confidence, right = counts.T
    return float(np.abs(confidence - right).sum() / pixels.sum()) if pixels.any() else float("nan")


def reliability(counts: NDArray[np.float64]) -> pd.DataFrame:
    """One row for each bin that has pixels: its limits, pixels, mean confidence and accuracy."""
    limits = np.arange(BINS + 1) / BINS
    table = pd.DataFrame({"from": limits[:-1], "to": limits[1:], "pixels": counts[:, 0].astype(np.int64)})
    pixels = np.maximum(counts[:, 0], 1)
    table = table.assign(confidence=counts[:, 1] / pixels, accuracy=counts[:, 2] / pixels)
    return table[table["pixels"] > 0].reset_index(drop=True)
