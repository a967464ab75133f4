"""Tiny data sets on disk in the structure in which RID and AIRS were published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import Affine

Array = NDArray[np.uint8]

RID_SIDE = 32
RID_STEP = 9.4e-7, 1.415e-6
"""Degrees of latitude and longitude of a pixel: about 10.5 cm at the latitude of the village."""
RID_CORNER = 48.404, 11.985
RID_SIDES = {"train": ["1", "2", "30"], "val": ["4"], "test": ["5"]}
NORTH, SOUTH, FLAT, BACKGROUND = 0, 8, 16, 17
NO_SUPERSTRUCTURE = 8

ROOF = slice(8, 24), slice(6, 26)
"""Rows and columns of the roof in each RID image, its ridge along row 16; beside it the flat roof."""
FLAT_ROOF = slice(26, 30), slice(6, 16)
EAVES = {"north": (8, 6, 8, 26), "south": (24, 26, 24, 6)}
"""Row, column of both ends, in pixels of the image."""

AIRS_SIDE = 48
AIRS_TILES = {"train": ["christchurch_1", "christchurch_22"], "val": ["christchurch_3"], "test": ["christchurch_4"]}
AIRS_ROOF = slice(10, 30), slice(5, 21)


def noise(height: int, width: int, seed: int) -> Array:
    """A picture (H, W, 3) that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rid_segments() -> Array:
    """A gable roof with its ridge from west to east, and a flat one."""
    segments = np.full((RID_SIDE, RID_SIDE), BACKGROUND, np.uint8)
    rows, columns = ROOF
    segments[rows.start : 16, columns], segments[16 : rows.stop, columns] = NORTH, SOUTH
    segments[FLAT_ROOF] = FLAT
    return segments


def rid_superstructures() -> Array:
    """A chimney in the north and a photovoltaic module, whose number is 0, in the south."""
    superstructures = np.full((RID_SIDE, RID_SIDE), NO_SUPERSTRUCTURE, np.uint8)
    superstructures[10:12, 10:12], superstructures[18:22, 12:20] = 4, 0
    return superstructures


def rid_transform(position: int) -> Affine:
    """Georeference of an image; images of different positions lie apart."""
    latitude, longitude = RID_CORNER
    return Affine(RID_STEP[1], 0, longitude + position * 40 * RID_STEP[1], 0, -RID_STEP[0], latitude)


def latitude_longitude(position: int, row: float, column: float) -> str:
    longitude, latitude = rid_transform(position) @ (column, row)
    return f"{latitude:.14f} {longitude:.14f}"


def rid_row(position: int, corners: Sequence[tuple[int, int]], azimuth: object, slope: object, eave: object) -> Any:
    """A row of the published CSV file: azimuth 0 is south and 90 is west, and a flat segment has none."""
    ring = [latitude_longitude(position, row, column) for row, column in [*corners, corners[0]]]
    gutter = None
    if isinstance(eave, tuple):
        first, last = latitude_longitude(position, *eave[:2]), latitude_longitude(position, *eave[2:])
        gutter = f"MULTILINESTRING (({first}, {last}))"
    return {
        "id": position + 1,
        "pv_area_id": position,
        "time_created": "2021-08-13 12:30:50",
        "segment": f"MULTIPOLYGON ((({', '.join(ring)})))",
        "gutter": gutter,
        "azimuth": azimuth,
        "slope": slope,
    }


def rid_rows(position: int) -> list[dict[str, Any]]:
    """Rows for the three segments of an image."""

    def corners(rows: tuple[int, int], columns: tuple[int, int]) -> list[tuple[int, int]]:
        return [(rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])]

    return [
        rid_row(position, corners((8, 16), (6, 26)), 180.0, 35.0, EAVES["north"]),
        rid_row(position, corners((16, 24), (6, 26)), 0.0, 35.0, EAVES["south"]),
        rid_row(position, corners((26, 30), (6, 16)), None, 0.0, None),
    ]


def write_geotiff(path: Path, pixels: Array, **options: Any) -> None:
    """Write (H, W) or (H, W, bands) with rasterio; options such as crs and transform."""
    bands = np.atleast_3d(pixels).transpose(2, 0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    form: dict[str, Any] = {"driver": "GTiff", "count": len(bands), "dtype": bands.dtype}
    with rasterio.open(path, "w", **form, height=bands.shape[1], width=bands.shape[2], **options) as file:
        file.write(bands)


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_rid_image(root: Path, name: str, position: int) -> None:
    """An image and its masks."""
    place = {"crs": "EPSG:4326", "transform": rid_transform(position)}
    pixels = noise(RID_SIDE, RID_SIDE, position)
    write_geotiff(root / "images_roof_centered_geotiff" / f"{name}.tif", pixels, photometric="MINISBLACK", **place)
    write_png(root / "masks_segments_reviewed" / f"{name}.png", rid_segments())
    write_png(root / "masks_superstructures_reviewed" / f"{name}.png", rid_superstructures())


def write_rid_fold(root: Path, fold: int, sides: Mapping[str, Iterable[str]]) -> None:
    for side, names in sides.items():
        path = root / "filenames_train_val_test_split" / f"{side}_filenames_{fold}_rev.txt"
        write_lines(path, (f"{name}.png" for name in names))


def write_rid_vectors(root: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The file `data/segments_reviewed.csv` of the authors' repository, with its unnamed columns."""
    path = root / "segments_reviewed.csv"
    table = pd.DataFrame(rows)
    table.insert(0, "Unnamed: 0", range(len(table)))
    table.to_csv(path)
    return path


def write_rid(root: Path) -> Path:
    """RID 1.0 with five images, whose training and validation images change places in the second to fifth fold."""
    names = [name for listed in RID_SIDES.values() for name in listed]
    for position, name in enumerate(names):
        write_rid_image(root, name, position)
    for fold in range(1, 6):
        others = [name for name in names if name not in RID_SIDES["test"]]
        validation = [others[-fold % len(others)]]
        train = [name for name in others if name not in validation]
        write_rid_fold(root, fold, {"train": train, "val": validation, "test": RID_SIDES["test"]})
    write_rid_vectors(root, [row for position in range(len(names)) for row in rid_rows(position)])
    (root / "README_data.md").write_text("# RID\n", encoding="utf-8")
    write_geotiff(root / "images_annotation_experiment_geotiff" / "5.tif", noise(RID_SIDE, RID_SIDE, 4))
    write_png(root / "masks_superstructures_annotation_experiment" / "5_1.png", rid_superstructures())
    return root


def airs_transform(position: int) -> Affine:
    """In metres of EPSG:2193, at Christchurch."""
    return Affine(0.075, 0, 1_570_000 + 1000 * position, 0, -0.075, 5_180_000)


def airs_label() -> Array:
    label = np.zeros((AIRS_SIDE, AIRS_SIDE), np.uint8)
    label[AIRS_ROOF] = 1
    return label


def write_airs_tile(root: Path, side: str, name: str, position: int, **place: Any) -> None:
    """An image, its label of 0 and 1, and the label for viewing, whose roofs are 255."""
    label = airs_label()
    write_geotiff(root / side / "image" / f"{name}.tif", noise(AIRS_SIDE, AIRS_SIDE, position), **place)
    write_geotiff(root / side / "label" / f"{name}.tif", label, **place)
    write_geotiff(root / side / "label" / f"{name}_vis.tif", label * np.uint8(255), **place)


def write_airs(root: Path, *, georeferenced: bool = True) -> Path:
    """AIRS with four tiles and, as in the copy that is to be had, without test.txt."""
    position = 0
    for side, names in AIRS_TILES.items():
        for name in names:
            place = {"crs": "EPSG:2193", "transform": airs_transform(position)} if georeferenced else {}
            write_airs_tile(root, side, name, position, **place)
            position += 1
        if side != "test":
            write_lines(root / f"{side}.txt", (f"{name}.tif" for name in names))
    return root
