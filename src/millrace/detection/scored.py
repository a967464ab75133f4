"""A set of images scored at a score threshold: the numbers and tables of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.boxes import Detections, Truth
from millrace.detection.errors_by_kind import Errors, ap_gains, errors_by_kind
from millrace.detection.matching import Matches, match, rates
from millrace.detection.params import Evaluate
from millrace.detection.scores import RECALLS, SIZES, CocoScores, coco_scores

BACKGROUND = "background"
AP_IOU = 0.5
Boxes = NDArray[np.float32]
CURVE_SCORES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Scored:
    """What `evaluate_boxes` found out.

    Attributes:
        truths: Of each image.
        found: Of each image, of all scores.
        names: Of the classes.
        threshold: Least score of a box that is counted in precision, recall, F1, the confusion table and the errors.
        iou: Overlap from which a box counts as found in these.
        coco: Scores without a score threshold.
        matches: Of all scores, at `iou`.
    """

    truths: Sequence[Truth]
    found: Sequence[Detections]
    names: Sequence[str]
    threshold: float
    iou: float
    coco: CocoScores
    matches: Matches

    @cached_property
    def said(self) -> Matches:
        """Those of at least the score threshold."""
        return self.matches.above(self.threshold)

    @cached_property
    def errors(self) -> Errors:
        """Of `said`."""
        return errors_by_kind(self.said, self.iou)

    @cached_property
    def image_scores(self) -> list[float]:
        """How well each image went at the score threshold, from 0 to 1: see `Matches.image_scores`."""
        scores: list[float] = self.said.image_scores().tolist()
        return scores

    @cached_property
    def true_boxes(self) -> Boxes:
        """Of all images, in the rows of `matches`, (M, 4)."""
        return np.concatenate([np.zeros((0, 4), np.float32), *(truth.boxes for truth in self.truths)])

    @cached_property
    def said_boxes(self) -> Boxes:
        """Of all images, in the rows of `said`, (N, 4)."""
        kept = (found.above(self.threshold).boxes for found in self.found)
        return np.concatenate([np.zeros((0, 4), np.float32), *kept])

    def ranked(self, file_names: Sequence[str]) -> list[int]:
        """Places of the images, the one with the lowest score first."""
        f1 = self._image_f1()
        return sorted(range(len(f1)), key=lambda place: (self.image_scores[place], f1[place], file_names[place]))

    def summary(self) -> dict[str, Any]:
        """COCO's numbers, and precision, recall and F1 over all classes together at the score threshold."""
        hits, detections, boxes = (each.sum(keepdims=True) for each in self.said.counts("label", len(self.names)))
        return {
            **self.coco.numbers(),
            **{name: float(values[0]) for name, values in rates(hits, detections, boxes)._asdict().items()},
            "score_threshold": self.threshold,
            "images": len(self.truths),
            "boxes": int(boxes[0]),
            "detections": int(detections[0]),
            "per_class": self.per_class().set_index("category").to_dict("index"),
        }

    def per_class(self) -> pd.DataFrame:
        """A row a class, in their order."""
        counts = self.said.counts("label", len(self.names))
        columns = {"category": list(self.names), "boxes": counts[2], "ap": self.coco.class_ap}
        return pd.DataFrame({**columns, "ap50": self.coco.class_ap50, **rates(*counts)._asdict()})

    def pr_curve(self) -> pd.DataFrame:
        """At IoU 0.5, the precision at each recall that is reached, and the score from which on it is."""
        parts = []
        for name, precision, score in zip(self.names, self.coco.precision50, self.coco.score50, strict=True):
            reached = precision > 0
            columns = {"recall": RECALLS[reached], "precision": precision[reached], "score": score[reached]}
            parts.append(pd.DataFrame({"category": name, **columns}))
        return pd.concat(parts, ignore_index=True)

    def f1_curve(self) -> pd.DataFrame:
        """Over all classes together, at a hundred score thresholds."""
        return pd.DataFrame({"score": CURVE_SCORES, **self.matches.curve(CURVE_SCORES)._asdict()})

    def confusion(self) -> pd.DataFrame:
        """How many boxes of which class were taken for which, with background."""
        names = [*self.names, f"({BACKGROUND})" if BACKGROUND in self.names else BACKGROUND]
        table = self.said.confusion(len(self.names), self.iou)
        actual, predicted = np.indices(table.shape).reshape(2, -1)[:, :-1]
        columns = {"actual": [names[row] for row in actual], "predicted": [names[column] for column in predicted]}
        return pd.DataFrame({**columns, "count": table.ravel()[:-1]})

    def error_kinds(self) -> pd.DataFrame:
        """Errors by kind, and by how much AP at IoU 0.5 over all scores would rise if those of a kind were mended."""
        matches = self.matches if self.iou == AP_IOU else match(self.truths, self.found, AP_IOU)
        gains = ap_gains(matches, errors_by_kind(matches, AP_IOU), len(self.names))
        counts = self.errors.counts()
        whole = sum(counts.values())
        shares = [count / whole if whole else float("nan") for count in counts.values()]
        columns = {"kind": list(counts), "count": list(counts.values()), "share": shares}
        return pd.DataFrame({**columns, "ap50_gain": [gains[kind] for kind in counts]})

    def sizes(self) -> pd.DataFrame:
        """By COCO's size classes; a box of just 32 or 96 pixels square is of two of them."""
        areas = box_areas(self.true_boxes[~self.matches.true_ignored])
        rows = [
            {
                "size": size,
                "boxes": int(((areas >= low) & (areas <= high)).sum()),
                "ap": self.coco.numbers()[f"ap_{size}"],
                "ar": self.coco.numbers()[f"ar_{size}"],
            }
            for size, (low, high) in SIZES.items()
        ]
        return pd.DataFrame(rows)

    def per_image(self, file_names: Sequence[str]) -> pd.DataFrame:
        """A row an image, the lowest score first."""
        hits, detections, boxes = self.said.counts("image", len(self.truths))
        columns = {
            "file_name": list(file_names),
            "boxes": boxes,
            "detections": detections,
            "true_positives": hits,
            "false_positives": detections - hits,
            "missed": boxes - hits,
            "f1": self._image_f1(),
            "score": self.image_scores,
        }
        return pd.DataFrame(columns).iloc[self.ranked(file_names)]

    def _image_f1(self) -> list[float]:
        hits, detections, boxes = self.said.counts("image", len(self.truths))
        # Nothing there and nothing found is as good as can be.
        f1: list[float] = np.where(detections + boxes > 0, rates(hits, detections, boxes).f1, 1.0).tolist()
        return f1


def evaluate_boxes(
    truths: Sequence[Truth],
    found: Sequence[Detections],
    names: Sequence[str],
    threshold: float,
    settings: Evaluate,
) -> Scored:
    """Score the boxes found in a set of images.

    Args:
        truths: True boxes of each image.
        found: Detections in the same images.
        names: Of the classes.
        threshold: Least score of a box that is counted where a box is either found or not.
        settings: IoU of the matching, and the number of boxes.
    """
    coco = coco_scores(truths, found, len(names), settings.max_detections)
    return Scored(truths, found, names, threshold, settings.match_iou, coco, match(truths, found, settings.match_iou))


def box_areas(boxes: Boxes) -> NDArray[np.float64]:
    """Of boxes (N, 4), in square pixels, (N,)."""
    sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    areas: NDArray[np.float64] = sides.prod(axis=1)
    return areas
