"""Small data sets of the generic form, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.transform import Affine
from rasterio.warp import transform

from millrace.roof.classes import UNKNOWN
from millrace.roof.params import Generic, Prepare
from millrace.roof.raw_generic import read, scan
from millrace.roof.scene import Labelled, Scan, Scene, Window
from roof.builders import noise, write_geotiff, write_png

HEIGHT, WIDTH = 40, 50
WHOLE = Window(0, 0, HEIGHT, WIDTH)
UTM = Affine(0.5, 0, 691_000, 0, -0.5, 5_334_000)
PLACE = {"crs": "EPSG:32632", "transform": UTM}
CORNERS = [(10, 5), (30, 5), (30, 25), (10, 25), (10, 5)]
"""Of a roof: columns and rows of its pixels' outer corners."""
Points = list[tuple[float, float]]


def on_ground(points: Points, crs: str) -> Points:
    """Columns and rows as coordinates."""
    x, y = zip(*(UTM @ point for point in points), strict=True)
    return list(zip(*transform("EPSG:32632", crs, x, y), strict=True))


def roof_mask(*rings: Points) -> np.ndarray:
    """Pixels whose centres are in the first ring and in none of the others."""
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return shapely.contains_xy(shapely.Polygon(rings[0], rings[1:]), columns, rows).astype(np.uint8)


def polygon(*rings: Points) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": rings}


def collection(*geometries: Any, crs: Any = None, properties: tuple[Any, ...] = ()) -> dict[str, Any]:
    own = properties or ({},) * len(geometries)
    features = [
        {"type": "Feature", "properties": mine, "geometry": geometry}
        for mine, geometry in zip(own, geometries, strict=True)
    ]
    named = {} if crs is None else {"crs": {"type": "name", "properties": {"name": crs}}}
    return {"type": "FeatureCollection", "features": features, **named}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def write_image(root: Path, name: str = "a", seed: int = 0, **place: Any) -> None:
    write_geotiff(root / "images" / f"{name}.tif", noise(HEIGHT, WIDTH, seed), **place)


def look(root: Path, **fields: Any) -> Scan:
    return scan(root, Generic(format="generic", path=str(root), **fields), Prepare())


def read_part(root: Path, scene: Scene, window: Window = WHOLE) -> Labelled:
    return read(root, scene, Generic(format="generic", path=str(root)), window)


def reading(root: Path, name: str = "a", window: Window = WHOLE) -> Labelled:
    found = look(root)
    assert found.problems == ()
    return read_part(root, next(scene for scene in found.scenes if scene.name == name), window)


def refusal(root: Path, file: str, **fields: Any) -> str:
    """Why a file is refused, and its image with it."""
    found = look(root, **fields)
    assert [problem.path for problem in found.problems] == [root / file]
    assert "a" not in {scene.name for scene in found.scenes}
    return found.problems[0].reason


def plane(columns: Any, rows: Any) -> Any:
    """Heights that rise evenly over the image."""
    return 3 + 0.125 * np.asarray(columns) + 0.0625 * np.asarray(rows)


def write_all(root: Path) -> Path:
    """An image with every kind of label."""
    write_image(root, **PLACE)
    segments = np.full((HEIGHT, WIDTH), 17, np.uint8)
    segments[5:15, 10:30], segments[15:25, 10:30], segments[0, 0] = 0, 8, UNKNOWN
    write_png(root / "segments" / "a.png", segments)
    superstructures = np.full((HEIGHT, WIDTH), 8, np.uint8)
    superstructures[7:9, 12:14] = 4
    write_geotiff(root / "superstructures" / "a.tif", superstructures, **PLACE)
    write_json(root / "roofs" / "a.geojson", collection(polygon(on_ground(CORNERS, "EPSG:4326"))))
    ridge, eave = [(10, 15), (30, 15)], [(10, 5), (20, 5), (30, 5)]
    lines = [{"type": "LineString", "coordinates": on_ground(points, "EPSG:4326")} for points in (ridge, eave)]
    kinds = ({"kind": "ridge"}, {"kind": "eave"})
    write_json(root / "lines" / "a.geojson", collection(*lines, properties=kinds))
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    heights = plane(columns, rows).astype(np.float32)
    heights[0, :3] = -9999
    write_geotiff(root / "heights" / "a.tif", heights, nodata=-9999, **PLACE)
    return root


def write_ridge(root: Path, kind: Any = "ridge") -> None:
    line = {"type": "LineString", "coordinates": [(10, 15), (30, 15), (30, 15)]}
    write_json(root / "lines" / "a.geojson", collection(line, properties=({"kind": kind},)))


def segments_with(value: int, dtype: str = "uint8") -> np.ndarray:
    segments = np.full((HEIGHT, WIDTH), 17, dtype)
    segments[30, 20] = value
    return segments


def write_own_grid(root: Path, crs: str, pixel_m: float, **options: Any) -> None:
    """Heights of the plane on a grid that covers more than the image, of pixels of another size."""
    corners = on_ground([(-20, -20), (WIDTH + 20, HEIGHT + 20)], crs)
    (west, north), (east, south) = corners
    unit = abs(east - west) / ((WIDTH + 40) * 0.5)
    down = abs(north - south) / ((HEIGHT + 40) * 0.5)
    grid = Affine(unit * pixel_m, 0, west, 0, -down * pixel_m, north)
    shape = int(abs(north - south) / (down * pixel_m)), int(abs(east - west) / (unit * pixel_m))
    rows, columns = np.indices(shape) + 0.5
    x, y = grid @ (columns.ravel(), rows.ravel())
    x, y = np.array(transform(crs, "EPSG:32632", x, y))
    columns, rows = ~UTM @ (x, y)
    heights = plane(columns, rows).reshape(shape).astype(np.float32)
    write_geotiff(root / "heights" / "a.tif", heights, crs=crs, transform=grid, nodata=-9999, **options)


def a_scene(root):
    write_png(root / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(root / "roofs" / "a.geojson", collection(polygon(CORNERS)))
