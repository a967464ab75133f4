"""Sizes of anchors that fit the boxes of a data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS_PER_DOUBLING = 16


def fit_anchors(boxes: NDArray[np.float32], labels: NDArray[np.int64], levels: tuple[int, ...]) -> tuple[float, ...]:
    """Side of a square anchor for each pyramid level, each twice that of the level below.

    What is least is the mean squared logarithm of the ratio between a box's side and the nearest anchor's, each class
    counting the same however many boxes it has.

    Args:
        boxes: Left, top, right, bottom in pixels of what the network sees, (N, 4).
        labels: Of the boxes, (N,).
        levels: Consecutive levels. The smallest anchor is at least two of its level's pixels wide.

    Returns:
        Whole numbers of pixels; without a box, eight of each level's own pixels, which is the usual choice.
    """
    if not len(boxes):
        return tuple(float(8 * 2**level) for level in levels)
    sides = np.sqrt(np.clip((boxes[:, 2:] - boxes[:, :2]).prod(axis=1, dtype=np.float64), 1, None))
    weights = 1 / np.bincount(labels)[labels]
    doublings = np.arange(len(levels))
    lowest, highest = np.log2(2 * 2 ** levels[0]), max(np.log2(sides.max()), levels[0] + 1)
    starts = np.arange(lowest, highest + 1e-9, 1 / STEPS_PER_DOUBLING)
    misfits = [
        (weights * np.abs(np.log2(sides)[:, None] - start - doublings).min(axis=1) ** 2).sum() for start in starts
    ]
    best = starts[int(np.argmin(misfits))]
    return tuple(float(np.rint(2 ** (best + step))) for step in doublings)
