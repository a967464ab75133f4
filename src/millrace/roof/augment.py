"""Random changes of a training patch that leave its truth true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.roof.params import Augmentation
from millrace.roof.scene import Labelled, Lines

_RASTERS = ("image", "superstructures", "roof", "lines", "lines_known", "height")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def turned(tile: Labelled, quarter_turns: int) -> Labelled:
    """The scene turned anticlockwise by multiples of 90 degrees: what faced east faces north after one."""
    quarter_turns %= 4
    ends = None
    if tile.vectors is not None:
        ends, sides = tile.vectors.ends, tile.image.shape[:2]
        for turn in range(quarter_turns):
            width = sides[(turn + 1) % 2]
            ends = np.stack([width - ends[:, 1], ends[:, 0], width - ends[:, 3], ends[:, 2]], axis=1)
    step = quarter_turns * tile.azimuths // 4
    return _changed(tile, lambda array: np.rot90(array, quarter_turns), np.arange(tile.azimuths) - step, ends)


def mirrored(tile: Labelled, axis: int) -> Labelled:
    """The scene with its rows (axis 0: north and south change places) or columns (axis 1: east and west) reversed."""
    ends = None
    if tile.vectors is not None:
        ends = tile.vectors.ends.copy()
        ends[:, axis::2] = tile.image.shape[axis] - ends[:, axis::2]
    half = tile.azimuths // 2 if axis == 0 else 0
    return _changed(tile, lambda array: np.flip(array, axis), half - np.arange(tile.azimuths), ends)


def _changed(
    tile: Labelled,
    change: Callable[[NDArray[np.generic]], NDArray[np.generic]],
    azimuths: NDArray[np.int64],
    ends: NDArray[np.float64] | None,
) -> Labelled:
    """Rasters moved by `change`; azimuth class i becomes `azimuths[i]`, counted around the circle."""
    rasters = {name: getattr(tile, name) for name in _RASTERS}
    moved: dict[str, Any] = {name: None if array is None else change(array) for name, array in rasters.items()}
    segments = None
    if tile.segments is not None:
        table = np.arange(256, dtype=np.uint8)
        table[: tile.azimuths] = azimuths % tile.azimuths
        segments = table[change(tile.segments)]
    vectors = None if tile.vectors is None or ends is None else Lines(tile.vectors.kinds, ends)
    return replace(tile, segments=segments, vectors=vectors, **moved)


def randomly_turned(tile: Labelled, settings: Augmentation, rng: np.random.Generator) -> Labelled:
    """One of the eight symmetries of the square."""
    for axis in (0, 1):
        if rng.random() < settings.flip:
            tile = mirrored(tile, axis)
    return turned(tile, int(rng.integers(4))) if settings.turn else tile


def scaled_side(side: int, settings: Augmentation, rng: np.random.Generator) -> int:
    """Side of the window that becomes `side` pixels: magnifications up to `scale`, down to its inverse, equally."""
    limit = np.log2(settings.scale)
    return round(side / float(2 ** rng.uniform(-limit, limit)))


def recoloured(image: NDArray[np.float32], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Saturation, contrast about the mean, brightness of RGB (H, W, 3) from 0 to 1."""
    limits = (settings.saturation, settings.contrast, settings.brightness)
    saturation, contrast, brightness = (np.float32(rng.uniform(-limit, limit)) for limit in limits)
    grey = (image @ _GREY)[..., None]
    coloured = grey + (image - grey) * (1 + saturation)
    mean = coloured.mean(dtype=np.float32)
    changed: NDArray[np.float32] = np.clip((coloured - mean) * (1 + contrast) + mean + brightness, 0, 1)
    return changed
