"""Pascal VOC's XML, a file an image, as the challenge and most annotation tools have it, to a `Dataset`."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from millrace.confinement import LINK, stays_inside
from millrace.detection.coco import read_coco
from millrace.detection.dataset import Annotation, Category, Dataset, ImageEntry
from millrace.detection.fields import Problems, Record, box, flag, shown, text, whole
from millrace.detection.params import Prepare
from millrace.detection.voc_images import ImageFiles
from millrace.detection.voc_xml import Element, XmlError, allowed, as_json, json_in, one, read_root, take, text_of
from millrace.errors import Problem

REST = "coco.json"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
Four = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Object:
    """A box, of which some numbers are known only when all files are read."""

    name: str
    id: int | None
    category_id: int | None
    annotation: Annotation


@dataclass(frozen=True)
class _File:
    id: int | None
    image: ImageEntry
    objects: list[_Object]


def read_voc(
    folder: Path, settings: Prepare, *, images: Path | None = None, extra: bool = False
) -> tuple[Dataset, list[Problem]]:
    """Read the XML files of a folder and of those in it: `read_voc_folders` of one."""
    return read_voc_folders({folder: images}, settings, extra=extra)


def read_voc_folders(
    folders: Mapping[Path, Path | None], settings: Prepare, *, extra: bool = False
) -> tuple[Dataset, list[Problem]]:
    """Read all XML files as one data set.

    Corners may have decimals; `size` and `difficult` may be missing. A box whose corners are the wrong way round gets a
    negative size. Images are numbered from 1 in the order of the files' paths, boxes likewise, and categories in that
    of their names, unless the files have the numbers that `write_voc` wrote.

    Args:
        folders: Folders of XML files, and the folder of images of each: file names are relative to it. Without one
            they are as the files state them.
        settings: `voc_first_pixel` and `max_megabytes`.
        extra: Keep what is in the files besides.

    Returns:
        The records without problems, and the problems of all others.
    """
    files: list[_File] = []
    problems: list[Problem] = []
    rest = Dataset((), (), ())
    for folder, images in folders.items():
        known = ImageFiles(images)
        for path in _xml_files(folder):
            found = Problems(path)
            try:
                if not stays_inside(folder, path):
                    raise XmlError(LINK)
                files.append(_read_file(path, folder, known, settings, extra, found))
            except XmlError as error:
                found.add(str(error), "file")
            problems += found.told()
        if (folder / REST).is_file():
            own, wrong = read_coco(folder / REST, settings, extra=extra)
            problems += wrong
            rest = Dataset(
                rest.categories + own.categories, (), rest.annotations + own.annotations, {**own.extra, **rest.extra}
            )
    return _numbered(files, rest), problems


def label(category_id: int, names: Iterable[str]) -> str:
    """What stands in an XML file for a category that has these names: the first, or its number where there is none."""
    return next((allowed(name).strip() for name in names), f"undeclared category {category_id}")


def box_of(corners: Four, first_pixel: int) -> Four:
    """Left, top, width, height of VOC's corners."""
    left, top, right, bottom = corners
    return left - first_pixel, top - first_pixel, right - left, bottom - top


def corners_of(place: Four, first_pixel: int) -> Four:
    """VOC's corners of left, top, width, height."""
    x, y, width, height = place
    return x + first_pixel, y + first_pixel, x + width + first_pixel, y + height + first_pixel


def same(first: Iterable[float], second: Iterable[float]) -> bool:
    """Whether numbers are equal; NaN is equal to NaN."""
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(first, second, strict=True))


def filename_of(file_name: str) -> str:
    """What stands as `filename` for an image, without the folders it is in."""
    return allowed(PurePosixPath(file_name).name).strip()


def xml_path(file_name: str) -> str:
    """Path of the XML file of an image, where that makes a path."""
    return str(PurePosixPath(file_name).with_suffix(".xml")) if PurePosixPath(file_name).name else ""


def spare_name(image_id: int, number: int) -> str:
    """Name of the XML file of an image whose own name cannot be one, or has been given away already."""
    return f"image-{image_id}.xml" if number == 0 else f"image-{image_id}-{number}.xml"


def is_spare(name: str, image_id: int | None) -> bool:
    """Whether `spare_name` makes a name of an id."""
    return re.fullmatch(rf"image-{image_id}(-\d+)?\.xml", name) is not None


def _xml_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() == ".xml" and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _read_file(
    path: Path, folder: Path, known: ImageFiles, settings: Prepare, extra: bool, problems: Problems
) -> _File:
    root = read_root(path, settings.max_megabytes)
    if root.tag != "annotation":
        raise XmlError(f"is no VOC annotation: its outermost element is {root.tag}")
    objects = []
    for number, element in enumerate(root.findall("object")):
        root.remove(element)
        place = f"line {element.sourceline}: object[{number}]"
        try:
            found, wrong = _read_object(element, path, settings.voc_first_pixel, extra)
        except XmlError as error:
            problems.add(f"{place} {error}", f"object[] {error}")
            continue
        problems.add_wrong(place, "object[]", wrong)
        if not wrong.wrong:
            objects.append(found)
    record = Record(json_in(take(root, "coco")))
    size = one(root, "size")
    sides = {} if size is None else {f"size.{side}": text_of(take(size, side)) for side in ("width", "height")}
    stated = Record(sides)
    width, height = (stated.take(f"size.{side}", _whole, None) for side in ("width", "height"))
    _drop_bare(root, size)
    filename = text_of(take(root, "filename")) or ""
    own = PurePosixPath(path.relative_to(folder).as_posix())
    image_id, file_name = record.take("id", whole, None), record.take("file_name", text, None)
    problems.add_wrong("annotation", "annotation", stated)
    problems.add_wrong("coco", "coco", record)
    if file_name is None or filename_of(file_name) != filename:
        file_name = known.name_for(own, filename)
    other = _other(root, record, extra)
    if extra:
        if str(own) != xml_path(file_name) and not is_spare(str(own), image_id):
            other = _with(other, {"#file": str(own)})
        if filename != filename_of(file_name):
            other = _with(other, {"#filename": filename})
    return _File(image_id, ImageEntry(0, file_name, width, height, path, other), objects)


def _read_object(element: Element, path: Path, first_pixel: int, extra: bool) -> tuple[_Object, Record]:
    record = Record(json_in(take(element, "coco")))
    bndbox = one(element, "bndbox")
    if bndbox is None:
        raise XmlError("has no bndbox")
    stated = Record({"name": text_of(take(element, "name")), "difficult": text_of(take(element, "difficult"))})
    edges = Record({corner: text_of(take(bndbox, corner)) for corner in CORNERS})
    left, top, right, bottom = (edges.need(corner, _number, 0.0) for corner in CORNERS)
    _drop_bare(element, bndbox)
    name, difficult = stated.need("name", text, ""), stated.take("difficult", _flag, False)
    number, category_id = record.take("id", whole, None), record.take("category_id", whole, None)
    crowd, exact = record.take("iscrowd", flag, False), record.take("bbox", box, None)
    corners = left, top, right, bottom
    believed = exact is not None and same(corners_of(exact, first_pixel), corners)
    place = exact if exact is not None and believed else box_of(corners, first_pixel)
    other = _other(element, record, extra)
    if extra and not same(corners_of(place, first_pixel), corners):
        other = _with(other, {"#corners": list(corners)})
    stated.wrong += [(f".bndbox{where}", what) if where else (where, what) for where, what in edges.wrong]
    stated.wrong += [(f".coco{where}", what) for where, what in record.wrong]
    return _Object(name, number, category_id, Annotation(0, 0, 0, *place, crowd, difficult, path, other)), stated


def _drop_bare(parent: Element, child: Element | None) -> None:
    """Remove an element of which nothing is left."""
    if child is not None and len(child) == 0 and not child.attrib and text_of(child) is None:
        parent.remove(child)


def _other(element: Element, record: Record, extra: bool) -> Mapping[str, Any]:
    """What is left of an element, as COCO has it."""
    if not extra:
        return record.rest(wanted=False)
    left = as_json(element)
    if not isinstance(left, dict):
        left = {"#text": left} if left.strip() else {}
    return _with(record.rest(wanted=True), left)


def _with(other: Mapping[str, Any], voc: Mapping[str, Any]) -> Mapping[str, Any]:
    own = other.get("voc", {})
    return {**other, "voc": {**own, **voc}} if voc and isinstance(own, dict) else other


def _numbered(files: Iterable[_File], rest: Dataset) -> Dataset:
    """Put together, with numbers for what has none."""
    names: dict[int, list[str]] = defaultdict(list)
    for category in rest.categories:
        names[category.id].append(label(category.id, [category.name]))
    ids = {name: number for number, own in reversed(names.items()) for name in own}

    def category_of(each: _Object) -> int | None:
        stated = each.category_id
        believed = stated is not None and each.name in (names.get(stated) or [label(stated, [])])
        return stated if believed else ids.get(each.name)

    files = list(files)
    objects = [each for file in files for each in file.objects]
    new = sorted({each.name for each in objects if category_of(each) is None})
    ids |= dict(zip(new, _free(names), strict=False))
    categories = (*rest.categories, *(Category(ids[name], name) for name in new))
    free_images, free_boxes = _free(file.id for file in files), _free(each.id for each in objects)
    images, annotations = [], []
    for file in files:
        image = replace(file.image, id=next(free_images) if file.id is None else file.id)
        images.append(image)
        for each in file.objects:
            number, category_id = next(free_boxes) if each.id is None else each.id, category_of(each)
            assert category_id is not None
            annotations.append(replace(each.annotation, id=number, image_id=image.id, category_id=category_id))
    return Dataset(categories, tuple(images), (*annotations, *rest.annotations), rest.extra)


def _free(taken: Iterable[int | None]) -> Iterator[int]:
    """Numbers from 1 on that are not taken."""
    used = set(taken)
    return (number for number in count(1) if number not in used)


def _number(value: str) -> float:
    try:
        return float(value.replace("_", "?")) + 0.0  # no number is written as -0
    except ValueError:
        raise ValueError(f"is {shown(value)}, not a number") from None


def _whole(value: str) -> int:
    try:
        return whole(int(value) if value.lstrip("+-").isdecimal() else _number(value))
    except ValueError:
        raise ValueError(f"is {shown(value)}, not a whole number") from None


def _flag(value: str) -> bool:
    found = {"0": False, "1": True, "false": False, "true": True}.get(value.lower())
    if found is None:
        raise ValueError(f"is {shown(value)}, not 0 or 1")
    return found
