"""The vectors of RID: eaves of the roof segments, from the CSV file beside its repository's code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from millrace.confinement import stays_inside
from millrace.errors import ImageError, Problem, UserError
from millrace.roof.classes import LINES
from millrace.roof.optional_files import misfits
from millrace.roof.scene import Georeference, Lines, Scene, Window

EAVE = LINES.index("eave")
VECTOR_CRS = "EPSG:4326"

_COLUMNS = ["segment", "gutter", "azimuth"]
_MAX_CSV_BYTES = 1 << 28
_FULL_TURN = 360
_SHOWN = 60
_PLAIN_WKT = re.compile(r"\s*(MULTI)?(POLYGON|LINESTRING)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Vectors:
    """What the CSV file says of eaves; coordinates are longitude, latitude.

    Attributes:
        ends: Straight pieces of gutters, (N, 4) float64: longitude, latitude of one end, then of the other.
        pieces: Index of these.
        sloping: Index of the segments that are not flat.
        complete: (M,) bool: the segment has a gutter.
        problems: What is wrong with the file.
        notes: Worth knowing.
    """

    ends: NDArray[np.float64]
    pieces: shapely.STRtree
    sloping: shapely.STRtree
    complete: NDArray[np.bool_]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def vectors_of(path: Path) -> Vectors:
    """The file's content, parsed once by each process until the file changes.

    Raises:
        ImageError: It cannot be read at all; the message does not name the file.
    """
    try:
        status = path.stat()
    except OSError as error:
        cure = "copy segments_reviewed.csv from github.com/TUMFTM/RID there, or set vectors to null"
        raise ImageError(f"cannot be read: {error.strerror}; {cure}") from None
    if not path.is_file():
        raise ImageError("is no file")
    if status.st_size > _MAX_CSV_BYTES:
        raise ImageError(f"has more than {_MAX_CSV_BYTES} bytes")
    return _parsed(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _parsed(path: Path, mtime_ns: int, size: int) -> Vectors:
    try:
        table = pd.read_csv(path, usecols=_COLUMNS, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ImageError(f"is no CSV file with the columns {', '.join(_COLUMNS)}: {str(error)[:200]}") from None
    if table.empty:
        raise ImageError("has no row below the names of its columns; download it again, or set vectors to null")
    problems: list[str] = []
    segments = _geometries(table["segment"], ("Polygon", "MultiPolygon"), problems)
    gutters = _geometries(table["gutter"], ("LineString", "MultiLineString"), problems)
    sloping = table["azimuth"].notna().to_numpy(copy=True)  # a flat segment has no azimuth
    degrees = pd.to_numeric(table["azimuth"], errors="coerce").abs().to_numpy()
    if (wrong := sloping & ~(degrees <= _FULL_TURN)).any():
        problems.append(_told(table["azimuth"], wrong, "are no angles in degrees"))
    sloping &= ~shapely.is_missing(segments)
    lacking = sloping & ~(shapely.length(gutters) > 0)
    note = f"{int(lacking.sum())} sloping segment(s) have no gutter: the eaves of windows that they touch are unknown"
    ends = _pieces(gutters)
    return Vectors(
        ends,
        shapely.STRtree(shapely.linestrings(ends.reshape(-1, 2, 2))),
        shapely.STRtree(segments[sloping]),
        ~lacking[sloping],
        tuple(problems),
        (note,) if lacking.any() else (),
    )


def _geometries(column: pd.Series[str], kinds: tuple[str, str], problems: list[str]) -> NDArray[np.object_]:
    """Geometries of a column of WKT, turned from latitude first to longitude first; None where there is none."""
    given = column.notna().to_numpy(copy=True)
    # Others may be nested until the parser has no stack left, or be curves, which shapely cannot hold.
    plain = np.array([bool(_PLAIN_WKT.match(str(text))) for text in column], bool)
    texts = np.where(given & plain, column.to_numpy(object), "GEOMETRYCOLLECTION EMPTY")
    found = np.asarray(shapely.from_wkt(texts, on_invalid="ignore"), object)
    given &= ~(shapely.is_empty(found) & plain)
    fits = np.array([geometry is not None and geometry.geom_type in kinds for geometry in found], bool)
    degrees = (np.abs(np.nan_to_num(shapely.bounds(found), nan=np.inf)) <= [90, 180, 90, 180]).all(axis=1)
    for good, what in (
        (fits, f"are no WKT {' or '.join(kind.upper() for kind in kinds)}"),
        (degrees, "are not in degrees with latitude first"),
        (shapely.is_valid(found) | (shapely.get_dimensions(found) < 2), "cross themselves"),
    ):
        if (given & ~good).any():
            problems.append(_told(column, given & ~good, what))
        given &= good
    found[np.flatnonzero(~given)] = None
    return np.asarray(shapely.transform(found, lambda points: points[:, ::-1]), object)


def _told(column: pd.Series[str], wrong: NDArray[np.bool_], what: str) -> str:
    """A problem of several values of a column, with the first as an example; row 1 has the column names."""
    first = int(np.flatnonzero(wrong)[0])
    place = f"the first in row {first + 2}: {str(column.iloc[first])[:_SHOWN]!r}"
    return f"{int(wrong.sum())} value(s) of {column.name} {what}, {place}"


def _pieces(gutters: NDArray[np.object_]) -> NDArray[np.float64]:
    """Straight pieces (N, 4) of lines, without those of no length and without repetitions.

    Neighbouring segments may name the same gutter.
    """
    points, line = shapely.get_coordinates(shapely.get_parts(gutters), return_index=True)
    ends = np.hstack([points[:-1], points[1:]])[line[:-1] == line[1:]].reshape(-1, 4)
    ends = ends[(ends[:, :2] != ends[:, 2:]).any(axis=1)]
    ordered = np.where((ends[:, :1] < ends[:, 2:3]), ends, ends[:, [2, 3, 0, 1]])
    _, first = np.unique(ordered, axis=0, return_index=True)
    return np.asarray(ends[np.sort(first)], np.float64)


def eaves_of(vectors: Vectors, place: Georeference, window: Window, sloping: bool) -> tuple[Lines, bool]:
    """Eaves of a window, and whether they are all: each segment has its own, and there is one if the mask has any."""
    box = _box(place, window)
    matrix, offset = _axes(place)
    points = vectors.ends[np.sort(vectors.pieces.query(box, predicate="intersects"))].reshape(-1, 2)
    places = np.linalg.solve(matrix, (points - offset).T).T[:, ::-1] - [window.top, window.left]
    here = vectors.sloping.query(box, predicate="intersects")
    known = bool(vectors.complete[here].all()) and (here.size > 0 or not sloping)
    return Lines(np.full(len(places) // 2, EAVE, np.uint8), places.reshape(-1, 4)), known


def check_vectors(root: Path, name: str | None, scenes: Sequence[Scene]) -> tuple[list[Problem], list[str]]:
    """Problems and notes on the file of vectors that the settings name, if any."""
    if name is None:
        return [], []
    path = root / name
    if ".." in PurePosixPath(name.replace("\\", "/")).parts or not stays_inside(root, path):
        raise UserError(f"roof.raw: vectors {name!r} leaves the folder {root}; put the file there")
    if misnamed := misfits(root, [name]):
        return misnamed, []
    try:
        vectors = vectors_of(path)
    except ImageError as error:
        return [Problem(path, str(error))], []
    problems = [Problem(path, problem) for problem in vectors.problems]
    notes = [f"{path}: {note}" for note in vectors.notes]
    boxes = ground_of(scenes)
    if len(boxes) < len(scenes):
        notes.append(f"{len(scenes) - len(boxes)} image(s) are not in {VECTOR_CRS}: their eaves are unknown")
    if boxes and len(vectors.ends) and not vectors.pieces.query(boxes, predicate="intersects").size:
        what = f"none of its {len(vectors.ends)} gutters lies in an image; points are latitude, longitude in degrees"
        problems.append(Problem(path, what))
    return problems, notes


def placed(scene: Scene) -> Georeference | None:
    """The georeference, where its coordinates are those of the vectors, degrees of WGS84."""
    place = scene.georeference
    return place if place is not None and place.crs == VECTOR_CRS else None


def _axes(place: Georeference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset from (column, row) to (longitude, latitude)."""
    a, b, c, d, e, f = place.transform
    return np.array([[a, b], [d, e]]), np.array([c, f])


def _box(place: Georeference, window: Window) -> shapely.Polygon:
    matrix, offset = _axes(place)
    right, bottom = window.left + window.width, window.top + window.height
    corners = [(window.left, window.top), (right, window.top), (right, bottom), (window.left, bottom)]
    return shapely.Polygon(np.array(corners) @ matrix.T + offset)


def ground_of(scenes: Iterable[Scene]) -> list[shapely.Polygon]:
    """Ground of the scenes that have a place."""
    places = ((scene, placed(scene)) for scene in scenes)
    return [_box(place, Window(0, 0, scene.height, scene.width)) for scene, place in places if place is not None]
