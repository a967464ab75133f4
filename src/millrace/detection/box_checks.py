"""Checks of boxes, over all of them at once: which are no boxes, which leave their image, which are there twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.findings import DONE, Done, Finding
from millrace.detection.params import Prepare

NOISE_PX = 0.05
"""Boxes of real sets are rounded to one or two decimals: this far out of the frame is no finding, though it is cut."""
CORNERS_FIT, CORNERS_BEYOND, CORNERS_SLACK = 0.95, 0.1, 0.02
CORNERS_LEAST, CORNERS_FILE = 3, 20
_SIDES = ("left", "top", "right", "bottom")

Mask = NDArray[np.bool_]


def check_boxes(boxes: pd.DataFrame, settings: Prepare) -> tuple[list[Finding], pd.DataFrame]:
    """Find what is wrong with boxes, and keep those that can be used.

    Args:
        boxes: A row a box: `annotation_id`, `image_id`, `category_id` (as stated), `x`, `y`, `width`, `height` (pixels,
            float64), `crowd`, `difficult` (bool), `file` and `file_name` (for findings), `image` (row of its image; -1
            of one that is not declared), `label` (class number; -1 likewise), `frame_width`, `frame_height` (of the
            image as shown; NaN where nobody knows).
        settings: Policies.

    Returns:
        All findings, and the rows that are kept: inside their frames, with `ignored` (bool) in place of `crowd` and
        `difficult`.
    """
    policy = settings.policy
    found = _repeated_ids(boxes) + corners_mistaken(boxes)

    def without(
        boxes: pd.DataFrame, kind: str, bad: Mask, told: Callable[[pd.DataFrame], Iterable[str]]
    ) -> pd.DataFrame:
        if not bad.any():
            return boxes
        done = DONE[getattr(policy, kind)]
        found.extend(findings_of(boxes[bad], kind, told(boxes[bad]), done))
        return boxes if done == "kept" else boxes[~bad]

    boxes = without(
        boxes, "unknown_image", boxes["image"].lt(0).to_numpy(bool), lambda _: repeat("there is no such image")
    )
    boxes = without(
        boxes,
        "undeclared_category",
        boxes["label"].lt(0).to_numpy(bool),
        lambda bad: (f"category {number} is not declared" for number in bad["category_id"]),
    )
    boxes = without(boxes, "box_not_finite", ~np.logical_and.reduce(np.isfinite(_places(boxes)), axis=1), _as_stated)
    boxes = without(boxes, "box_empty", np.logical_or.reduce(_places(boxes)[:, 2:] <= 0, axis=1), _as_stated)
    boxes = _inside(boxes, settings, found)
    twin = repeats(boxes, settings.repeated_iou)
    first = boxes["annotation_id"].to_numpy()[twin[twin >= 0]]
    boxes = without(
        boxes, "box_repeated", twin >= 0, lambda _: (f"is nearly that of annotation {each}" for each in first)
    )
    for kind, chosen in (("crowd", settings.crowds), ("difficult", settings.difficult)):
        marked = boxes[boxes[kind].to_numpy(bool)]
        words = {"keep": "an ordinary box", "ignore": "neither trained on nor counted", "drop": "left out"}
        found += findings_of(marked, kind, repeat(words[chosen]), DONE[chosen])
        if chosen == "drop":
            boxes = boxes.drop(marked.index)
    ignored = boxes["crowd"] | (boxes["difficult"] & (settings.difficult == "ignore"))
    return found, boxes.assign(ignored=ignored.astype(bool)).drop(columns=["crowd", "difficult"])


def corners_mistaken(boxes: pd.DataFrame) -> list[Finding]:
    """Whether a set has left, top, right, bottom where left, top, width, height belong.

    A right edge is never left of the left one, so read as sizes every "width" is at least x and every "height" at least
    y, and all four numbers fit into the frame: this must hold for 95 % of the boxes. Of boxes that really are x, y,
    width, height, it holds for large ones and for those near the upper left corner. Then, corners read as sizes leave
    the frame wherever the box's centre is in the right or lower half: at least three boxes and 10 % must leave it by
    more than 2 % of its side, which no usable set does if read as it should be. Crowds and boxes that are not finite do
    not count. A set with all objects in the upper left quarter of their images looks right either way, and passes.

    Each file of at least 20 boxes is judged by itself, and then all of them together if there was nothing.
    """
    places = _places(boxes)
    frame = boxes[["frame_width", "frame_height"]].to_numpy(np.float64)
    usable = np.isfinite(places).all(axis=1) & np.isfinite(frame).all(axis=1) & ~boxes["crowd"].to_numpy(bool)
    corner, size, frame = places[usable, :2], places[usable, 2:], frame[usable]
    fit = ((corner >= -NOISE_PX) & (size >= corner) & (size <= frame + NOISE_PX)).all(axis=1)
    # Halves, because sums may overflow.
    beyond = (corner / 2 + size / 2 > frame * ((1 + CORNERS_SLACK) / 2)).any(axis=1)
    files, of_file = np.unique(boxes["file"].to_numpy(object)[usable], return_inverse=True)
    columns = (np.bincount(of_file, each, len(files)).astype(int).tolist() for each in (None, fit, beyond))
    rows = list(zip(files.tolist(), *columns, strict=True))
    judged = _corners_told([row for row in rows if row[1] >= CORNERS_FILE])
    return judged or _corners_told([(files[0] if len(files) == 1 else "", len(fit), int(fit.sum()), int(beyond.sum()))])


def _corners_told(rows: Iterable[tuple[str, int, int, int]]) -> list[Finding]:
    """Findings of those that have corners: file, number of boxes, of those that fit as corners, that leave as sizes."""
    return [
        Finding(
            "boxes_as_corners",
            file,
            None,
            "",
            None,
            f"{beyond / count:.0%} of {count} boxes would leave their images if read as x, y, width, height; read as "
            f"left, top, right, bottom {fit / count:.0%} are inside",
            "stopped",
        )
        for file, count, fit, beyond in rows
        if beyond >= max(CORNERS_LEAST, CORNERS_BEYOND * count) and fit >= CORNERS_FIT * count
    ]


def repeats(boxes: pd.DataFrame, iou: float) -> NDArray[np.intp]:
    """Row of an earlier box of the same image and class that each box overlaps with at least this IoU, or -1, (N,).

    Crowds repeat nothing. Boxes of a group are sorted by x, and each is compared with the next, then with the one after
    it, and so on: two can overlap that much only where their x differ by at most (1 - IoU) widths of the first.
    """
    twin = np.full(len(boxes), -1)
    rows = np.flatnonzero(~boxes["crowd"].to_numpy(bool))
    keys = [boxes[name].to_numpy()[rows] for name in ("image", "label", "x", "y", "width", "height")]
    order = np.lexsort(keys[::-1])
    rows, keys = rows[order], [key[order] for key in keys]
    # Equal boxes lie side by side, in their own order: all but the first are settled, however many there are.
    equal = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    heads = np.flatnonzero(np.concatenate([[True], ~equal])[: len(rows)])
    run = np.repeat(heads, np.diff(np.append(heads, len(rows))))
    twin[rows[run != np.arange(len(rows))]] = rows[run[run != np.arange(len(rows))]]
    rows, (image, label, x, y, width, height) = rows[heads], [key[heads] for key in keys]
    first, step = np.arange(len(rows)), 0
    while len(first):
        step += 1
        first = first[first + step < len(rows)]
        second = first + step
        near = (image[first] == image[second]) & (label[first] == label[second])
        near &= x[second] - x[first] <= (1 - iou) * width[first]
        first, second = first[near], second[near]
        right = np.minimum(x[first] + width[first], x[second] + width[second])
        bottom = np.minimum(y[first] + height[first], y[second] + height[second])
        common = np.clip(right - x[second], 0, None) * np.clip(bottom - np.maximum(y[first], y[second]), 0, None)
        whole = width[first] * height[first] + width[second] * height[second] - common
        pair = np.stack([rows[first], rows[second]])[:, common >= iou * whole]
        twin[pair.max(axis=0)] = pair.min(axis=0)
    return twin


def findings_of(boxes: pd.DataFrame, kind: str, what: Iterable[str], done: Done) -> list[Finding]:
    """A finding for each row."""
    columns = (boxes[name].tolist() for name in ("file", "image_id", "file_name", "annotation_id"))
    return [
        Finding(kind, file, image_id, file_name, annotation_id, text, done)
        for file, image_id, file_name, annotation_id, text in zip(*columns, what, strict=False)
    ]


def _repeated_ids(boxes: pd.DataFrame) -> list[Finding]:
    bad = boxes[boxes["annotation_id"].duplicated().to_numpy(bool)]
    return findings_of(bad, "annotation_repeated", repeat("an earlier box has this id"), "stopped")


def _inside(boxes: pd.DataFrame, settings: Prepare, found: list[Finding]) -> pd.DataFrame:
    """Boxes cut to their frames, those that the policy spares; what leaves a frame by no more than noise always is."""
    chosen = settings.policy.box_outside
    corner, size = np.split(_places(boxes), 2, axis=1)
    frame = boxes[["frame_width", "frame_height"]].to_numpy(np.float64)
    frame = np.where(np.isnan(frame), np.inf, frame)
    with np.errstate(over="ignore"):
        edges = np.concatenate([corner, corner + size], axis=1)
    out = np.concatenate([-edges[:, :2], edges[:, 2:] - frame], axis=1)
    cut = np.clip(edges, 0, np.tile(frame, 2))
    gone = (cut[:, 2:] <= cut[:, :2]).any(axis=1)
    bad = (out > NOISE_PX).any(axis=1) | gone
    what = np.full(len(boxes), "lies outside", object)
    worst = out.argmax(axis=1)
    for row in np.flatnonzero(bad & ~gone):
        what[row] = f"reaches {out[row, worst[row]]:.4g} px beyond the {_SIDES[worst[row]]} edge"
    for mask, done in ((bad & ~gone, DONE[chosen]), (gone, "dropped" if chosen == "clip" else DONE[chosen])):
        found += findings_of(boxes[mask], "box_outside", what[mask], done)
    # Others keep their numbers to the last bit, which a difference of sums would not.
    changed = (cut != edges).any(axis=1)
    places = np.concatenate([corner, size], axis=1)
    places[changed] = np.concatenate([cut[:, :2], cut[:, 2:] - cut[:, :2]], axis=1)[changed]
    inside = boxes.copy()
    inside[["x", "y", "width", "height"]] = places
    kept: pd.DataFrame = inside.loc[~gone if chosen == "clip" else ~bad]
    return kept


def _places(boxes: pd.DataFrame) -> NDArray[np.float64]:
    return boxes[["x", "y", "width", "height"]].to_numpy(np.float64)


def _as_stated(boxes: pd.DataFrame) -> Iterable[str]:
    return (f"x {x:.6g}, y {y:.6g}, width {w:.6g}, height {h:.6g}" for x, y, w, h in _places(boxes).tolist())
