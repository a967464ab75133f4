"""Scores of class rasters: confusion counts, IoU, F1, the error of azimuths, and the agreement of borders.

Everything is made of counts that add up: the scores of many tiles are those of the sum of the tiles' counts. A pixel
whose truth is UNKNOWN counts nowhere, whatever is predicted there. Where there is nothing to count, a score is NaN.

- IoU of a class = TP / (TP + FP + FN). A class that is in neither truth nor prediction has none and is left out of
  means. The background has an IoU but is never part of a mean; a roof pixel taken for background, or the other way
  round, counts in the union of the roof's class. So the mean azimuth IoU is over azimuth classes and `flat`.
- F1 = 2 TP / (2 TP + FP + FN).
- The azimuth error is the mean angle between true and predicted azimuth class, at most 180 degrees, over the pixels
  that truth and prediction both give an azimuth: what is flat or background in one of them has no angle.
- Agreement within a tolerance, of borders here and of lines in `line_scores`: precision is the share of the predicted
  pixels with a true one within the tolerance (between pixel centres), recall the same the other way round, F1 their
  harmonic mean. A pixel without such a counterpart is left out where an unlabelled pixel lies within the tolerance:
  its counterpart could be there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from millrace.roof.classes import UNKNOWN, background_class

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Counts:
    """Pixels by true (row) and predicted class (column), (classes, classes).

    Args:
        truth: (H, W), below `classes` or UNKNOWN.
        predicted: (H, W), below `classes`.
        classes: How many there are.

    Raises:
        ValueError: The shapes differ, or a value is no class.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}")
    known = truth != UNKNOWN
    rows, columns = truth[known].astype(np.int64), predicted[known]
    if rows.size and max(int(rows.max()), int(columns.max())) >= classes:
        raise ValueError(f"a class is not below {classes}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """IoU of each class of a confusion table, NaN for one that is in neither truth nor prediction."""
    both = counts.diagonal()
    return _ratio(both, counts.sum(axis=0) + counts.sum(axis=1) - both)


def mean_iou(counts: Counts) -> float:
    """Of the classes but the last one, which is the background."""
    return mean_of(class_iou(counts)[:-1])


def mean_of(values: NDArray[np.float64]) -> float:
    """Mean of those that are not NaN; NaN where all are."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def azimuth_error(counts: Counts) -> float:
    """Mean circular error in degrees, from the confusion table of segments."""
    azimuths = len(counts) - 2
    assert background_class(azimuths) == len(counts) - 1
    steps = np.abs(np.subtract.outer(np.arange(azimuths), np.arange(azimuths)))
    degrees = np.minimum(steps, azimuths - steps) * (360 / azimuths)
    sloped = counts[:azimuths, :azimuths]
    return float((degrees * sloped).sum() / sloped.sum()) if sloped.any() else float("nan")


def binary_scores(counts: Counts) -> tuple[float, float]:
    """IoU and F1 of class 1, from a confusion table of two classes."""
    missed_or_wrong, both = counts[0, 1] + counts[1, 0], counts[1, 1]
    iou, f1 = _ratio(np.array([both, 2 * both]), np.array([both, 2 * both]) + missed_or_wrong)
    return float(iou), float(f1)


def boundary_counts(truth: NDArray[np.uint8], predicted: Mask, tolerance_px: float) -> Counts:
    """Counts for `agreement` of the borders of a mask.

    A pixel of the mask is of its border where one of its four neighbours is labelled and not of the mask; the edge of
    the picture is no border. The labels decide which neighbours count for the prediction too.

    Args:
        truth: 1 in the mask, 0 outside, or UNKNOWN, (H, W).
        predicted: (H, W).
        tolerance_px: Greatest distance between the centres of pixels that agree.
    """
    known = truth != UNKNOWN
    return agreement_counts(_border(truth == 1, known), _border(predicted, known), known, tolerance_px)


def agreement_counts(truth: Mask, predicted: Mask, known: Mask, tolerance_px: float) -> Counts:
    """Counted predicted pixels, those of them that agree, counted true pixels, those of them that agree: (4,).

    Args:
        truth: True pixels (H, W).
        predicted: Predicted pixels (H, W).
        known: Labelled pixels (H, W); truth and prediction elsewhere play no part.
        tolerance_px: Greatest distance between the centres of pixels that agree.
    """
    truth, predicted = truth & known, predicted & known
    undecided = _within(~known, tolerance_px)
    counts = []
    for own, other in ((predicted, truth), (truth, predicted)):
        near = _within(other, tolerance_px)[own]
        counts += [np.count_nonzero(near | ~undecided[own]), np.count_nonzero(near)]
    return np.array(counts, np.int64)


def agreement(counts: Counts) -> tuple[float, float, float]:
    """Precision, recall and F1 of `agreement_counts`; F1 is NaN only where there is neither truth nor prediction."""
    predicted, right, true, found = (float(count) for count in counts)
    precision = right / predicted if predicted else float("nan")
    recall = found / true if true else float("nan")
    if not predicted and not true:
        return precision, recall, float("nan")
    if not right or not found:
        return precision, recall, 0.0
    return precision, recall, 2 * precision * recall / (precision + recall)


def _border(mask: Mask, known: Mask) -> Mask:
    outside = np.pad(known & ~mask, 1)
    beside = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
    border: Mask = mask & known & beside
    return border


def _within(mask: Mask, distance_px: float) -> Mask:
    """Pixels no further than this from a pixel of the mask."""
    if not mask.any():
        return mask
    near: Mask = ndimage.distance_transform_edt(~mask) <= distance_px
    return near


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
