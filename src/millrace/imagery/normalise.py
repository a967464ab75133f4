"""Grey values of any image to the range 0..1 with bright objects, by order statistics of the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from millrace.errors import ImageError

_STRIP_PIXELS = 1 << 20
_BINS = 1 << 16


@dataclass(frozen=True)
class GreyScale:
    """Grey values that become 0 and 1, and whether the result is inverted so that objects are bright."""

    low: float
    high: float
    inverted: bool

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise an image, or any window of it: clip((x - low) / (high - low), 0, 1), or 1 minus that.

        Args:
            pixels: Grey values of any shape and real dtype.

        Returns:
            Values in 0..1 of the same shape.
        """
        scaled = pixels.astype(np.float32)
        scaled -= self.low
        with np.errstate(over="ignore"):  # of a stray value far outside the scale; it is clipped
            scaled /= self.high - self.low
        np.clip(scaled, 0, 1, out=scaled)
        return np.subtract(1, scaled, out=scaled) if self.inverted else scaled


def grey_scale(
    image: NDArray[Any], *, low_percentile: float, high_percentile: float, polarity: Literal["bright", "dark", "auto"]
) -> GreyScale:
    """Find the scale of an image, in strips, so that a memory-mapped image may be larger than memory.

    Percentiles are the exact ones of numpy's default method (linear interpolation between order statistics). Where both
    have the same grey value, as in an image of few small objects, the least and the greatest value take their place.

    Args:
        image: (H, W) finite grey values: uint8, uint16 or float32.
        low_percentile: Percentile that becomes 0.
        high_percentile: Percentile that becomes 1.
        polarity: `bright` or `dark` objects; `auto` takes the majority of pixels as background, and objects as dark
            where the median lies nearer to the high grey value than to the low one.

    Raises:
        ImageError: The image has one grey value only.
    """
    low, median, high, least, greatest = _percentiles(image, (low_percentile, 50, high_percentile, 0, 100))
    if low == high:
        low, high = least, greatest
    if low == high:
        raise ImageError(f"all its pixels have the grey value {low:g}: there is nothing to see")
    dark = median > (low + high) / 2 if polarity == "auto" else polarity == "dark"
    return GreyScale(low, high, inverted=dark)


def _percentiles(image: NDArray[Any], percentiles: Sequence[float]) -> list[float]:
    positions = np.asarray(percentiles) / 100 * (image.size - 1)
    ranks = sorted({int(rank) for position in positions for rank in (np.floor(position), np.ceil(position))})
    values = np.array(_order_statistics(image, ranks))
    return [float(value) for value in np.interp(positions, ranks, values)]


def _order_statistics(image: NDArray[Any], ranks: Sequence[int]) -> list[float]:
    """Values at these places of the sorted image, by counting: exact, and nothing of the image's size is allocated."""
    if image.dtype in (np.uint8, np.uint16):
        return [float(value) for value in np.searchsorted(_cumulative(_strips(image)), ranks, side="right")]
    # float32 by the upper half of its bits, then by the lower half among the few upper halves that hold a rank.
    below = _cumulative(keys >> 16 for keys in _keys(image))
    uppers = np.searchsorted(below, ranks, side="right")
    counts = {upper: np.zeros(_BINS, np.int64) for upper in uppers}
    for keys in _keys(image):
        for upper, count in counts.items():
            count += np.bincount(keys[keys >> 16 == upper] & 0xFFFF, minlength=_BINS)
    values = []
    for rank, upper in zip(ranks, uppers, strict=True):
        before = below[upper - 1] if upper else 0
        lower = np.searchsorted(np.cumsum(counts[upper]), rank - before, side="right")
        values.append(_float(int(upper) << 16 | int(lower)))
    return values


def _cumulative(parts: Iterable[NDArray[Any]]) -> NDArray[np.int64]:
    """Number of values up to each of 0..65,535 in all parts together."""
    counts = np.zeros(_BINS, np.int64)
    for part in parts:
        counts += np.bincount(part.ravel(), minlength=_BINS)
    return np.cumsum(counts)


def _strips(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _STRIP_PIXELS // image.shape[1])
    return (image[top : top + rows] for top in range(0, len(image), rows))


def _keys(image: NDArray[Any]) -> Iterator[NDArray[np.uint32]]:
    """Bits of float32 values, strip by strip, changed so that they sort as the values do."""
    for strip in _strips(image):
        bits = strip.astype(np.float32).ravel().view(np.uint32)
        yield np.where(bits >> 31, ~bits, bits | 0x8000_0000)


def _float(key: int) -> float:
    """Inverse of `_keys`."""
    bits = key & 0x7FFF_FFFF if key >> 31 else ~key & 0xFFFF_FFFF
    return float(np.uint32(bits).view(np.float32))
