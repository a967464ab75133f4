"""Masks of the generic form: one class a pixel, on the pixels of their image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millrace.errors import ImageError
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.roof.classes import NO_SUPERSTRUCTURE, UNKNOWN, background_class
from millrace.roof.raw_heights import SAME_MASK_PX, of_raster, same_grid
from millrace.roof.scene import Scene, Window

AZIMUTHS = 16
HIGHEST = {"segments": background_class(AZIMUTHS), "superstructures": NO_SUPERSTRUCTURE, "roof": 1}
"""Largest class of each kind of mask."""
_STRIP_ROWS = 1024


def check_mask(path: Path, kind: str, scene: Scene, max_pixels: int) -> None:
    """Refuse a mask that does not fit its image, by its header; of roofs, also one that writes them as 255.

    Raises:
        ImageError: It cannot be used; the message does not name the file.
    """
    with Raster(path, max_pixels=max_pixels) as raster:
        _check_header(raster.metadata, kind, scene)
        if kind == "roof":
            _check_roofs(raster)


def read_mask(path: Path, kind: str, scene: Scene, window: Window) -> NDArray[np.uint8]:
    """Classes in a window of an image, (H, W), UNKNOWN where the file has 255 or is not valid.

    Raises:
        ImageError: The file is damaged or has changed, or a value is no class: then the message names it and the place
            of its first pixel. It does not name the file.
    """
    with Raster(path, max_pixels=sys.maxsize) as raster:
        check_unchanged((raster.metadata.height, raster.metadata.width), scene)
        values, valid = raster.read(raster.metadata.image_bands[0], of_raster(window))
    valid &= values != UNKNOWN
    wrong = valid & ((values < 0) | (values > HIGHEST[kind]))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        place = f"row {window.top + row}, column {window.left + column}"
        raise ImageError(
            f"{place} holds {values[row, column]}; classes are 0 to {HIGHEST[kind]}, and {UNKNOWN} unknown"
        )
    return np.where(valid, values, UNKNOWN).astype(np.uint8)


def check_unchanged(size: tuple[int, ...], scene: Scene) -> None:
    """Refuse a size (rows, columns) that is not that of the scene."""
    if size != (scene.height, scene.width):
        raise ImageError(f"it is no longer {scene.width} x {scene.height} pixels; it has changed since it was checked")


def _check_header(metadata: Metadata, kind: str, scene: Scene) -> None:
    if (metadata.height, metadata.width) != (scene.height, scene.width):
        raise ImageError(
            f"it has {metadata.width} x {metadata.height} pixels, its image {scene.width} x {scene.height}"
        )
    if len(metadata.image_bands) != 1 or np.dtype(metadata.dtype).kind == "f":
        raise ImageError(
            f"it has {len(metadata.image_bands)} band(s) of {metadata.dtype}; a mask is one of whole numbers"
        )
    if metadata.nodata_value is not None and 0 <= metadata.nodata_value <= HIGHEST[kind]:
        raise ImageError(f"its nodata value {metadata.nodata_value:g} is also a class; unset it, or use {UNKNOWN}")
    place = scene.georeference if metadata.crs is not None and metadata.transform is not None else None
    if place is not None and not same_grid(metadata, place, SAME_MASK_PX):
        raise ImageError("its georeference is not that of its image; warp it onto the image's pixels")


def _check_roofs(raster: Raster) -> None:
    """Refuse a mask that writes roofs as 255, which would be read as unknown."""
    found: set[int] = set()
    for strip in raster.strips(_STRIP_ROWS):
        found.update(np.unique(raster.read(1, strip)[0]).tolist())
        if 1 in found:
            return
    if found == {0, UNKNOWN}:
        raise ImageError(f"it has the values 0 and {UNKNOWN} and no 1: roofs are 1, and {UNKNOWN} is unknown")
