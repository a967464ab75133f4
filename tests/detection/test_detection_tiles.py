"""Objects of a tiled picture: each once and whole, wherever the seams run."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millrace.detection.boxes import Detections, ious
from millrace.detection.tiles import find_in_tiles
from millrace.imagery.tiling import tile_starts

NMS_IOU = 0.5


def picture(width: int, height: int) -> np.ndarray:
    """Each pixel says where it is, so that a fake finder knows what it is shown."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], axis=2).astype(np.uint8)


class Finder:
    """Sees just what a tile shows of known objects.

    Args:
        boxes: (N, 4) in the whole picture.
        labels: (N,).
        noise: Standard deviation of an edge, as a share of the visible side.
        least: An object of which a smaller share is visible is not seen.
        widest_px: Nothing is seen in a picture with a longer side than this.
    """

    def __init__(self, boxes, labels=None, noise=0.0, least=0.0, widest_px=10_000) -> None:
        self.boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        self.labels = np.zeros(len(self.boxes), np.int64) if labels is None else np.asarray(labels, np.int64)
        self.noise, self.least, self.widest_px = noise, least, widest_px
        self.batches: list[int] = []

    def find(self, pictures):
        self.batches.append(len(pictures))
        return [self._look(each) for each in pictures]

    def _look(self, shown: np.ndarray) -> Detections:
        red, green, blue = (int(value) for value in shown[0, 0])
        left, top = red + 256 * (blue % 16), green + 256 * (blue // 16)
        height, width = shown.shape[:2]
        view = np.array([left, top, left + width, top + height], np.float64)
        seen = np.clip(self.boxes, view[[0, 1, 0, 1]], view[[2, 3, 2, 3]])
        sides, whole = seen[:, 2:] - seen[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]
        share = sides.prod(axis=1) / whole.prod(axis=1)
        kept = (sides > 0).all(axis=1) & (share >= self.least) & (max(width, height) <= self.widest_px)
        rng = np.random.default_rng((left, top, width))
        shaken = seen + rng.normal(0, 1, seen.shape) * self.noise * np.tile(sides, 2)
        found = np.clip(shaken, view[[0, 1, 0, 1]], view[[2, 3, 2, 3]]) - view[[0, 1, 0, 1]]
        scores = 0.5 + 0.3 * share + 0.2 * rng.random(len(share))
        order = np.argsort(-scores[kept])
        return Detections(
            found[kept][order].astype(np.float32), self.labels[kept][order], scores[kept][order].astype(np.float32)
        )


def search(finder: Finder, width: int, height: int, tile: int, overlap: float, batch_size: int = 4) -> Detections:
    return find_in_tiles(
        finder.find, picture(width, height), tile_px=tile, overlap=overlap, nms_iou=NMS_IOU, batch_size=batch_size
    )


def rows(boxes, labels) -> list[tuple[float, ...]]:
    return sorted((int(label), *np.round(box, 3).tolist()) for box, label in zip(boxes, labels, strict=True))


def told_apart(boxes: np.ndarray, labels: np.ndarray, width: int, height: int, tile: int, overlap: float) -> bool:
    """Whether non-maximum suppression leaves each of the objects, in every tile."""
    views = [(0, 0, width, height)]
    for top, left in product(tile_starts(height, tile, overlap), tile_starts(width, tile, overlap)):
        views.append((left, top, left + tile, top + tile))
    for left, top, right, bottom in views:
        seen = np.clip(boxes, [left, top] * 2, [right, bottom] * 2)
        seen, own = (each[(seen[:, 2:] > seen[:, :2]).all(axis=1)] for each in (seen, labels))
        overlaps = ious(seen, seen) * (own[:, None] == own[None, :])
        if (overlaps - np.eye(len(seen)) > NMS_IOU).any():
            return False
    return True


@st.composite
def scenes(draw, fitting: bool):
    """Picture, tiles, and objects of two classes at any place, in quarters of a pixel."""
    tile, overlap = draw(st.integers(64, 120)), draw(st.sampled_from([0.1, 0.25, 0.4, 0.5, 0.7]))
    width, height = draw(st.integers(80, 400)), draw(st.integers(40, 300))
    common = tile - int(tile * (1 - overlap))
    boxes = []
    for _ in range(draw(st.integers(1, 8 if fitting else 1))):
        sides = [draw(st.integers(12, 4 * min(side, common if fitting else side))) for side in (width, height)]
        left, top = (draw(st.integers(0, 4 * side - own)) for side, own in zip((width, height), sides, strict=True))
        boxes.append([left, top, left + sides[0], top + sides[1]])
    labels = draw(st.lists(st.integers(0, 1), min_size=len(boxes), max_size=len(boxes)))
    return width, height, tile, overlap, np.array(boxes) / 4, np.array(labels)


@settings(max_examples=120)
@given(scenes(fitting=True))
def test_objects_that_fit_into_the_overlap_are_found_once_and_whole(scene):
    width, height, tile, overlap, boxes, labels = scene
    assume(told_apart(boxes, labels, width, height, tile, overlap))
    found = search(Finder(boxes, labels), width, height, tile, overlap)
    assert rows(found.boxes, found.labels) == rows(boxes, labels)


@settings(max_examples=80)
@given(scenes(fitting=False))
def test_an_object_of_any_size_is_put_together_from_its_parts(scene):
    width, height, tile, overlap, boxes, labels = scene
    assume(max(width, height) > tile)
    found = search(Finder(boxes, labels, widest_px=tile), width, height, tile, overlap)
    assert rows(found.boxes, found.labels) == rows(boxes, labels)


@pytest.mark.parametrize("seed", range(6))
def test_no_halves_and_no_doubles_of_boxes_that_are_not_exact(seed):
    """Edges are off by some per cent, parts too small to recognise are missed, and three objects are large."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(0, 900, 45), np.arange(0, 700, 45)), axis=2).reshape(-1, 2)
    left_top = grid + rng.integers(0, 8, grid.shape)
    boxes = np.concatenate([left_top, left_top + rng.integers(16, 34, grid.shape)], axis=1).astype(float)
    large = np.array([[60, 60, 420, 300], [500, 100, 640, 620], [90, 400, 230, 560]])
    free = ious(boxes.astype(np.float32), large.astype(np.float32)).max(axis=1) == 0
    boxes = np.concatenate([boxes[free], large])
    labels = rng.integers(0, 2, len(boxes))
    finder = Finder(boxes, labels, noise=0.02, least=0.3)
    found = search(finder, 940, 740, 128, 0.3)
    overlaps = ious(found.boxes, boxes.astype(np.float32)) * (found.labels[:, None] == labels[None, :])
    assert len(found.boxes) == len(boxes)
    assert (np.sort(overlaps.argmax(axis=1)) == np.arange(len(boxes))).all()
    assert overlaps.max(axis=1).min() > 0.75
    assert (np.diff(found.scores) <= 0).all()


def test_a_part_that_ends_short_of_the_seam_gives_way_to_the_whole():
    truth = Finder([[20, 20, 155, 60]])

    def find(pictures):
        found = truth.find(pictures)
        if pictures[0].shape[:2] == (100, 100):  # the first tile shows 80 pixels of it, and too few of them are boxed
            for each in found:
                each.boxes[:, 2] -= 15
                each.scores[:] = 0.4
        return found

    shown = picture(160, 100)
    found = find_in_tiles(find, shown, tile_px=100, overlap=0.4, nms_iou=NMS_IOU, batch_size=1)
    assert rows(found.boxes, found.labels) == rows(truth.boxes, truth.labels)


def test_classes_do_not_suppress_each_other():
    finder = Finder([[70, 20, 90, 50], [70, 20, 90, 50]], [0, 1])
    found = search(finder, 200, 100, 100, 0.25)
    assert rows(found.boxes, found.labels) == rows(finder.boxes, finder.labels)


def test_parts_of_two_classes_are_not_joined():
    """Each tile names the part that it sees otherwise: neither is the object, and nothing tells which is right."""
    finder = Finder([[20, 20, 160, 60]], widest_px=100)

    def find(pictures):
        found = finder.find(pictures)
        for each, shown in zip(found, pictures, strict=True):
            each.labels[:] = shown[0, 0, 0] > 0
        return found

    found = find_in_tiles(find, picture(175, 100), tile_px=100, overlap=0.25, nms_iou=NMS_IOU, batch_size=4)
    assert len(found.boxes) == 0


def test_parts_of_objects_that_lie_on_each_other_are_not_mixed_up():
    finder = Finder([[20, 10, 160, 50], [20, 24, 160, 64]], widest_px=100)
    found = search(finder, 175, 100, 100, 0.25)
    assert rows(found.boxes, found.labels) == rows(finder.boxes, finder.labels)


def test_a_half_that_no_neighbour_completes_is_not_reported():
    finder = Finder([[20, 20, 160, 60]], least=0.6, widest_px=100)  # only the second tile shows enough of it
    assert len(search(finder, 190, 100, 100, 0.25).boxes) == 0


def test_an_object_that_is_larger_than_a_tile_is_found_in_the_whole_picture():
    finder = Finder([[20, 20, 480, 60]], least=0.9)
    found = search(finder, 500, 100, 100, 0.25)
    assert rows(found.boxes, found.labels) == rows(finder.boxes, finder.labels)


def test_small_objects_of_the_whole_picture_do_not_double_those_of_the_tiles():
    """Reduced, an object of 20 pixels may be off by half of its size."""
    truth = Finder([[30, 30, 50, 50]])

    def find(pictures):
        found = truth.find(pictures)
        if pictures[0].shape[1] == 500:
            found[0].boxes[:] += 8
        return found

    found = find_in_tiles(find, picture(500, 300), tile_px=100, overlap=0.25, nms_iou=NMS_IOU, batch_size=4)
    assert rows(found.boxes, found.labels) == rows(truth.boxes, truth.labels)


@pytest.mark.parametrize("size", [(100, 100), (40, 7)])
def test_a_picture_no_larger_than_a_tile_is_searched_once(size):
    finder = Finder([[3, 2, 9, 6]])
    found = search(finder, *size, 100, 0.25)
    assert rows(found.boxes, found.labels) == rows(finder.boxes, finder.labels)
    assert finder.batches == [1]


def test_tiles_go_in_batches_and_are_views_of_the_picture():
    finder = Finder(np.empty((0, 4)))
    shown = picture(325, 100)
    assert search(finder, 325, 100, 100, 0.25, batch_size=3).boxes.shape == (0, 4)
    assert finder.batches == [1, 3, 1]

    def find(pictures):
        assert all(np.shares_memory(each, shown) for each in pictures)
        return finder.find(pictures)

    find_in_tiles(find, shown, tile_px=100, overlap=0.25, nms_iou=NMS_IOU, batch_size=3)
