"""Height rasters of any grid, read onto the pixels of an image."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import windows
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from millrace.errors import ImageError
from millrace.imagery.confined_gdal import confined_gdal
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.roof.raw_geojson import edge_of, transformed
from millrace.roof.scene import Georeference, Scene, Window

SAME_PX = 0.01
"""Grids whose corners are nearer than this are one."""
SAME_MASK_PX = 0.5
"""The same for masks, of which no pixel is interpolated."""
_METRES = {"", "m", "metre", "metres", "meter", "meters"}
_STRIP_PIXELS = 1 << 22
_MAX_FINENESS = 16


def check_heights(path: Path, scene: Scene, max_pixels: int) -> None:
    """Refuse a raster that cannot be laid on an image, or that has no height on it.

    Raises:
        ImageError: It cannot be used; the message does not name the file.
    """
    with Raster(path, max_pixels=max_pixels) as raster:
        metadata = raster.metadata
        if len(metadata.image_bands) != 1:
            raise ImageError(f"it has {len(metadata.image_bands)} bands; heights are one")
        unit = next(iter(metadata.units or ()), None) or ""
        if unit.strip().lower() not in _METRES:
            raise ImageError(f"its heights are in {unit!r}; convert them to metres")
        if metadata.transform is not None and Affine(*metadata.transform).is_degenerate:
            raise ImageError("its transform gives its pixels no area")
        part: windows.Window | None = windows.Window(0, 0, metadata.width, metadata.height)
        if not _direct(metadata, scene):
            if metadata.crs is None or metadata.transform is None or scene.georeference is None:
                sizes = f"{metadata.width} x {metadata.height} pixels, its image {scene.width} x {scene.height}"
                which = "the image" if scene.georeference is None else "it"
                raise ImageError(f"it has {sizes}, and {which} has no georeference (CRS and transform) to fit them")
            part, fineness = _part(path, metadata, scene, Window(0, 0, scene.height, scene.width))
            if part is None:
                raise ImageError("it does not lie where its image lies")
            if fineness > _MAX_FINENESS:
                raise ImageError(f"its pixels are {fineness:.0f} times as fine as the image's; reduce it first")
        if not any(raster.read(1, strip)[1].any() for strip in _strips(part)):
            raise ImageError("all of it that is on its image is nodata: it has no height")


def read_heights(path: Path, scene: Scene, window: Window) -> NDArray[np.float32]:
    """Heights on the pixels of a window of an image, (H, W) in metres, NaN where the raster has none.

    Where the grids differ, heights are interpolated linearly between known ones, and averaged where the raster is the
    finer one. It must have passed `check_heights`.

    Raises:
        ImageError: The file is damaged there; the message does not name it.
    """
    with Raster(path, max_pixels=sys.maxsize) as raster:
        if _direct(raster.metadata, scene):
            return _metres(raster, of_raster(window))
        metadata, place = raster.metadata, scene.georeference
        heights = np.full((window.height, window.width), np.nan, np.float32)
        part, _ = _part(path, metadata, scene, window)
        if part is None:
            return heights
        _, fineness = _part(path, metadata, scene, Window(0, 0, scene.height, scene.width))
        own = _metres(raster, part)
    assert place is not None
    assert metadata.transform is not None
    with confined_gdal(path):
        reproject(
            own,
            heights,
            src_transform=Affine(*metadata.transform) @ Affine.translation(part.col_off, part.row_off),
            src_crs=CRS.from_user_input(metadata.crs),
            src_nodata=np.nan,
            dst_transform=Affine(*place.transform) @ Affine.translation(window.left, window.top),
            dst_crs=CRS.from_user_input(place.crs),
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            # GDAL would choose these by the window, and heights would differ from one to the next.
            tolerance=0,
            XSCALE=1 / fineness,
            YSCALE=1 / fineness,
        )
    return heights


def same_grid(metadata: Metadata, place: Georeference, within_px: float) -> bool:
    """Whether a raster with a georeference has the pixels of an image there, to a distance in pixels."""
    if metadata.crs is None or metadata.transform is None:
        return False
    if metadata.crs != place.crs and CRS.from_user_input(metadata.crs) != CRS.from_user_input(place.crs):
        return False
    corners = np.array([[0, metadata.width, 0], [0, 0, metadata.height]], float)
    columns, rows = ~Affine(*place.transform) @ (Affine(*metadata.transform) @ corners)
    return bool(np.hypot(columns - corners[0], rows - corners[1]).max() <= within_px)


def of_raster(window: Window) -> windows.Window:
    """As rasterio has it."""
    return windows.Window(window.left, window.top, window.width, window.height)


def _direct(metadata: Metadata, scene: Scene) -> bool:
    """Whether the raster has the pixels of the image."""
    if (metadata.height, metadata.width) != (scene.height, scene.width):
        return False
    both = metadata.crs is not None and metadata.transform is not None and scene.georeference is not None
    return not both or (scene.georeference is not None and same_grid(metadata, scene.georeference, SAME_PX))


def _part(path: Path, metadata: Metadata, scene: Scene, window: Window) -> tuple[windows.Window | None, float]:
    """The part of the raster that a window of the image needs, and how many of its pixels go along one of the image's.

    The part is None where there is none.
    """
    assert scene.georeference is not None
    assert metadata.transform is not None
    edge = edge_of(window, Affine(*scene.georeference.transform))
    with confined_gdal(path):
        source, target = CRS.from_user_input(scene.georeference.crs), CRS.from_user_input(metadata.crs)
        columns, rows = ~Affine(*metadata.transform) @ transformed(edge, source, target).T
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None, 0.0
    fineness = max(np.ptp(columns) / window.width, np.ptp(rows) / window.height)
    margin = math.ceil(2 * max(1.0, fineness)) + 1
    left, right = max(0, math.floor(columns.min()) - margin), min(metadata.width, math.ceil(columns.max()) + margin)
    top, bottom = max(0, math.floor(rows.min()) - margin), min(metadata.height, math.ceil(rows.max()) + margin)
    if left >= right or top >= bottom:
        return None, fineness
    return windows.Window(left, top, right - left, bottom - top), fineness


def _strips(part: windows.Window) -> Iterator[windows.Window]:
    rows = max(1, _STRIP_PIXELS // part.width)
    for top in range(0, part.height, rows):
        yield windows.Window(part.col_off, part.row_off + top, part.width, min(rows, part.height - top))


def _metres(raster: Raster, window: windows.Window) -> NDArray[np.float32]:
    values, valid = raster.read(1, window)
    scale, offset = (each[0] if each else default for each, default in
                     ((raster.metadata.scales, 1.0), (raster.metadata.offsets, 0.0)))  # fmt: skip
    return np.where(valid, values * scale + offset, np.nan).astype(np.float32)
