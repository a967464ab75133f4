"""What is on the roofs of the synthetic data set: panels, dormers, windows, ladders, chimneys and small things."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely

from millrace.roof.classes import SUPERSTRUCTURES
from millrace.roof.sample_roofs import Face, Plane, Polygon

Colour = tuple[float, float, float]
"""sRGB, 0 to 255."""
PANEL_M = (1.02, 1.7)
"""Width along the eave and length up the slope of a photovoltaic module."""
TRIES = 12


@dataclass(frozen=True)
class Decal:
    """Something flat that is only to be seen, such as a window's pane: no label, no height."""

    polygon: Polygon
    colour: Colour


@dataclass(frozen=True)
class Structure:
    """Something on a roof.

    Attributes:
        kind: Its place in `classes.SUPERSTRUCTURES`.
        polygon: Its plan.
        plane: Height of its upper side.
        colour: None has the material of the roof.
    """

    kind: int
    polygon: Polygon
    plane: Plane
    colour: Colour | None


@dataclass
class Slope:
    """A face in coordinates of its own: u along its eaves, v up the slope, both in metres of the plan.

    Attributes:
        u: Unit vector (x, y) along the eaves; any horizontal one where it is flat.
        v: Unit vector up the slope.
        free: What no structure covers yet.
    """

    face: Face
    u: tuple[float, float]
    v: tuple[float, float]
    free: Polygon
    structures: list[Structure] = field(default_factory=list)
    decals: list[Decal] = field(default_factory=list)

    @classmethod
    def of(cls, face: Face, turn_deg: float) -> Slope:
        """`turn_deg` is the direction of u where the face is flat, counterclockwise from east."""
        if face.azimuth is None:
            angle = math.radians(turn_deg)
            v = (-math.sin(angle), math.cos(angle))
        else:
            v = (face.plane[0] / face.slope, face.plane[1] / face.slope)
        return cls(face, (v[1], -v[0]), v, face.polygon.buffer(-0.35, join_style="mitre"))

    def point(self, u: float, v: float) -> tuple[float, float]:
        return u * self.u[0] + v * self.v[0], u * self.u[1] + v * self.v[1]

    def shape(self, *corners: tuple[float, float]) -> Polygon:
        return shapely.Polygon([self.point(u, v) for u, v in corners])

    def rectangle(self, u: float, v: float, width_m: float, depth_m: float) -> Polygon:
        """With (u, v) as the middle of its lower side."""
        half = width_m / 2
        return self.shape((u - half, v), (u + half, v), (u + half, v + depth_m), (u - half, v + depth_m))

    def extent(self) -> tuple[float, float, float, float]:
        """Least and largest u, then v, of the face."""
        points = shapely.get_coordinates(self.face.polygon)
        along, up = points @ np.array(self.u), points @ np.array(self.v)
        return float(along.min()), float(along.max()), float(up.min()), float(up.max())

    def raised(self, metres: float) -> Plane:
        return (self.face.plane[0], self.face.plane[1], self.face.plane[2] + metres)

    def level(self, u: float, v: float, metres: float) -> Plane:
        """A horizontal plane so far above the face at (u, v)."""
        return (0.0, 0.0, self.face.height(*self.point(u, v)) + metres)

    def fits(self, polygon: Polygon) -> bool:
        return bool(self.free.contains(polygon))

    def add(self, name: str, polygon: Polygon, plane: Plane, colour: Colour | None) -> None:
        self.structures.append(Structure(SUPERSTRUCTURES.index(name), polygon, plane, colour))
        self.free = self.free.difference(polygon.buffer(0.15, join_style="mitre"))

    def place(
        self, generator: np.random.Generator, width_m: float, depth_m: float, up: tuple[float, float]
    ) -> tuple[float, float] | None:
        """A free place (u, v) for a rectangle with v between shares `up` of the face's extent, if one is found."""
        least_u, most_u, least_v, most_v = self.extent()
        for _ in range(TRIES):
            u = generator.uniform(least_u, most_u)
            v = least_v + generator.uniform(*up) * (most_v - least_v)
            if self.fits(self.rectangle(u, v, width_m, depth_m)):
                return u, v
        return None


def furnish(generator: np.random.Generator, slope: Slope, dormer_colour: Colour | None, ridge_m: float) -> None:
    """Put structures onto a face of a house; `ridge_m` is the height of the house's ridge."""
    face = slope.face
    if face.polygon.area < 14:
        return
    if face.azimuth is None:
        _furnish_flat(generator, slope)
        return
    if face.slope > math.tan(math.radians(27)) and generator.random() < 0.45:
        _dormers(generator, slope, dormer_colour)
    if generator.random() < 0.45:
        _chimney(generator, slope, ridge_m)
    if generator.random() < 0.38:
        _panels(generator, slope)
    if generator.random() < 0.5:
        _windows(generator, slope)
    for _ in range(generator.integers(0, 3)):
        _small(generator, slope)


def _row(generator: np.random.Generator, slope: Slope, width_m: float, most: int) -> Iterator[float]:
    """Places u of some equal things in a row."""
    least_u, most_u, _, _ = slope.extent()
    number = int(generator.integers(1, most + 1))
    step = width_m * generator.uniform(1.5, 2.6)
    middle = generator.uniform(0.3, 0.7) * (most_u - least_u) + least_u
    for i in range(number):
        yield middle + (i - (number - 1) / 2) * step


def _dormers(generator: np.random.Generator, slope: Slope, colour: Colour | None) -> None:
    """Shed or gabled dormers: where their roof is above the face, and a wall below its front edge."""
    _, _, least_v, most_v = slope.extent()
    rise, width_m = slope.face.slope, generator.uniform(1.8, 3.4)
    v = least_v + generator.uniform(0.15, 0.3) * (most_v - least_v)
    front_m, gabled = generator.uniform(1.1, 1.6), generator.random() < 0.55
    half = width_m / 2
    pitch = generator.uniform(0.45, 0.75) if gabled else generator.uniform(0.05, 0.25) * rise
    for u in _row(generator, slope, width_m, 3):
        base = slope.face.height(*slope.point(u, v))
        if gabled:
            # z = base + front + pitch * (half - |u|) meets the face, base + rise * v, first at the sides.
            side_m, ridge_m = front_m / rise, (front_m + pitch * half) / rise
            left = slope.shape((u - half, v), (u, v), (u, v + ridge_m), (u - half, v + side_m))
            right = slope.shape((u, v), (u + half, v), (u + half, v + side_m), (u, v + ridge_m))
            halves = [(left, pitch), (right, -pitch)]
        else:
            depth_m = front_m / (rise - pitch)
            halves = [(slope.rectangle(u, v, width_m, depth_m), 0.0)]
        if not slope.fits(shapely.union_all([part for part, _ in halves])):
            continue
        for part, along in halves:
            up = 0.0 if gabled else pitch
            a = along * slope.u[0] + up * slope.v[0]
            b = along * slope.u[1] + up * slope.v[1]
            x, y = slope.point(u, v)
            top = base + front_m + (pitch * half if gabled else 0.0)
            slope.structures.append(
                Structure(SUPERSTRUCTURES.index("dormer"), part, (a, b, top - a * x - b * y), colour)
            )
        slope.free = slope.free.difference(shapely.union_all([part for part, _ in halves]).buffer(0.3))


def _panels(generator: np.random.Generator, slope: Slope) -> None:
    """A field of modules, upright or lying, in rows and columns."""
    flatten = math.cos(math.atan(slope.face.slope))
    across, up = PANEL_M if generator.random() < 0.7 else PANEL_M[::-1]
    up *= flatten
    colour = ((22.0, 27.0, 44.0), (29.0, 36.0, 56.0), (24.0, 24.0, 27.0))[generator.integers(3)]
    line = (70.0, 76.0, 90.0) if generator.random() < 0.6 else (45.0, 47.0, 54.0)
    for _ in range(3):
        columns, rows = int(generator.integers(2, 10)), int(generator.integers(1, 5))
        found = slope.place(generator, columns * across, rows * up, (0.08, 0.5))
        if found is not None:
            _module_field(slope, found, (columns, rows), (across, up), slope.raised(0.12), (colour, line))
            return


def _module_field(
    slope: Slope,
    place: tuple[float, float],
    count: tuple[int, int],
    size_m: tuple[float, float],
    plane: Plane,
    colours: tuple[Colour, Colour],
) -> None:
    u, v = place
    columns, rows = count
    width_m, depth_m = columns * size_m[0], rows * size_m[1]
    slope.add("pvmodule", slope.rectangle(u, v, width_m, depth_m), plane, colours[0])
    for i in range(1, columns):
        middle = u - width_m / 2 + i * size_m[0]
        slope.decals.append(Decal(slope.rectangle(middle, v, 0.05, depth_m), colours[1]))
    for i in range(1, rows):
        slope.decals.append(Decal(slope.rectangle(u, v + i * size_m[1] - 0.025, width_m, 0.05), colours[1]))


def _windows(generator: np.random.Generator, slope: Slope) -> None:
    _, _, least_v, most_v = slope.extent()
    width_m, depth_m = generator.uniform(0.75, 1.2), generator.uniform(1.0, 1.5) * math.cos(math.atan(slope.face.slope))
    v = least_v + generator.uniform(0.2, 0.6) * (most_v - least_v)
    sky = generator.uniform(45, 150)
    for u in _row(generator, slope, width_m, 4):
        outer = slope.rectangle(u, v, width_m, depth_m)
        if slope.fits(outer):
            slope.add("window", outer, slope.raised(0.06), (78.0, 76.0, 74.0))
            pane = slope.rectangle(u, v + 0.12, width_m - 0.22, depth_m - 0.24)
            slope.decals.append(Decal(pane, (0.86 * sky, 0.97 * sky, 1.1 * sky)))


def _chimney(generator: np.random.Generator, slope: Slope, ridge_m: float) -> None:
    """Near the ridge and higher than it; a sweep's ladder may lead up to it."""
    side_m = generator.uniform(0.5, 0.95)
    found = slope.place(generator, side_m, side_m, (0.55, 0.95))
    if found is None:
        return
    u, v = found
    top_m = max(ridge_m - slope.face.height(*slope.point(u, v)), 0.0) + generator.uniform(0.4, 1.1)
    colour = ((128.0, 84.0, 70.0), (150.0, 146.0, 140.0), (96.0, 94.0, 94.0), (176.0, 170.0, 160.0))[
        generator.integers(4)
    ]
    slope.add("chimney", slope.rectangle(u, v, side_m, side_m), slope.level(u, v, top_m), colour)
    hole = slope.rectangle(u, v + 0.3 * side_m, 0.4 * side_m, 0.4 * side_m)
    slope.decals.append(Decal(hole, (28.0, 26.0, 25.0)))
    if generator.random() < 0.75:
        _ladder(generator, slope, u, v - 0.2)


def _ladder(generator: np.random.Generator, slope: Slope, u: float, top_v: float) -> None:
    width_m = 0.45
    for depth_m in (generator.uniform(2.2, 4.0), 1.5):
        outline = slope.rectangle(u, top_v - depth_m, width_m, depth_m)
        if slope.fits(outline):
            break
    else:
        return
    colour = (168.0, 168.0, 166.0) if generator.random() < 0.6 else (92.0, 72.0, 56.0)
    slope.add("ladder", outline, slope.raised(0.05), None)
    for side in (-1, 1):
        slope.decals.append(Decal(slope.rectangle(u + side * 0.18, top_v - depth_m, 0.09, depth_m), colour))
    for step in np.arange(0.1, depth_m - 0.1, 0.3):
        slope.decals.append(Decal(slope.rectangle(u, top_v - depth_m + float(step), width_m, 0.1), colour))


def _small(generator: np.random.Generator, slope: Slope) -> None:
    """A vent, an aerial or a hood: what labellers call unknown."""
    width_m, depth_m = generator.uniform(0.3, 0.7, 2)
    found = slope.place(generator, width_m, depth_m, (0.1, 0.9))
    if found is None:
        return
    tone = generator.uniform(60, 205)
    polygon = slope.rectangle(*found, width_m, depth_m)
    slope.add("unknown", polygon, slope.level(*found, generator.uniform(0.3, 0.7)), (tone, tone, 0.97 * tone))


def _furnish_flat(generator: np.random.Generator, slope: Slope) -> None:
    if generator.random() < 0.35:
        colours = ((24.0, 29.0, 46.0), (66.0, 72.0, 86.0))
        columns, size = int(generator.integers(3, 9)), (PANEL_M[1], PANEL_M[0])
        for _ in range(int(generator.integers(2, 7))):
            found = slope.place(generator, columns * size[0], size[1], (0.05, 0.9))
            if found is not None:
                _module_field(slope, found, (columns, 1), size, slope.raised(0.3), colours)
    for _ in range(generator.integers(0, 4)):
        side_m = generator.uniform(0.8, 1.5)
        found = slope.place(generator, side_m, side_m, (0.05, 0.9))
        if found is not None:
            slope.add("window", slope.rectangle(*found, side_m, side_m), slope.raised(0.35), (178.0, 182.0, 184.0))
            pane = slope.rectangle(found[0], found[1] + 0.15, side_m - 0.3, side_m - 0.3)
            slope.decals.append(Decal(pane, (150.0, 164.0, 176.0)))
    for _ in range(generator.integers(0, 4)):
        width_m, depth_m = generator.uniform(0.5, 2.4, 2)
        found = slope.place(generator, width_m, depth_m, (0.05, 0.9))
        if found is not None:
            tone = generator.uniform(110, 210)
            polygon = slope.rectangle(*found, width_m, depth_m)
            slope.add("unknown", polygon, slope.level(*found, generator.uniform(0.4, 1.6)), (tone, tone, tone))
