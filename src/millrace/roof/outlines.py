"""A raster of classes as polygons with few corners, neighbours with a common border."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from millrace.roof.line_fit import FittedLine, Points, fitted_line, meeting_point

Arc = tuple[tuple[float, float], ...]

CORNER_PX = 3
"""A right angle between sides of at least so many pixels is a corner, one between shorter ones a step of a slanting
line."""
MIN_TOLERANCE_PX = 1.0
"""A smaller tolerance would follow the pixels."""
REACH = 4.0
"""Tolerances by which two outlines may come nearer to each other: each is simplified, and its corners are moved."""
BATCH = 500


@dataclass(frozen=True)
class Region:
    """Pixels of one class that are joined by their sides.

    Attributes:
        value: The class.
        pixels: Their outline, along the sides of pixels; x are columns and y rows, (0, 0) the outer corner of the first
            pixel of the image.
        polygon: The outline with few corners.
    """

    value: int
    pixels: shapely.Polygon
    polygon: shapely.Polygon


def regions(classes: NDArray[np.uint8], background: int, tolerance_px: float) -> list[Region]:
    """Regions of a raster with their outlines simplified.

    Borders run through the middles of pixel sides, so that slanting lines become straight and neither side gains, but
    keep clear corners and all points where more than two regions meet. Between such points each border is simplified
    once for both of its sides (Douglas, Peucker 1973), less so where polygons would touch that do not, or be invalid.

    Args:
        classes: (H, W).
        background: The class that is no region.
        tolerance_px: Largest distance from the border that a simplified one may have; at least `MIN_TOLERANCE_PX`.

    Returns:
        The regions in the order in which their rows end; all polygons are valid, and no two of them overlap.
    """
    found = [
        (shapely.geometry.shape(outline), int(value))
        for outline, value in shapes(classes, mask=classes != background, connectivity=4)
    ]
    tolerance_px = max(tolerance_px, MIN_TOLERANCE_PX)
    polygons: dict[int, shapely.Polygon] = {}
    # All arcs of a large image at once would take more memory than the image.
    for places in _batches([pixels for pixels, _ in found], REACH * tolerance_px):
        outlines = [found[place][0] for place in places]
        rings = [[_arcs(ring, classes, background) for ring in (each.exterior, *each.interiors)] for each in outlines]
        polygons |= zip(places, _simplified(rings, tolerance_px), strict=True)
    return [
        Region(value, pixels, polygons[place] if polygons[place].is_valid else pixels)
        for place, (pixels, value) in enumerate(found)
    ]


def _batches(outlines: list[shapely.Polygon], reach: float) -> Iterator[list[int]]:
    """Places of outlines, in batches of at least `BATCH` where there are so many; those of two batches are further from
    each other than a reach.
    """
    grown = shapely.bounds(outlines).reshape(-1, 4) + np.array([-1, -1, 1, 1]) * reach / 2
    boxes = shapely.box(*grown.T)
    near = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    count = len(outlines)
    _, groups = connected_components(coo_array((np.ones(near.shape[1], bool), tuple(near)), shape=(count, count)))
    ordered = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[ordered], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        if end - start >= BATCH or end == count:
            yield ordered[start:end].tolist()
            start = end


def _arcs(ring: shapely.LinearRing, classes: NDArray[np.uint8], background: int) -> list[Arc]:
    """A ring along the sides of pixels as arcs through their middles, from one meeting of regions to the next.

    What is on both sides of an arc gives the same points, in one order or the other.
    """
    corners = np.asarray(ring.coords, np.int64)[:-1]
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.abs(steps).sum(axis=1)
    first = np.cumsum(lengths) - lengths
    units = np.repeat(np.sign(steps), lengths, axis=0)
    points = np.repeat(corners, lengths, axis=0) + units * (np.arange(len(units)) - np.repeat(first, lengths))[:, None]
    meeting = _borders(points, classes, background) > 2
    bend = np.zeros(len(points), bool)
    bend[first] = True
    # Between meetings, which both sides of an arc have: one that goes straight on past one would measure further.
    places = np.flatnonzero(bend | meeting)
    runs = np.diff(places, append=places[0] + len(points))
    clear = places[(runs >= CORNER_PX) & (np.roll(runs, 1) >= CORNER_PX)]
    kept = meeting.copy()
    kept[clear] = True
    both = np.stack([points, points + units / 2], axis=1)
    chain = both[np.stack([kept, np.ones_like(kept)], axis=1)]
    cuts = np.flatnonzero(
        np.stack([meeting, np.zeros_like(kept)], axis=1)[np.stack([kept, np.ones_like(kept)], axis=1)]
    )
    if not len(cuts):
        cuts = np.array([_furthest(chain, (chain.min(axis=0) + chain.max(axis=0)) / 2)])
    chain = np.concatenate([chain[cuts[0] :], chain[: cuts[0] + 1]])
    arcs = [chain[start : end + 1] for start, end in pairwise([*(cuts - cuts[0]), len(chain) - 1])]
    return [_tuple(part) for arc in arcs for part in _opened(arc)]


def _borders(points: NDArray[np.int64], classes: NDArray[np.uint8], background: int) -> NDArray[np.int64]:
    """How many of the four sides of pixels that meet at a point (x, y) part two classes, (N,)."""
    height, width = classes.shape

    def at(down: int, right: int) -> NDArray[np.uint8]:
        rows, columns = points[:, 1] + down, points[:, 0] + right
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        inside = classes[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
        return np.where(outside, np.uint8(background), inside)

    around = [at(-1, -1), at(-1, 0), at(0, 0), at(0, -1)]
    count: NDArray[np.int64] = np.sum(
        [one != other for one, other in zip(around, np.roll(around, 1, 0), strict=True)], 0
    )
    return count


def _furthest(points: Points, origin: Points) -> int:
    """Place of the point furthest from another; of several, the same whichever way round they are."""
    squares = ((points - origin) ** 2).sum(axis=1)
    return int(max(range(len(points)), key=lambda place: (squares[place], *points[place])))


def _opened(arc: Points) -> list[Points]:
    """An arc, or the two halves of one that ends where it starts."""
    if (arc[0] != arc[-1]).any():
        return [arc]
    middle = _furthest(arc, arc[0])
    return [arc[: middle + 1], arc[middle:]]


def _tuple(points: Points) -> Arc:
    return tuple((x, y) for x, y in points.tolist())


def _canonical(arc: Arc) -> Arc:
    return min(arc, arc[::-1])


@dataclass(frozen=True)
class _Simplified:
    """An arc with few points, and the lines through its pieces between them."""

    corners: Arc
    lines: tuple[FittedLine, ...]


def _simplified(rings: Sequence[Sequence[Sequence[Arc]]], tolerance: float) -> list[shapely.Polygon]:
    """A polygon for each list of rings of arcs; an arc that is on the rings of two is the same in both."""
    used = [sorted({_canonical(arc) for arcs in each for arc in arcs}) for each in rings]
    tolerances = {arc: tolerance for arcs in used for arc in arcs}
    simplified: dict[Arc, _Simplified] = {}
    changed = list(tolerances)
    polygons: list[shapely.Polygon] = []
    while changed:
        corners = shapely.simplify(
            [shapely.LineString(arc) for arc in changed], [tolerances[arc] for arc in changed], preserve_topology=False
        )
        simplified |= {arc: _with_lines(arc, tuple(few.coords)) for arc, few in zip(changed, corners, strict=True)}
        places = _moved(simplified, tolerances, tolerance)
        polygons = [_polygon(each, simplified, places) for each in rings]
        misfits = np.flatnonzero(_misfit(polygons))
        changed = sorted({arc for place in misfits for arc in used[place] if tolerances[arc]})
        for arc in changed:
            tolerances[arc] = tolerances[arc] / 2 if tolerances[arc] > tolerance / 4 else 0.0
    return polygons


def _with_lines(arc: Arc, corners: Arc) -> _Simplified:
    position = {point: place for place, point in enumerate(arc)}
    cuts = [position[corner] for corner in corners]
    return _Simplified(corners, tuple(fitted_line(np.array(arc[one : other + 1])) for one, other in pairwise(cuts)))


def _moved(
    simplified: dict[Arc, _Simplified], tolerances: dict[Arc, float], furthest: float
) -> dict[tuple[float, float], tuple[float, float]]:
    """Where corners come to lie, as seen from the lines that meet there: those of the pixels are off by up to one.

    A corner of an arc that must not be simplified stays.
    """
    lines: defaultdict[tuple[float, float], list[FittedLine]] = defaultdict(list)
    fixed: set[tuple[float, float]] = set()
    for arc, few in sorted(simplified.items()):
        for (start, end), line in zip(pairwise(few.corners), few.lines, strict=True):
            lines[start].append(line)
            lines[end].append(line)
        if not tolerances[arc]:
            fixed |= set(few.corners)
    moved = {}
    for place, own in lines.items():
        moved[place] = place if place in fixed else meeting_point(place, own, furthest)
    return moved


def _polygon(
    rings: Sequence[Sequence[Arc]],
    simplified: dict[Arc, _Simplified],
    places: dict[tuple[float, float], tuple[float, float]],
) -> shapely.Polygon:
    """Polygon of the simplified arcs; an empty one where too little is left of its border."""
    closed: list[list[tuple[float, float]]] = [[] for _ in rings]
    for ring, arcs in zip(closed, rings, strict=True):
        for arc in arcs:
            corners = simplified[_canonical(arc)].corners
            ring += [places[corner] for corner in (corners if corners[0] == arc[0] else corners[::-1])[:-1]]
    if min(map(len, closed)) < 3:
        return shapely.Polygon()
    return shapely.Polygon(closed[0], closed[1:])


def _misfit(polygons: list[shapely.Polygon]) -> NDArray[np.bool_]:
    """Which polygons are no valid ones, or overlap others."""
    misfit = np.array([polygon.is_empty or not polygon.is_valid for polygon in polygons])
    edges = shapely.coverage_invalid_edges(
        [shapely.Polygon() if bad else each for bad, each in zip(misfit, polygons, strict=True)]
    )
    overlapping: NDArray[np.bool_] = ~shapely.is_empty(edges)
    return misfit | overlapping
