"""A block of latents to bytes and back, channel by channel: each knows the magnitudes of all lower frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from millrace.compression.contexts import Contexts, Unfolding
from millrace.compression.entropy import DC, CorruptBlockError, Tables, finished, new_decoder, new_encoder
from millrace.compression.transform import CHANNELS
from millrace.compression.trellis import LARGEST, TRANSITIONS

Integers = NDArray[np.int64]
_FAR = 1 << 40


@dataclass(frozen=True)
class BlockCoder:
    """Integer contexts and frequency tables of a model."""

    contexts: Contexts
    tables: Tables

    def encode(self, indices: Integers) -> bytes:
        """Bytes of the indices (256, h, w) of a block."""
        coder = new_encoder()
        quantisers = quantisers_of(indices[1:])
        sizes = steps(np.abs(indices[1:]), quantisers)
        magnitudes = np.concatenate([np.zeros((1, *indices.shape[1:]), np.int64), sizes]).astype(np.int16)
        scales = self.contexts.scales(magnitudes).reshape(CHANNELS, -1)
        channels = 1 + max(np.flatnonzero(indices[1:].any((1, 2))), default=-1)
        for channel in range(1, channels + 1):
            values = indices[channel].ravel()
            self.tables.encode(coder, quantisers[channel - 1].ravel(), scales[channel], values)
        features, plane = self.contexts.dc_features(magnitudes), indices[0].ravel()
        for dc in dc_passes(*indices.shape[1:]):
            prediction, spread = dc.predict(plane)
            scale = self.contexts.dc_scales(features[dc.places], spread)
            self.tables.encode(coder, np.full_like(scale, DC), scale, plane[dc.places] - prediction)
        return bytes([channels]) + finished(coder)

    def decode(self, data: bytes, shape: tuple[int, int]) -> NDArray[np.int16]:
        """Latents (256, h, w) of a block, in steps.

        Raises:
            CorruptBlockError: The bytes are not those of a block of this shape.
        """
        if not data:
            raise CorruptBlockError("it is empty")
        coder = new_decoder(data[1:])
        known = Unfolding(self.contexts, shape)
        latents = np.zeros((CHANNELS, *shape), np.int16)
        state = np.zeros(shape[0] * shape[1], np.int64)
        for channel in range(1, data[0] + 1):
            quantiser = state & 1
            values = self.tables.decode(coder, quantiser, known.scales(channel))
            size = np.abs(values)
            if (size >= LARGEST).any():
                raise CorruptBlockError("a latent is too large")
            magnitudes = steps(size, quantiser).astype(np.int16).reshape(shape)
            latents[channel] = np.where(values.reshape(shape) < 0, -magnitudes, magnitudes)
            known.set(channel, magnitudes)
            state = TRANSITIONS[state, size & 1]
        features, plane = self.contexts.dc_features(known.magnitudes), np.zeros(state.shape, np.int64)
        for dc in dc_passes(*shape):
            prediction, spread = dc.predict(plane)
            scale = self.contexts.dc_scales(features[dc.places], spread)
            plane[dc.places] = prediction + self.tables.decode(coder, np.full_like(scale, DC), scale)
        if (np.abs(plane) >= LARGEST).any():
            raise CorruptBlockError("a latent is too large")
        latents[0] = 2 * plane.reshape(shape)
        return latents


def steps(size: Integers, quantiser: Integers) -> Integers:
    """Magnitudes, in steps, of indices' sizes in their quantisers."""
    return np.where(quantiser == 0, 2 * size, np.maximum(2 * size - 1, 0))


def quantisers_of(indices: Integers) -> Integers:
    """Quantiser of each index along the first axis, from the parities of those before it."""
    state = np.zeros(indices.shape[1:], np.int64)
    quantisers = np.empty(indices.shape, np.int64)
    for place, index in enumerate(indices):
        quantisers[place] = state & 1
        state = TRANSITIONS[state, np.abs(index) & 1]
    return quantisers


@dataclass(frozen=True)
class DcPass:
    """Places of channel 0 that are coded together, and the neighbours coded before, by which each is predicted.

    Attributes:
        places: Flat positions (N,).
        neighbours: Flat positions (N, 4); 0 where there is none.
        present: Which neighbours there are (N, 4).
    """

    places: Integers
    neighbours: Integers
    present: NDArray[np.bool_]

    def predict(self, plane: Integers) -> tuple[Integers, Integers]:
        """Rounded mean, and range, of the known neighbours in a flat plane; both 0 where there are none."""
        values, count = plane[self.neighbours], self.present.sum(1)
        total = np.where(self.present, values, 0).sum(1)
        mean = (2 * total + count) // np.maximum(2 * count, 1)
        highest = np.where(self.present, values, -_FAR).max(1)
        lowest = np.where(self.present, values, _FAR).min(1)
        return mean, np.where(count > 0, highest - lowest, 0)


@lru_cache(maxsize=64)
def dc_passes(height: int, width: int) -> tuple[DcPass, ...]:
    """Passes over a plane, from coarse to fine: middles of squares from their corners, then the places between."""
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    passes = [_pass(y, x, (y == 0) & (x == 0), (), width)]
    stride = 1 << max(height - 1, width - 1, 1).bit_length()
    while stride := stride // 2:
        odd = (y // stride % 2) + (x // stride % 2)
        here = (y % stride == 0) & (x % stride == 0)
        for count, offsets in ((2, ((-1, -1), (-1, 1), (1, -1), (1, 1))), (1, ((-1, 0), (1, 0), (0, -1), (0, 1)))):
            moves = tuple((dy * stride, dx * stride) for dy, dx in offsets)
            if (chosen := here & (odd == count)).any():
                passes.append(_pass(y, x, chosen, moves, width))
    return tuple(passes)


def _pass(
    y: Integers, x: Integers, chosen: NDArray[np.bool_], moves: tuple[tuple[int, int], ...], width: int
) -> DcPass:
    height = int(y[-1]) + 1
    offsets = np.array(moves or [(0, -width)]).T  # without neighbours: one that lies outside
    ny, nx = y[chosen, None] + offsets[0], x[chosen, None] + offsets[1]
    present = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
    return DcPass(np.flatnonzero(chosen), np.where(present, ny * width + nx, 0), present)
