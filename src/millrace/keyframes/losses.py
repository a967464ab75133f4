"""Losses of the heads, each over the cells that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from millrace.keyframes.model import Heads
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS
from millrace.keyframes.params import Loss

REGRESSIONS = {"huber": functional.smooth_l1_loss, "l1": functional.l1_loss, "mse": functional.mse_loss}
GROUPS = {"x": "position", "y": "position", "crop_l": "crop", "crop_r": "crop", "crop_t": "crop", "crop_b": "crop"}


def layout_losses(
    heads: Heads, cells: Tensor, target: Tensor, parameters: Sequence[str], weights: Loss
) -> dict[str, Tensor]:
    """Cross-entropy of active over all asked cells, of asset and the numbers over those that are active.

    Args:
        heads: The network's output, float32.
        cells: What is true, normalised (B, T, tracks, 2 + P).
        target: Which cells are asked for, bool (B, T, tracks).
        parameters: Names of the P numbers.
        weights: Of the heads, and the kind of regression.

    Returns:
        `loss`, the weighted sum, and its parts. Each is a mean over the batch's samples of their means over cells, so
        that the mean over processes is that over the global batch.
    """
    active = target & (cells[..., ACTIVE] > 0)
    true_active = (cells[..., ACTIVE] > 0).long()
    parts = {
        "active": _mean(functional.cross_entropy(heads.active.movedim(-1, 1), true_active, reduction="none"), target),
        "asset": _mean(
            functional.cross_entropy(heads.asset.movedim(-1, 1), cells[..., ASSET].long(), reduction="none"), active
        ),
    }
    errors = REGRESSIONS[weights.regression](heads.numbers, cells[..., NUMBERS:], reduction="none")
    parts |= {name: _mean(errors[..., index], active) for index, name in enumerate(parameters)}
    total = torch.stack([getattr(weights, GROUPS.get(name, name)) * part for name, part in parts.items()]).sum()
    return {"loss": total, **parts}


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over chosen cells of each sample, then over samples; a sample without any counts 0."""
    zeros = torch.where(chosen, values, 0).flatten(1).sum(1)
    return (zeros / chosen.flatten(1).sum(1).clamp(min=1)).mean()
