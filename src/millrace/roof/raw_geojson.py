"""GeoJSON files of anybody (RFC 7946, and the `crs` of its predecessor of 2008) as shapes in the pixels of an image."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform
from shapely.errors import ShapelyError

from millrace.errors import ImageError
from millrace.imagery.confined_gdal import confined_gdal
from millrace.roof.scene import Georeference, Window

POLYGONS = ("Polygon", "MultiPolygon")
LINE_STRINGS = ("LineString", "MultiLineString")
_DEGREES = "EPSG:4326"
_MAX_BYTES = 1 << 27
_LISTED = 5
_LARGEST = 1e9
_MENDED_POINTS = 1000
"""Of a polygon that crosses itself, at most: the time to mend it grows with their square and more."""
_EDGE_POINTS = 33
_MEMBERS = {"type", "features", "geometry", "geometries", "coordinates", "properties", "crs", "name", "kind"}
"""What is read of a file; others may be there twice."""
_CRS_NAME = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"(?:OGC[:/](?:[\d.]*[:/])?CRS84|EPSG[:/](?:[\d.]*[:/])?(?P<code>\d{1,6}))",
    re.I,
)


@dataclass(frozen=True)
class Shapes:
    """What a file holds.

    Attributes:
        geometries: Shapely's, (N,) object, of two dimensions; x, y as in the file.
        properties: One value a shape: what was asked for.
        crs: `EPSG:n`; None where the file does not say it.
        notes: What was mended.
    """

    geometries: NDArray[np.object_]
    properties: tuple[Any, ...]
    crs: str | None
    notes: tuple[str, ...]


def read_shapes(path: Path, kinds: tuple[str, ...], key: str | None = None) -> Shapes:
    """Read a FeatureCollection, a Feature or a geometry; each process keeps the last few until the file changes.

    A polygon that crosses itself is mended and told of, not refused: on real maps a crossing is an error of a few
    centimetres in one of thousands of buildings. All that its outer rings enclose and its holes do not is inside.

    Args:
        path: The file.
        kinds: Types of geometries that are allowed.
        key: The property to take of each.

    Raises:
        ImageError: The file cannot be used; the message says why and does not name the file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from None
    if not path.is_file():
        raise ImageError("it is no file")
    if status.st_size > _MAX_BYTES:
        raise ImageError(f"it has {status.st_size} bytes, more than the {_MAX_BYTES} that are allowed; cut it to parts")
    return _parsed(path.absolute(), status.st_mtime_ns, status.st_size, kinds, key)


def in_pixels(
    shapes: Shapes, path: Path, place: Georeference | None, height: int, width: int
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Shapes that may touch an image, with x its columns and y its rows, and their positions in `shapes`.

    Args:
        shapes: In the system that they name; without a name in longitude and latitude, or, where the image has no
            georeference, in pixels of it.
        path: The file that they are from.
        place: Where the image lies.
        height: Of the image.
        width: Of the image.

    Raises:
        ImageError: They cannot be laid on the image; the message does not name their file.
    """
    if place is None and shapes.crs is not None:
        raise ImageError(f"its coordinates are in {shapes.crs}, and the image has no georeference (CRS and transform)")
    if place is None:
        near = _touching(shapes.geometries, (0, 0, width, height))
        _check_no_degrees(shapes.geometries, len(near), height, width)
        return shapes.geometries[near], near
    _check_degrees(shapes.geometries, shapes.crs or _DEGREES)
    ground, source = Affine(*place.transform), CRS.from_user_input(shapes.crs or _DEGREES)
    target = CRS.from_user_input(place.crs)
    with confined_gdal(path):
        corners = transformed(edge_of(Window(0, 0, height, width), ground), target, source)
    if not np.isfinite(corners).all():
        raise ImageError(f"the image lies where {shapes.crs or 'longitude and latitude'} is not defined")
    near = _touching(shapes.geometries, (*corners.min(axis=0), *corners.max(axis=0)))

    def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
        columns, rows = ~ground @ transformed(points, source, target).T
        return np.stack([columns, rows], axis=-1)

    with confined_gdal(path):
        placed = np.asarray(shapely.transform(shapes.geometries[near], to_pixels), object)
    if not np.isfinite(shapely.get_coordinates(placed)).all():
        raise ImageError(f"some of its points cannot be brought to the image's coordinate system {place.crs[:40]}")
    return placed, near


def edge_of(window: Window, ground: Affine) -> NDArray[np.float64]:
    """Points along the edge of a window, (N, 2) x, y on the ground."""
    along = np.linspace(0, 1, _EDGE_POINTS)
    none, one = np.zeros_like(along), np.ones_like(along)
    columns, rows = np.concatenate([along, along, none, one]), np.concatenate([none, one, along, along])
    return np.stack(ground @ (window.left + columns * window.width, window.top + rows * window.height), axis=-1)


@lru_cache(maxsize=4)
def _parsed(path: Path, mtime_ns: int, size: int, kinds: tuple[str, ...], key: str | None) -> Shapes:
    content = _json(path)
    geometries: list[Any] = []
    properties: list[Any] = []
    wrong: list[str] = []
    for number, feature in enumerate(_features(content)):
        try:
            geometry = _geometry(feature, kinds)
        except ImageError as error:
            wrong.append(f"feature {number} {error}")
            continue
        if geometry is not None:
            own = feature.get("properties")
            geometries.append(geometry)
            properties.append(own.get(key) if isinstance(own, dict) else None)
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise ImageError("; ".join(wrong[:_LISTED]) + more)
    found = np.empty(len(geometries), object)
    found[:] = geometries
    crossed = np.flatnonzero(~shapely.is_valid(found)) if kinds == POLYGONS else np.empty(0, int)
    notes = []
    if crossed.size:
        for place in crossed:
            if (points := int(shapely.get_num_coordinates(found[place]))) > _MENDED_POINTS:
                raise ImageError(f"polygon {place} of {points} points crosses itself; mend it, or cut it into parts")
        found[crossed] = shapely.make_valid(found[crossed], method="structure", keep_collapsed=False)
        reason = f"{crossed.size} polygon(s) cross or overlap themselves and were mended, the first is number"
        notes.append(f"{path.name}: {reason} {crossed[0]} of {len(found)}")
    return Shapes(found, tuple(properties), _crs_name(content, path), tuple(notes))


def _json(path: Path) -> dict[str, Any]:
    def no_number(text: str) -> float:
        raise ValueError(f"{text} is no number")

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=no_number, object_pairs_hook=_object)
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ImageError("it is no GeoJSON: its brackets are nested too deeply") from None
    except ValueError as error:
        raise ImageError(f"it is no JSON in UTF-8, or was cut short: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise ImageError("it is no GeoJSON: it holds no object")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a name that occurs twice, Python would keep the last and say nothing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        if read := [name for name in twice if name in _MEMBERS]:
            raise ImageError(f"it is no GeoJSON: an object has the member {read[0]!r} twice")
    return found


def _features(content: dict[str, Any]) -> list[dict[str, Any]]:
    kind = content.get("type")
    if kind == "FeatureCollection":
        features = content.get("features")
        if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
            raise ImageError("it is no GeoJSON: `features` is no list of objects")
        return features
    if kind == "Feature":
        return [content]
    if kind in (*POLYGONS, *LINE_STRINGS):
        return [{"geometry": content}]
    raise ImageError(f"it is no GeoJSON: its type is {str(kind)[:40]!r}, not FeatureCollection")


def _geometry(feature: dict[str, Any], kinds: tuple[str, ...]) -> Any:
    given = feature.get("geometry")
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, dict) else given
    if kind not in kinds:
        raise ImageError(f"is a {str(kind)[:40]!r}, not a {' or '.join(kinds)}")
    try:
        geometry = shapely.force_2d(shapely.geometry.shape(given))
    except (ShapelyError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        raise ImageError(f"has a damaged geometry: {str(error)[:100]}") from None
    if not (np.abs(shapely.get_coordinates(geometry)) <= _LARGEST).all():
        raise ImageError("has a damaged geometry: a coordinate is no number, or beyond every coordinate system")
    return None if geometry.is_empty else geometry


def _crs_name(content: dict[str, Any], path: Path) -> str | None:
    """`EPSG:n` of the member `crs`. Names of other kinds could make the projection library read files."""
    member = content.get("crs")
    if member is None:
        return None
    properties = member.get("properties") if isinstance(member, dict) and member.get("type") == "name" else None
    name = properties.get("name") if isinstance(properties, dict) else None
    match = _CRS_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ImageError(
            f"its crs is {json.dumps(member)[:100]}, not EPSG:<number> or CRS84 by name; convert it "
            f"(ogr2ogr -t_srs EPSG:4326)"
        )
    text = f"EPSG:{match['code']}" if match["code"] else _DEGREES
    try:
        with confined_gdal(path):
            CRS.from_user_input(text)
    except ImageError:
        raise ImageError(f"its crs {text} is not known") from None
    return text


def _check_degrees(geometries: NDArray[np.object_], crs: str) -> None:
    largest = np.abs(shapely.get_coordinates(geometries)).max(axis=0, initial=0)
    if crs == _DEGREES and (largest > (180, 90)).any():
        x, y = largest
        raise ImageError(
            f"it has coordinates as large as {x:g}, {y:g}, which are no longitude and latitude; name its crs"
        )


def _check_no_degrees(geometries: NDArray[np.object_], touching: int, height: int, width: int) -> None:
    """Refuse shapes that, as pixels, are specks or beside the image: they are hardly meant as pixels."""
    if not len(geometries):
        return
    bounds = shapely.bounds(geometries)
    if not touching or (bounds[:, 2:] - bounds[:, :2] < 1).all():
        (left, top), (right, bottom) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
        raise ImageError(
            f"x is from {left:g} to {right:g} and y from {top:g} to {bottom:g}, which are no shapes in the {width} x "
            f"{height} pixels of the image. For longitude and latitude the image needs a georeference (CRS and "
            f"transform), which it does not have"
        )


def transformed(points: NDArray[np.float64], source: CRS, target: CRS) -> NDArray[np.float64]:
    """Points (N, 2) x, y in another coordinate system; infinite where it is not defined. GDAL's errors come through."""
    if source == target or not len(points):
        return points
    return np.stack(transform(source, target, points[:, 0], points[:, 1]), axis=-1)


def _touching(geometries: NDArray[np.object_], box: tuple[float, float, float, float]) -> NDArray[np.int64]:
    left, top, right, bottom = box
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    inside = (bounds[:, 0] <= right) & (bounds[:, 2] >= left) & (bounds[:, 1] <= bottom) & (bounds[:, 3] >= top)
    return np.flatnonzero(inside)
