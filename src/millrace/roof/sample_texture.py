"""Noise and patterns for the synthetic aerial photographs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Plane = NDArray[np.float32]
_TABLE_BITS = 12
_SPLINE_STD = 0.48


def smooth_noise(generator: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Plane:
    """Noise (H, W) of mean about 0 and standard deviation about 1 that is smooth over `scale_px` pixels.

    Cubic B-splines through white noise on a coarse lattice.
    """
    if scale_px <= 1:
        return generator.standard_normal(shape, np.float32)
    rows, columns = (_spline(length, scale_px) for length in shape)
    coarse = generator.standard_normal((rows.shape[1], columns.shape[1]), np.float32)
    # Sparse products add in one fixed order whatever the number of threads, so that equal seeds give equal bytes.
    across: Plane = np.ascontiguousarray((columns @ np.ascontiguousarray(coarse.T)).T)
    noise: Plane = rows @ across
    noise /= np.float32(_SPLINE_STD)
    return noise


def _spline(length: int, scale_px: float) -> sparse.csr_array:
    """(length, lattice points): four weights in each row."""
    place = (np.arange(length) + 0.5) / scale_px
    first = np.floor(place).astype(np.int64)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    lattice = math.floor((length - 0.5) / scale_px) + 4
    pointers = np.arange(0, 4 * length + 1, 4)
    columns = (first[:, None] + np.arange(4)).ravel()
    return sparse.csr_array((weights.astype(np.float32).ravel(), columns, pointers), shape=(length, lattice))


class Lattice:
    """Random numbers of standard deviation 1 for whole-numbered places: the same place has the same number."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._table = generator.standard_normal(1 << _TABLE_BITS, np.float32)

    def at(self, first: NDArray[np.int64], second: NDArray[np.int64], third: NDArray[np.int64]) -> Plane:
        mixed = first * 73856093 ^ second * 19349663 ^ third * 83492791
        mixed ^= mixed >> 15
        value: Plane = self._table[mixed & ((1 << _TABLE_BITS) - 1)]
        return value
