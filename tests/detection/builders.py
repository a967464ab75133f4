"""Small annotation files for the tests of readers and writers."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from millrace.detection.dataset import Annotation, Dataset, ImageEntry

NOWHERE = Path("nowhere")


def an_image(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30} | changes


def an_annotation(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0} | changes


def a_category(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": number, "name": f"class {number}"} | changes


def content(**changes: Any) -> dict[str, Any]:
    """Of a sound COCO file with one of each."""
    return {"images": [an_image()], "annotations": [an_annotation()], "categories": [a_category()]} | changes


def write_json(path: Path, value: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


def an_object(name: str = "cat", corners: Iterable[object] = (1, 2, 4, 6), rest: str = "") -> str:
    edges = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{edges}</bndbox>{rest}</object>"


def write_xml(path: Path, *objects: str, filename: str | None = None, rest: str = "") -> Path:
    """A VOC file for an image of 40 x 30 pixels; its `filename` is that of the file unless it is given."""
    stated = f"<filename>{path.stem}.jpg</filename>" if filename is None else filename
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{stated}{size}{rest}{''.join(objects)}</annotation>", encoding="utf-8")
    return path


def places(annotations: Iterable[Annotation]) -> list[tuple[float, float, float, float]]:
    return [(each.x, each.y, each.width, each.height) for each in annotations]


def comparable(dataset: Dataset) -> tuple[str, list[str], list[str], list[str]]:
    """A data set without the names of the files it came from, and without an order; NaN is equal to NaN, -0 to 0."""

    def fields(entry: Any) -> dict[str, Any]:
        stated = dataclasses.asdict(entry).items()
        found = {name: value + 0.0 if isinstance(value, float) else value for name, value in stated}
        return found | ({"source": None} if "source" in found else {})

    def listed(entries: Iterable[Any]) -> list[str]:
        return sorted(json.dumps(fields(entry), sort_keys=True) for entry in entries)

    return (
        json.dumps(dict(dataset.extra), sort_keys=True),
        listed(dataset.categories),
        listed(dataset.images),
        listed(dataset.annotations),
    )


def image_entry(number: int, file_name: str, source: Path = NOWHERE) -> ImageEntry:
    return ImageEntry(number, file_name, 40, 30, source)


def damaged(whole: bytes, count: int = 150) -> Iterator[bytes]:
    """Copies of a file that were cut short, or have some other bytes."""
    dice = random.Random(0)
    for _ in range(count):
        copy = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randrange(1, 4) if copy else 0):
            copy[dice.randrange(len(copy))] = dice.choice([dice.randrange(256), *b'<>/&;"{}[],:-9eN\\'])
        yield bytes(copy)


def survives(read: Callable[[], object], path: Path, whole: bytes) -> int:
    """Read damaged copies of a file; how many of them `read` had something to say about."""
    told = 0
    for copy in damaged(whole):
        path.write_bytes(copy)
        told += bool(read())
    return told
