"""Scores of predicted against true objects: by pixel and by object, summed over a set of images.

- Pixels, foreground against background: Dice = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN).
- Objects: a true and a predicted object may match when their IoU reaches the threshold. Among such pairs those are
  matched, one to one, that give the largest total IoU. TP counts matches, FP predicted and FN true objects without one.
  AP = TP / (TP + FP + FN), as in the Data Science Bowl 2018 and StarDist (Schmidt et al. 2018); it is no area under a
  curve.
- A score over a set divides the sums of the counts; `*_per_image` is the mean of the images' own scores.
- Nothing to divide by: 1 where neither truth nor prediction has an object, else 0. So an image rightly left empty is
  perfect, and precision without a prediction, recall without a true object and mean IoU without a match are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from millrace.spheroid.objects import row_strips

IOU_THRESHOLDS = tuple(twentieths / 20 for twentieths in range(10, 20))
"""Of the AP curve: .5, .55 ... .95. Object scores without a threshold in their name are those at the first."""
AP_THRESHOLDS = 9
"""`instance_ap` is the mean AP over the first nine, .5 to .9."""


@dataclass(frozen=True)
class Matches:
    """Ids of matched true and predicted objects and their IoU, position by position, in the order of the true ids."""

    true_ids: NDArray[np.int64]
    predicted_ids: NDArray[np.int64]
    iou: NDArray[np.float64]


def match(truth: NDArray[np.int32], predicted: NDArray[np.int32], iou_threshold: float) -> Matches:
    """One-to-one pairs of true and predicted objects with the largest total IoU.

    Args:
        truth: True object ids, shape (H, W), 0 is background; may be memory-mapped, as may `predicted`.
        predicted: Predicted object ids, same shape.
        iou_threshold: Smallest IoU of a pair, above 0. From 0.5 up this takes linear time; lower ones solve a dense
            assignment among the objects that have more than one candidate.

    Raises:
        ValueError: The shapes differ.
    """
    return _Overlaps(truth, predicted).match(iou_threshold)


class Scores:
    """Collects images one by one; see the module's text for what each score means."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._counts: list[_Counts] = []

    def add(self, name: str, truth: NDArray[np.int32], predicted: NDArray[np.int32]) -> None:
        """Score one image; the arguments are those of `match`."""
        overlaps = _Overlaps(truth, predicted)
        matches = [overlaps.match(threshold) for threshold in IOU_THRESHOLDS]
        self._names.append(name)
        self._counts.append(
            _Counts(
                pixels_both=int(overlaps.pixels.sum()),
                pixels_true=int(overlaps.true_areas.sum()),
                pixels_predicted=int(overlaps.predicted_areas.sum()),
                objects_true=len(overlaps.true_ids),
                objects_predicted=len(overlaps.predicted_ids),
                matched=np.array([len(found.iou) for found in matches]),
                matched_iou=float(matches[0].iou.sum()),
            )
        )

    def summary(self) -> dict[str, float | int]:
        """Scores of the whole set.

        Raises:
            ValueError: No image was added.
        """
        total, images = self._total(), self.per_image()
        curve = self.ap_curve()
        return {
            "images": len(images),
            "objects_true": total.objects_true,
            "objects_predicted": total.objects_predicted,
            "dice": total.dice,
            "iou": total.iou,
            "instance_precision": float(curve["precision"][0]),
            "instance_recall": float(curve["recall"][0]),
            "instance_f1": float(curve["f1"][0]),
            "instance_ap50": float(curve["ap"][0]),
            "instance_ap": float(curve["ap"][:AP_THRESHOLDS].mean()),
            "mean_matched_iou": total.mean_matched_iou,
            "dice_per_image": float(images["dice"].mean()),
            "iou_per_image": float(images["iou"].mean()),
            "instance_ap50_per_image": float(images["ap50"].mean()),
        }

    def per_image(self) -> pd.DataFrame:
        """One row an image, in the order they were added; tp, fp, fn and ap50 at IoU 0.5."""
        rows = [
            {
                "image": name,
                "dice": counts.dice,
                "iou": counts.iou,
                "tp": int(counts.matched[0]),
                "fp": counts.objects_predicted - int(counts.matched[0]),
                "fn": counts.objects_true - int(counts.matched[0]),
                "ap50": counts.detection(0)["ap"],
                "objects_true": counts.objects_true,
                "objects_predicted": counts.objects_predicted,
                "mean_matched_iou": counts.mean_matched_iou,
            }
            for name, counts in zip(self._names, self._counts, strict=True)
        ]
        return pd.DataFrame(rows)

    def ap_curve(self) -> pd.DataFrame:
        """Object scores of the whole set at each of `IOU_THRESHOLDS`: iou_threshold, ap, precision, recall, f1.

        Raises:
            ValueError: No image was added.
        """
        total = self._total()
        rows = [{"iou_threshold": value, **total.detection(index)} for index, value in enumerate(IOU_THRESHOLDS)]
        return pd.DataFrame(rows)

    def _total(self) -> _Counts:
        if not self._counts:
            raise ValueError("no image has been scored")
        names = [field.name for field in fields(_Counts)]
        return _Counts(**{name: sum(getattr(counts, name) for counts in self._counts) for name in names})


@dataclass(frozen=True)
class _Counts:
    """All that scores are made of, for one image or summed over several."""

    pixels_both: int
    pixels_true: int
    pixels_predicted: int
    objects_true: int
    objects_predicted: int
    matched: NDArray[np.int64]
    """Matches at each of `IOU_THRESHOLDS`."""
    matched_iou: float
    """Sum of IoU over the matches at the first threshold."""

    @property
    def dice(self) -> float:
        return self._share(2 * self.pixels_both, self.pixels_true + self.pixels_predicted)

    @property
    def iou(self) -> float:
        return self._share(self.pixels_both, self.pixels_true + self.pixels_predicted - self.pixels_both)

    @property
    def mean_matched_iou(self) -> float:
        return self._share(self.matched_iou, int(self.matched[0]))

    def detection(self, threshold_index: int) -> dict[str, float]:
        matched = int(self.matched[threshold_index])
        return {
            "ap": self._share(matched, self.objects_true + self.objects_predicted - matched),
            "precision": self._share(matched, self.objects_predicted),
            "recall": self._share(matched, self.objects_true),
            "f1": self._share(2 * matched, self.objects_true + self.objects_predicted),
        }

    def _share(self, part: float, whole: int) -> float:
        return part / whole if whole else float(self.objects_true + self.objects_predicted == 0)


class _Overlaps:
    """Areas of all objects, and the intersection in pixels of each pair of objects that meet."""

    def __init__(self, truth: NDArray[np.int32], predicted: NDArray[np.int32]) -> None:
        if truth.shape != predicted.shape:
            raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}")
        codes, pixels = _pair_counts(truth, predicted)
        true_ids, predicted_ids = codes >> 32, codes & (2**32 - 1)
        self.true_ids, self.true_areas = _summed(true_ids[true_ids > 0], pixels[true_ids > 0])
        self.predicted_ids, self.predicted_areas = _summed(predicted_ids[predicted_ids > 0], pixels[predicted_ids > 0])
        both = (true_ids > 0) & (predicted_ids > 0)
        self.pixels = pixels[both]
        self.true_index = np.searchsorted(self.true_ids, true_ids[both])
        self.predicted_index = np.searchsorted(self.predicted_ids, predicted_ids[both])
        union = self.true_areas[self.true_index] + self.predicted_areas[self.predicted_index] - self.pixels
        self.iou = self.pixels / union

    def match(self, iou_threshold: float) -> Matches:
        candidates = self.iou >= iou_threshold
        rows, columns, iou = self.true_index[candidates], self.predicted_index[candidates], self.iou[candidates]
        alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
        chosen = alone.copy()
        chosen[~alone] = _assigned(rows[~alone], columns[~alone], iou[~alone])
        return Matches(self.true_ids[rows[chosen]], self.predicted_ids[columns[chosen]], iou[chosen])


def _assigned(rows: NDArray[np.int64], columns: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the candidate pairs belong to the one-to-one assignment with the largest total IoU."""
    row_ids, row = np.unique(rows, return_inverse=True)
    column_ids, column = np.unique(columns, return_inverse=True)
    pair = np.full((len(row_ids), len(column_ids)), -1)
    pair[row, column] = np.arange(len(iou))
    table = np.zeros(pair.shape)
    table[row, column] = iou
    # Cells that are no candidates count 0: the assignment may use them, and they drop out as -1.
    picked = pair[linear_sum_assignment(table, maximize=True)]
    chosen = np.zeros(len(iou), bool)
    chosen[picked[picked >= 0]] = True
    return chosen


def _pair_counts(truth: NDArray[np.int32], predicted: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted codes (true id << 32 | predicted id) that occur outside common background, and their pixels."""
    codes, pixels = [], []
    for rows in row_strips(truth.shape):
        code = truth[rows].astype(np.int64) << 32 | predicted[rows]
        found, count = np.unique(code[code > 0], return_counts=True)
        codes.append(found)
        pixels.append(count)
    return _summed(np.concatenate(codes), np.concatenate(pixels))


def _summed(keys: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted distinct keys and the sum of the values of each."""
    distinct, position = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, position, values)
    return distinct, sums
