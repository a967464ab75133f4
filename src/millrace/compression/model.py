"""The codec's network as it is trained: transform, quantiser, scales of latents, restoration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from millrace.compression import trellis
from millrace.compression.entropy import LIMIT
from millrace.compression.restorer import Restorer
from millrace.compression.scales import ScaleModel, bits_table, estimated_bits, interval, scale_index
from millrace.compression.transform import LappedTransform, mirrored

BIT_COST = 0.37
"""What a bit is worth in squared steps: the slope of error against rate of a fine quantiser on this trellis."""
MIDDLE = 0.5
"""Of normalised values; transforms see what differs from it."""
_DEAD_ZONE = 0.4
"""Of the first guess of magnitudes: how far above a whole number of steps it still rounds down is 1 - this."""


class Coded(NamedTuple):
    """Decoded images and what their latents cost."""

    images: Tensor
    """(N, 1, H, W), not yet limited to 0..1."""
    bits: Tensor
    """Estimated bits of each image (N,)."""


class SarNetwork(nn.Module):
    """Analysis, quantisation, synthesis and restoration of normalised images.

    Args:
        width: Channels of the restoration.
        step: Quantisation step in normalised units.
    """

    def __init__(self, width: int, step: float) -> None:
        super().__init__()
        self.transform = LappedTransform()
        self.restorer = Restorer(width)
        self.scales = ScaleModel()
        self.step = step
        self.register_buffer("_bits", bits_table(LIMIT), persistent=False)
        self._bits: Tensor

    def forward(self, images: Tensor) -> Coded:
        """Images (N, 1, H, W) of multiples of 16 pixels through the codec.

        What the encoder chooses has no gradient; what is trained is to decode its choices well and to expect them.
        """
        with torch.no_grad():
            latents = self.transform.analyse(mirrored(images - MIDDLE)) / self.step
            indices, steps = quantised(
                latents, lambda sizes: scale_index(self.scales(sizes)), self._bits, BIT_COST, passes=1
            )
        edges = self.transform.mirror(steps * self.step, True, True, True, True)
        return Coded(self.restorer(self.transform.synthesise(edges)) + MIDDLE, self._estimate(steps, indices))

    def _estimate(self, steps: Tensor, indices: Tensor) -> Tensor:
        """Bits of latents (N, 256, h, w) of each image."""
        sizes = steps.abs()
        low, high = interval(indices.abs().float(), quantisers_of(indices))
        bits = estimated_bits(low[:, 1:], high[:, 1:], self.scales(sizes)[:, 1:]).sum((1, 2, 3))
        return bits + self.scales.dc_bits(indices[:, :1].float(), sizes).sum((1, 2, 3))


def quantised(
    latents: Tensor, scales_of: Callable[[Tensor], Tensor], bits: Tensor, bit_cost: float, passes: int
) -> tuple[Tensor, Tensor]:
    """Indices and values in steps (N, 256, h, w) of latents in steps.

    How a latent is coded depends on others that are not yet decided. So their magnitudes are guessed by rounding, and
    with each further pass taken from the pass before.

    Args:
        latents: (N, 256, h, w) in steps.
        scales_of: Numbers of scales by magnitudes, both (N, 256, h, w).
        bits: See `trellis.quantise`.
        bit_cost: Squared steps that a bit is worth.
        passes: At least one.
    """
    count, channels, height, width = latents.shape
    lowest = torch.round(latents[:, :1] / 2)  # outside the trellis: always in even steps, always the nearest
    sizes = torch.cat([2 * lowest.abs(), torch.floor(latents[:, 1:].abs() + _DEAD_ZONE)], dim=1)
    sequences = _sequences(latents[:, 1:])
    for _ in range(passes):
        scale = _sequences(scales_of(sizes)[:, 1:])
        flat, quantiser = trellis.quantise(sequences, scale, bits, bit_cost)
        indices, kinds = (part.view(channels - 1, count, height, width).transpose(0, 1) for part in (flat, quantiser))
        sizes = torch.cat([2 * lowest.abs(), trellis.magnitude(indices.abs(), kinds).to(latents.dtype)], dim=1)
    return torch.cat([lowest.long(), indices], dim=1), sizes * torch.sign(latents)


def quantisers_of(indices: Tensor) -> Tensor:
    """Quantiser (N, 256, h, w) of each latent; channel 0 has even steps and is no part of the trellis."""
    table = torch.tensor(trellis.TRANSITIONS)
    state = torch.zeros_like(indices[:, 0])
    quantisers = torch.zeros_like(indices)
    for channel in range(1, indices.shape[1]):
        quantisers[:, channel] = state & 1
        state = table[state, indices[:, channel] & 1]
    return quantisers


def _sequences(latents: Tensor) -> Tensor:
    """(N, C, h, w) as (C, N * h * w): one sequence a position."""
    return latents.transpose(0, 1).flatten(1)
