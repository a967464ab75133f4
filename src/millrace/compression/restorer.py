"""The codec's nonlinear part: a small network that takes the quantiser's marks out of a decoded image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 4
REACH = 48
"""Pixels around a pixel that can change it, at least: a multiple of 16. Eight convolutions reach 8 folded pixels."""
_BLOCKS = 3
_GAIN = 0.1  # the output starts at 0 and stays small; with it the last layer learns at the pace of the others


class Restorer(nn.Module):
    """Residual network on pixels folded 4 x 4 into channels.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(FOLD * FOLD, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(_BLOCKS)
        )
        self.tail = nn.Conv2d(width, FOLD * FOLD, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]  # typed as optional, present here

    def forward(self, image: Tensor) -> Tensor:
        """Restored images (N, 1, H, W), H and W multiples of 4, of values around 0."""
        features = self.head(2 * F.pixel_unshuffle(image, FOLD))
        for block in self.blocks:
            features = features + block(features)
        return image + _GAIN * F.pixel_shuffle(self.tail(F.relu(features)), FOLD)
