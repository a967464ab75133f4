"""Objects of a large picture, found tile by tile: each once and whole, wherever the seams run."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms

from millrace.detection.boxes import Detections
from millrace.imagery.tiling import tile_starts

Find = Callable[[Sequence[NDArray[np.uint8]]], list[Detections]]
Boxes = NDArray[np.float64]

EDGE_PX: Final = 2.0
EDGE_SHARE: Final = 0.05
"""A box ends at an edge of its tile if no more pixels, or no larger share of its own side, lie between the two."""
SAME_PART: Final = 0.6
"""Overlap from which what a tile shows of a box is the box that was found in the tile."""


def find_in_tiles(
    find: Find, picture: NDArray[np.uint8], *, tile_px: int, overlap: float, nms_iou: float, batch_size: int
) -> Detections:
    """Boxes in a picture of any size.

    It is searched in overlapping tiles and, for objects larger than the overlap, once as a whole. A box that ends at
    a seam shows a part of an object. It is not reported: a neighbour has the whole object, or else the parts that
    neighbours show are joined, where each tile shows just its part of their union. Of boxes of a class that overlap
    more than `nms_iou` the one with the highest score stays, and joined ones give way to whole ones.

    Args:
        find: Boxes in each of some pictures, as `Finder.find`.
        picture: RGB (H, W, 3).
        tile_px: Side of a tile.
        overlap: Share of a tile that neighbours have in common.
        nms_iou: As for a single picture.
        batch_size: Tiles given to `find` at once.

    Returns:
        Boxes in pixels of the picture, the highest score first; however many there are.
    """
    height, width = picture.shape[:2]
    tops, lefts = (tile_starts(length, tile_px, overlap) for length in (height, width))
    tiles = np.array(
        [(x, y, min(x + tile_px, width), min(y + tile_px, height)) for y, x in product(tops, lefts)], np.int64
    )
    whole = find([picture])[0]
    if len(tiles) == 1:
        return whole
    # Smaller objects are whole in some tile, where they are seen larger and their edges lie more exactly.
    common_px = tile_px - int(tile_px * (1 - overlap))
    large = (whole.boxes[:, 2:] - whole.boxes[:, :2]).max(axis=1, initial=0) > common_px
    whole = Detections(*(each[large] for each in whole))
    seen = []
    for start in range(0, len(tiles), batch_size):
        batch = tiles[start : start + batch_size]
        found = find([picture[top:bottom, left:right] for left, top, right, bottom in batch])
        seen += [_in_view(each, tile) for each, tile in zip(found, batch, strict=True)]
    return _merged(_together(seen), _in_view(whole, np.array([0, 0, width, height])), (width, height), nms_iou)


@dataclass(frozen=True)
class _Seen:
    """Boxes (N, 4) in pixels of the picture, and of each its class, its score, and what of the picture was in view
    (N, 4) when it was found.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    views: Boxes

    def at(self, index: Any) -> _Seen:
        return _Seen(self.boxes[index], self.labels[index], self.scores[index], self.views[index])


def _in_view(found: Detections, view: Boxes) -> _Seen:
    boxes = found.boxes + view[[0, 1, 0, 1]]
    return _Seen(boxes, found.labels, found.scores, np.tile(view, (len(boxes), 1)))


def _together(parts: Sequence[_Seen]) -> _Seen:
    boxes, labels, scores, views = (
        np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Seen)
    )
    return _Seen(boxes, labels, scores, views)


def _merged(tiled: _Seen, whole: _Seen, size: tuple[int, int], nms_iou: float) -> Detections:
    """Boxes of tiles, and large ones of the whole picture, each object once."""
    margin = np.maximum(EDGE_PX, EDGE_SHARE * np.tile(tiled.boxes[:, 2:] - tiled.boxes[:, :2], 2))
    inner = tiled.views != np.array([0, 0, *size])
    cut = inner & (np.abs(tiled.boxes - tiled.views) <= margin)
    part = cut.any(axis=1)
    entire = _together([tiled.at(~part), whole])
    joined = _joined(tiled.at(part), cut[part], margin[part], np.array([0, 0, *size], np.float64))
    seen = _together([entire, joined])
    rank = seen.scores.astype(np.float64) + (np.arange(len(seen.scores)) < len(entire.scores))
    kept = batched_nms(*(torch.from_numpy(each) for each in (seen.boxes, rank, seen.labels)), nms_iou).numpy()
    seen = seen.at(kept)
    seen = seen.at(~_fragments(seen, nms_iou))
    seen = seen.at(np.lexsort((*seen.boxes.T, seen.labels, -seen.scores)))
    return Detections(seen.boxes.astype(np.float32), seen.labels, seen.scores)


def _joined(parts: _Seen, cut: NDArray[np.bool_], margin: Boxes, picture: Boxes) -> _Seen:
    """Unions of parts that no seam cuts any more, with the highest score of their parts.

    Args:
        parts: Boxes that end at a seam.
        cut: At which sides, (N, 4).
        margin: How far from the seam, (N, 4).
        picture: Its frame, (4,).
    """
    count = len(cut)
    members = [[index] for index in range(count)]
    left, top, right, bottom = (np.concatenate([side, np.empty(count)]) for side in parts.boxes.T)
    labels = np.tile(parts.labels, 2)
    tiles = np.unique(parts.views, axis=0, return_inverse=True)[1].tolist()
    current = np.zeros(2 * count, bool)
    pairs: list[tuple[float, int, int]] = []

    def offer(new: int) -> None:
        """Add a group, and its pairs with the groups beside it; those that agree best are joined first."""
        near = current & (labels == labels[new])
        near &= (left <= right[new]) & (left[new] <= right) & (top <= bottom[new]) & (top[new] <= bottom)
        own = {tiles[index] for index in members[new]}
        for other in np.flatnonzero(near).tolist():
            if own.isdisjoint(tiles[index] for index in members[other]):
                agreement = _agreement(parts.at([*members[other], *members[new]]))
                if agreement >= SAME_PART:
                    heapq.heappush(pairs, (-agreement, other, new))
        current[new] = True

    for index in range(count):
        offer(index)
    while pairs:
        _, *pair = heapq.heappop(pairs)
        if current[pair].all():
            current[pair] = False
            new = len(members)
            members.append([*members[pair[0]], *members[pair[1]]])
            left[new], top[new], right[new], bottom[new] = _union(parts.boxes[members[new]])
            labels[new] = labels[pair[0]]
            offer(new)
    joined = []
    for index in np.flatnonzero(current).tolist():
        own = members[index]
        union = _union(parts.boxes[own])
        outermost = np.abs(parts.boxes[own] - union) <= margin[own]
        if (outermost & ~cut[own]).any(axis=0).all():
            joined.append((union, labels[index], parts.scores[own].max()))
    unions, classes, scores = zip(*joined, strict=True) if joined else ((), (), ())
    return _Seen(
        np.array(unions, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(scores, np.float32),
        np.tile(picture, (len(joined), 1)),
    )


def _agreement(parts: _Seen) -> float:
    """Least overlap of a part with what its tile shows of the union."""
    return float(_overlaps(parts.boxes, _clipped(_union(parts.boxes), parts.views)).min())


def _fragments(seen: _Seen, nms_iou: float) -> NDArray[np.bool_]:
    """Which boxes (N,) are what their tile shows of a larger one that has no lower score.

    They end short of the seam, so that nothing else tells.
    """
    fragments = np.zeros(len(seen.scores), bool)
    low, high = seen.boxes[:, :2], seen.boxes[:, 2:]
    for view in np.unique(seen.views, axis=0):
        beyond = ((low < view[:2]) | (high > view[2:])).any(axis=1)
        crossing = seen.at(beyond & (low < view[2:]).all(axis=1) & (high > view[:2]).all(axis=1))
        shown = _clipped(crossing.boxes, view)
        for index in np.flatnonzero((seen.views == view).all(axis=1)):
            rivals = (crossing.labels == seen.labels[index]) & (crossing.scores >= seen.scores[index])
            fragments[index] = (_overlaps(seen.boxes[index], shown[rivals]) > nms_iou).any()
    return fragments


def _union(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _clipped(boxes: Boxes, views: Boxes) -> Boxes:
    return np.clip(boxes, views[..., [0, 1, 0, 1]], views[..., [2, 3, 2, 3]])


def _overlaps(first: Boxes, second: Boxes) -> Boxes:
    """Intersection over union, row by row."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common: Boxes = np.clip(sides, 0, None).prod(axis=-1)
    whole = sum((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (first, second)) - common
    overlaps: Boxes = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return overlaps
