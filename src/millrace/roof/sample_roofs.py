"""Roofs of the synthetic data set as exact geometry: plane faces and the lines where they meet or end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import shapely
from shapely import affinity

from millrace.roof.classes import LINES

Plane = tuple[float, float, float]
"""z = a * x + b * y + c, in metres; x points east, y north."""
Polygon = Any
Corners = list[tuple[float, float]]
End = Literal["gable", "hip", "half-hip"]
FORMS = ("gable", "hip", "half-hip", "shed", "flat", "L", "T")
HALF_HIP_START = 0.55
"""Where the slope of a half-hipped end begins, as a share of the height from eave to ridge."""
_TIE_M = 1e-9
_ZERO = 1e-6
_TOUCH_M = 1e-5


@dataclass(frozen=True)
class Face:
    """A plane part of a roof, seen from above.

    Attributes:
        polygon: Its plan.
        plane: Its height.
        cover: Which of its building's materials it has: 0 the house's, 1 the annex's.
    """

    polygon: Polygon
    plane: Plane
    cover: int = 0

    @property
    def slope(self) -> float:
        """Rise over run."""
        return math.hypot(self.plane[0], self.plane[1])

    @property
    def azimuth(self) -> float | None:
        """Compass direction that it faces, in degrees from 0 to below 360; None where it is flat."""
        if self.slope < _ZERO:
            return None
        return math.degrees(math.atan2(-self.plane[0], -self.plane[1])) % 360

    def height(self, x: float, y: float) -> float:
        a, b, c = self.plane
        return a * x + b * y + c


@dataclass(frozen=True)
class Line:
    """A straight roof line: its place in `classes.LINES`, and its ends in metres."""

    kind: int
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True)
class Wing:
    """A convex piece of a building: its roof is the lowest of some planes over a rectangle.

    Attributes:
        box: Least and largest x, then y.
        planes: No two of them are equal.
    """

    box: tuple[float, float, float, float]
    planes: tuple[Plane, ...]
    cover: int = 0


def wing(
    box: tuple[float, float, float, float],
    eave_m: float,
    slope: float,
    ends: tuple[End, End],
    end_slope: float | None = None,
) -> Wing:
    """A gabled or hipped roof whose ridge runs along x; `ends` are those at the least and the largest x."""
    left, right, bottom, top = box
    rise = slope * (top - bottom) / 2
    end_slope = end_slope or slope
    planes = [(0.0, slope, eave_m - slope * bottom), (0.0, -slope, eave_m + slope * top)]
    for end, x, sign in ((ends[0], left, 1), (ends[1], right, -1)):
        start_m = {"gable": None, "hip": 0.0, "half-hip": HALF_HIP_START * rise}[end]
        if start_m is not None:
            planes.append((sign * end_slope, 0.0, eave_m + start_m - sign * end_slope * x))
    return Wing(box, tuple(planes))


def along_y(piece: Wing) -> Wing:
    """The same with x and y exchanged."""
    left, right, bottom, top = piece.box
    return replace(piece, box=(bottom, top, left, right), planes=tuple((b, a, c) for a, b, c in piece.planes))


def make_wings(form: str, generator: np.random.Generator, length_m: float, width_m: float) -> list[Wing]:
    """Pieces of a house of one of `FORMS`, of random heights and slopes; the length lies along x."""
    half = (-length_m / 2, length_m / 2, -width_m / 2, width_m / 2)
    eave_m = generator.uniform(2.6, 6.5)
    slope = math.tan(math.radians(generator.uniform(20, 50)))
    if form == "flat":
        return [Wing(half, ((0.0, 0.0, generator.uniform(2.8, 9.0)),))]
    if form == "shed":
        slope = math.tan(math.radians(generator.uniform(8, 22)))
        return [Wing(half, ((0.0, slope, eave_m + slope * width_m / 2),))]
    if form in ("gable", "hip", "half-hip"):
        end_slope = max(slope, slope * generator.uniform(1.0, 1.5), 1.25 * slope * width_m / length_m)
        return [wing(half, eave_m, slope, (form, form), end_slope)]  # type: ignore[arg-type]  # these three are an End too
    far: End = "hip" if generator.random() < 0.4 else "gable"
    other_m = width_m * generator.uniform(0.7, 1.0)
    reach_m = half[3] + generator.uniform(0.45, 0.9) * width_m
    near = half[0] if form == "L" else half[0] + generator.uniform(0.25, 0.75) * (length_m - other_m)
    # The second wing begins as a hip below the first one's plane: their higher one is a roof with hips and valleys.
    second = along_y(wing((half[2], reach_m, near, near + other_m), eave_m, slope, ("hip", far)))
    return [wing(half, eave_m, slope, ("hip" if form == "L" else far, far)), second]


def annex(piece: Wing, generator: np.random.Generator) -> Wing:
    """A flat garage at the far end of a wing along x, lower than its eaves."""
    _, right, bottom, top = piece.box
    width_m = generator.uniform(3.0, 6.0)
    depth_m = min(generator.uniform(5.5, 8.0), top - bottom)
    near = generator.uniform(bottom, top - depth_m)
    return Wing((right, right + width_m, near, near + depth_m), ((0.0, 0.0, generator.uniform(2.3, 2.55)),), cover=1)


def assemble(wings: Sequence[Wing]) -> list[Face]:
    """Faces of the roof that is everywhere the highest of the wings."""
    pieces: dict[tuple[int, Plane], list[Polygon]] = {}
    for number, own in enumerate(wings):
        for plane in own.planes:
            parts = [_clip(_corners(own.box), [_minus(other, plane) for other in own.planes if other != plane])]
            for other_number, other in enumerate(wings):
                if other_number != number:
                    # Where both are equally high, the earlier one has it.
                    margin = _TIE_M if other_number > number else -_TIE_M
                    lifted = (plane[0], plane[1], plane[2] + margin)
                    higher = [*_sides(other.box), *(_minus(each, lifted) for each in other.planes)]
                    parts = [rest for part in parts for rest in _cut(part, higher)]
            key = (own.cover, (round(plane[0], 9), round(plane[1], 9), round(plane[2], 9)))
            pieces.setdefault(key, []).extend(_solid(parts))
    faces: list[Face] = []
    for (cover, plane), polygons in pieces.items():
        # Slivers and gaps as thin as a rounding error vanish: shrink, grow, shrink, with sharp corners.
        grown = [_offset(_offset(part, -_TOUCH_M), 2 * _TOUCH_M) for part in polygons]
        whole = shapely.simplify(_offset(shapely.union_all(grown), -_TOUCH_M), _TOUCH_M)
        faces += [Face(each, plane, cover) for each in shapely.get_parts(whole) if each.area > 1e-3]
    return faces


def roof_lines(wings: Sequence[Wing], faces: Sequence[Face]) -> list[Line]:
    """Ridges, valleys, hips, eaves and the outline of a roof and its faces.

    A line between two faces of equal height along it is a valley where both rise from it, and else a ridge where it is
    horizontal, a hip where it is not. A horizontal lower edge of a face is an eave. Where a wall rises from one face to
    another there is neither ridge nor valley.
    """
    found = [line for first, second in combinations(faces, 2) for line in _between(first, second)]
    found += [line for face in faces for line in eaves(face)]
    found += [Line(LINES.index("outline"), *ends) for ends in _edges(outline(wings))]
    return found


def eaves(face: Face) -> list[Line]:
    """Its horizontal lower edges."""
    return [Line(LINES.index("eave"), *ends) for ends in _edges(face.polygon) if _is_eave(face, *ends)]


def outline(wings: Sequence[Wing]) -> Polygon:
    """The whole roof from above."""
    return shapely.simplify(shapely.union_all([shapely.Polygon(_corners(each.box)) for each in wings]), _ZERO)


def placed(
    faces: Sequence[Face], lines: Sequence[Line], turn_deg: float, x: float, y: float
) -> tuple[list[Face], list[Line]]:
    """Turned counterclockwise about the origin, then moved by (x, y)."""
    cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))

    def point(at: tuple[float, float]) -> tuple[float, float]:
        return cosine * at[0] - sine * at[1] + x, sine * at[0] + cosine * at[1] + y

    moved_faces = []
    for face in faces:
        a, b = cosine * face.plane[0] - sine * face.plane[1], sine * face.plane[0] + cosine * face.plane[1]
        polygon = affinity.affine_transform(face.polygon, [cosine, -sine, sine, cosine, x, y])
        moved_faces.append(Face(polygon, (a, b, face.plane[2] - a * x - b * y), face.cover))
    return moved_faces, [Line(line.kind, point(line.start), point(line.end)) for line in lines]


def _corners(box: tuple[float, float, float, float]) -> Corners:
    left, right, bottom, top = box
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _solid(parts: Sequence[Corners]) -> list[Polygon]:
    polygons = [shapely.Polygon(part) for part in parts if len(part) >= 3]
    return [polygon for polygon in polygons if polygon.area > 1e-6]


def _offset(polygon: Polygon, metres: float) -> Polygon:
    return shapely.buffer(polygon, metres, join_style="mitre", mitre_limit=50)


def _minus(first: Plane, second: Plane) -> Plane:
    return (first[0] - second[0], first[1] - second[1], first[2] - second[2])


def _sides(box: tuple[float, float, float, float]) -> list[Plane]:
    """Planes that are positive inside."""
    left, right, bottom, top = box
    return [(1.0, 0.0, -left), (-1.0, 0.0, right), (0.0, 1.0, -bottom), (0.0, -1.0, top)]


def _cut(corners: Corners, planes: Sequence[Plane]) -> list[Corners]:
    """Convex pieces of what is left of a convex polygon without the part where all `planes` are positive."""
    left = []
    for plane in planes:
        left.append(_clip(corners, [_minus((0.0, 0.0, 0.0), plane)]))
        corners = _clip(corners, [plane])
    return [piece for piece in left if len(piece) >= 3]


def _clip(corners: Corners, planes: Sequence[Plane]) -> Corners:
    """The part of a convex polygon where none of `planes` is below 0 (Sutherland and Hodgman 1974)."""
    for a, b, c in planes:
        kept: Corners = []
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            z0, z1 = a * x0 + b * y0 + c, a * x1 + b * y1 + c
            if z0 >= 0:
                kept.append((x0, y0))
            if (z0 >= 0) != (z1 >= 0):
                share = z0 / (z0 - z1)
                kept.append((x0 + share * (x1 - x0), y0 + share * (y1 - y0)))
        corners = kept
    return corners


def _edges(polygon: Polygon) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Ends of the sides, counterclockwise around the polygon and clockwise around its holes."""
    turned = shapely.geometry.polygon.orient(polygon)
    sides = []
    for ring in (turned.exterior, *turned.interiors):
        points = [(float(x), float(y)) for x, y in ring.coords]
        sides += list(pairwise(points))
    return sides


def _is_eave(face: Face, start: tuple[float, float], end: tuple[float, float]) -> bool:
    length = math.dist(start, end)
    if face.azimuth is None or length < 1e-3:
        return False
    outward = ((end[1] - start[1]) / length, (start[0] - end[0]) / length)
    return (face.plane[0] * outward[0] + face.plane[1] * outward[1]) / face.slope < -1 + 1e-6


def _between(first: Face, second: Face) -> list[Line]:
    """Where two faces meet at the same height: a straight line, as both are plane."""
    a, b, c = _minus(first.plane, second.plane)
    size = math.hypot(a, b)
    if size < _ZERO:
        return []
    base, along = (-a * c / size**2, -b * c / size**2), (-b / size, a / size)
    endless = shapely.LineString([(base[0] + k * along[0], base[1] + k * along[1]) for k in (-1e3, 1e3)])
    shared = endless.intersection(first.polygon.buffer(_TOUCH_M)).intersection(second.polygon.buffer(_TOUCH_M))
    lines = []
    for part in shapely.get_parts(shared):
        if part.length < 1e-2:
            continue
        start, end = ((float(x), float(y)) for x, y in (part.coords[0], part.coords[-1]))
        # Towards where the first plane is the higher one: its own side, if both rise from the line.
        beside = affinity.translate(part.centroid, 1e-2 * a / size, 1e-2 * b / size)
        if first.polygon.distance(beside) < second.polygon.distance(beside):
            kind = "valley"
        else:
            kind = "ridge" if abs(first.height(*start) - first.height(*end)) < 1e-3 else "hip"
        lines.append(Line(LINES.index(kind), start, end))
    return lines
