"""Planes and lines as GeoJSON that QGIS and OGR open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from millrace.files import rounded, write_text
from millrace.roof.classes import LINES
from millrace.roof.ground import WGS84, Ground, crs_of
from millrace.roof.planes import Plane
from millrace.roof.vector_lines import VectorLines

NO_PLACE = (
    "The image has no georeference: x is the column and y the row in pixels, from its upper left corner downward."
)
NO_CRS = "The image names no coordinate system: the coordinates are those of its transform, of an unknown system."
DIGITS, DIGITS_OF_DEGREES = 3, 9

Transform = tuple[float, float, float, float, float, float]


class Feature(NamedTuple):
    """A shape in pixels of the image, x columns and y rows, and what is known of it."""

    shape: shapely.Polygon | shapely.LineString
    properties: dict[str, Any]


def plane_features(planes: Sequence[Plane]) -> list[Feature]:
    """Planes with what a user may ask of them; a table has the same columns."""
    return [
        Feature(
            each.polygon,
            {
                "plane": number,
                "facing": each.facing,
                "azimuth_deg": each.azimuth_deg,
                "azimuth_from": each.azimuth_from,
                "slope_deg": each.slope_deg,
                "height_m": each.height_m,
                "area_m2": each.area_m2,
                "confidence": each.confidence,
            },
        )
        for number, each in enumerate(planes, 1)
    ]


def line_features(lines: VectorLines, ground: Ground) -> list[Feature]:
    """Lines with their kinds, scores and lengths on the ground."""
    features = []
    for kind, ends, score in zip(lines.kinds, lines.ends, lines.scores, strict=True):
        (row, column), (down, right) = ends[:2], ends[2:] - ends[:2]
        length_m = float(np.hypot(*(down * np.array(ground.row_m) + right * np.array(ground.column_m))))
        shape = shapely.LineString([(column, row), (column + right, row + down)])
        features.append(Feature(shape, {"kind": LINES[kind], "score": float(score), "length_m": length_m}))
    return features


def write_geojson(path: Path, features: Iterable[Feature], crs: str | None, transform: Transform | None) -> None:
    """Write a FeatureCollection in the coordinate system of the image.

    - EPSG:4326 is plain GeoJSON (RFC 7946).
    - Another EPSG number stands in the member `crs` of GeoJSON 2008, which OGR and QGIS read.
    - What has no such number cannot be said in GeoJSON: the coordinates are converted to EPSG:4326.
    - An image without a georeference has coordinates in pixels, and the member `note` says so.

    Args:
        path: The file.
        features: Shapes in pixels of the image.
        crs: `EPSG:n` or WKT of the image, or None.
        transform: Its affine transform a, b, c, d, e, f, or None.
    """
    place = _Place(crs, transform)
    members: dict[str, Any] = {"type": "FeatureCollection"} | place.members

    def write(stream: TextIO) -> None:
        stream.write(_json(members)[:-1] + ', "features": [')
        for number, feature in enumerate(features):
            content = {
                "type": "Feature",
                "properties": rounded(feature.properties),
                "geometry": shapely.geometry.mapping(place.placed(feature.shape)),
            }
            stream.write((",\n" if number else "\n") + _json(content))
        stream.write("\n]}\n")

    write_text(path, write)


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


class _Place:
    """From pixels of an image to the coordinates of a file."""

    def __init__(self, crs: str | None, transform: Transform | None) -> None:
        self._transform = transform
        self._convert: CRS | None = None
        self._digits = DIGITS
        self.members: dict[str, Any] = {}
        if transform is None or crs is None:
            self.members = {"note": NO_PLACE if transform is None else NO_CRS}
            self._digits = DIGITS if transform is None else DIGITS_OF_DEGREES
            return
        code = crs_of(crs).to_epsg() if crs.startswith("EPSG:") else None
        if code is None:
            self._convert = crs_of(crs)
        elif crs != WGS84:
            self.members = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}}
        if code is None or crs_of(crs).is_geographic:
            self._digits = DIGITS_OF_DEGREES

    def placed(self, shape: shapely.Geometry) -> shapely.Geometry:
        """A shape in coordinates of the file, rings as RFC 7946 has them, valid whatever the rounding does."""
        placed = shapely.transform(shape, self._coordinates)
        if placed.geom_type == "Polygon":
            placed = shapely.orient_polygons(
                placed if placed.is_valid else shapely.make_valid(placed, method="structure", keep_collapsed=False)
            )
        return placed

    def _coordinates(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = pixels.T
        if self._transform is not None:
            a, b, c, d, e, f = self._transform
            x, y = a * x + b * y + c, d * x + e * y + f
        if self._convert is not None:
            x, y = map(np.array, transform_points(self._convert, CRS.from_string(WGS84), x, y)[:2])
        return np.round(np.stack([x, y], axis=1), self._digits)
