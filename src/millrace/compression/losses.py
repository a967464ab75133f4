"""How far decoded images are from the originals, as training sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from millrace.compression.params import Loss

WINDOW_PX = 7
_LEAST_VARIANCE = 1e-6  # of a window: the root's slope is endless at 0


def distortion(decoded: Tensor, original: Tensor, valid: Tensor, weights: Loss) -> Tensor:
    """Weighted sum of the distortions that have a weight.

    Args:
        decoded: (N, 1, H, W), float32.
        original: Likewise, 0..1.
        valid: Pixels that count, bool. Invalid ones are taken as decoded without error.
        weights: Of the parts.
    """
    decoded = torch.where(valid, decoded, original)
    pixels = valid.sum().clamp(min=1)
    total = weights.mse * (decoded - original).square().sum() / pixels
    if weights.ms_ssim:
        similarity = multiscale_structural_similarity_index_measure(decoded, original, data_range=1.0)
        assert isinstance(similarity, Tensor)
        total = total + weights.ms_ssim * (1 - similarity)
    if weights.texture:
        total = total + weights.texture * (_spread(decoded) - _spread(original)).square().mean()
    return total


def _spread(images: Tensor) -> Tensor:
    """Standard deviation of each window."""
    mean, square = (F.avg_pool2d(each, WINDOW_PX, stride=1) for each in (images, images.square()))
    return (square - mean.square()).clamp(min=_LEAST_VARIANCE).sqrt()
