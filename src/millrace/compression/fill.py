"""Values for pixels that have none: smooth, joined to their neighbours, cheap to code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EMPTY = 0.5
_ROWS = 256

Image = NDArray[np.float32]


def fill(normalised: Image, valid: NDArray[np.bool_]) -> Image:
    """Fill the invalid pixels of an image by pull and push (Gortler et al., The Lumigraph, SIGGRAPH 1996).

    Pull: each level halves the one below; its pixels are means of valid pixels, and know which share of their area is
    valid. Push: from the coarsest level down, the coarser one is interpolated bilinearly and takes the part of a pixel
    that is not valid. So a hole takes the mean of what surrounds it at about its own size. Time and memory are linear
    in the number of pixels: about 8 bytes a pixel beside the arguments.

    Args:
        normalised: (H, W), 0 to 1; what stands in invalid pixels does not count.
        valid: (H, W).

    Returns:
        (H, W): `normalised` in valid pixels, and within its range there; 0.5 without any valid pixel.
    """
    filled = np.where(valid, normalised, np.float32(0))
    if valid.all():
        return filled
    levels = [_halved(filled, valid)]
    while max(levels[-1][0].shape) > 1:
        levels.append(_halved(*levels[-1]))
    sums, shares = levels.pop()
    coarse = sums / shares if shares.any() else np.full_like(sums, _EMPTY)
    while levels:
        sums, shares = levels.pop()
        coarse = _mean(sums, shares, _doubled(coarse, 0, *sums.shape))
    np.clip(coarse, 0, 1, out=coarse)  # rounding
    for top in range(0, len(filled), _ROWS):
        rows = filled[top : top + _ROWS]
        np.copyto(rows, _doubled(coarse, top, *rows.shape), where=~valid[top : top + _ROWS])
    return filled


def _halved(values: Image, weights: NDArray[np.bool_] | Image) -> tuple[Image, Image]:
    """Means over 2 x 2 pixels of values x weights, and of weights; outside the image both are 0."""
    return _quarter_sums(values), _quarter_sums(weights)


def _quarter_sums(values: NDArray[np.bool_] | Image) -> Image:
    height, width = values.shape
    sums = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)
    for row in range(2):
        for column in range(2):
            part = values[row::2, column::2]
            sums[: part.shape[0], : part.shape[1]] += part
    sums *= np.float32(0.25)
    return sums


def _mean(sums: Image, shares: Image, coarser: Image) -> Image:
    """Mean of the valid part of each pixel and of `coarser` for its rest; both weighted by area."""
    return sums + (1 - shares) * coarser


def _doubled(coarse: Image, top: int, height: int, width: int) -> Image:
    """Rows `top` to `top + height` of the bilinear enlargement of `coarse` to twice its size, `width` columns wide."""
    rows = _between(coarse, np.arange(top, top + height))
    return np.ascontiguousarray(_between(rows.T, np.arange(width)).T)


def _between(values: Image, fine: NDArray[np.int64]) -> Image:
    """`values` at the centres of pixels of half the size, along the first axis; constant beyond the outer centres."""
    nearest = fine // 2
    neighbour = np.clip(nearest + np.where(fine % 2, 1, -1), 0, len(values) - 1)
    return np.float32(0.75) * values[nearest] + np.float32(0.25) * values[neighbour]
