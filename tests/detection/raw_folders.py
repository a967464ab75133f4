"""Small raw folders for the tests of the detection task."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from millrace.detection.params import Detection
from millrace.settings import Runtime

QUIET = Runtime(jobs=1, progress=False, threads=1, accelerator="cpu")


def noise(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_image(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def coco(boxes: list[list[list[float]]], **changes: Any) -> dict[str, Any]:
    """Content of a COCO file with the categories disc (1) and square (2).

    Image i, from 1, is i.png of 40 x 30 pixels and has the boxes [x, y, width, height, category id] of `boxes[i - 1]`.
    """
    images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(1, len(boxes) + 1)]
    flat = [(i, box) for i, own in enumerate(boxes, 1) for box in own]
    annotations = [
        {"id": number, "image_id": i, "category_id": box[4], "bbox": box[:4], "iscrowd": 0}
        for number, (i, box) in enumerate(flat, 1)
    ]
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    return {"images": images, "annotations": annotations, "categories": categories} | changes


def write_coco_folder(raw: Path, content: dict[str, Any], seeds: dict[int, int] | None = None) -> Path:
    """Write instances.json and, for each image with a usable name, a picture of noise of its stated size."""
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "instances.json").write_text(json.dumps(content))
    (raw / "images").mkdir(exist_ok=True)
    for image in content["images"]:
        pixels = noise(image["width"], image["height"], (seeds or {}).get(image["id"], image["id"]))
        write_image(raw / "images" / image["file_name"], pixels)
    return raw


def section(raw: Path, **prepare: Any) -> Detection:
    """The default section with another raw folder; changes of `prepare` are nested dicts."""
    return Detection.model_validate({"raw": str(raw), "prepare": prepare})


def bccd_folder() -> Path:
    """Real blood-smear photos; they are no part of the repository."""
    folder = os.environ.get("MILLRACE_SHARED_DATA")
    if not folder:
        pytest.skip("MILLRACE_SHARED_DATA does not name a folder with real files")
    return Path(folder) / "detection/bccd"
