"""Scores of roof lines, kind by kind: F1 of pixels within a tolerance, and structural AP of straight lines.

Pixels: truth and prediction are thinned to lines one pixel wide, so that a thick line is no way to reach more, and
compared as `scores.agreement_counts` says, where the kind is labelled.

Structural AP (sAP, L-CNN, Zhou et al. 2019): lines are compared by the sum of the squared distances between their ends,
the better of the two ways round. L-CNN measures in images of 512 x 512 pixels reduced to 128 x 128; here one unit is
4 pixels of the image as prepared, which is the same for 512 pixels and does not depend on how scenes are cut into
tiles. sAP5, sAP10 and sAP15 ask for less than 5, 10, 15 such square units, which is 80, 160, 240 square pixels. In the
order of their scores, predicted lines of a tile are right if the true line of their kind that is nearest meets the
threshold and no line before has taken it; all others are wrong. AP is the area under the envelope of precision over
recall, over the lines of all tiles ranked together; lines of equal score enter together.

True lines are cut off at the edge of their tile. Lines, true or predicted, that are shorter than one unit are not
counted. Lines of a kind count only on tiles where vectors of that kind are given. A kind without a true line
anywhere has no AP and is left out of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millrace.roof.classes import LINES
from millrace.roof.line_drawing import clipped
from millrace.roof.scores import agreement_counts

if TYPE_CHECKING:
    from millrace.roof.scene import Lines
    from millrace.roof.vector_lines import VectorLines

SAP_THRESHOLDS = (5, 10, 15)
UNIT_PX = 4.0
"""512 / 128."""


@dataclass(frozen=True)
class LineMatches:
    """Predicted lines of one or more tiles, right or wrong.

    Attributes:
        true: Number of true lines of each of `LINES`, (5,).
        kinds: Of the predicted lines, (N,).
        scores: (N,).
        right: At each of `SAP_THRESHOLDS`, (N, 3).
    """

    true: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[LineMatches]) -> LineMatches:
        """Those of several tiles together."""
        return cls(
            true=np.sum([np.zeros(len(LINES), np.int64), *(part.true for part in parts)], axis=0),
            kinds=np.concatenate([np.zeros(0, np.uint8), *(part.kinds for part in parts)]),
            scores=np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
            right=np.concatenate([np.zeros((0, len(SAP_THRESHOLDS)), bool), *(part.right for part in parts)]),
        )


def line_pixel_counts(
    truth: NDArray[np.uint8],
    known: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    threshold: float,
    tolerance_px: float,
) -> NDArray[np.int64]:
    """`agreement_counts` of each kind, (5, 4).

    Args:
        truth: Bits of `LINES` (H, W).
        known: Bits of the kinds that are labelled at a pixel (H, W).
        probabilities: Of the kinds, (5, H, W).
        threshold: Probability from which a pixel is predicted to be of a line.
        tolerance_px: Greatest distance between the centres of pixels that agree.
    """
    from skimage.morphology import skeletonize

    counts = np.zeros((len(LINES), 4), np.int64)
    for kind in range(len(LINES)):
        labelled = (known >> kind & 1).astype(bool)
        true = (truth >> kind & 1).astype(bool) & labelled
        found = (probabilities[kind] >= threshold) & labelled
        if true.any() or found.any():
            counts[kind] = agreement_counts(skeletonize(true), skeletonize(found), labelled, tolerance_px)
    return counts


def match_lines(truth: Lines, known_kinds: int, found: VectorLines, shape: tuple[int, int]) -> LineMatches:
    """Compare the lines of one tile.

    Args:
        truth: True lines.
        known_kinds: Bits of the kinds that `truth` has all of.
        found: Predicted lines.
        shape: Rows and columns of the tile.
    """
    truth = clipped(truth, *shape, min_length_px=UNIT_PX)
    long = np.hypot(*(found.ends[:, 2:] - found.ends[:, :2]).T) >= UNIT_PX
    parts = []
    for kind in range(len(LINES)):
        if not known_kinds >> kind & 1:
            continue
        true = truth.ends[truth.kinds == kind] / UNIT_PX
        own = np.flatnonzero(long & (found.kinds == kind))
        own = own[np.argsort(-found.scores[own], kind="stable")]
        number = np.zeros(len(LINES), np.int64)
        number[kind] = len(true)
        scores = found.scores[own].astype(np.float64)
        parts.append(
            LineMatches(number, np.full(len(own), kind, np.uint8), scores, _right(found.ends[own] / UNIT_PX, true))
        )
    return LineMatches.joined(parts)


def structural_ap(matches: LineMatches) -> NDArray[np.float64]:
    """AP of each kind at each of `SAP_THRESHOLDS`, (5, 3), NaN for a kind without a true line."""
    ap = np.full((len(LINES), len(SAP_THRESHOLDS)), np.nan)
    for kind in np.flatnonzero(matches.true):
        own = matches.kinds == kind
        for column in range(len(SAP_THRESHOLDS)):
            ap[kind, column] = _average_precision(
                matches.scores[own], matches.right[own, column], int(matches.true[kind])
            )
    return ap


def _right(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which lines (N, 4), in the order of their scores, are right at each threshold, (N, 3)."""
    right = np.zeros((len(found), len(SAP_THRESHOLDS)), bool)
    if not len(found) or not len(true):
        return right
    straight = ((found[:, None] - true) ** 2).sum(axis=2)
    crossed = ((found[:, None, [2, 3, 0, 1]] - true) ** 2).sum(axis=2)
    distance = np.minimum(straight, crossed)
    nearest, least = distance.argmin(axis=1), distance.min(axis=1)
    for column, threshold in enumerate(SAP_THRESHOLDS):
        near = np.flatnonzero(least < threshold)
        _, first = np.unique(nearest[near], return_index=True)
        right[near[first], column] = True
    return right


def _average_precision(scores: NDArray[np.float64], right: NDArray[np.bool_], true: int) -> float:
    order = np.argsort(-scores, kind="stable")
    # Lines of equal score have no order: the curve has a point only where the score changes.
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    found = np.cumsum(right[order])[last]
    recall = np.concatenate([[0.0], found / true])
    precision = found / (last + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())
