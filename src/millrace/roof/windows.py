"""Scenes cut into windows, and windows read as finished tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from millrace.roof import raw
from millrace.roof.derive import REACH_PX, complete
from millrace.roof.line_drawing import clipped
from millrace.roof.resample import MAX_ENLARGEMENT, resampled, resampled_length
from millrace.roof.scene import Labelled, Lines, Scene, Window

if TYPE_CHECKING:
    from millrace.roof.params import Prepare, Source

SIDE_MULTIPLE = 32
"""What sides of windows are multiples of, but for the last of a row or column."""
SHORTEST = 0.75
"""A part that is shorter, as a share of the mean, is no worth a multiple."""


@dataclass(frozen=True)
class Band:
    """Windows of a scene beside each other, read together: a row of a large image is often stored in one piece.

    Attributes:
        scene: Where they are.
        factor: Prepared pixels for one pixel of the scene.
        windows: From left to right, of one top and height, in pixels of the scene.
    """

    scene: Scene
    factor: float
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Tile:
    """A finished tile.

    Attributes:
        top: First row in its scene, in prepared pixels.
        left: First column.
        labelled: Image and all targets.
    """

    top: int
    left: int
    labelled: Labelled


def unfit(scene: Scene, settings: Prepare) -> str | None:
    """Why a scene cannot be resampled to the pixels that are wanted; None where it can."""
    wanted, own = settings.pixel_size_m, scene.pixel_size_m
    if wanted is None or own is None:
        return None
    factor, told = own / wanted, f"has pixels of {own:.4g} m; at the {wanted:.4g} m that are wanted"
    if factor > MAX_ENLARGEMENT:
        return f"{told} they would be enlarged over {MAX_ENLARGEMENT:g} times. Correct its georeference if it is wrong"
    if scene.height * factor * scene.width * factor > settings.max_megapixels * 1e6:
        return f"{told} it has more pixels than roof.prepare.max_megapixels allows"
    if min(scene.height, scene.width) * factor < 1:
        return f"{told} nothing is left of it. Correct its georeference if it is wrong"
    return None


def bands(scene: Scene, settings: Prepare) -> list[Band]:
    """The windows of a scene, which cover it once: the scene itself where that is no larger than `tile_px`."""
    wanted = settings.pixel_size_m
    factor = scene.pixel_size_m / wanted if wanted is not None and scene.pixel_size_m is not None else 1.0
    return [
        Band(
            scene,
            factor,
            tuple(Window(top, left, height, width) for left, width in parts(scene.width, factor, settings)),
        )
        for top, height in parts(scene.height, factor, settings)
    ]


def parts(length: int, factor: float, settings: Prepare) -> list[tuple[int, int]]:
    """First pixel and length of each part of an axis: as few as possible, and about equal.

    Args:
        length: Pixels of the scene.
        factor: Prepared pixels for one of them.
        settings: `tile_px` is the most of a part, in prepared pixels.
    """
    most = max(1, math.ceil((settings.tile_px + 0.5) / factor) - 1) if factor != 1 else settings.tile_px
    number = math.ceil(length / most)
    fair = length / number
    multiple = SIDE_MULTIPLE if factor == 1 and number > 1 else 1
    cuts = [*(math.ceil(part * fair / multiple) * multiple for part in range(number)), length]
    if min(end - start for start, end in pairwise(cuts)) < SHORTEST * fair:
        cuts = [*(math.ceil(part * fair) for part in range(number)), length]
    return [(start, end - start) for start, end in pairwise(cuts)]


def read_band(band: Band, source: Source, settings: Prepare) -> tuple[list[Tile], int]:
    """Finished tiles of a band, and the number of heights outside of `height_limits_m`, which are unknown in them.

    Pixels around the windows are read too, so that what is derived does not change at a cut.

    Raises:
        DataError: A file is damaged.
        ImageError: The same, or it does not fit the settings.
    """
    scene, factor = band.scene, band.factor
    margin = math.ceil(REACH_PX / factor)
    first, last = band.windows[0], band.windows[-1]
    top, left = max(0, first.top - margin), max(0, first.left - margin)
    bottom = min(scene.height, first.top + first.height + margin)
    right = min(scene.width, last.left + last.width + margin)
    whole = raw.read(source, scene, Window(top, left, bottom - top, right - left))
    whole, outside = _limited(whole, settings.height_limits_m, slice(first.top - top, first.top - top + first.height))
    whole = complete(resampled(whole, factor), settings.azimuths, settings.line_width_px)
    return [
        Tile(
            round(window.top * factor),
            round(window.left * factor),
            cut(
                whole, _inside(Window(window.top - top, window.left - left, window.height, window.width), factor, whole)
            ),
        )
        for window in band.windows
    ], outside


def cut(tile: Labelled, window: Window) -> Labelled:
    """The part of a tile in a window; vectors end at its edge."""
    part = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    arrays = ("image", "segments", "superstructures", "roof", "lines", "lines_known", "height")
    own = {name: array[part] for name in arrays if (array := getattr(tile, name)) is not None}
    vectors = tile.vectors
    if vectors is not None:
        corner = np.array([window.top, window.left] * 2)
        vectors = clipped(Lines(vectors.kinds, vectors.ends - corner), window.height, window.width)
    return replace(tile, **own, vectors=vectors)


def tiles_of(scene: Scene, source: Source, settings: Prepare) -> Iterator[Tile]:
    """All tiles of a scene, a band at a time in memory.

    Raises:
        DataError: A file is damaged.
        ImageError: The same, or it does not fit the settings.
    """
    for band in bands(scene, settings):
        yield from read_band(band, source, settings)[0]


def _inside(window: Window, factor: float, whole: Labelled) -> Window:
    """A window of a band in prepared pixels."""
    height, width = resampled_length(window.height, factor), resampled_length(window.width, factor)
    top = min(round(window.top * factor), whole.image.shape[0] - height)
    left = min(round(window.left * factor), whole.image.shape[1] - width)
    return Window(top, left, height, width)


def _limited(tile: Labelled, limits_m: tuple[float, float], rows: slice) -> tuple[Labelled, int]:
    """A tile without heights beyond limits, and how many it had in these rows."""
    if tile.height is None:
        return tile, 0
    with np.errstate(invalid="ignore"):
        beyond = (tile.height < limits_m[0]) | (tile.height > limits_m[1])
    if not beyond.any():
        return tile, 0
    return replace(tile, height=np.where(beyond, np.float32(np.nan), tile.height)), int(beyond[rows].sum())
