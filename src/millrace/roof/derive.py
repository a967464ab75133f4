"""Targets that follow exactly from what a data set labels: roofs, outlines, and the lines where two planes meet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from millrace.errors import ImageError
from millrace.roof.classes import LINES, UNKNOWN, background_class, flat_class
from millrace.roof.line_drawing import drawn
from millrace.roof.scene import Labelled

RIDGE, VALLEY, HIP, OUTLINE = (1 << LINES.index(kind) for kind in ("ridge", "valley", "hip", "outline"))
MEETINGS = RIDGE | VALLEY | HIP

CONTACT_PX = 7.25
"""Radius about a point of a border in which its direction is measured."""
MIN_CHORD_PX = 5.0
"""A border that runs less far within that radius has no direction."""
MIN_STRAIGHTNESS = 0.6
"""Least length of the chord over the number of pixel sides along it; a straight border has 0.71 at 45 degrees."""
MAX_SKEW_DEG = 30.0
"""Furthest that a border may be turned from where planes of equal pitch meet: it allows pitches as 1 to 3."""
MIN_FLOW = math.sin(math.radians(5))
"""Least part of a downslope vector across the border."""
MIN_RIDGE_DEG = 150.0
"""Planes whose azimuths differ by more meet in a ridge: opposite ones, and with 16 classes those next to opposite."""
GAP_PX = 2
"""Background between two planes, within this distance of both, may be a gap of the drawing where they meet."""
UNSURE_PX = 2
"""What cannot be told at a border is unknown this far around it."""
REACH_PX = 20
"""No target depends on a pixel that is further away, with lines of up to 9 pixels."""


def merge_azimuths(segments: NDArray[np.uint8], azimuths: int, given: int = 16) -> NDArray[np.uint8]:
    """Segments with coarser azimuth classes: each class goes into the nearest, and one between two clockwise.

    With 8 classes NNE becomes NE, with 4 classes N. Merging in two steps is not the same: NE becomes E.

    Args:
        segments: `given` azimuth classes, flat and background, or UNKNOWN; any shape.
        azimuths: Classes wanted, at most `given`.
        given: Classes that `segments` has.

    Raises:
        ImageError: There are fewer classes than wanted.
    """
    if azimuths > given:
        raise ImageError(f"has {given} azimuth classes, and roof.prepare.azimuths is {azimuths}: set that to {given}")
    table = np.full(256, UNKNOWN, np.uint8)
    table[:given] = (2 * np.arange(given) * azimuths + given) // (2 * given) % azimuths
    table[flat_class(given)] = flat_class(azimuths)
    table[background_class(given)] = background_class(azimuths)
    return table[segments]


def complete(tile: Labelled, azimuths: int, line_width_px: float) -> Labelled:
    """A tile with all that follows from its labels; what does not follow stays unknown.

    - `roof` is where segments are a plane or flat, unless the data set labels it.
    - Vectors are drawn into `lines`.
    - Ridges, valleys and hips come from the borders of segments, see `meetings`; the outline from `roof`, see
      `outline`; eaves only from vectors.
    - What the data set says of a kind of line at a pixel is never changed by what is derived.
    - `segments` get `azimuths` classes, after lines were derived from the finer ones.

    Args:
        tile: As read.
        azimuths: Classes wanted.
        line_width_px: Width of lines. One that runs between two pixels covers both.

    Raises:
        ImageError: There are fewer azimuth classes than wanted.
    """
    shape = tile.image.shape[:2]
    roof = _roof(tile)
    layers: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    if tile.lines is not None and tile.lines_known is not None:
        layers.append((tile.lines, tile.lines_known))
    if tile.vectors is not None:
        lines = drawn(tile.vectors, shape, line_width_px)
        layers.append((lines, lines | np.uint8(tile.vector_kinds)))
    if tile.segments is not None:
        layers.append(meetings(tile.segments, tile.azimuths, line_width_px))
    if roof is not None:
        layers.append(outline(roof, line_width_px))
    lines, known = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for own, own_known in layers:
        new = own_known & ~known
        lines |= own & new
        known |= new
    return replace(
        tile,
        segments=None if tile.segments is None else merge_azimuths(tile.segments, azimuths, tile.azimuths),
        azimuths=azimuths,
        roof=roof,
        lines=lines if layers else None,
        lines_known=known if layers else None,
    )


def outline(roof: NDArray[np.uint8], line_width_px: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The border between roof and no roof: the pixels on both sides of it.

    Unknown are pixels that are near an unknown one and on no border. The image's edge is no border.

    Returns:
        `lines` and `lines_known` with the bit of the outline, (H, W) uint8.
    """
    on = np.zeros(roof.shape, bool)
    for first, second in _neighbours(roof.shape):
        border = (roof[first] != roof[second]) & (roof[first] != UNKNOWN) & (roof[second] != UNKNOWN)
        on[first] |= border
        on[second] |= border
    on = _widened(on, line_width_px)
    unsure = _near(roof == UNKNOWN, 1 + math.ceil(line_width_px / 2))
    return on * np.uint8(OUTLINE), (on | ~unsure) * np.uint8(OUTLINE)


def meetings(
    segments: NDArray[np.uint8], azimuths: int, line_width_px: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Ridges, valleys and hips from the borders of azimuth segments.

    Take two planes that touch, their horizontal downslope vectors a and b, and n, the normal of their border, which
    points from a to b. Its direction is that of the border's chord within `CONTACT_PX`. Planes of equal pitch meet
    where n is parallel to b - a, whatever the pitch; of unequal pitch near there. So within `MAX_SKEW_DEG`:

    - b - a along n, and both vectors pointing away from the border: the meeting is convex. It is a ridge where the
      planes are opposite (then the line is level), and a hip where they are not (then it slopes).
    - b - a against n, and both vectors pointing to the border: a valley.

    Everything else is unknown, not absent: other directions (a step between two roofs), borders that are short or
    jagged, borders with a flat roof, narrow background between two planes, and all that is near an unknown pixel.
    Inside of a segment, and between one and the background, there is no such line.

    Args:
        segments: Azimuth classes, flat, background or UNKNOWN, (H, W).
        azimuths: How many.
        line_width_px: Width of lines.

    Returns:
        `lines` and `lines_known` with the bits of ridge, valley and hip, (H, W) uint8.
    """
    unknown = segments == UNKNOWN
    blind = _near(unknown, math.ceil(CONTACT_PX))
    places, normals, classes = [], [], []
    unsure = np.zeros(segments.shape, bool)
    for axis, (first, second) in enumerate(_neighbours(segments.shape)):
        one, other = segments[first], segments[second]
        border = (one != other) & (one <= flat_class(azimuths)) & (other <= flat_class(azimuths))
        planes = border & (one < azimuths) & (other < azimuths)
        unsure[first] |= border & ~planes
        unsure[second] |= border & ~planes
        at = np.argwhere(planes)
        places.append(at + (np.array([0.5, 0]) if axis == 0 else np.array([0, 0.5])))
        pair = np.stack([one[planes], other[planes]], axis=1).astype(np.int64)
        normal = np.zeros_like(pair)
        normal[:, axis] = np.where(pair[:, 0] < pair[:, 1], 1, -1)
        normals.append(normal)
        classes.append(np.sort(pair, axis=1))
    place = np.concatenate(places)
    low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    kinds = _kinds(place, np.concatenate(normals), np.concatenate(classes), azimuths)
    kinds[blind[tuple(low.T)] | blind[tuple(high.T)]] = 0
    lines = np.zeros(segments.shape, np.uint8)
    for kind in (RIDGE, VALLEY, HIP):
        on = np.zeros(segments.shape, bool)
        for at in (low, high):
            on[tuple(at[kinds == kind].T)] = True
        lines |= _widened(on, line_width_px) * np.uint8(kind)
    for at in (low, high):
        unsure[tuple(at[kinds == 0].T)] = True
    half = math.ceil(line_width_px / 2)
    unsure = _near(unsure, UNSURE_PX + half) | _near(_gaps(segments, azimuths), half)
    unsure |= _near(unknown, math.ceil(CONTACT_PX) + 1 + UNSURE_PX + half)
    return lines, np.where(unsure, lines, np.uint8(MEETINGS))


def _kinds(
    place: NDArray[np.float64], normal: NDArray[np.int64], classes: NDArray[np.int64], azimuths: int
) -> NDArray[np.int64]:
    """Bit of the kind of line at each pixel side between two planes; 0 where it cannot be told.

    Args:
        place: Middle of the side in whole pixel indices, so one coordinate ends in .5, (N, 2).
        normal: Of the side, from the plane of the lower class to the other, (N, 2).
        classes: Lower and higher class, (N, 2).
        azimuths: How many classes.
    """
    # The normals of the pixel sides along a path add up to its chord, turned by 90 degrees. Different pairs of planes
    # are far from each other in the third coordinate.
    pair = classes[:, 0] * azimuths + classes[:, 1]
    tree = cKDTree(np.column_stack([place, pair * (4 * CONTACT_PX)]))
    near = tree.query_pairs(CONTACT_PX, output_type="ndarray")
    sides = np.ones(len(place)) + np.bincount(near.ravel(), minlength=len(place))
    chord = normal.astype(np.float64)
    for axis in (0, 1):
        for own, other in ((0, 1), (1, 0)):
            chord[:, axis] += np.bincount(near[:, own], normal[near[:, other], axis], minlength=len(place))
    length = np.hypot(chord[:, 0], chord[:, 1])
    has_direction = (length >= MIN_CHORD_PX) & (length >= MIN_STRAIGHTNESS * sides)
    across = chord / np.maximum(length, 1)[:, None]
    angle = np.arange(azimuths) * 2 * np.pi / azimuths
    downslope = np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    a, b = downslope[classes[:, 0]], downslope[classes[:, 1]]
    bisector = (b - a) / np.hypot(*(b - a).T)[:, None]
    agreement = (bisector * across).sum(axis=1)
    flow_a, flow_b = (a * across).sum(axis=1), (b * across).sum(axis=1)
    straight = math.cos(math.radians(MAX_SKEW_DEG))
    convex = has_direction & (agreement >= straight) & (flow_a <= -MIN_FLOW) & (flow_b >= MIN_FLOW)
    concave = has_direction & (agreement <= -straight) & (flow_a >= MIN_FLOW) & (flow_b <= -MIN_FLOW)
    steps = classes[:, 1] - classes[:, 0]
    opposite = np.minimum(steps, azimuths - steps) * 360 / azimuths > MIN_RIDGE_DEG
    return np.select([convex & opposite, convex, concave], [RIDGE, HIP, VALLEY], 0)


def _roof(tile: Labelled) -> NDArray[np.uint8] | None:
    """The roof as labelled, and where it is not, what segments say."""
    if tile.segments is None:
        return tile.roof
    derived = np.where(tile.segments <= flat_class(tile.azimuths), np.uint8(1), np.uint8(0))
    derived[tile.segments == UNKNOWN] = UNKNOWN
    return derived if tile.roof is None else np.where(tile.roof == UNKNOWN, derived, tile.roof)


def _gaps(segments: NDArray[np.uint8], azimuths: int) -> NDArray[np.bool_]:
    """Background within `GAP_PX` of two different roof classes."""
    on_roof = segments <= flat_class(azimuths)
    size = 2 * GAP_PX + 1
    highest = ndimage.maximum_filter(np.where(on_roof, segments, 0), size)
    lowest = ndimage.minimum_filter(np.where(on_roof, segments, UNKNOWN), size)
    gaps: NDArray[np.bool_] = (segments == background_class(azimuths)) & (lowest < highest)
    return gaps


def _neighbours(shape: tuple[int, ...]) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Slices of all pixels and of those below them, then of all and of those right of them."""
    every = slice(None)
    return [((slice(-1), every), (slice(1, None), every)), ((every, slice(-1)), (every, slice(1, None)))]


def _near(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Pixels within so many rows and columns of one of the mask."""
    if not mask.any():
        return mask
    grown: NDArray[np.bool_] = ndimage.maximum_filter(mask, 2 * distance + 1)
    return grown


def _widened(on: NDArray[np.bool_], width_px: float) -> NDArray[np.bool_]:
    """The pixels on both sides of a border, two of them wide, as a line of some width about it."""
    radius = (width_px - 1) / 2
    reach = int(radius)
    if not reach or not on.any():
        return on
    offset = np.arange(-reach, reach + 1)
    disk = offset[:, None] ** 2 + offset**2 <= radius**2
    wide: NDArray[np.bool_] = ndimage.binary_dilation(on, disk)
    return wide
