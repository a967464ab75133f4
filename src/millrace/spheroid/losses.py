"""Losses and validation metrics of the two channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from millrace.spheroid.params import Loss

DICE_SMOOTHING = 1.0


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over samples of 1 - (2 TP + s) / (2 TP + FP + FN + s), soft counts over a sample's pixels, s = 1 pixel.

    A sample without foreground scores s / (FP + s): 0 loss when nothing is predicted, towards 1 with every false
    positive. Being a mean over samples, the loss of a batch is the mean of the losses of its parts.

    Args:
        logits: (N, H, W).
        target: (N, H, W), 0 or 1.
    """
    probabilities = logits.sigmoid()
    overlap = (probabilities * target).sum((1, 2))
    total = (probabilities + target).sum((1, 2))
    return (1 - (2 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)).mean()


def spheroid_losses(logits: Tensor, target: Tensor, weights: Loss) -> dict[str, Tensor]:
    """Parts of the loss and their weighted sum `loss`.

    Args:
        logits: (N, 2, H, W): foreground, distance.
        target: (N, 2, H, W) in 0 to 1.
        weights: Of the parts.
    """
    parts = {
        "bce": F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0]),
        "dice": soft_dice_loss(logits[:, 0], target[:, 0]),
        # Cross-entropy with a soft target: its minimum is the target itself, and it does not flatten at 0 and 1.
        "distance": F.binary_cross_entropy_with_logits(logits[:, 1], target[:, 1]),
    }
    loss = weights.bce * parts["bce"] + weights.dice * parts["dice"] + weights.distance * parts["distance"]
    return {"loss": loss, **parts}


class DiceFromCounts(Metric):
    """Foreground Dice from pixel counts summed over all batches and processes; 1 where there is nothing to find."""

    overlap: Tensor
    total: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("overlap", "total"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add a batch of boolean masks of equal shape."""
        self.overlap += (predicted & target).sum()
        self.total += predicted.sum() + target.sum()

    def compute(self) -> Tensor:
        return torch.where(self.total > 0, 2 * self.overlap / self.total.clamp(min=1), torch.ones_like(self.total))
