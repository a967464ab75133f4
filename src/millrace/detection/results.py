"""Boxes that were found, as the files that other tools read: COCO results and a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from millrace.detection.boxes import Detections
from millrace.files import write_csv, write_json, write_text

PIXEL_DECIMALS, SCORE_DECIMALS = 3, 6


class Found(NamedTuple):
    """An image and the boxes that were found in it; width and height in pixels, as it is shown."""

    image_id: int
    file_name: str
    width: int
    height: int
    detections: Detections


def coco_results(image_id: int, detections: Detections, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """COCO results (https://cocodataset.org/#format-results) of an image: `bbox` is left, top, width, height.

    Args:
        image_id: As the results are to have it.
        detections: Boxes.
        category_ids: By class number.
    """
    for box, label, score in zip(*(part.tolist() for part in detections), strict=True):
        left, top, right, bottom = box
        bbox = [round(value, PIXEL_DECIMALS) for value in (left, top, right - left, bottom - top)]
        category_id, rounded = category_ids[label], round(score, SCORE_DECIMALS)
        yield {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": rounded}


def write_results(folder: Path, found: Sequence[Found], categories: Sequence[Mapping[str, Any]]) -> None:
    """Write `results.json` (COCO results, a line a box), `images.json` (the COCO file that they refer to, without
    annotations), and `boxes.csv`.

    Args:
        folder: Existing folder.
        found: Images in the order of the files.
        categories: `id` and `name` by class number.
    """
    ids = [int(category["id"]) for category in categories]
    results = [each for image in found for each in coco_results(image.image_id, image.detections, ids)]
    lines = ",\n".join(json.dumps(each) for each in results)
    write_text(folder / "results.json", lambda stream: stream.write(f"[\n{lines}\n]\n" if lines else "[]\n"))
    images = [
        {"id": image.image_id, "file_name": image.file_name, "width": image.width, "height": image.height}
        for image in found
    ]
    content = {"images": images, "annotations": [], "categories": [dict(category) for category in categories]}
    write_json(folder / "images.json", content)
    write_csv(folder / "boxes.csv", _table(found, results, {int(each["id"]): str(each["name"]) for each in categories}))


def _table(found: Sequence[Found], results: Sequence[dict[str, Any]], names: Mapping[int, str]) -> pd.DataFrame:
    files = {image.image_id: image.file_name for image in found}
    table = pd.DataFrame([each["bbox"] for each in results], columns=["x", "y", "width", "height"])
    table.insert(0, "file_name", [files[each["image_id"]] for each in results])
    table.insert(1, "category", [names[each["category_id"]] for each in results])
    table.insert(2, "score", [each["score"] for each in results])
    return table
