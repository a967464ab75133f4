"""Validation scores of a training: counts of `scores`, summed over all batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from millrace.roof.classes import LINES, SUPERSTRUCTURES, segment_names
from millrace.roof.head_losses import dilated, line_planes
from millrace.roof.height_scores import height_counts, height_scores
from millrace.roof.scores import agreement, binary_scores, confusion, mean_iou, mean_of
from millrace.training.module import Batch

LINE_TOLERANCE_PX = 2.0
SCORED = ("azimuth_miou", "superstructure_miou", "roof_iou", "line_f1", "height_delta")
"""The score of an epoch is the mean of those of these that it has."""


class Counted(Metric):
    """A score of counts that add up; 0 where there is nothing to count.

    Args:
        shape: Of the counts.
        score: Of the sum of the counts; NaN where there is nothing to count.
    """

    higher_is_better = True
    counts: Tensor

    def __init__(self, shape: tuple[int, ...], score: Callable[[NDArray[Any]], float], **options: Any) -> None:
        super().__init__(**options)
        self._score = score
        self.add_state("counts", default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, counts: NDArray[Any]) -> None:
        self.counts += torch.from_numpy(counts).to(self.counts)

    def compute(self) -> Tensor:
        return torch.tensor(np.nan_to_num(self._score(self.counts.cpu().numpy())), dtype=torch.float64)


class CountedError(Counted):
    """The same of an error."""

    higher_is_better = False


class Mean(Metric):
    """Mean of other metrics, which are updated and reset on their own."""

    higher_is_better = True

    def __init__(self, parts: Sequence[Metric], **options: Any) -> None:
        super().__init__(**options)
        self._parts = tuple(parts)

    def update(self) -> None:
        """Says that there is something to compute; the parts have their own."""

    def compute(self) -> Tensor:
        return torch.stack([part.compute() for part in self._parts]).mean()


def metrics(heads: Sequence[str], azimuths: int) -> dict[str, Metric]:
    """Metrics of some heads by name, and `score`.

    Args:
        heads: Those of `classes.HEADS` that are trained and that the validation data label.
        azimuths: Number of azimuth classes.
    """
    segments, superstructures = len(segment_names(azimuths)), len(SUPERSTRUCTURES)
    of_head: dict[str, dict[str, Metric]] = {
        "segments": {"azimuth_miou": Counted((segments, segments), mean_iou)},
        "superstructures": {"superstructure_miou": Counted((superstructures, superstructures), mean_iou)},
        "roof": {"roof_iou": Counted((2, 2), lambda counts: binary_scores(counts)[0])},
        "lines": {"line_f1": Counted((len(LINES), 4), _mean_f1)},
        "height": {
            "height_rmse": CountedError((2, 4), lambda counts: height_scores(counts)["depth_rmse_m"]),
            "height_delta": Counted((2, 4), lambda counts: height_scores(counts)["depth_delta"]),
        },
    }
    found = {name: metric for head in heads for name, metric in of_head[head].items()}
    parts = [metric for name, metric in found.items() if name in SCORED]
    # First: it is computed before its parts are reset.
    return {"score": Mean(parts), **found} if parts else {}


def update(metric: Callable[[str], Metric], heads: Sequence[str], outputs: dict[str, Tensor], batch: Batch) -> None:
    """Add a batch to the metrics of some heads."""
    if heads:
        metric("score").update()
    for name, size in (("segments", "azimuth_miou"), ("superstructures", "superstructure_miou")):
        if name in heads:
            truth, predicted = _array(batch[name]), _array(outputs[name].argmax(1).to(torch.uint8))
            metric(size).update(confusion(truth, predicted, outputs[name].shape[1]))
    if "roof" in heads:
        metric("roof_iou").update(
            confusion(_array(batch["roof"]), _array((outputs["roof"][:, 0] >= 0).to(torch.uint8)), 2)
        )
    if "lines" in heads:
        metric("line_f1").update(line_counts(outputs["lines"], batch["lines"], batch["lines_known"]))
    if "height" in heads:
        truth, predicted = (
            _array(height).reshape(len(height), -1) for height in (batch["height"], outputs["height"][:, 0])
        )
        counts = height_counts(truth, predicted, None)
        metric("height_rmse").update(counts)
        metric("height_delta").update(counts)


def line_counts(logits: Tensor, lines: Tensor, known: Tensor) -> NDArray[np.float64]:
    """Pixels of each kind for `scores.agreement`, (5, 4), within 2 pixels; unlike in evaluation, lines stay as thick as
    they are.

    Args:
        logits: (N, 5, H, W).
        lines: Bits of `classes.LINES` (N, H, W).
        known: Bits of the kinds that are labelled (N, H, W).
    """
    labelled = line_planes(known)
    true, found = line_planes(lines) & labelled, (logits >= 0) & labelled
    near_true, near_found = (dilated(mask, LINE_TOLERANCE_PX + 1e-3) > 0 for mask in (true, found))
    counts = torch.stack([mask.sum((0, 2, 3)) for mask in (found, found & near_true, true, true & near_found)], dim=1)
    return counts.double().cpu().numpy()


def _mean_f1(counts: NDArray[np.float64]) -> float:
    return mean_of(np.array([agreement(own)[2] for own in counts]))


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
