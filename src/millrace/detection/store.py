"""Prepared images and boxes on disk: the images' own files end to end, two tables, and a COCO file a side."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.boxes import Truth
from millrace.errors import UserError
from millrace.imagery.colour import decode_rgb

PREPARED = Path("data/prepared/detection")
IMAGES, BOXES, BYTES, META = "images.parquet", "boxes.parquet", "images.bin", "meta.json"


def instances_file(side: str) -> str:
    """Name of a side's COCO file."""
    return f"instances_{side}.json"


class Store:
    """Prepared data, read on demand.

    `images` has a row an image: `image_id`, `file_name`, `width` and `height` (as shown, after `orientation`),
    `orientation` (EXIF's number; 1 changes nothing), `split` (train, validation or test), `content` (equal for equal
    pictures), `offset` and `length` (bytes of its file in `images.bin`).
    `boxes` has a row a box: `annotation_id`, `image` (row of `images`), `image_id`, `file_name`, `category_id`,
    `category`, `label` (class number from 0), `x`, `y`, `width`, `height` (pixels as shown, inside the image),
    `ignored`, `split`; in the order of `image`.

    Attributes:
        images: The first table.
        boxes: The second.
        categories: `id` and `name` by class number.

    Raises:
        UserError: The folder holds no prepared data, or damaged ones.
    """

    def __init__(self, folder: Path = PREPARED) -> None:
        self.folder = folder
        try:
            self.images = pd.read_parquet(folder / IMAGES)
            self.boxes = pd.read_parquet(folder / BOXES)
            self.categories: list[dict[str, Any]] = json.loads((folder / META).read_text(encoding="utf-8"))[
                "categories"
            ]
            with (folder / BYTES).open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._starts = np.searchsorted(self.boxes["image"].to_numpy(), np.arange(len(self.images) + 1))
            corner = self.boxes[["x", "y"]].to_numpy(np.float64)
            size = self.boxes[["width", "height"]].to_numpy(np.float64)
            self._truth = Truth(
                np.concatenate([corner, corner + size], axis=1).astype(np.float32),
                self.boxes["label"].to_numpy(np.int64),
                self.boxes["ignored"].to_numpy(bool),
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} holds no prepared data ({error}). Run `dvc repro detection-prepare`.") from None

    @property
    def names(self) -> list[str]:
        """Of the classes, by number."""
        return [str(category["name"]) for category in self.categories]

    def positions(self, side: str) -> list[int]:
        """Rows of the images of a side."""
        return np.flatnonzero(self.images["split"] == side).tolist()

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """RGB picture (H, W, 3)."""
        row = self.images.iloc[position]
        start = int(row["offset"])
        return decode_rgb(self._bytes[start : start + int(row["length"])], int(row["orientation"]))

    def truth(self, position: int) -> Truth:
        """True boxes of an image."""
        own = slice(self._starts[position], self._starts[position + 1])
        boxes, labels, ignored = self._truth
        return Truth(boxes[own], labels[own], ignored[own])
