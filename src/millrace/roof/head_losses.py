"""Losses of single heads, sample by sample, over the pixels that are labelled.

Each function returns what the loss of each sample and output is, a mean over its known pixels, 0 where there are none.
Nothing that stands at an unknown pixel, in logits or targets, has a gradient or an influence.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from millrace.roof.classes import LINES, UNKNOWN

DICE_SMOOTHING = 1.0
HEIGHT_OFFSET_M = 1.0
"""Added before a logarithm is taken: the ground is at 0."""
FOCAL_FLOOR = 1e-6
"""Keeps the gradient of a power below 1 finite where the prediction is perfect."""


def class_losses(logits: Tensor, target: Tensor, class_weights: Tensor, focal_gamma: float) -> Tensor:
    """Weighted cross-entropy, or focal loss (Lin et al. 2017): w (1 - p)^gamma (-log p), p of the true class.

    Args:
        logits: (N, C, H, W).
        target: Classes (N, H, W), uint8, or UNKNOWN.
        class_weights: (C,). The mean over pixels is not divided by their weights: a sample of rare classes counts more.
        focal_gamma: 0 is the cross-entropy.

    Returns:
        (N, 1).
    """
    known = target != UNKNOWN
    true = torch.where(known, target, 0).long()
    # As rows of classes: PyTorch's kernel for pictures is not deterministic on GPUs.
    rows = logits.movedim(1, -1).flatten(0, -2)
    entropy = F.cross_entropy(rows, true.flatten(), reduction="none").reshape(target.shape)
    values = class_weights[true] * entropy
    if focal_gamma:
        values = values * (-torch.expm1(-entropy)).clamp(min=FOCAL_FLOOR) ** focal_gamma
    return _mean(values[:, None], known[:, None])


def mask_losses(logits: Tensor, target: Tensor, known: Tensor, positive_weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, and where a sample has any of it soft Dice loss, 1 - (2 TP + s) / (2 TP + FP + FN + s) with
    s = 1 pixel. In a sample without, Dice pushes all probabilities down, and most where they are small already: with
    it kinds that few samples have, as valleys, were never found.

    Args:
        logits: (N, K, H, W), not yet through a sigmoid.
        target: (N, K, H, W), from 0 to 1.
        known: (N, K, H, W), bool.
        positive_weights: By how much the cross-entropy of what is set counts more than that of the rest, (K,).

    Returns:
        (N, K).
    """
    target = target * known
    weights = None if positive_weights is None else positive_weights[:, None, None]
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weights)
    probabilities = logits.sigmoid()
    overlap = (probabilities * target).sum((2, 3))
    total = torch.where(known, probabilities, 0).sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
    return _mean(entropy, known) + torch.where((target > 0).flatten(2).any(2), dice, 0)


def height_losses(predicted: Tensor, target: Tensor, scale_invariance: float) -> Tensor:
    """Scale-invariant logarithmic loss (Eigen et al. 2014, equation 4) plus mean absolute error in metres.

    The first is mean(d^2) - scale_invariance * mean(d)^2 with d = log(predicted + 1 m) - log(target + 1 m); ground
    that is lower than 0 counts as 0 in it.

    Args:
        predicted: Metres above ground (N, 1, H, W), at least 0.
        target: Metres above ground (N, 1, H, W), NaN where unknown.
        scale_invariance: From 0, which forgives nothing, to 1.

    Returns:
        (N, 1).
    """
    known = torch.isfinite(target)
    true = torch.where(known, target, 0)
    ratio = torch.log(predicted + HEIGHT_OFFSET_M) - torch.log(true.clamp(min=0) + HEIGHT_OFFSET_M)
    scale_invariant = _mean(ratio**2, known) - scale_invariance * _mean(ratio, known) ** 2
    return scale_invariant + _mean((predicted - true).abs(), known)


def line_planes(bits: Tensor) -> Tensor:
    """Bits of `classes.LINES` (N, H, W), uint8, as planes (N, 5, H, W), bool."""
    return torch.stack([bits >> kind & 1 for kind in range(len(LINES))], dim=1).bool()


def dilated(masks: Tensor, radius_px: float) -> Tensor:
    """Masks (N, K, H, W), bool, that fall off linearly around what is set: 1 on it, 0 from `radius_px` on, float32."""
    reach = max(math.ceil(radius_px) - 1, 0)
    height, width = masks.shape[-2:]
    padded = F.pad(masks.float(), [reach] * 4)
    soft = masks.float()
    for row, column in product(range(-reach, reach + 1), repeat=2):
        nearness = 1 - math.hypot(row, column) / radius_px if radius_px else 0.0
        if 0 < nearness < 1:
            top, left = reach + row, reach + column
            soft = torch.maximum(soft, nearness * padded[..., top : top + height, left : left + width])
    return soft


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean over the known pixels of (N, K, H, W), (N, K)."""
    return torch.where(known, values, 0).sum((2, 3)) / known.sum((2, 3)).clamp(min=1)
