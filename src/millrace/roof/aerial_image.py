"""Aerial images from files of any size: GeoTIFF window by window, pictures at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from millrace.errors import ImageError
from millrace.imagery.colour import read_rgb
from millrace.imagery.mapped import give_back, new_mapped
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.roof.ground import Ground, ground_of
from millrace.roof.raw_files import rgb_bands
from millrace.roof.scene import Georeference

STRIP_ROWS = 512
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_METHODS = {"box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class AerialImage:
    """An image and where it lies; its arrays are memory-mapped files.

    Attributes:
        pixels: RGB (H, W, 3) uint8.
        valid: False where the file has no data, (H, W); None where it has data everywhere.
        metadata: Of the file, as a raster; of a picture, its size alone.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None
    metadata: Metadata

    @property
    def ground(self) -> Ground | None:
        """None where the file does not say where it lies.

        Raises:
            ImageError: It lies nowhere on earth.
        """
        if self.metadata.crs is None or self.metadata.transform is None:
            return None
        place = Georeference(self.metadata.crs, self.metadata.transform)
        return ground_of(place, self.metadata.height, self.metadata.width)


def read_aerial(path: Path, scratch: Path, max_pixels: int) -> AerialImage:
    """Read a file whatever its size.

    Args:
        path: TIFF with three bands of 8 bits, or four of which one is alpha; JPEG, PNG or BMP.
        scratch: Existing folder for the arrays.
        max_pixels: Largest width x height that is accepted.

    Raises:
        ImageError: The file cannot be used; the message says why and does not name the file.
    """
    if path.is_file():
        with path.open("rb") as stream:
            if stream.read(4) in _TIFF:
                return _read_tiff(path, scratch, max_pixels)
    picture = read_rgb(path, max_pixels)
    pixels = new_mapped(scratch / "image.npy", np.uint8, picture.shape)
    pixels[:] = picture
    give_back(pixels)
    return AerialImage(pixels, None, Metadata(width=picture.shape[1], height=picture.shape[0], count=3, dtype="uint8"))


def _read_tiff(path: Path, scratch: Path, max_pixels: int) -> AerialImage:
    with Raster(path, max_pixels=max_pixels) as raster:
        metadata = raster.metadata
        bands = rgb_bands(metadata)
        shape = metadata.height, metadata.width
        pixels = new_mapped(scratch / "image.npy", np.uint8, (*shape, len(bands)))
        valid = new_mapped(scratch / "valid.npy", np.bool_, shape)
        for rows in strips(metadata.height):
            window = Window(0, rows.start, metadata.width, rows.stop - rows.start)
            for channel, band in enumerate(bands):
                pixels[rows, :, channel], known = raster.read(band, window)
                # As GDAL has it, a pixel is without data only where all of its bands are.
                valid[rows] |= known
            give_back(pixels, valid)
    counts = [int(np.count_nonzero(valid[rows])) for rows in strips(metadata.height)]
    if not any(counts):
        raise ImageError("it has no data: all of its pixels are nodata or transparent")
    whole = sum(counts) == raster.pixels
    return AerialImage(pixels, None if whole else valid, metadata)


def resampled_image(pixels: NDArray[np.uint8], shape: tuple[int, int], scratch: Path) -> NDArray[np.uint8]:
    """An image (H, W, 3) with another number of rows and columns, as a memory-mapped file.

    Pixels are means over areas where they become larger, and interpolated where they become smaller.
    """
    out = new_mapped(scratch / "resampled.npy", np.uint8, (*shape, 3))
    enlarged = shape[0] * shape[1] > pixels.shape[0] * pixels.shape[1]
    for rows in strips(shape[0]):
        out[rows] = resampled_rows(pixels, shape, rows, "bilinear" if enlarged else "box")
        give_back(pixels, out)
    return out


def strips(height: int) -> Iterator[slice]:
    """Rows from top to bottom, so many at a time as are well kept in memory."""
    for top in range(0, height, STRIP_ROWS):
        yield slice(top, min(top + STRIP_ROWS, height))


def resampled_rows(
    values: NDArray[Any], shape: tuple[int, int], rows: slice, method: Literal["box", "bilinear"]
) -> NDArray[Any]:
    """Some rows of a resampled image.

    Args:
        values: The image, (H, W, 3) uint8 or (H, W) float32.
        shape: Rows and columns of the resampled one.
        rows: Which of its rows.
        method: `box` averages over areas, `bilinear` interpolates.
    """
    height, width = values.shape[:2]
    first, last = rows.start * height / shape[0], rows.stop * height / shape[0]
    # Pillow looks beyond the box for what it averages.
    margin = 2 * math.ceil(height / shape[0])
    upper, lower = max(0, int(first) - margin), min(height, math.ceil(last) + margin)
    part = Image.fromarray(np.ascontiguousarray(values[upper:lower]))
    size = shape[1], rows.stop - rows.start
    return np.asarray(part.resize(size, _METHODS[method], (0, first - upper, width, last - upper)))
