"""Writers of the synthetic scenes: each in the form of a published data set, with no more than that one carries."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine

from millrace.files import write_text
from millrace.roof.classes import LINES
from millrace.roof.line_drawing import drawn
from millrace.roof.sample_roofs import Face, eaves
from millrace.roof.sample_truth import Truth

RID_IMAGES, RID_LISTS = "images_roof_centered_geotiff", "filenames_train_val_test_split"
RID_SEGMENTS, RID_SUPERSTRUCTURES = "masks_segments_reviewed", "masks_superstructures_reviewed"
RID_VECTORS = "segments_reviewed.csv"
RID_COLUMNS = ("", "Unnamed: 0", "id", "pv_area_id", "time_created", "segment", "gutter", "azimuth", "slope")
RID_FOLDS = 5
RID_ORIGIN = (48.395, 11.975)
"""Latitude and longitude of the first image."""
ROOFLINE_PX = 224
ROOFLINE_KINDS = ("eave", "ridge", "hip")
"""Red, green and blue of `elements`."""
AIRS_CRS, AIRS_ORIGIN = "EPSG:2193", (1_568_000.0, 5_184_000.0)
FULL_CRS, FULL_ORIGIN = "EPSG:25832", (722_000.0, 5_364_000.0)
_ROW = 10
"""Scenes side by side before the next row begins."""
_GAP = 1.5
_SLOPE_STEP_DEG = 5
_DRAWN_PX = 1.0


def rid_id(index: int) -> int:
    """Published numbers have gaps."""
    return index + 1 + index // 6


def write_rid(folder: Path, index: int, scene: Truth) -> list[dict[str, Any]]:
    """Write the image and its masks; returns its rows of the vectors."""
    latitude, longitude = rid_corner(index, scene)
    per_latitude, per_longitude = _metres_per_degree(latitude)
    pixel_m = scene.grid.pixel_m
    transform = Affine(pixel_m / per_longitude, 0, longitude, 0, -pixel_m / per_latitude, latitude)
    name = str(rid_id(index))
    _write_tiff(folder / RID_IMAGES / f"{name}.tif", scene.image.transpose(2, 0, 1), "EPSG:4326", transform)
    Image.fromarray(scene.segments).save(folder / RID_SEGMENTS / f"{name}.png")
    Image.fromarray(scene.superstructures).save(folder / RID_SUPERSTRUCTURES / f"{name}.png")

    def degrees(point: Sequence[float]) -> str:
        east, south = point[0] - scene.grid.left, scene.grid.top - point[1]
        return f"{latitude - south / per_latitude:.14g} {longitude + east / per_longitude:.14g}"

    return [_rid_row(face, rid_id(index), degrees) for face in scene.faces]


def rid_corner(index: int, scene: Truth) -> tuple[float, float]:
    """Latitude and longitude of the upper left corner of an image; no two images overlap."""
    step_m = _GAP * scene.grid.width * scene.grid.pixel_m
    latitude = RID_ORIGIN[0] - (index // _ROW) * step_m / _metres_per_degree(RID_ORIGIN[0])[0]
    return latitude, RID_ORIGIN[1] + (index % _ROW) * step_m / _metres_per_degree(RID_ORIGIN[0])[1]


def write_rid_tables(folder: Path, images: int, rows: Iterable[dict[str, Any]]) -> None:
    """Write the vectors, and the lists of the five folds.

    The folds have the same test images; their validation images are neighbours, each a fifth of the others.
    """
    test = [index for index in range(images) if index % 8 == 3]
    others = [index for index in range(images) if index % 8 != 3]
    for fold, validation in enumerate(np.array_split(others, RID_FOLDS), start=1):
        train = sorted(set(others) - set(validation.tolist()))
        for side, chosen in (("train", train), ("val", validation.tolist()), ("test", test)):
            names = [f"{rid_id(index)}.png" for index in chosen]
            _write_words(folder / RID_LISTS / f"{side}_filenames_{fold}_rev.txt", names)

    def write(stream: Any) -> None:
        writer = csv.DictWriter(stream, RID_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({"": number, "Unnamed: 0": number, "id": number + 1, **row})

    write_text(folder / RID_VECTORS, write)


def pv_azimuth(face: Face) -> float | None:
    """As in photovoltaics: 0 is south, -90 east, 90 west, 180 north; None where flat."""
    if face.azimuth is None:
        return None
    return 180.0 - (360.0 - face.azimuth) % 360


def _rid_row(face: Face, area: int, degrees: Any) -> dict[str, Any]:
    """Slopes are in steps of 5 degrees, as their labellers guessed them."""

    def chain(points: Iterable[Sequence[float]]) -> str:
        return "(" + ", ".join(degrees(point) for point in points) + ")"

    rings = ", ".join(chain(ring.coords) for ring in (face.polygon.exterior, *face.polygon.interiors))
    gutters = ", ".join(chain((line.start, line.end)) for line in eaves(face))
    azimuth = pv_azimuth(face)
    return {
        "pv_area_id": area,
        "time_created": "2021-08-13 12:30:50",
        "segment": f"MULTIPOLYGON (({rings}))",
        "gutter": f"MULTILINESTRING ({gutters})" if gutters else "",
        "azimuth": "" if azimuth is None else f"{azimuth:.14g}",
        "slope": _SLOPE_STEP_DEG * round(math.degrees(math.atan(face.slope)) / _SLOPE_STEP_DEG) * 1.0,
    }


def roofline_crop(
    scene: Truth, top: int, left: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Image (224, 224, 3), heights (224, 224) and elements (224, 224, 3) of a part of a scene."""
    rows, columns = slice(top, top + ROOFLINE_PX), slice(left, left + ROOFLINE_PX)
    bits = drawn(scene.lines, scene.roof.shape, _DRAWN_PX)[rows, columns]
    elements = np.stack([bits >> LINES.index(kind) & 1 for kind in ROOFLINE_KINDS], axis=2) * np.uint8(255)
    return scene.image[rows, columns], scene.height[rows, columns], elements


def write_roofline(
    path: Path, crops: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]]
) -> None:
    """Write the crops as MATLAB 7.3 writes a struct: the last axis first, so with rows and columns exchanged."""
    images, depths, elements = (np.stack(parts) for parts in zip(*crops, strict=True))
    fields = {
        "images": images.transpose(0, 3, 2, 1),
        "depths": depths.transpose(0, 2, 1),
        "elements": elements.transpose(0, 3, 2, 1),
    }
    with h5py.File(path, "w", userblock_size=512) as file:
        struct = file.create_group("imdb")
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, values in fields.items():
            chunks = (1, *values.shape[1:])
            dataset = struct.create_dataset(name, data=values, chunks=chunks, compression="gzip", compression_opts=3)
            dataset.attrs["MATLAB_class"] = np.bytes_("single" if values.dtype == np.float32 else "uint8")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Fri Jan 04 09:00:00 2019 HDF5 schema 1.00 ."
    with path.open("r+b") as stream:
        stream.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def airs_side(index: int) -> str:
    """Every tenth tile validates and every tenth tests; the first three are of different sides."""
    return {1: "val", 2: "test"}.get(index % 10, "train")


def airs_name(index: int) -> str:
    return f"christchurch_{3 + 7 * index}"


def write_airs(folder: Path, index: int, scene: Truth) -> None:
    """Write a tile, its mask of 0 and 1, and the same for viewing, of 0 and 255."""
    transform = _placed(AIRS_ORIGIN, index, scene)
    side, name = folder / airs_side(index), airs_name(index)
    _write_tiff(side / "image" / f"{name}.tif", scene.image.transpose(2, 0, 1), AIRS_CRS, transform)
    _write_tiff(side / "label" / f"{name}.tif", scene.roof[None], AIRS_CRS, transform)
    _write_tiff(side / "label" / f"{name}_vis.tif", scene.roof[None] * np.uint8(255), AIRS_CRS, transform)


def write_airs_lists(folder: Path, tiles: int) -> None:
    for side in ("train", "val", "test"):
        names = [f"{airs_name(index)}.tif" for index in range(tiles) if airs_side(index) == side]
        _write_words(folder / f"{side}.txt", names)


def write_full(folder: Path, index: int, scene: Truth) -> None:
    """Write everything, in the generic form."""
    transform, name = _placed(FULL_ORIGIN, index, scene), f"scene_{index:04d}"
    _write_tiff(folder / "images" / f"{name}.tif", scene.image.transpose(2, 0, 1), FULL_CRS, transform)
    _write_tiff(folder / "heights" / f"{name}.tif", scene.height[None], FULL_CRS, transform)
    for kind, mask in (("segments", scene.segments), ("superstructures", scene.superstructures), ("roofs", scene.roof)):
        Image.fromarray(mask).save(folder / kind / f"{name}.png")
    features = []
    for kind, (row0, column0, row1, column1) in zip(scene.lines.kinds, scene.lines.ends.tolist(), strict=True):
        ends = [transform @ (column0, row0), transform @ (column1, row1)]
        geometry = {"type": "LineString", "coordinates": [[round(x, 6), round(y, 6)] for x, y in ends]}
        features.append({"type": "Feature", "properties": {"kind": LINES[kind]}, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{FULL_CRS.replace(':', '::')}"}}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}, separators=(",", ":"))
    write_text(folder / "lines" / f"{name}.geojson", lambda stream: stream.write(text + "\n"))


def write_full_kinds(folder: Path) -> None:
    """Write which kinds of lines the scenes have all of: every one."""
    _write_words(folder / "line_kinds.txt", LINES)


def _placed(origin: tuple[float, float], index: int, scene: Truth) -> Affine:
    """Beside each other in rows, with a gap."""
    pixel_m = scene.grid.pixel_m
    step_m = math.ceil(_GAP * scene.grid.width * pixel_m)
    return Affine(pixel_m, 0, origin[0] + index % _ROW * step_m, 0, -pixel_m, origin[1] - index // _ROW * step_m)


def _metres_per_degree(latitude: float) -> tuple[float, float]:
    """Length of a degree of latitude and of longitude on WGS 84 (National Geospatial-Intelligence Agency)."""
    angle = math.radians(latitude)
    north = 111_132.92 - 559.82 * math.cos(2 * angle) + 1.175 * math.cos(4 * angle) - 0.0023 * math.cos(6 * angle)
    east = 111_412.84 * math.cos(angle) - 93.5 * math.cos(3 * angle) + 0.118 * math.cos(5 * angle)
    return north, east


def _write_words(path: Path, words: Iterable[str]) -> None:
    """One a line."""
    write_text(path, lambda stream: stream.write("".join(f"{word}\n" for word in words)))


def _write_tiff(path: Path, bands: NDArray[Any], crs: str, transform: Affine) -> None:
    """A GeoTIFF of bands (count, H, W)."""
    count, height, width = bands.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": bands.dtype,
        "count": count,
        "height": height,
        "width": width,
    }
    profile |= {"crs": CRS.from_string(crs), "transform": transform, "compress": "deflate"}
    profile |= {"predictor": 3 if bands.dtype.kind == "f" else 2}
    if count == 3:
        profile |= {"photometric": "RGB", "interleave": "pixel"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands)
