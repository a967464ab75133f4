"""Vector lines as pixels, and cut to a tile."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from millrace.roof.scene import Lines

_ON_LINE = 1e-6
"""Rounding of a distance in pixels: of a line between two pixels both are on it."""


def drawn(lines: Lines, shape: tuple[int, ...], width_px: float) -> NDArray[np.uint8]:
    """Bits of the kinds of lines at each pixel whose centre is within half the width of one.

    Args:
        lines: In pixels of the picture; they may leave it.
        shape: (H, W).
        width_px: At least 1.

    Returns:
        (H, W) uint8.
    """
    picture = np.zeros(shape, np.uint8)
    for kind, ends in zip(lines.kinds.tolist(), lines.ends, strict=True):
        rows, columns = _pixels(ends, shape, width_px / 2 + _ON_LINE)
        picture[rows, columns] |= np.uint8(1 << kind)
    return picture


def clipped(lines: Lines, height: int, width: int, min_length_px: float = 1.0) -> Lines:
    """The parts of lines that lie in a picture; those shorter than `min_length_px` are left out.

    Liang and Barsky 1984, doi:10.1145/357332.357333.
    """
    start, along = lines.ends[:, :2], lines.ends[:, 2:] - lines.ends[:, :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.stack([(0 - start) / along, (np.array([height, width]) - start) / along])
    # 0 / 0: the line runs along an edge, inside of it.
    entry = np.where(np.isnan(crossings).any(axis=0), -np.inf, crossings.min(axis=0)).max(axis=1, initial=0)
    leave = np.where(np.isnan(crossings).any(axis=0), np.inf, crossings.max(axis=0)).min(axis=1, initial=1)
    kept = (leave - entry) * np.hypot(along[:, 0], along[:, 1]) >= min_length_px
    start, along = start[kept], along[kept]
    cut = np.concatenate([start + entry[kept, None] * along, start + leave[kept, None] * along], axis=1)
    return Lines(lines.kinds[kept], np.clip(cut, 0, [height, width, height, width]))


def _pixels(
    ends: NDArray[np.float64], shape: tuple[int, ...], reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels whose centres are within `reach` of a line."""
    start, along = ends[:2], ends[2:] - ends[:2]
    length = float(np.hypot(*along))
    major = int(abs(along[1]) > abs(along[0]))
    minor = 1 - major
    low, high = min(ends[major], ends[major + 2]) - reach, max(ends[major], ends[major + 2]) + reach
    steps = np.arange(max(0, math.floor(low)), min(shape[major], math.ceil(high) + 1))
    slope = along[minor] / along[major] if length else 0.0
    middle = np.floor(start[minor] + (steps + 0.5 - start[major]) * slope).astype(np.int64)
    # A line rises by at most a pixel a step, so it is at most sqrt(2) times as wide across a row.
    half = math.ceil(reach * math.sqrt(2)) + 1
    pixels = np.empty((2, len(steps), 2 * half + 1), np.int64)
    pixels[major] = steps[:, None]
    pixels[minor] = middle[:, None] + np.arange(-half, half + 1)
    away = pixels + 0.5 - start[:, None, None]
    nearest = np.clip(np.tensordot(along, away, 1) / max(length**2, 1e-12), 0, 1)
    distance = np.hypot(*(away - along[:, None, None] * nearest))
    inside = (distance <= reach) & (pixels[minor] >= 0) & (pixels[minor] < shape[minor])
    return pixels[0][inside], pixels[1][inside]
