"""COCO JSON (https://cocodataset.org/#format-data): files to a `Dataset`, with all that is wrong in them, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from millrace.detection.dataset import Annotation, Category, Dataset, ImageEntry
from millrace.detection.fields import Problems, Record, box, flag, shown, text, whole
from millrace.detection.json_elements import JsonError, elements
from millrace.detection.params import Prepare
from millrace.errors import Problem
from millrace.files import write_text

LISTS = ("images", "annotations", "categories")
_OTHER_TASKS = ("segmentation", "keypoints", "caption", "segments_info", "counts")


def read_coco(path: Path, settings: Prepare, *, extra: bool = False) -> tuple[Dataset, list[Problem]]:
    """Read a file as it stands.

    Structure and types are checked: a record with a wrong one is left out and is a problem, as is a key that an object
    has twice. What is of its type goes into the data set whether it makes sense or not: NaN, boxes without an area,
    ids that are there twice or nowhere. Whole numbers may be written as 7.0; `width` and `height` of an image,
    `iscrowd` and `difficult` may be missing or null.

    Args:
        path: The file. It is read in pieces: memory holds the records, not the text.
        settings: `max_megabytes`.
        extra: Keep all other keys, such as `segmentation`.

    Returns:
        The records without problems, in the order of the file, and the problems of all others, at most `LISTED` of a
        kind one by one.
    """
    found: dict[str, list[Any]] = {name: [] for name in LISTS}
    rest: dict[str, Any] = {}
    problems = Problems(path)
    seen: set[str] = set()
    try:
        for key, position, value, repeated in elements(path, LISTS, max_megabytes=settings.max_megabytes):
            if key is None:
                problems.add(_list_instead(value), "list")
                return Dataset((), (), ()), problems.told()
            seen.add(key)
            place = key if position is None else f"{key}[{position}]"
            for name in repeated:
                problems.add(f"{place} has the key {name!r} twice", f"{key} repeated keys")
            if position is not None:
                record = Record(value)
                entry = _READ[key](record, path, extra)
                problems.add_wrong(place, f"{key}[]", record)
                if not record.wrong:
                    found[key].append(entry)
            elif key in LISTS:
                if value != []:
                    problems.add(f"{key} is {shown(value)}, not a list", key)
            elif extra:
                rest[key] = value
        missing = [name for name in LISTS if name not in seen]
        if missing:
            keys = ", ".join(map(shown, sorted(seen)[:10])) or "none"
            problems.add(f"has no {', '.join(missing)}; its keys are: {keys}", "missing lists")
    except JsonError as error:
        problems.add(str(error), "JSON")
    categories, images, annotations = (tuple(found[name]) for name in ("categories", "images", "annotations"))
    return Dataset(categories, images, annotations, rest), problems.told()


def write_coco(dataset: Dataset, path: Path) -> None:
    """Write a data set as COCO JSON: an entry a line in the order of the data set, keys sorted, numbers in full.

    All keys that were read come back. `iscrowd` and `area` are always written, because tools need them; the area is
    that of the box where none was read. Text is ASCII, because some tools open files in the language of the machine.
    """
    lists: dict[str, Iterable[dict[str, Any]]] = {
        "annotations": map(coco_annotation, dataset.annotations),
        "categories": ({**each.extra, "id": each.id, "name": each.name} for each in dataset.categories),
        "images": map(coco_image, dataset.images),
    }

    def write(stream: TextIO) -> None:
        stream.write("{")
        for number, key in enumerate(sorted({**dataset.extra, **lists})):
            stream.write(f"{',' if number else ''}\n{json.dumps(key)}: ")
            if key not in lists:
                stream.write(json.dumps(dataset.extra[key], sort_keys=True))
                continue
            separator = "[\n"
            for entry in lists[key]:
                stream.write(separator + json.dumps(entry, sort_keys=True))
                separator = ",\n"
            stream.write("[]" if separator == "[\n" else "\n]")
        stream.write("\n}\n")

    write_text(path, write)


def coco_image(image: ImageEntry) -> dict[str, Any]:
    """An entry of `images`; a size that is not stated has no key."""
    size = {key: value for key, value in (("width", image.width), ("height", image.height)) if value is not None}
    return {**image.extra, "id": image.id, "file_name": image.file_name, **size}


def coco_annotation(annotation: Annotation) -> dict[str, Any]:
    """An entry of `annotations`; `difficult` has a key where it is so."""
    bbox = [annotation.x, annotation.y, annotation.width, annotation.height]
    return {
        "area": annotation.width * annotation.height,
        **annotation.extra,
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": bbox,
        "iscrowd": int(annotation.crowd),
        **({"difficult": 1} if annotation.difficult else {}),
    }


def why_no_boxes(path: Path, settings: Prepare) -> str | None:
    """Why a JSON file is not one of annotated boxes, as far as its first annotation tells; it is read up to there.

    Returns:
        None where it is one, or is damaged.
    """
    seen: set[str] = set()
    try:
        for key, position, value, _ in elements(path, LISTS, max_megabytes=settings.max_megabytes):
            if key is None:
                return _list_instead(value)
            seen.add(key)
            if position == 0 and key == "annotations" and isinstance(value, dict):
                for other in ("caption", "segments_info", "keypoints"):
                    if other in value:
                        return f"its annotations have {other}; name it in detection.prepare.annotations if it has boxes"
                if "bbox" in value:
                    return None
            if position == 0 and seen >= {"images", "annotations"}:
                return None
    except JsonError:
        return None
    missing = [name for name in ("images", "annotations") if name not in seen]
    return f"it has no {' and no '.join(missing)}" if missing else None


def _read_image(record: Record, path: Path, extra: bool) -> ImageEntry:
    return ImageEntry(
        record.need("id", whole, 0),
        record.need("file_name", text, ""),
        record.take("width", whole, None),
        record.take("height", whole, None),
        path,
        record.rest(extra),
    )


def _read_annotation(record: Record, path: Path, extra: bool) -> Annotation:
    if "bbox" not in record:
        others = [name for name in _OTHER_TASKS if name in record]
        record.wrong.append(("", "has no bbox" + (f", only {', '.join(others)}" if others else "")))
    x, y, width, height = record.take("bbox", box, (0.0, 0.0, 0.0, 0.0))
    if extra:
        record.drop("area", width * height)
    return Annotation(
        record.need("id", whole, 0),
        record.need("image_id", whole, 0),
        record.need("category_id", whole, 0),
        x,
        y,
        width,
        height,
        record.take("iscrowd", flag, False),
        record.take("difficult", flag, False),
        path,
        record.rest(extra),
    )


def _read_category(record: Record, path: Path, extra: bool) -> Category:
    return Category(record.need("id", whole, 0), record.need("name", text, ""), record.rest(extra))


_READ: dict[str, Callable[[Record, Path, bool], ImageEntry | Annotation | Category]] = {
    "images": _read_image,
    "annotations": _read_annotation,
    "categories": _read_category,
}


def _list_instead(first: Any) -> str:
    """What to say of a file that is a list."""
    if isinstance(first, dict) and "score" in first and "image_id" in first:
        return "is a list of results (detections with a score), not annotations"
    return f"is a list, not an object with {', '.join(LISTS)}"
