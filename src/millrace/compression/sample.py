"""Stage `compression-sample`: synthetic SAR scenes as GeoTIFFs, in the variety that users bring."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine

from millrace.compression.sample_scene import scene
from millrace.files import whole_folder
from millrace.parallel import parallel_map
from millrace.settings import Runtime

if TYPE_CHECKING:
    from millrace.compression.params import Compression, Sample

FOLDER = Path("data/sample/compression")
POLARISATIONS = ("VV", "VH")
ONE_BAND_EVERY = 3
"""One scene of so many has VV alone."""
GCPS = 5
"""Ground control points along each side of a scene that is not on a map grid."""
DEGREES_A_METRE = 1 / 111_320


def run(params: Compression, runtime: Runtime) -> None:
    """Write `scene_000.tif` and so on, uint16 amplitudes with 0 for no data, under data/sample/compression.

    Scenes on a map grid have a UTM system and a transform, some a nodata tag; the others have ground control points
    in degrees, as raw Sentinel-1 GRD files. Scene i depends on the seed, i, the size and the looks alone, so a larger
    set begins with the smaller one, byte for byte.
    """
    with whole_folder(FOLDER) as folder:
        write = partial(_write_scene, folder=folder, sample=params.sample)
        parallel_map(write, range(params.sample.scenes), runtime, "compression sample")


def _write_scene(index: int, folder: Path, sample: Sample) -> None:
    scene_seed, place_seed = np.random.SeedSequence((sample.seed, index)).spawn(2)
    bands = 1 if index % ONE_BAND_EVERY == ONE_BAND_EVERY - 1 else 2
    drawn = scene(scene_seed, sample.size_px, sample.looks, bands)
    pixels = np.clip(np.rint(drawn.amplitude), 1, np.iinfo(np.uint16).max).astype(np.uint16) * drawn.valid

    place = np.random.default_rng(place_seed)
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "uint16", "compress": "deflate", "predictor": 2}
    profile |= {"count": bands, "height": sample.size_px, "width": sample.size_px}
    if drawn.geocoded:
        east, north = 1000 * place.integers(300, 600), 1000 * place.integers(1000, 8000)
        profile["crs"] = CRS.from_epsg(32600 + int(place.integers(1, 61)))
        profile["transform"] = Affine(drawn.spacing_m, 0, east, 0, -drawn.spacing_m, north)
        if place.random() < 0.5:
            profile["nodata"] = 0
    else:
        profile["gcps"] = _control_points(place, sample.size_px, drawn.spacing_m)
        profile["crs"] = CRS.from_epsg(4326)
    with rasterio.open(folder / f"scene_{index:03d}.tif", "w", **profile) as file:
        file.write(pixels)
        file.descriptions = POLARISATIONS[:bands]
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION="Synthetic SAR amplitude")


def _control_points(place: np.random.Generator, size_px: int, spacing_m: float) -> list[GroundControlPoint]:
    """A grid over the scene, turned as an orbit is, with the longitudes of its latitude."""
    latitude, longitude = place.uniform(-60, 60), place.uniform(-170, 170)
    degrees = spacing_m * DEGREES_A_METRE
    to_degrees = Affine.scale(degrees / np.cos(np.radians(latitude)), -degrees) @ Affine.rotation(
        place.choice((-12, 12))
    )
    steps = np.linspace(0, size_px, GCPS)
    points: list[GroundControlPoint] = []
    for row in steps:
        for column in steps:
            x, y = to_degrees @ (column, row)
            points.append(GroundControlPoint(row, column, longitude + x, latitude + y, 0.0))
    return points
