"""Rasters through GDAL: GeoTIFF, TIFF and PNG, read window by window.

A file is never followed to another one: no virtual rasters, no addresses, no side files (`.aux.xml`, `.ovr`, `.msk`,
`.tfw`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from millrace.errors import ImageError
from millrace.imagery.confined_gdal import confined_gdal
from millrace.imagery.metadata import DTYPES, MAX_BANDS, MAX_GCPS, Metadata, usable_tags, usable_text
from millrace.imagery.tiff import check_shown

SUFFIXES = frozenset({".tif", ".tiff", ".png"})
"""Endings of names, in lower case, that raw folders are searched for."""

_DRIVERS = {b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\x89PNG": "PNG"}
_MAX_BLOCK_BYTES = 1 << 29
_TILE = 4096  # only a tile that is not larger may be larger than the image
_HUGE = 1e30
_DEFAULT_COLOURS = {"gray", "undefined"}


class Raster:
    """An opened raster file; use it in a `with` statement, and in one thread at a time.

    Attributes:
        path: The file.
        metadata: All that `write_raster` can give back.
        not_kept: What the file has beside that, in words: RPCs, further domains of tags and the like.
    """

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        """Open a file and check all that its header claims; pixels are read, and memory taken, by `read` alone.

        Args:
            path: A local file; what it is, is told by its content.
            max_pixels: Largest width x height that is accepted.

        Raises:
            ImageError: The file cannot be used; the message says why and does not name the file.
        """
        driver = _driver(path)
        self.path = path
        with confined_gdal(path):
            # An absolute path is not taken for an address or for the name of another driver.
            self._dataset = rasterio.open(path.absolute(), driver=driver)
        try:
            with confined_gdal(path):
                _check(self._dataset, max_pixels)
                if driver == "GTiff":
                    check_shown(path)
                self.metadata, self.not_kept = _read_metadata(self._dataset)
                _check_blocks(self._dataset, self.metadata, path.stat().st_size)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with confined_gdal(self.path):
            self._dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pixels(self) -> int:
        """Of one band."""
        return self.metadata.width * self.metadata.height

    def strips(self, rows: int) -> Iterator[Window]:
        """Windows over the full width, top to bottom, of `rows` rows each; the last may have fewer."""
        width, height = self.metadata.width, self.metadata.height
        for top in range(0, height, rows):
            yield Window(0, top, width, min(rows, height - top))

    def read(self, band: int, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values of a band as they are stored, and which are valid.

        Args:
            band: Its number, 1 the first.
            window: Part to read, inside the raster; None reads all.

        Returns:
            Values (rows, columns) in the file's dtype, and a mask of the same shape that is False where the file has
            its nodata value, NaN, an infinity, a zero in its own mask, or full transparency.

        Raises:
            ImageError: That part of the file is damaged.
        """
        with confined_gdal(self.path) as warned:
            values = self._dataset.read(band, window=window)
            valid = np.ones(values.shape, bool) if values.dtype.kind != "f" else np.isfinite(values)
            if self.metadata.masked or len(self.metadata.image_bands) < self.metadata.count:
                valid &= self._dataset.read_masks(band, window=window) > 0
            if warned:
                raise ImageError(f"damaged: {warned[-1]}")
        nodata = self.metadata.nodata_value
        if nodata is not None and math.isfinite(nodata):
            valid &= ~_equals(values, nodata)
        return values, valid


def _equals(values: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_]
    if values.dtype.kind != "f":
        equal = values == (int(nodata) if nodata.is_integer() else nodata)
    elif abs(nodata) > _HUGE:  # the least float, often cut to a few digits in the tag
        equal = np.abs(values / values.dtype.type(nodata) - 1) < 1e-4
    else:
        equal = values == values.dtype.type(nodata)
    return equal


def _driver(path: Path) -> str:
    if str(path.absolute()).startswith("/vsi"):
        raise ImageError("it is an address, not a local file")
    if not path.exists():
        raise ImageError("there is no such file")
    if not path.is_file():
        raise ImageError("it is a folder or a device, not a file")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from None
    if not start:
        raise ImageError("the file is empty")
    if start not in _DRIVERS:
        raise ImageError("its content is neither TIFF nor PNG")
    return _DRIVERS[start]


def _check(dataset: Any, max_pixels: int) -> None:
    """Refuse what is not one raster of plain numbers, by its header alone."""
    width, height, count, dtypes = dataset.width, dataset.height, dataset.count, set(dataset.dtypes)
    if not count or width < 1 or height < 1:
        raise ImageError("it has no bands or no pixels")
    if width * height > max_pixels:
        raise ImageError(f"it has {width} x {height} pixels, more than the {max_pixels} that are allowed")
    if count > MAX_BANDS:
        raise ImageError(f"it has {count} bands, more than the {MAX_BANDS} that are allowed")
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        advice = "save its magnitude" if any("complex" in name for name in dtypes) else "save it as one of these"
        raise ImageError(f"its values are {', '.join(sorted(dtypes))}, not {', '.join(DTYPES)}; {advice}")
    if dataset.tags(ns="OVERVIEWS"):
        raise ImageError("it names another file as its overviews")
    if dataset.subdatasets:
        raise ImageError(f"it holds {len(dataset.subdatasets)} images; save each as a file of its own")
    if ColorInterp.palette in dataset.colorinterp:
        what = "its values index a colour table, are single bits, or count down from white"
        raise ImageError(f"{what}; save it as grey, or if it is a mask, the values as they are in 8 bits")
    if len(set(map(str, dataset.nodatavals))) > 1:
        raise ImageError(f"its bands have different nodata values {dataset.nodatavals}; save them as separate files")
    rows, columns = dataset.block_shapes[0]
    interleaved = count if dataset.profile.get("interleave") == "pixel" else 1
    block_bytes = rows * columns * interleaved * np.dtype(dataset.dtypes[0]).itemsize
    if block_bytes > _MAX_BLOCK_BYTES or rows > max(height, _TILE) or columns > max(width, _TILE):
        raise ImageError(f"its strips or tiles claim {columns} x {rows} pixels; save it with smaller ones")


LEAST_BLOCK_ENTRY = 4
"""Bytes that a TIFF spends on each strip or tile, at least: two for its place, two for its size."""


def _check_blocks(dataset: Any, metadata: Metadata, file_size: int) -> None:
    """Refuse a TIFF whose strips or tiles end outside the file, or were never written and have no nodata value."""
    if dataset.driver != "GTiff":
        return
    rows, columns = dataset.block_shapes[0]
    across, down = -(-dataset.width // columns), -(-dataset.height // rows)
    bands = range(1, 1 + (1 if dataset.profile.get("interleave") == "pixel" else dataset.count))
    blocks = across * down * len(bands)
    if blocks * LEAST_BLOCK_ENTRY > file_size:
        raise ImageError(f"damaged: a file of {file_size} bytes cannot list its {blocks} strips or tiles")
    for band, y, x in product(bands, range(down), range(across)):
        offset, size = (dataset.get_tag_item(f"BLOCK_{name}_{x}_{y}", "TIFF", bidx=band) for name in ("OFFSET", "SIZE"))
        if offset is None or size is None:
            if metadata.nodata is None:
                place = f"row {y * rows}, column {x * columns}"
                raise ImageError(f"truncated: the strip or tile at {place} was never written, and it has no nodata")
        elif int(offset) + int(size) > file_size:
            end = int(offset) + int(size)
            raise ImageError(f"truncated: a strip or tile ends at byte {end}, the file at byte {file_size}")


def _read_metadata(dataset: Any) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata of an opened dataset, and in words what of it cannot be kept."""
    not_kept = []
    nodata = dataset.nodatavals[0]  # None where the file names a number that its dtype cannot hold
    masked = any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in dataset.mask_flag_enums)
    if masked and MaskFlags.nodata in dataset.mask_flag_enums[0]:
        nodata = None  # a pixel is invalid where all bands have theirs, which no GeoTIFF tag says
    points, points_crs = dataset.gcps
    if len(points) > MAX_GCPS:
        not_kept.append(f"{len(points)} ground control points: a GeoTIFF holds {MAX_GCPS}")
        points = []
    columns = tuple(tuple(float(getattr(p, name) or 0) for p in points) for name in ("row", "col", "x", "y", "z"))
    if not np.isfinite(columns).all():
        not_kept.append("ground control points that are no numbers")
        points = []
    transform = None if dataset.transform.is_identity or points else tuple(dataset.transform)[:6]
    if transform is not None and not np.isfinite(transform).all():
        not_kept.append("a transform without numbers")
        transform = None
    if dataset.rpcs is not None:
        not_kept.append("rational polynomial coefficients (RPC)")
    known = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "COLOR_PROFILE"}
    not_kept += [f"tags of the domain {name}" for name in dataset.tag_namespaces() if name not in known]
    tags, band_tags = dataset.tags(), [dataset.tags(band) for band in dataset.indexes]
    tags.pop("NODATA_VALUES", None)  # what it says is in the mask
    kept, kept_of_bands = usable_tags(tags), [usable_tags(each) for each in band_tags]
    lost = sum(map(len, [tags, *band_tags])) - sum(map(len, [kept, *kept_of_bands]))
    if lost:
        not_kept.append(f"{lost} tag(s) that are empty, too long or oddly named")
    scaled = any(scale != 1 for scale in dataset.scales) or any(dataset.offsets)
    if scaled and not np.isfinite([dataset.scales, dataset.offsets]).all():
        not_kept.append("scales and offsets that are no numbers")
        scaled = False
    descriptions, units = (tuple(map(usable_text, texts)) for texts in (dataset.descriptions, dataset.units))
    colours = tuple(colour.name for colour in dataset.colorinterp)
    if not {*colours} <= _DEFAULT_COLOURS | {"alpha", "red", "green", "blue"}:
        not_kept.append(f"colour interpretation {', '.join(colours)}")
        colours = ()
    content = {
        "width": dataset.width,
        "height": dataset.height,
        "count": dataset.count,
        "dtype": dataset.dtypes[0],
        "nodata": nodata if nodata is None or math.isfinite(nodata) else str(nodata),
        "crs": None if points else _crs_text(dataset.crs),
        "transform": transform,
        "gcps": columns if points else None,
        "gcp_crs": _crs_text(points_crs) if points else None,
        "tags": kept,
        "band_tags": tuple(kept_of_bands) if any(kept_of_bands) else None,
        "descriptions": descriptions if any(descriptions) else None,
        "units": units if any(units) else None,
        "scales": dataset.scales if scaled else None,
        "offsets": dataset.offsets if scaled else None,
        "colours": colours if {*colours} - _DEFAULT_COLOURS else None,
        "masked": masked,
    }
    return Metadata.from_dict(content), tuple(not_kept)


def _crs_text(crs: CRS | None) -> str | None:
    if not crs:
        return None
    code = crs.to_epsg()
    if code is not None and CRS.from_epsg(code).to_wkt() == crs.to_wkt():
        return f"EPSG:{code}"
    return str(crs.to_wkt(version="WKT2_2019"))
