"""Which frequency table a latent is coded with, from latents already known: in integers only.

A decoder on another machine must find the same tables, so nothing here depends on how floating point numbers are
rounded. Sums of products are computed in float64 because that is fast, and they are exact: every term is an integer,
and no sum reaches 2^53 whatever its order (weights below 2^15, magnitudes up to 8 * 255, 512 terms: below 2^35).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.compression.scales import DC_FEATURES, MAGNITUDE_LIMIT, ScaleModel, scale_values
from millrace.compression.transform import CHANNELS

UNIT = 1024
"""A scale of one step."""
_GROUP = 16  # channels after which sums are brought up to date for all later ones at once
_LARGEST_WEIGHT = 2**15 - 1

Integers = NDArray[np.int64]
Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Contexts:
    """The integer weights. Shapes and meaning as in `ScaleModel.weights`, in units of 1/1024 step.

    Attributes:
        bias: (256,) int32.
        same: (256, 256) int16, below the diagonal.
        around: (256, 256) int16, below the diagonal.
        dc: (10,) int32.
        thresholds: (63,) int32: the sum from which the next scale is taken.
    """

    bias: NDArray[np.int32]
    same: NDArray[np.int16]
    around: NDArray[np.int16]
    dc: NDArray[np.int32]
    thresholds: NDArray[np.int32]

    def __post_init__(self) -> None:
        for weights in (self.same, self.around):
            if np.triu(weights).any() or weights[:, 0].any():
                raise ValueError("a channel's context has a channel that is not known before it")
        if (np.diff(self.thresholds) <= 0).any():
            raise ValueError("the thresholds of scales do not ascend")

    @classmethod
    def of(cls, model: ScaleModel) -> Contexts:
        """Round the weights of a trained model."""
        with torch.no_grad():
            weights = {name: value.double().numpy() * UNIT for name, value in model.weights().items()}
        whole = {name: np.rint(np.minimum(value, _LARGEST_WEIGHT)) for name, value in weights.items()}
        values = scale_values().double().numpy()
        thresholds = np.rint(UNIT * np.sqrt(values[1:] * values[:-1]))
        types = {"bias": np.int32, "same": np.int16, "around": np.int16, "dc": np.int32}
        return cls(**{n: whole[n].astype(t) for n, t in types.items()}, thresholds=thresholds.astype(np.int32))

    def scales(self, magnitudes: NDArray[np.int16]) -> Integers:
        """Numbers (256, h, w) of the scales of all channels at once, for an encoder: it knows all magnitudes."""
        same, surrounding = _known(magnitudes)
        sums = self.same.astype(np.float64) @ same + self.around.astype(np.float64) @ surrounding
        return self._numbers(sums + self.bias[:, None]).reshape(magnitudes.shape)

    def _numbers(self, sums: Sums) -> Integers:
        return np.searchsorted(self.thresholds, sums, side="right")

    def dc_features(self, magnitudes: NDArray[np.int16]) -> Integers:
        """What the scale of channel 0 owes to the other channels: sums (h * w,), without the neighbours' spread."""
        low = np.minimum(magnitudes[1:DC_FEATURES].reshape(DC_FEATURES - 1, -1), MAGNITUDE_LIMIT).astype(np.int64)
        return self.dc[1:DC_FEATURES].astype(np.int64) @ low + int(self.dc[0])

    def dc_scales(self, features: Integers, spread: Integers) -> Integers:
        """Numbers of the scales of channel 0 where the known neighbours' indices differ by `spread`."""
        return self._numbers((features + int(self.dc[-1]) * np.minimum(spread, MAGNITUDE_LIMIT)).astype(np.float64))


def _known(magnitudes: NDArray[np.int16]) -> tuple[Sums, Sums]:
    """Limited magnitudes (C, h, w) as columns (C, h * w), and their sums over the eight positions around."""
    known = np.minimum(magnitudes, MAGNITUDE_LIMIT).astype(np.float64)
    padded = np.zeros((known.shape[0], known.shape[1] + 2, known.shape[2] + 2))  # faster than np.pad
    padded[:, 1:-1, 1:-1] = known
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] - known
    return known.reshape(len(known), -1), total.reshape(len(known), -1)


class Unfolding:
    """The same numbers of scales channel by channel, for a decoder.

    Args:
        contexts: The weights.
        shape: Positions (h, w) of the block.
    """

    def __init__(self, contexts: Contexts, shape: tuple[int, int]) -> None:
        self._contexts = contexts
        self._same, self._around = contexts.same.astype(np.float64), contexts.around.astype(np.float64)
        self.magnitudes = np.zeros((CHANNELS, *shape), np.int16)
        count = shape[0] * shape[1]
        self._sums = np.repeat(contexts.bias[:, None].astype(np.float64), count, axis=1)
        self._group = np.zeros((2, _GROUP, count))
        self._start = 1  # channel 0 comes last

    def scales(self, channel: int) -> Integers:
        """Numbers of the scales (h * w,) of a channel, once all lower ones but 0 are set."""
        return self._contexts._numbers(self._sums[channel])

    def set(self, channel: int, magnitudes: NDArray[np.int16]) -> None:
        """Make the magnitudes (h, w) of a channel known."""
        self.magnitudes[channel] = magnitudes
        place = channel - self._start
        same, surrounding = _known(self.magnitudes[channel : channel + 1])
        self._group[0, place], self._group[1, place] = same[0], surrounding[0]
        end = min(self._start + _GROUP, CHANNELS)
        if channel + 1 < end:
            following = slice(channel + 1, end)
            self._sums[following] += self._same[following, channel, None] * same
            self._sums[following] += self._around[following, channel, None] * surrounding
        else:
            group = slice(self._start, end)
            count = end - self._start
            self._sums[end:] += self._same[end:, group] @ self._group[0, :count]
            self._sums[end:] += self._around[end:, group] @ self._group[1, :count]
            self._start = end
