"""Small rasters for tests, and how they are read."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import rasterio

from imagery.image_bytes import U16
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster

LIMIT = 1 << 20
F32 = U16.astype(np.float32)
UTM = (20.0, 0.0, 620048.241204, 0.0, -20.0, 4830114.70107)


def read_all(path: Path, max_pixels: int = LIMIT) -> tuple[Metadata, np.ndarray, np.ndarray]:
    with Raster(path, max_pixels=max_pixels) as raster:
        bands = [raster.read(band) for band in range(1, raster.metadata.count + 1)]
        return raster.metadata, np.stack([values for values, _ in bands]), np.stack([valid for _, valid in bands])


def gdal_tiff(path: Path, pixels: np.ndarray, mask: np.ndarray | None = None, **profile) -> Path:
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_PAM_ENABLED="NO"):
        warnings.simplefilter("ignore")
        count, height, width = pixels.shape
        shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
        with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as dataset:
            dataset.write(pixels)
            if mask is not None:
                dataset.write_mask(mask)
    return path


def strips_of(values: np.ndarray, valid: np.ndarray | bool = True, rows: int = 7):
    valid = np.broadcast_to(valid, values.shape)
    for top in range(0, values.shape[1], rows):
        yield values[:, top : top + rows], valid[:, top : top + rows]


def plain(values: np.ndarray, **fields) -> Metadata:
    count, height, width = values.shape
    return Metadata(count=count, height=height, width=width, dtype=str(values.dtype), **fields)


def run_python(code: str, path: Path) -> tuple[str, str]:
    """What a program prints, on standard output and error."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    return result.stdout, result.stderr
