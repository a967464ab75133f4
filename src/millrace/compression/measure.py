"""What one band of a scene is like: its range in decibels, its valid share, and its number of looks."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.compression.decibels import Values, check_values, clip_range, to_power, with_logarithm
from millrace.compression.raw import strip_rows
from millrace.errors import ImageError
from millrace.imagery.raster import Raster

MAX_SAMPLES = 1_000_000
ENL_WINDOW_PX = 15
ENL_QUANTILE = 0.95
"""The median of the tenth of all windows that are most homogeneous."""


@dataclass(frozen=True)
class Measured:
    """Of one band.

    Attributes:
        valid_share: Of pixels that can be coded.
        minimum: Smallest valid value as it is stored.
        maximum: Largest.
        low: Lower percentile in decibels (`linear` values in their own unit).
        high: Upper percentile.
        enl: Equivalent number of looks; NaN of `linear` values, or without a window that is wholly valid.
        fill: What invalid pixels hold where the file has no nodata value: NaN if any of them does, else 0.
        content: Hash of shape and pixels.
    """

    valid_share: float
    minimum: float
    maximum: float
    low: float
    high: float
    enl: float
    fill: float
    content: str


def measure_band(
    raster: Raster, band: int, kind: Values, low_percentile: float = 1.0, high_percentile: float = 99.0
) -> Measured:
    """Read every block of a band once, in strips, and measure it.

    Percentiles are those of all valid pixels where these are integers, else of at most a million of them, evenly
    taken.

    Raises:
        ImageError: The file is damaged, has no valid pixel, or its values contradict `kind`.
    """
    dtype = raster.metadata.dtype
    occurring = _Histogram(dtype) if np.dtype(dtype).kind != "f" else _Subsample(raster)
    digest = hashlib.sha256(f"{raster.metadata.height} {raster.metadata.width}".encode())
    codable, not_finite = 0, False
    looks = []
    for window in raster.strips(strip_rows(raster, ENL_WINDOW_PX)):
        values, readable = raster.read(band, window)
        digest.update(values.tobytes())
        not_finite = not_finite or not np.isfinite(values).all()
        occurring.add(values, readable, window.row_off)
        valid = with_logarithm(values, readable, kind)
        codable += int(valid.sum())
        if kind != "linear":
            looks.append(looks_of_windows(to_power(values, kind), valid))
    levels, counts = occurring.result()
    if not len(levels):
        raise ImageError(f"band {band} has no valid pixel: all are nodata or NaN")
    check_values(levels, counts, dtype, kind)
    if not codable:
        raise ImageError(f"band {band} has no valid pixel: none is above 0, and values is {kind}")
    coded = with_logarithm(levels, np.ones(len(levels), bool), kind)
    levels, counts = levels[coded], counts[coded]
    low, high = clip_range(levels, counts, kind, low_percentile, high_percentile)
    found = np.concatenate(looks) if looks else np.empty(0)
    return Measured(
        valid_share=codable / raster.pixels,
        minimum=float(levels[0]),
        maximum=float(levels[-1]),
        low=low,
        high=high,
        enl=float(np.quantile(found, ENL_QUANTILE)) if len(found) else math.nan,
        fill=math.nan if not_finite else 0.0,
        content=digest.hexdigest()[:32],
    )


def looks_of_windows(power: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Equivalent number of looks, mean^2 / variance of power, of each window of 15 x 15 pixels that is wholly valid.

    Estimates from so few pixels scatter: of pure speckle of L looks their median is L, and ENL_QUANTILE 1.2 L.

    Windows lie side by side from the first pixel on; rests at the far edges are left out, and windows of one value.
    """
    side = ENL_WINDOW_PX
    down, across = power.shape[0] // side, power.shape[1] // side
    cut = slice(0, down * side), slice(0, across * side)

    def windows(image: NDArray[Any]) -> NDArray[Any]:
        return image[cut].reshape(down, side, across, side).swapaxes(1, 2).reshape(down * across, side * side)

    whole = windows(power)[windows(valid).all(axis=1)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        variance = whole.var(axis=1, ddof=1)
        varied = np.isfinite(variance) & (variance > 0)
        looks: NDArray[np.float64] = whole[varied].mean(axis=1) ** 2 / variance[varied]
    return looks


class _Histogram:
    """Integers that occur, all counted."""

    def __init__(self, dtype: str) -> None:
        limits = np.iinfo(dtype)
        self._least = int(limits.min)
        self._counts = np.zeros(int(limits.max) - self._least + 1, np.int64)

    def add(self, values: NDArray[Any], valid: NDArray[np.bool_], top: int) -> None:
        self._counts += np.bincount(values[valid].astype(np.int64) - self._least, minlength=len(self._counts))

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Values, ascending, and how often each occurs."""
        found = np.flatnonzero(self._counts)
        return (found + self._least).astype(np.float64), self._counts[found]


class _Subsample:
    """Every so many-th pixel of a raster; and, counted 0 times, the least, the least positive and the largest value."""

    def __init__(self, raster: Raster) -> None:
        self._width = raster.metadata.width
        self._step = -(-raster.pixels // MAX_SAMPLES)
        while math.gcd(self._step, self._width) > 1:  # else it would meet some columns only
            self._step += 1
        self._picked: list[NDArray[np.float64]] = []
        self._ends: list[float] = []

    def add(self, values: NDArray[Any], valid: NDArray[np.bool_], top: int) -> None:
        first = -top * self._width % self._step
        picked = values.ravel()[first :: self._step][valid.ravel()[first :: self._step]]
        self._picked.append(picked.astype(np.float64))
        for part in (valid, valid & (values > 0)):
            if part.any():
                self._ends += [float(values[part].min()), float(values[part].max())]

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Values, ascending, and how often each occurs among the pixels taken."""
        picked, occurrences = np.unique(np.concatenate(self._picked), return_counts=True)
        levels = np.union1d(picked, self._ends)
        counts = np.zeros(len(levels), np.int64)
        counts[np.searchsorted(levels, picked)] = occurrences
        return levels, counts if len(picked) else counts + 1
