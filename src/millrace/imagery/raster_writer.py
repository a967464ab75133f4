"""Rasters written as GeoTIFF strip by strip, whole or not at all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.windows import Window

from millrace.imagery.confined_gdal import confined_gdal
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster

_STRIP_BYTES = 1 << 18

Strip = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (count, rows, width), and which of them are valid, of the same shape or (1, rows, width)."""


def write_raster(path: Path, metadata: Metadata, strips: Iterable[Strip], fill: float | None = None) -> None:
    """Write a GeoTIFF, deflated; it takes the place of `path` only when it is whole, and no file stands beside it.

    Args:
        path: The file.
        metadata: What it is and says.
        strips: From top to bottom; their rows add up to the height. An alpha band is a band like the others.
        fill: What invalid pixels get where `metadata` has no nodata value; None is 0 in integers, NaN in floats.

    Raises:
        ImageError: It cannot be written; the message says why and does not name the file.
        ValueError: The strips do not fit the metadata.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name of its own: that of the file may be as long as names can be.
    partial = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.partial")
    # GDAL moves control points of a file whose pixels are points when it reads, but not back when it writes.
    moved = metadata.gcps is not None and metadata.tags.get("AREA_OR_POINT") == "Point"
    try:
        with (
            confined_gdal(partial, GTIFF_POINT_GEO_IGNORE="YES" if moved else "NO"),
            rasterio.open(partial.absolute(), "w", **_creation(metadata)) as dataset,
        ):
            _write_metadata(dataset, metadata, 0.5 if moved else 0.0)
            _write_strips(dataset, metadata, strips, fill)
        # GDAL does not always say that the disk was full.
        with Raster(partial, max_pixels=metadata.width * metadata.height):
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _creation(metadata: Metadata) -> dict[str, Any]:
    row_bytes = metadata.width * np.dtype(metadata.dtype).itemsize
    colours = metadata.colours or ()
    return {
        "driver": "GTiff",
        "width": metadata.width,
        "height": metadata.height,
        "count": metadata.count,
        "dtype": metadata.dtype,
        "nodata": metadata.nodata_value,
        "compress": "deflate",
        "predictor": 3 if np.dtype(metadata.dtype).kind == "f" else 2,
        "interleave": "band",
        "blockysize": min(metadata.height, max(1, _STRIP_BYTES // row_bytes)),
        "photometric": "RGB" if colours[:3] == ("red", "green", "blue") else "MINISBLACK",
        "BIGTIFF": "IF_SAFER",
    }


def _write_metadata(dataset: Any, metadata: Metadata, shift: float) -> None:
    if metadata.colours is not None:
        dataset.colorinterp = [ColorInterp[name] for name in metadata.colours]
    dataset.update_tags(**metadata.tags)
    if metadata.gcps is not None:
        points = [
            GroundControlPoint(row - shift, column - shift, x, y, z)
            for row, column, x, y, z in zip(*metadata.gcps, strict=True)
        ]
        dataset.gcps = (points, _crs(metadata.gcp_crs) if metadata.gcp_crs else CRS())
    if metadata.crs is not None:
        dataset.crs = _crs(metadata.crs)
    if metadata.transform is not None:
        dataset.transform = Affine(*metadata.transform)
    for name in ("descriptions", "units"):
        if getattr(metadata, name) is not None:
            setattr(dataset, name, [text or "" for text in getattr(metadata, name)])
    for name in ("scales", "offsets"):
        if getattr(metadata, name) is not None:
            setattr(dataset, name, getattr(metadata, name))
    for band, tags in enumerate(metadata.band_tags or (), start=1):
        dataset.update_tags(band, **tags)


def _write_strips(dataset: Any, metadata: Metadata, strips: Iterable[Strip], fill: float | None) -> None:
    empty = metadata.nodata_value
    if empty is None:
        empty = fill if fill is not None else math.nan if np.dtype(metadata.dtype).kind == "f" else 0
    top = 0
    for values, valid in _blocks(strips, dataset.block_shapes[0][0]):
        rows = values.shape[1]
        if values.shape != (metadata.count, rows, metadata.width) or top + rows > metadata.height:
            raise ValueError(f"{values.shape} at row {top} of {metadata.count, metadata.height, metadata.width}")
        window = Window(0, top, metadata.width, rows)
        dataset.write(np.where(valid, values, np.dtype(metadata.dtype).type(empty)), window=window)
        if metadata.masked:
            dataset.write_mask(valid.any(axis=0), window=window)
        top += rows
    if top != metadata.height:
        raise ValueError(f"strips of {top} rows were written, announced were {metadata.height}")


def _blocks(strips: Iterable[Strip], rows: int) -> Iterator[Strip]:
    """The same rows in strips of `rows`, the last of the rest: GDAL writes a block anew for each of its parts."""
    kept: list[Strip] = []
    for strip in strips:
        kept.append(strip)
        if sum(values.shape[1] for values, _ in kept) < rows:
            continue
        values, valid = (np.concatenate(parts, axis=1) for parts in zip(*kept, strict=True))
        whole = values.shape[1] // rows * rows
        for top in range(0, whole, rows):
            yield values[:, top : top + rows], valid[:, top : top + rows]
        kept = [(values[:, whole:], valid[:, whole:])]
    if sum(values.shape[1] for values, _ in kept):
        values, valid = (np.concatenate(parts, axis=1) for parts in zip(*kept, strict=True))
        yield values, valid


def _crs(text: str) -> CRS:
    # Neither of the two takes a string for an address, as CRS.from_string may.
    return CRS.from_epsg(int(text.removeprefix("EPSG:"))) if text.startswith("EPSG:") else CRS.from_wkt(text)
