"""Tiles with pixels of another size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from millrace.roof.scene import Labelled, Lines

MAX_ENLARGEMENT = 4.0
"""Times as many pixels along an axis: more would be made up."""
_KNOWN_SHARE = 0.5
"""A height needs more than this share of its weight from known heights."""


def resampled_length(length: int, factor: float) -> int:
    """Pixels that become of some."""
    return max(1, round(length * factor))


def resampled(tile: Labelled, factor: float) -> Labelled:
    """A tile with `factor` times as many pixels along each axis, as near as whole pixels come.

    - The image is averaged over areas when it is reduced, and interpolated when it is enlarged.
    - Classes, and the roof, are those of the nearest pixel.
    - Lines: a reduced pixel has the kinds of all that it takes the place of, so that thin lines survive; it is labelled
      for the kinds that it has, and those that all of them are labelled for. Enlarged, the nearest pixel's.
    - Heights are interpolated between known ones and keep their value in metres; unknown where most of the weight is.
    - Vectors are scaled.
    """
    height, width = tile.image.shape[:2]
    shape = resampled_length(height, factor), resampled_length(width, factor)
    if shape == (height, width):
        return tile
    rows, columns = (_nearest(old, new) for old, new in zip((height, width), shape, strict=True))

    def nearest(classes: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        return None if classes is None else classes[np.ix_(rows, columns)]

    lines, known = tile.lines, tile.lines_known
    if lines is not None and known is not None:
        lines = _pooled(lines & known, shape, np.bitwise_or)
        known = _pooled(known, shape, np.bitwise_and) | lines
    vectors = tile.vectors
    if vectors is not None:
        vectors = Lines(vectors.kinds, vectors.ends * np.tile(np.array(shape) / (height, width), 2))
    method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    return replace(
        tile,
        image=np.asarray(Image.fromarray(np.ascontiguousarray(tile.image)).resize(shape[::-1], method)),
        segments=nearest(tile.segments),
        superstructures=nearest(tile.superstructures),
        roof=nearest(tile.roof),
        lines=lines,
        lines_known=known,
        height=None if tile.height is None else _heights(tile.height, shape),
        vectors=vectors,
    )


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Of `old` pixels, those that are nearest to the middles of `new` ones."""
    return ((np.arange(new) + 0.5) * old / new).astype(np.int64)


def _pooled(bits: NDArray[np.uint8], shape: tuple[int, int], pool: np.ufunc) -> NDArray[np.uint8]:
    """Bits of all pixels whose middles lie in a larger one; of the nearest where pixels become smaller."""
    for axis, (old, new) in enumerate(zip(bits.shape, shape, strict=True)):
        if new >= old:
            bits = np.take(bits, _nearest(old, new), axis)
        else:
            taken_by = ((np.arange(old) + 0.5) * new / old).astype(np.int64)
            bits = pool.reduceat(bits, np.searchsorted(taken_by, np.arange(new)), axis)
    return bits


def _heights(height: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    known = np.isfinite(height)
    values, weights = (
        np.asarray(Image.fromarray(array.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR))
        for array in (np.where(known, height, 0), known)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weights > _KNOWN_SHARE, values / weights, np.float32(np.nan))
