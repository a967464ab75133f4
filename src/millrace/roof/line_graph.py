"""Masks of thick lines thinned and taken apart into paths between ends and junctions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from millrace.roof.line_fit import Points

MARGIN_PX = 5
"""Lines that are further from each other than this have no influence on one another."""
_EIGHT = np.ones((3, 3), bool)
_CENTROID_PX = 5
_DIRECTION_PX, _STEP_PX = 8, 0.25
_SMALLEST_RING = 4
_AROUND = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Neighbours by a side come before those by a corner, or a path would leave out pixels at its bends."""

Pixel = tuple[int, int]


@dataclass(frozen=True)
class SkeletonPath:
    """A line one pixel wide from one end or junction to another.

    Attributes:
        points: Centres of its pixels as rows and columns, (N, 2) with N > 1. Paths that meet share their end, which is
            the middle of the junction's pixels; a ring's first and last point are the same.
        refined: Where the middle of the line is about each point, (N, 2), in fractions of a pixel.
    """

    points: Points
    refined: Points


@dataclass
class _Edge:
    pixels: list[Pixel]
    """Without those of junctions."""
    nodes: list[int | None]
    """Junctions at its first and last pixel, None for a free end."""

    @property
    def is_ring(self) -> bool:
        """Whether it ends where it begins, at no junction."""
        (row0, column0), (row1, column1) = self.pixels[0], self.pixels[-1]
        near = max(abs(row0 - row1), abs(column0 - column1)) <= 1
        return near and self.nodes == [None, None] and len(self.pixels) > _SMALLEST_RING

    def reversed(self) -> _Edge:
        return _Edge(self.pixels[::-1], self.nodes[::-1])


def skeleton_paths(probabilities: NDArray[np.floating], threshold: float, gap_px: float) -> list[SkeletonPath]:
    """Paths of the lines of a small image.

    Args:
        probabilities: That a pixel belongs to a line, (H, W).
        threshold: From which on it does.
        gap_px: Holes of fewer pixels than its square are filled, and side branches that are shorter are removed.

    Returns:
        The paths.
    """
    from skimage.morphology import remove_small_holes, skeletonize

    # Without a margin, thinning would treat the edge of the image as one of the line.
    weights = np.pad(np.where(probabilities >= threshold, probabilities, 0).astype(np.float64), MARGIN_PX)
    mask = remove_small_holes(weights > 0, max_size=int(gap_px**2))
    # The default, after Zhang and Suen 1984, deletes diagonal lines that are two pixels wide.
    skeleton = skeletonize(mask, method="lee").astype(bool)
    edges, centres = _graph(skeleton)
    edges = _joined(_without_spurs(edges, gap_px))
    middle_rows, middle_columns = _centroids(np.where(mask, np.maximum(weights, threshold), 0))
    depth = ndimage.distance_transform_edt(mask)
    paths = []
    for edge in edges:
        pixels = np.array(edge.pixels)
        points = pixels + 0.5
        refined = np.stack([middle_rows[tuple(pixels.T)], middle_columns[tuple(pixels.T)]], axis=1)
        if edge.is_ring:
            points, refined = (np.concatenate([each, each[:1]]) for each in (points, refined))
        else:
            half_width = float(np.median(depth[tuple(pixels.T)])) - 0.5
            first, last = (
                centres[node] if node is not None else _end(line, mask, half_width)
                for node, line in zip(edge.nodes, (points, points[::-1]), strict=True)
            )
            points, refined = (np.concatenate([[first], each, [last]]) for each in (points, refined))
        paths.append(SkeletonPath(points - MARGIN_PX, refined - MARGIN_PX))
    return paths


def straight_pieces(path: SkeletonPath, tolerance: float) -> list[SkeletonPath]:
    """Pieces of a path that are straight within a distance.

    Douglas and Peucker 1973, doi:10.3138/FM57-6770-U75U-7727. A ring is first cut at the point furthest from its
    middle, and at the one furthest from that.
    """
    points, refined = path.points, path.refined
    kept = {0, len(points) - 1}
    if (points[0] == points[-1]).all():
        start = int(np.argmax(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
        points, refined = (np.concatenate([each[start:], each[1 : start + 1]]) for each in (points, refined))
        kept.add(int(np.argmax(((points - points[0]) ** 2).sum(axis=1))))
    spans = list(pairwise(sorted(kept)))
    while spans:
        start, end = spans.pop()
        along, away = points[end] - points[start], points[start + 1 : end] - points[start]
        length = np.hypot(*along)
        distance = np.abs(away @ [-along[1], along[0]]) / length if length else np.hypot(*away.T)
        if len(distance) and distance.max() > tolerance:
            middle = start + 1 + int(distance.argmax())
            kept.add(middle)
            spans += [(start, middle), (middle, end)]
    spans = list(pairwise(sorted(kept)))
    return [SkeletonPath(points[start : end + 1], refined[start : end + 1]) for start, end in spans]


def _graph(skeleton: NDArray[np.bool_]) -> tuple[list[_Edge], list[Points]]:
    """Edges, and the centres of the junctions."""
    crowded = skeleton & (ndimage.convolve(skeleton.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant") > 3)
    junctions, count = ndimage.label(crowded, _EIGHT)
    centres = [np.array(place) + 0.5 for place in ndimage.center_of_mass(crowded, junctions, range(1, count + 1))]
    left: dict[Pixel, None] = dict.fromkeys((row, column) for row, column in np.argwhere(skeleton & ~crowded).tolist())
    edges = []
    while left:
        seed = next(iter(left))
        del left[seed]
        pixels = [*_walk(seed, left)[::-1], seed]
        pixels += _walk(seed, left)
        edges.append(_Edge(pixels, _ends(pixels, junctions)))
    return edges, centres


def _end(points: Points, mask: NDArray[np.bool_], half_width: float) -> Points:
    """Where a line that starts at the first of some points ends: half its width before the mask does.

    Thinning shortens lines by more or less than that.
    """
    along = points[0] - points[min(_DIRECTION_PX, len(points) - 1)]
    length = float(np.linalg.norm(along))
    if not length:
        return np.asarray(points[0], np.float64)
    reaches = np.arange(0, 2 * half_width + 2, _STEP_PX)
    rows, columns = np.floor(points[0] + reaches[:, None] * along / length).astype(np.int64).T
    inside = mask[np.clip(rows, 0, len(mask) - 1), np.clip(columns, 0, mask.shape[1] - 1)]
    reach = float(reaches[-1] if inside.all() else reaches[np.argmin(inside)])
    end: Points = np.asarray(points[0] + (reach - half_width) * along / length, np.float64)
    return end


def _walk(start: Pixel, left: dict[Pixel, None]) -> list[Pixel]:
    """Pixels that follow one another from `start`; they are taken out of `left`."""
    pixels: list[Pixel] = []
    row, column = start
    while True:
        steps = ((row + down, column + right) for down, right in _AROUND)
        following = next((pixel for pixel in steps if pixel in left), None)
        if following is None:
            return pixels
        del left[following]
        pixels.append(following)
        row, column = following


def _ends(pixels: list[Pixel], junctions: NDArray[np.integer]) -> list[int | None]:
    """Junctions next to the first and last pixel."""
    near: list[list[int]] = []
    for row, column in (pixels[0], pixels[-1]):
        around = junctions[row - 1 : row + 2, column - 1 : column + 2]
        near.append([int(number) - 1 for number in np.unique(around) if number])
    if len(pixels) == 1:
        return [*near[0], None, None][:2]
    return [each[0] if each else None for each in near]


def _without_spurs(edges: list[_Edge], length_px: float) -> list[_Edge]:
    """Without the short branches that end freely at one side."""
    return [
        edge for edge in edges if len(edge.pixels) >= length_px or (edge.nodes[0] is None) == (edge.nodes[1] is None)
    ]


def _joined(edges: list[_Edge]) -> list[_Edge]:
    """Edges with those made one of which no more than two meet at a junction."""
    at: defaultdict[int, list[_Edge]] = defaultdict(list)
    for edge in edges:
        for node in edge.nodes:
            if node is not None:
                at[node].append(edge)
    kept = {id(edge): edge for edge in edges}
    for node in sorted(at):
        met = at[node]
        if len(met) != 2 or met[0] is met[1]:
            continue
        first, second = met
        one = first if first.nodes[1] == node else first.reversed()
        other = second if second.nodes[0] == node else second.reversed()
        joined = _Edge(one.pixels + other.pixels, [one.nodes[0], other.nodes[1]])
        del kept[id(first)], kept[id(second)]
        kept[id(joined)] = joined
        for far in joined.nodes:
            if far is not None:
                at[far] = [joined if each is first or each is second else each for each in at[far]]
    return list(kept.values())


def _centroids(weights: Points) -> tuple[Points, Points]:
    """Centre of gravity of what is about each pixel, as rows and columns."""
    total = np.maximum(ndimage.uniform_filter(weights, _CENTROID_PX, mode="constant"), 1e-12)
    rows, columns = (
        np.arange(side)[(slice(None), None)[:: 1 - 2 * axis]] + 0.5 for axis, side in enumerate(weights.shape)
    )
    return (
        ndimage.uniform_filter(weights * rows, _CENTROID_PX, mode="constant") / total,
        ndimage.uniform_filter(weights * columns, _CENTROID_PX, mode="constant") / total,
    )
