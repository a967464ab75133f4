"""Validation metrics of a training: boxes of all images are gathered once, and scored once an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.metric import CompositionalMetric

from millrace.detection.boxes import Detections, Truth
from millrace.detection.matching import best_threshold
from millrace.detection.model import as_tensors
from millrace.detection.scores import coco_scores

NAMES = ("ap", "ap50", "f1", "score_threshold")
"""F1 is that at the score where it is best, which the last one is. All in pixels of what the network sees."""


class Found(Metric):
    """Boxes of all images; computes all of `NAMES`, each a float64 scalar.

    Args:
        classes: Number of classes.
    """

    full_state_update = False
    true: list[Tensor]
    found: list[Tensor]

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._classes = classes
        # One tensor an image, which processes can put together.
        self.add_state("true", [], dist_reduce_fx="cat")
        self.add_state("found", [], dist_reduce_fx="cat")

    def update(self, position: int, found: dict[str, Tensor], truth: Truth) -> None:
        """Add an image.

        Args:
            position: Number of the image, no other's.
            found: `boxes` (N, 4), `labels` and `scores` (N,).
            truth: In the same pixels.
        """
        boxes, labels, scores = as_tensors(found)
        self.found.append(self._state(position, labels, scores, boxes))
        labels, ignored, boxes = (torch.tensor(part) for part in (truth.labels, truth.ignored, truth.boxes))
        self.true.append(self._state(position, labels, ignored, boxes))

    def _state(self, position: int, labels: Tensor, values: Tensor, boxes: Tensor) -> Tensor:
        """Rows of image, label, value, box. The first stands for the image itself, which may have no box."""
        rows = torch.full((len(boxes) + 1, 7), -1.0, dtype=torch.float64)
        rows[:, 0] = position
        rows[1:, 1], rows[1:, 2], rows[1:, 3:] = labels, values, boxes
        return rows.to(self.device)

    def compute(self) -> dict[str, Tensor]:
        true, found = (_rows(state) for state in (self.true, self.found))
        truths, detections = [], []
        for own, seen in zip(_by_image(true), _by_image(found), strict=True):
            truths.append(Truth(own[:, 3:].astype("f4"), own[:, 1].astype("i8"), own[:, 2] > 0))
            detections.append(Detections(seen[:, 3:].astype("f4"), seen[:, 1].astype("i8"), seen[:, 2].astype("f4")))
        scores, best = coco_scores(truths, detections, self._classes), best_threshold(truths, detections)
        values = zip(NAMES, (scores.ap, scores.ap50, best.f1, best.score), strict=True)
        return {name: torch.tensor(0.0 if value != value else value, dtype=torch.float64) for name, value in values}


class FoundValue(CompositionalMetric):
    """One of the values of a `Found`, which keeps what it computed for the next one to ask; a reset is the reset of it.

    Args:
        found: Has the boxes.
        name: Of the value.
    """

    higher_is_better = True  # said of the score threshold too, which nobody monitors

    def __init__(self, found: Found, name: str) -> None:
        super().__init__(lambda values: values[name], found, None)


def _rows(state: Any) -> Tensor:
    rows = torch.cat(state) if isinstance(state, list) else state
    return rows.cpu()


def _by_image(rows: Tensor) -> list[NDArray[np.float64]]:
    """Rows of each image in the order of their numbers, without those that stand for the images."""
    images = rows[:, 0].sort(stable=True)
    counts = images.values.unique(return_counts=True)[1].tolist()
    return [part[part[:, 1] >= 0].numpy() for part in rows[images.indices].split(counts)]
