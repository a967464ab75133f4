"""Boxes of one image, as arrays: true ones and found ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Truth(NamedTuple):
    """True boxes of an image.

    Attributes:
        boxes: Left, top, right, bottom in pixels of the image, (N, 4), float32.
        labels: Class numbers from 0, (N,), int64.
        ignored: Whether a box is neither to be found nor wrong to find (a crowd), (N,), bool.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]


class Detections(NamedTuple):
    """Boxes found in an image, the highest score first.

    Attributes:
        boxes: As in `Truth`.
        labels: As in `Truth`.
        scores: From 0 to 1, (N,), float32.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        kept = self.scores >= np.float32(score)
        return Detections(self.boxes[kept], self.labels[kept], self.scores[kept])


def ious(
    first: NDArray[np.float32], second: NDArray[np.float32], ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) and (M, 4), as (N, M).

    Args:
        first: Found boxes.
        second: True boxes.
        ignored: Of the true boxes, (M,): with these the intersection is divided by the found box's area alone, as COCO
            does for crowds.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.clip(corner, 0, None).prod(axis=2)
    own, other = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (a, b))
    whole = own[:, None] + other[None, :] - common
    if ignored is not None:
        whole = np.where(ignored[None, :], own[:, None], whole)
    shares: NDArray[np.float64] = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return shares
