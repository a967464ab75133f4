"""Small pictures of an annotated set: images with their boxes, a colour a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.box_pictures import class_colour, draw_boxes
from millrace.imagery.colour import decode_rgb
from millrace.imagery.pictures import sheet, write_png

CELLS, COLUMNS, CELL_PX = 18, 6, 180
LEGEND_CELLS, LEGEND_PX, SWATCH_PX, LETTERS = 30, 116, 12, 60


def write_sheet(
    path: Path, images: pd.DataFrame, boxes: pd.DataFrame, names: Sequence[str], files: Sequence[Path]
) -> None:
    """Write pictures of evenly picked images, and below them the colours of the classes that are to be seen.

    Args:
        path: PNG file.
        images: `file_name` and `orientation` of each.
        boxes: `image` (row of `images`), `label`, `x`, `y`, `width`, `height`.
        names: Of the classes.
        files: Of the images.
    """
    pictures, captions, seen = [], [], set[int]()
    rows = range(0, len(images), max(1, math.ceil(len(images) / CELLS)))
    shown = images.iloc[list(rows)]
    for row, name, orientation in zip(rows, shown["file_name"], shown["orientation"], strict=True):
        own = boxes[boxes["image"] == row]
        corner, size = own[["x", "y"]].to_numpy(), own[["width", "height"]].to_numpy()
        picture = decode_rgb(files[row].read_bytes(), int(orientation))
        places = np.concatenate([corner, corner + size], axis=1)
        pictures.append(draw_boxes(picture, places, own["label"].to_numpy(), None, shown_px=CELL_PX))
        captions.append(f"{PurePosixPath(name).name}: {len(own)}")
        seen |= set(own["label"].tolist())
    page = sheet(pictures, captions, COLUMNS, CELL_PX)
    if seen:
        labels = sorted(seen)[:LEGEND_CELLS]
        swatches = [np.full((SWATCH_PX, LEGEND_PX, 3), class_colour(label), np.uint8) for label in labels]
        columns = max(1, page.shape[1] // (LEGEND_PX + SWATCH_PX))
        page = _below(page, sheet(swatches, [names[label][:LETTERS] for label in labels], columns, LEGEND_PX))
    write_png(path, page)


def _below(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture below the other, on white."""
    width = max(upper.shape[1], lower.shape[1])
    padded = [
        np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in (upper, lower)
    ]
    return np.concatenate(padded)
