"""Pictures of an evaluation: images that went well, images that went badly, and errors of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millrace.detection.box_pictures import draw_boxes
from millrace.detection.errors_by_kind import KINDS, Kind
from millrace.detection.scored import Scored, box_areas
from millrace.detection.store import Store
from millrace.imagery.pictures import sheet, write_png

PANEL_PX, PANEL_GAP_PX, PAIRS_A_ROW = 320, 4, 2
CROP_PX, CROPS_A_ROW = 160, 6
CROP_SIDES, LEAST_CROP_PX = 2.0, 48
WHITE, GREY = (255, 255, 255), (150, 150, 150)


class _Error(NamedTuple):
    """One error to be shown: rows of its image and of its boxes, -1 where it has none."""

    kind: str
    image: int
    truth: int
    detection: int


def write_pictures(folder: Path, store: Store, positions: Sequence[int], scored: Scored, count: int) -> None:
    """Write examples.png, worst.png and errors.png; one for which there is nothing to show is not written.

    Args:
        folder: To write to.
        store: Images.
        positions: Rows of the images that were scored.
        scored: Their scores.
        count: Pictures of each sort, and of each kind of error.
    """
    if not count:
        return
    file_names = store.images["file_name"].iloc[list(positions)].tolist()
    hits, detections, boxes = scored.said.counts("image", len(positions))

    def pairs(places: Sequence[int]) -> NDArray[np.uint8]:
        captions = [
            f"{file_names[place]}: score {scored.image_scores[place]:.2f}, "
            f"{hits[place]} of {boxes[place]} found, {detections[place] - hits[place]} wrong"
            for place in places
        ]
        pictures = [_pair(store.pixels(positions[place]), scored, place) for place in places]
        return sheet(pictures, captions, PAIRS_A_ROW, 2 * PANEL_PX + PANEL_GAP_PX)

    ranked = scored.ranked(file_names)
    # An empty image that was rightly left empty is a success, but there is nothing to see.
    best = sorted(ranked, key=lambda place: bool(hits[place] > 0))[::-1]
    write_png(folder / "examples.png", pairs(best[:count]))
    write_png(folder / "worst.png", pairs(ranked[:count]))
    errors = [error for kind in KINDS for error in _errors(scored, kind)[:count]]
    if errors:
        crops = [_crop(store.pixels(positions[error.image]), scored, error) for error in errors]
        write_png(
            folder / "errors.png", sheet(crops, [_caption(scored, each) for each in errors], CROPS_A_ROW, CROP_PX)
        )


def _pair(picture: NDArray[np.uint8], scored: Scored, place: int) -> NDArray[np.uint8]:
    """True boxes, those to be ignored in grey, beside those found."""
    truth, found = scored.truths[place], scored.found[place].above(scored.threshold)
    ignored = truth.ignored
    left = draw_boxes(picture, truth.boxes[ignored], truth.labels[ignored], None, colour=GREY)
    left = draw_boxes(left, truth.boxes[~ignored], truth.labels[~ignored], scored.names, shown_px=PANEL_PX)
    # The highest score on top.
    boxes, labels, scores = (part[::-1] for part in found)
    right = draw_boxes(picture, boxes, labels, scored.names, scores, shown_px=PANEL_PX)
    gap = np.full((len(left), PANEL_GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _errors(scored: Scored, kind: Kind) -> list[_Error]:
    """All of a kind: the first of each image by score, or by size of what was missed, then the second of each."""
    said, errors = scored.said, scored.errors
    if kind == "missed":
        rows, images, first = np.flatnonzero(errors.missed), said.true_image, -box_areas(scored.true_boxes)
    else:
        rows, images, first = np.flatnonzero(errors.kind == KINDS.index(kind)), said.image, -said.score.astype(float)
    order = rows[np.lexsort((rows, first[rows], images[rows]))]
    rank = np.arange(len(order)) - np.searchsorted(images[order], images[order])
    chosen = order[np.lexsort((order, first[order], rank))].tolist()
    if kind == "missed":
        return [_Error(kind, int(images[row]), row, -1) for row in chosen]
    return [_Error(kind, int(images[row]), int(errors.truth[row]), row) for row in chosen]


def _caption(scored: Scored, error: _Error) -> str:
    true = "" if error.truth < 0 else scored.names[scored.said.true_label[error.truth]]
    if error.kind == "missed":
        return f"missed: {true}"
    found = f"{error.kind}: {scored.names[scored.said.label[error.detection]]} {scored.said.score[error.detection]:.2f}"
    return f"{found} for {true}" if error.kind in ("classification", "both") else found


def _crop(picture: NDArray[np.uint8], scored: Scored, error: _Error) -> NDArray[np.uint8]:
    """Square around the boxes of an error, as far as the picture reaches: true one white, found one of its class."""
    height, width = picture.shape[:2]
    true = scored.true_boxes[[error.truth] if error.truth >= 0 else []]
    found = scored.said_boxes[[error.detection] if error.detection >= 0 else []]
    both = np.concatenate([true, found])
    low, high = both[:, :2].min(axis=0), both[:, 2:].max(axis=0)
    side = max(LEAST_CROP_PX, CROP_SIDES * float((high - low).max()))
    left, top = (int(edge) for edge in np.clip((low + high - side) / 2, 0, None))
    part = picture[top : min(height, int(top + side)), left : min(width, int(left + side))]
    origin, scale = np.array([left, top, left, top]), CROP_PX / max(part.shape[:2])
    drawn = draw_boxes(part, true - origin, np.zeros(len(true)), None, colour=WHITE, shown_px=CROP_PX)
    labels = scored.said.label[[error.detection] if error.detection >= 0 else []]
    return draw_boxes(drawn, (found - origin) * scale, labels, None)
