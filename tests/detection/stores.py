"""A small prepared folder, written without the stage that writes it, and a network that is small enough for it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from millrace.detection.store import BOXES, BYTES, IMAGES, META, instances_file

CATEGORIES = [{"id": 3, "name": "red"}, {"id": 7, "name": "blue"}]
SIDES = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
WIDE, UPRIGHT = (64, 48), (48, 64)
EMPTY, TURNED, WITH_IGNORED = 3, 5, (4, 8)
"""Images without a box, stored on its side (EXIF orientation 6), and with a box that is ignored."""
WITH_BLUE = (1, 6, 8, 9, 10, 11)
COLOURS = np.array([(220, 40, 40), (40, 60, 220)], np.uint8)
TINY = {
    "encoder": "test_efficientnet",
    "levels": (3, 4),
    "channels": 16,
    "head": 32,
    "anchors_px": (12.0, 24.0),
    "proposals": 50,
    "rois": 32,
}
"""Of `Model`: 0.2 million parameters."""


class Scene(NamedTuple):
    """A picture of rectangles, each in the colour of its class on grey noise.

    Attributes:
        width: In pixels, as shown.
        height: Likewise.
        boxes: Left, top, width, height.
        labels: Class numbers from 0.
        ignored: Of each box.
        side: Of the split.
        orientation: EXIF's; the bytes hold the picture turned accordingly.
    """

    width: int
    height: int
    boxes: list[list[float]]
    labels: list[int]
    ignored: list[bool]
    side: str = "train"
    orientation: int = 1

    def pixels(self, seed: int) -> np.ndarray:
        picture = np.random.default_rng(seed).integers(90, 130, (self.height, self.width, 1), np.uint8).repeat(3, 2)
        for (x, y, width, height), label in zip(np.array(self.boxes, int).tolist(), self.labels, strict=True):
            picture[y : y + height, x : x + width] = COLOURS[label]
        return picture


def scenes() -> list[Scene]:
    """A dozen: every fourth upright, blue the rarer class."""
    return [_scene(index) for index in range(len(SIDES))]


def _scene(index: int) -> Scene:
    rng = np.random.default_rng(index)
    width, height = UPRIGHT if index % 4 == 2 else WIDE
    labels = [] if index == EMPTY else [0] + [1] * (index in WITH_BLUE) + [0] * (index in WITH_IGNORED)
    boxes = []
    for cell in rng.permutation(4)[: len(labels)].tolist():  # a quarter of the picture each: they do not overlap
        room = np.array([width, height]) // 2
        size = rng.integers(12, room - 1)
        corner = np.array([cell % 2, cell // 2]) * room + rng.integers(0, room - size)
        boxes.append([float(number) for number in (*corner, *size)])
    ignored = [place == len(labels) - 1 and index in WITH_IGNORED for place in range(len(labels))]
    return Scene(width, height, boxes, labels, ignored, SIDES[index], 6 if index == TURNED else 1)


def write_store(folder: Path, of: Sequence[Scene] | None = None) -> Path:
    """Write what `Store` reads; image i is `scene-i.png` and has the id 100 + i, in `of` or in the dozen."""
    every = scenes() if of is None else of
    folder.mkdir(parents=True)
    files = [_png(scene, number) for number, scene in enumerate(every)]
    lengths = np.array([len(file) for file in files], np.int64)
    (folder / BYTES).write_bytes(b"".join(files))
    images = pd.DataFrame(
        {
            "image_id": [100 + number for number in range(len(every))],
            "file_name": [f"scene-{number}.png" for number in range(len(every))],
            "width": [scene.width for scene in every],
            "height": [scene.height for scene in every],
            "orientation": [scene.orientation for scene in every],
            "split": [scene.side for scene in every],
            "content": [f"{number:064x}" for number in range(len(every))],
            "offset": lengths.cumsum() - lengths,
            "length": lengths,
        }
    )
    rows = [(number, place) for number, scene in enumerate(every) for place in range(len(scene.boxes))]
    at = [(every[number], place) for number, place in rows]
    corners = np.array([scene.boxes[place] for scene, place in at], np.float64).reshape(-1, 4)
    boxes = pd.DataFrame(
        {
            "annotation_id": np.arange(1, len(rows) + 1),
            "image": np.array([number for number, _ in rows], np.int64),
            "image_id": np.array([100 + number for number, _ in rows], np.int64),
            "file_name": pd.Series([f"scene-{number}.png" for number, _ in rows], dtype="str"),
            "category_id": np.array([CATEGORIES[scene.labels[place]]["id"] for scene, place in at], np.int64),
            "category": pd.Series([CATEGORIES[scene.labels[place]]["name"] for scene, place in at], dtype="str"),
            "label": np.array([scene.labels[place] for scene, place in at], np.int64),
            **dict(zip(("x", "y", "width", "height"), corners.T, strict=True)),
            "ignored": np.array([scene.ignored[place] for scene, place in at], bool),
            "split": pd.Series([scene.side for scene, _ in at], dtype="str"),
        }
    )
    images.to_parquet(folder / IMAGES, index=False)
    boxes.to_parquet(folder / BOXES, index=False)
    for side in ("train", "validation", "test"):
        (folder / instances_file(side)).write_text(json.dumps(_instances(images, boxes, side)), encoding="utf-8")
    (folder / META).write_text(json.dumps({"categories": CATEGORIES}), encoding="utf-8")
    return folder


def _png(scene: Scene, seed: int) -> bytes:
    pixels = scene.pixels(seed)
    if scene.orientation == 6:  # shown after a turn to the right
        pixels = np.rot90(pixels)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _instances(images: pd.DataFrame, boxes: pd.DataFrame, side: str) -> dict[str, Any]:
    own_images, own_boxes = (table[table["split"] == side] for table in (images, boxes))
    annotations = [
        {
            "id": row["annotation_id"],
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "bbox": [row["x"], row["y"], row["width"], row["height"]],
            "area": row["width"] * row["height"],
            "iscrowd": int(row["ignored"]),
        }
        for row in own_boxes.to_dict("records")
    ]
    entries = [
        {"id": row["image_id"], **{key: row[key] for key in ("file_name", "width", "height")}}
        for row in own_images.to_dict("records")
    ]
    return {"images": entries, "annotations": annotations, "categories": CATEGORIES}
