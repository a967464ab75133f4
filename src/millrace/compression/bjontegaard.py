"""Average differences between two rate-distortion curves: BD-rate and BD-PSNR.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001: the curves are interpolated
with the logarithm of the rate on one axis, and the area between them is divided by the length of the interval that both
cover. The interpolation is the monotone piecewise cubic (PCHIP) of the later common test conditions (JCTVC-L1100,
JVET-T2010) instead of one polynomial through all points, which may swing between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Curve = Sequence[tuple[float, float]]
"""Points (bits per pixel, quality), in any order; of the quality more is better."""

MIN_POINTS = 2


@dataclass(frozen=True)
class Difference:
    """A tested curve against an anchor, averaged over the interval `low` to `high`."""

    value: float
    low: float
    high: float


def bd_rate(anchor: Curve, tested: Curve, rates: tuple[float, float] | None = None) -> Difference:
    """Rate that the tested curve needs more (+) or less (-) than the anchor at equal quality, in percent of the latter.

    It is averaged over the quality that both curves span, the overlap that is returned.

    Args:
        anchor: Points of the anchor.
        tested: Points of the tested codec.
        rates: Bits per pixel, first the lower, of a window that the anchor is cut to: quality that it reaches only
            outside takes no part. The tested curve is not cut: its rate at that quality may lie outside.

    Raises:
        ValueError: The curves share no interval of quality, or a curve has fewer than two points (`pareto`).
    """
    anchor_rates, anchor_qualities = pareto(anchor)
    tested_rates, tested_qualities = pareto(tested)
    low, high = anchor_qualities[0], anchor_qualities[-1]
    if rates is not None:
        first, last = _overlap(anchor_rates, np.asarray(rates), "the anchor and the window of rates share no rates")
        low, high = PchipInterpolator(np.log(anchor_rates), anchor_qualities)(np.log([first, last]))
    low, high = _overlap(np.array([low, high]), tested_qualities, "the curves share no quality")
    mean = _mean(tested_qualities, np.log(tested_rates), low, high)
    mean -= _mean(anchor_qualities, np.log(anchor_rates), low, high)
    return Difference(100 * float(np.expm1(mean)), low, high)


def bd_psnr(anchor: Curve, tested: Curve, rates: tuple[float, float] | None = None) -> Difference:
    """Quality that the tested curve gains (+) or loses (-) at equal rate, in the quality's unit.

    It is averaged over the logarithm of the rates that both curves span, within `rates` where given; the overlap that
    is returned is in bits per pixel. The arguments are those of `bd_rate`.

    Raises:
        ValueError: The curves share no interval of rates, or a curve has fewer than two points (`pareto`).
    """
    anchor_rates, anchor_qualities = pareto(anchor)
    tested_rates, tested_qualities = pareto(tested)
    low, high = _overlap(anchor_rates, tested_rates, "the curves share no rates")
    if rates is not None:
        low, high = _overlap(np.array([low, high]), np.asarray(rates), "the curves share no rates within the window")
    ends = float(np.log(low)), float(np.log(high))
    gain = _mean(np.log(tested_rates), tested_qualities, *ends) - _mean(np.log(anchor_rates), anchor_qualities, *ends)
    return Difference(gain, low, high)


def decibels(ms_ssim: ArrayLike) -> NDArray[np.float64]:
    """-10 log10(1 - MS-SSIM): spreads the values near 1, where curves crowd, over a scale like that of PSNR.

    Raises:
        ValueError: A value is 1 or more.
    """
    values = np.asarray(ms_ssim, np.float64)
    if (values >= 1).any():
        raise ValueError("an MS-SSIM of 1 has no finite value in decibels")
    return -10 * np.log10(1 - values)


def pareto(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates and qualities, both ascending, of the points that no other point beats by rate and equals by quality.

    Raises:
        ValueError: Fewer than two points remain, a rate is not positive, or a number is not finite.
    """
    points = np.asarray(curve, np.float64).reshape(-1, 2)
    if not np.isfinite(points).all() or (points[:, 0] <= 0).any():
        raise ValueError(f"rates must be positive and qualities finite: {points.tolist()}")
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.maximum.accumulate(np.r_[-np.inf, points[:, 1]])[:-1]
    points = points[points[:, 1] > best_before]
    if len(points) < MIN_POINTS:
        raise ValueError(f"a curve needs {MIN_POINTS} points of ascending rate and quality, and has {len(points)}")
    return points[:, 0], points[:, 1]


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64], refusal: str) -> tuple[float, float]:
    """Common interval of two ascending arrays."""
    low, high = float(max(first[0], second[0])), float(min(first[-1], second[-1]))
    if not low < high:
        ranges = f"{first[0]:g} to {first[-1]:g} and {second[0]:g} to {second[-1]:g}"
        raise ValueError(f"{refusal}: {ranges}")
    return low, high


def _mean(x: NDArray[np.float64], y: NDArray[np.float64], low: float, high: float) -> float:
    return float(PchipInterpolator(x, y).integrate(low, high)) / (high - low)
