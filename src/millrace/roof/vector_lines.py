"""Probabilities of roof lines as straight lines that meet at common junctions."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from millrace.imagery.mapped import give_back
from millrace.roof.classes import LINES
from millrace.roof.line_fit import FittedLine, Points, fitted_line, meeting_point
from millrace.roof.line_graph import MARGIN_PX, SkeletonPath, skeleton_paths, straight_pieces
from millrace.roof.params import Vectorise
from millrace.roof.sheets import sheets

MIN_SIMPLIFY_PX = 1.5
"""Thinned lines are jagged: a smaller tolerance would follow their pixels."""
MIN_SNAP_PX = 2.0
FURTHEST = 1.5
"""How far, in distances to snap, a junction may lie from where its ends were found, or these from each other."""
GAP = 2
"""A line that ends freely is continued by one of its kind up to so many times the distance to snap."""
EXCLUSIVE = tuple(LINES.index(kind) for kind in ("ridge", "valley", "hip", "eave"))
"""Kinds of which a line can be only one; an eave is an outline as well."""


@dataclass(frozen=True)
class VectorLines:
    """Straight lines found in an image.

    Attributes:
        kinds: Places in `classes.LINES`, (N,) uint8.
        ends: (N, 4) float64: row, column of one end, then of the other, in pixels; (0, 0) is the outer corner of the
            first pixel. Lines that meet share an end, down to the last bit.
        scores: Mean probability along each line, (N,) float64.
    """

    kinds: NDArray[np.uint8]
    ends: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass
class _Piece:
    """A straight line between two junctions, the points that it was found by in their order, (N, 2), and the line
    through these.
    """

    kind: int
    nodes: tuple[int, int]
    points: Points
    line: FittedLine


def vectorise_lines(probabilities: NDArray[np.floating], settings: Vectorise, pixel_size_m: float) -> VectorLines:
    """Straight lines of each kind.

    Each kind is cut at `line_threshold`, thinned, taken apart at its junctions, and simplified (Douglas, Peucker 1973).
    Ends of any kinds within `snap_m` of each other become one junction: the point nearest, by least squares, to the
    lines that fit the pixels of those that meet there or pass it within `snap_m`. Of lines between the same two
    junctions that cannot both be, the one with the highest score stays.

    Args:
        probabilities: Of `classes.LINES`, (5, H, W); it may be a memory-mapped file.
        settings: `line_threshold`, `min_line_m`, `snap_m` and `simplify_m` are used; the last two count as
            `MIN_SNAP_PX` and `MIN_SIMPLIFY_PX` pixels at least.
        pixel_size_m: Side of a pixel on the ground.

    Returns:
        The lines, sorted by kind, then by their ends.
    """
    snap_px = max(settings.snap_m / pixel_size_m, MIN_SNAP_PX)
    simplify_px = max(settings.simplify_m / pixel_size_m, MIN_SIMPLIFY_PX)
    kinds: list[int] = []
    found: list[SkeletonPath] = []
    for kind in range(len(LINES)):
        for path in _paths(probabilities[kind], settings.line_threshold, snap_px):
            straight = straight_pieces(path, simplify_px)
            kinds += [kind] * len(straight)
            found += straight
        give_back(probabilities)
    if not found:
        return VectorLines(np.zeros(0, np.uint8), np.zeros((0, 4)), np.zeros(0))
    ends = np.array([path.points[[0, -1]] for path in found])
    pieces = [
        _Piece(kind, (0, 0), path.refined, fitted_line(path.refined)) for kind, path in zip(kinds, found, strict=True)
    ]
    pieces, places = _met(pieces, ends, snap_px)
    # Lines are cut short and rounded off where they bend: which go straight on, and which more meet, a first fit shows.
    pieces = _joined(pieces, places, simplify_px, GAP * snap_px)
    pieces, places = _met(pieces, places[[piece.nodes for piece in pieces]], snap_px)
    return _scored(pieces, places, probabilities, settings.min_line_m / pixel_size_m)


def _paths(probabilities: NDArray[np.floating], threshold: float, snap_px: float) -> list[SkeletonPath]:
    """Paths of one kind's lines, one connected group of pixels after the other."""
    # Row by row, so that of a mapped file no more than a row is in memory in another type.
    mask = np.empty(probabilities.shape, bool)
    for row, values in zip(mask, probabilities, strict=True):
        np.greater_equal(values, threshold, out=row)
    groups, _ = ndimage.label(mask, np.ones((3, 3), bool))
    del mask
    windows = dict(enumerate(ndimage.find_objects(groups), 1))
    sizes = {
        number: (rows.stop - rows.start, columns.stop - columns.start) for number, (rows, columns) in windows.items()
    }
    found: list[tuple[int, SkeletonPath]] = []
    for sheet in sheets({number: size for number, size in sizes.items() if max(size) >= snap_px}, MARGIN_PX):
        drawn, owners = np.zeros(sheet.shape), np.zeros(sheet.shape, np.int32)
        for number, place in sheet.places.items():
            window = windows[number]
            own = groups[window] == number
            drawn[place][own] = probabilities[window][own]
            owners[place] = number
        for path in skeleton_paths(drawn, threshold, snap_px):
            number = int(owners[tuple(path.points[1].astype(np.int64))])  # the first may be between pixels
            (rows, columns), (top, left) = windows[number], sheet.places[number]
            shift = rows.start - top.start, columns.start - left.start
            found.append((number, SkeletonPath(path.points + shift, path.refined + shift)))
    return [path for _, path in sorted(found, key=lambda each: each[0])]


def _met(pieces: list[_Piece], ends: NDArray[np.float64], snap_px: float) -> tuple[list[_Piece], NDArray[np.float64]]:
    """Pieces between common junctions, without those that shrink to one, and where these are, (J, 2).

    Args:
        pieces: Whose `nodes` do not count.
        ends: Where each begins and ends, (N, 2, 2).
        snap_px: How near ends of one junction are.
    """
    nodes, places = _junctions(ends, snap_px)
    met = [
        replace(piece, nodes=(one, other))
        for piece, (one, other) in zip(pieces, nodes.tolist(), strict=True)
        if one != other
    ]
    return met, _fitted_places(met, places, snap_px)


def _junctions(ends: NDArray[np.float64], snap_px: float) -> tuple[NDArray[np.int64], Points]:
    """Which junction each end (N, 2 ends, 2) belongs to, (N, 2), and where these are, (J, 2).

    The nearest ends come together first, and no junction grows beyond one and a half times the distance to snap.
    """
    points, which = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
    pairs = cKDTree(points).query_pairs(snap_px, output_type="ndarray")
    distances = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    members = [[index] for index in range(len(points))]
    group = list(range(len(points)))
    for one, other in pairs[np.lexsort((pairs[:, 1], pairs[:, 0], distances))].tolist():
        first, second = sorted((group[one], group[other]))
        if first == second:
            continue
        together = members[first] + members[second]
        if np.linalg.norm(np.ptp(points[together], axis=0)) <= FURTHEST * snap_px:
            members[first] = together
            for index in members[second]:
                group[index] = first
            members[second] = []
    places = np.array([points[each].mean(axis=0) if each else [np.nan, np.nan] for each in members])
    return np.array(group)[which].reshape(-1, 2), places


def _joined(pieces: list[_Piece], places: Points, tolerance: float, gap_px: float) -> list[_Piece]:
    """Pieces with those made one that go straight on: where no third of their kind ends, or after a gap.

    A gap is bridged between ends where nothing else ends.
    """
    at: defaultdict[tuple[int, int], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        for node in piece.nodes:
            at[piece.kind, node].append(piece)
    degrees = Counter(node for piece in pieces for node in piece.nodes)
    meetings = [(0.0, kind, node, node) for (kind, node), met in at.items() if len(met) > 1]
    for kind in {piece.kind for piece in pieces}:
        free = np.array([node for own, node in at if own == kind and degrees[node] == 1], np.int64)
        if len(free) > 1:
            pairs = free[cKDTree(places[free]).query_pairs(gap_px, output_type="ndarray")]
            distances = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
            meetings += [(gap, kind, *sorted(pair)) for gap, pair in zip(distances, pairs.tolist(), strict=True)]
    kept = {id(piece): piece for piece in pieces}
    for _, kind, one, other in sorted(meetings):
        met = at[kind, one] if one == other else at[kind, one] + at[kind, other]
        if len(met) != 2 or met[0] is met[1]:
            continue
        first, second = met
        start, end = sum(first.nodes) - one, sum(second.nodes) - other
        if start == end or not _straight(places[[start, one, other, end]], tolerance):
            continue
        before = first.points if first.nodes[0] == start else first.points[::-1]
        after = second.points if second.nodes[1] == end else second.points[::-1]
        points = np.concatenate([before, after])
        joined = _Piece(kind, (start, end), points, fitted_line(points))
        del kept[id(first)], kept[id(second)]
        kept[id(joined)] = joined
        at[kind, one] = at[kind, other] = []
        for far in (start, end):
            at[kind, far] = [joined if each is first or each is second else each for each in at[kind, far]]
    return list(kept.values())


def _straight(points: Points, tolerance: float) -> bool:
    """Whether points (4, 2) follow one another along a straight line."""
    along = points[3] - points[0]
    length = float(np.linalg.norm(along))
    forward = (points - points[0]) @ along / length
    across = (points - points[0]) @ [-along[1], along[0]] / length
    return bool((np.diff(forward) >= 0).all() and (np.abs(across) <= tolerance).all())


def _fitted_places(pieces: list[_Piece], places: Points, snap_px: float) -> Points:
    """Where each junction is, as seen from all lines that meet there or pass it."""
    if not pieces:
        return places
    passing: defaultdict[int, set[int]] = defaultdict(set)
    for number, piece in enumerate(pieces):
        for node in piece.nodes:
            passing[node].add(number)
    nodes = np.array(sorted(passing))
    lines = shapely.linestrings([places[list(piece.nodes)] for piece in pieces])
    near = shapely.STRtree(lines).query(shapely.points(places[nodes]), predicate="dwithin", distance=snap_px)
    for index, number in near.T.tolist():
        passing[int(nodes[index])].add(number)
    fitted = places.copy()
    for node, numbers in passing.items():
        lines_there = [pieces[number].line for number in sorted(numbers)]
        fitted[node] = meeting_point(places[node].tolist(), lines_there, FURTHEST * snap_px)
    return fitted


def _scored(pieces: list[_Piece], places: Points, probabilities: NDArray[np.floating], min_px: float) -> VectorLines:
    best: dict[tuple[bool, int, tuple[int, ...]], tuple[float, int, list[float]]] = {}
    for piece in pieces:
        ends: list[list[float]] = sorted(places[list(piece.nodes)].tolist())
        start, end = map(np.array, ends)
        length = float(np.linalg.norm(end - start))
        if length < min_px:
            continue
        along = np.linspace(start, end, int(length) + 2)
        rows, columns = np.clip(along.astype(np.int64), 0, np.array(probabilities.shape[1:]) - 1).T
        score = float(probabilities[piece.kind, rows, columns].mean(dtype=np.float64))
        key = (piece.kind in EXCLUSIVE, piece.kind if piece.kind not in EXCLUSIVE else 0, tuple(sorted(piece.nodes)))
        best[key] = max(best.get(key, (-1.0, 0, [])), (score, piece.kind, [*ends[0], *ends[1]]))
    found = sorted((kind, ends, score) for score, kind, ends in best.values())
    return VectorLines(
        np.array([kind for kind, _, _ in found], np.uint8),
        np.array([ends for _, ends, _ in found], np.float64).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float64),
    )
