"""COCO's scores of found boxes, by faster-coco-eval.

A box is found at an IoU threshold by the detection of its class and image that comes first by score and overlaps it
enough; average precision (AP) is the mean of the precision at 101 recalls, then over classes and, where no threshold is
named, over the IoU thresholds .5, .55 ... .95. Average recall (AR) is the recall of the 1, 10 or `max_detections` best
detections of each class and image, over the same thresholds. Ties in score stay in the order given.
Source: https://cocodataset.org/#detection-eval and pycocotools, whose numbers these are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from millrace.detection.boxes import Detections, Truth

NAMES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""In COCO's order."""
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Areas of boxes in square pixels; both ends belong to the class, as in COCO."""
RECALLS = np.linspace(0, 1, 101)

IOUS = tuple(twentieths / 20 for twentieths in range(10, 20))

_IOU50, _IOU75, _ALL_SIZES, _ALL_DETECTIONS = 0, 5, 0, 2


@dataclass(frozen=True)
class CocoScores:
    """The twelve numbers, from 0 to 1, and nan where there is no box to be found.

    Attributes:
        ar100: Average recall at `max_detections`, whatever that is.
        class_ap: AP of each class, (classes,).
        class_ap50: AP at IoU 0.5 of each class, (classes,).
        precision50: At IoU 0.5, the greatest precision at each of `RECALLS` or a higher recall, (classes, 101); 0 where
            that recall is never reached.
        score50: Score from which on that recall is reached, (classes, 101).
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    class_ap: NDArray[np.float64]
    class_ap50: NDArray[np.float64]
    precision50: NDArray[np.float64]
    score50: NDArray[np.float64]

    def numbers(self) -> dict[str, float]:
        """The twelve, by name."""
        return {name: float(getattr(self, name)) for name in NAMES}


class _Flat(NamedTuple):
    """Boxes of all images: left, top, width, height, (N, 4), class numbers, and a number for each class and image."""

    box: NDArray[np.float64]
    label: NDArray[np.int64]
    cell: NDArray[np.int64]


def coco_scores(
    truths: Sequence[Truth], found: Sequence[Detections], classes: int, max_detections: int = 100
) -> CocoScores:
    """Score the boxes found in a set of images.

    Args:
        truths: True boxes of each image.
        found: Detections in the same images; not necessarily in the order of their scores.
        classes: Number of classes.
        max_detections: Of each class and image, the best so many are scored.

    Raises:
        ValueError: There are more or fewer truths than detections, or a label is not a class.
    """
    if len(truths) != len(found):
        raise ValueError(f"{len(truths)} images have true boxes and {len(found)} have detections")
    true, detected = _flat(truths, classes), _flat(found, classes)
    if not len(true.label) + len(detected.label):
        empty = np.full((len(IOUS), len(RECALLS), classes, 1 + len(SIZES), 3), np.nan)
        return _summary(empty, empty[:, 0], np.zeros_like(empty))
    # To the library an image is but what keeps boxes apart, and it goes through all images for each class. So each
    # class gets image numbers of its own, which leave out the images that have nothing of it.
    cells = np.unique(np.concatenate([true.cell, detected.cell]))
    first = np.searchsorted(cells, np.arange(classes) * len(truths))
    images, own = (np.searchsorted(cells, each.cell) - first[each.label] for each in (true, detected))
    crowds, scores = (np.concatenate([each[2] for each in side]) for side in (truths, found))
    total = int(max(images.max(initial=0), own.max(initial=0))) + 1
    evaluation = COCOeval_faster(
        _dataset(_entries(true, images, "iscrowd", crowds.astype(int)), total, classes),
        _dataset(_entries(detected, own, "score", scores), total, classes),
        "bbox",
        ranges={size: list(limits) for size, limits in SIZES.items()},
        print_function=logging.getLogger(__name__).debug,
    )
    evaluation.params.maxDets = [1, min(10, max_detections), max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    # Where there is nothing to be found the library says -1.
    precision, recall, reached = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall", "scores"))
    return _summary(np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall), reached)


def _summary(precision: NDArray[np.float64], recall: NDArray[np.float64], scores: NDArray[np.float64]) -> CocoScores:
    """Means over (10 thresholds, 101 recalls, classes, 4 sizes, 3 numbers of detections), recall without the second."""
    best = precision[..., _ALL_DETECTIONS]
    return CocoScores(
        ap=_mean(best[..., _ALL_SIZES]),
        ap50=_mean(best[_IOU50, ..., _ALL_SIZES]),
        ap75=_mean(best[_IOU75, ..., _ALL_SIZES]),
        ap_small=_mean(best[..., 1]),
        ap_medium=_mean(best[..., 2]),
        ap_large=_mean(best[..., 3]),
        ar1=_mean(recall[..., _ALL_SIZES, 0]),
        ar10=_mean(recall[..., _ALL_SIZES, 1]),
        ar100=_mean(recall[..., _ALL_SIZES, _ALL_DETECTIONS]),
        ar_small=_mean(recall[..., 1, _ALL_DETECTIONS]),
        ar_medium=_mean(recall[..., 2, _ALL_DETECTIONS]),
        ar_large=_mean(recall[..., 3, _ALL_DETECTIONS]),
        # A class has boxes to be found or not: its numbers are all there or all nan.
        class_ap=best[..., _ALL_SIZES].mean(axis=(0, 1)),
        class_ap50=best[_IOU50, ..., _ALL_SIZES].mean(axis=0),
        precision50=best[_IOU50, ..., _ALL_SIZES].T,
        score50=scores[_IOU50, ..., _ALL_SIZES, _ALL_DETECTIONS].T,
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _flat(images: Sequence[Truth] | Sequence[Detections], classes: int) -> _Flat:
    boxes = np.concatenate([np.zeros((0, 4)), *(each.boxes for each in images)])
    label = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in images)])
    if label.size and not 0 <= label.min() <= label.max() < classes:
        raise ValueError(f"labels from {label.min()} to {label.max()} of {classes} classes")
    image = np.repeat(np.arange(len(images)), [len(each.labels) for each in images])
    return _Flat(
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), label, label * len(images) + image
    )


def _entries(flat: _Flat, images: NDArray[np.int64], key: str, values: NDArray[Any]) -> list[dict[str, Any]]:
    """The library's annotations, numbered from 1: to it 0 means that nothing matched."""
    parts = images, flat.label, flat.box, flat.box[:, 2] * flat.box[:, 3], values
    return [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": area, key: value}
        for number, (image, label, box, area, value) in enumerate(
            zip(*(part.tolist() for part in parts), strict=True), start=1
        )
    ]


def _dataset(entries: list[dict[str, Any]], images: int, classes: int) -> Any:
    return COCO(
        {
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": entries,
        }
    )
