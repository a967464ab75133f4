"""How large latents are expected to be, from those already known: the float model that is trained.

A latent's scale is a weighted sum of magnitudes: those of lower frequencies at its position and at the eight around.
All weights are positive, so they are trained as logarithms. `contexts.py` repeats the sums in integers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.compression.transform import CHANNELS, frequencies
from millrace.compression.trellis import EVEN

COUNT = 64
"""Scales, in equal ratios from the smallest to the largest."""
SMALLEST, LARGEST = 0.05, 200.0
MAGNITUDE_LIMIT = 255
"""Larger magnitudes count as this in sums."""
DC_FEATURES = 9
"""Of the lowest channel's scale: magnitudes of the next eight channels, and the spread of known neighbours."""
_PACE = 15.0  # logarithms may move by so many steps of Adam at once
_LEAST_PROBABILITY = 1e-7


def scale_values() -> Tensor:
    """The 64 scales, in steps."""
    return torch.exp(torch.linspace(math.log(SMALLEST), math.log(LARGEST), COUNT))


class ScaleModel(nn.Module):
    """Weights of the sums. Channel 0 is not among them: it is coded last, and has a model of its own."""

    def __init__(self) -> None:
        super().__init__()
        places = frequencies()
        distance = np.hypot(*np.moveaxis(places[:, None] - places[None], -1, 0))
        near = np.maximum(0.1 * np.exp(-distance), 1e-4)
        earlier = np.tril(np.ones((CHANNELS, CHANNELS)), -1)
        earlier[:, 0] = 0
        self.register_buffer("_earlier", torch.tensor(earlier, dtype=torch.float32), persistent=False)
        self._earlier: Tensor
        self._bias = _logarithms(1 / (1 + np.hypot(*places.T)))
        self._same = _logarithms(near)
        self._around = _logarithms(near / 12)
        self._dc = _logarithms(np.r_[1.0, np.full(DC_FEATURES - 1, 0.02), 0.3])

    def weights(self) -> dict[str, Tensor]:
        """Positive weights: `bias` (256), `same` and `around` (256, 256), `dc` (10) with its bias first."""
        return {
            "bias": (_PACE * self._bias).exp(),
            "same": (_PACE * self._same).exp() * self._earlier,
            "around": (_PACE * self._around).exp() * self._earlier,
            "dc": (_PACE * self._dc).exp(),
        }

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Scales (N, 256, h, w) of latents by their magnitudes, all in steps; that of channel 0 has no use."""
        weights, known = self.weights(), magnitudes.clamp(max=MAGNITUDE_LIMIT)
        sums = torch.einsum("cd,ndhw->nchw", weights["same"], known)
        sums = sums + torch.einsum("cd,ndhw->nchw", weights["around"], around(known))
        return (sums + weights["bias"][:, None, None]).clamp(SMALLEST, LARGEST)

    def dc_bits(self, indices: Tensor, magnitudes: Tensor) -> Tensor:
        """Bits (N, 1, h, w) of channel 0, predicted from its four neighbours as most of its latents are.

        Args:
            indices: Of channel 0 (N, 1, h, w): steps / 2.
            magnitudes: Of all channels, in steps.
        """
        padded = F.pad(indices, (1, 1, 1, 1), mode="replicate")
        cross = torch.stack(
            [padded[..., :-2, 1:-1], padded[..., 2:, 1:-1], padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]]
        )
        weights = self.weights()["dc"]
        known = magnitudes[:, 1:DC_FEATURES].clamp(max=MAGNITUDE_LIMIT)
        spread = cross.amax(0) - cross.amin(0)
        scale = weights[0] + (weights[1:DC_FEATURES, None, None] * known).sum(1, keepdim=True) + weights[-1] * spread
        scale = scale.clamp(SMALLEST, LARGEST)
        error = 2 * (indices - cross.mean(0))
        inside = torch.sigmoid((error + 1) / scale) - torch.sigmoid((error - 1) / scale)
        return -torch.log2(inside.clamp(min=_LEAST_PROBABILITY))


def _logarithms(start: NDArray[np.float64]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.log(start) / _PACE, dtype=torch.float32))


def around(magnitudes: Tensor) -> Tensor:
    """Sum over the eight positions around each, with nothing beyond the edges."""
    return F.avg_pool2d(F.pad(magnitudes, (1, 1, 1, 1)), 3, stride=1) * 9 - magnitudes


def interval(index: Tensor, quantiser: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bound, in steps, of the magnitudes nearest to an index of a quantiser."""
    even_low, even_high = (2 * index - 1).clamp(min=0), 2 * index + 1
    odd_low = torch.where(index > 1, 2 * index - 2.0, 0.5 * (index == 1))
    odd_high = torch.where(index > 1, 2.0 * index, torch.where(index == 1, 2.0, 0.5))
    return torch.where(quantiser == EVEN, even_low, odd_low), torch.where(quantiser == EVEN, even_high, odd_high)


def estimated_bits(low: Tensor, high: Tensor, scale: Tensor) -> Tensor:
    """Bits of a magnitude between two bounds under a logistic density, the sign included where there is one."""
    inside = 2 * (torch.sigmoid(-low / scale) - torch.sigmoid(-high / scale))
    return -torch.log2(inside.clamp(min=_LEAST_PROBABILITY)) + (low > 0)


def bits_table(last: int) -> Tensor:
    """Estimated bits (64, 2, last + 1) by scale, quantiser and magnitude of the index."""
    index, quantiser = torch.arange(last + 1.0), torch.arange(2)[:, None]
    low, high = interval(index.expand(2, -1), quantiser)
    return estimated_bits(low, high, scale_values()[:, None, None])


def scale_index(scales: Tensor) -> Tensor:
    """Number of the nearest of the 64 scales, int64."""
    ratio = math.log(LARGEST / SMALLEST) / (COUNT - 1)
    return torch.round((scales / SMALLEST).log() / ratio).long().clamp(0, COUNT - 1)
