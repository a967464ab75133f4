"""A `Dataset` as Pascal VOC's XML, so that reading it gives the same data set again.

What VOC has no place for (ids, crowds, other keys of COCO files) is JSON in an element `coco`, and in a COCO file
`coco.json` without images beside the XML files. What COCO has no place for is its key `voc`: the elements as
`voc_xml.as_json` gives them, and, under names that no element has, `#file` (path of the XML file), `#filename` and
`#corners`. Each is there only where it does not follow from the rest, and is believed only while the rest of the file
agrees with it: a file that was edited since means what its elements say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

from lxml import etree

from millrace.detection.coco import write_coco
from millrace.detection.dataset import Annotation, Dataset, ImageEntry
from millrace.detection.fields import box
from millrace.detection.voc import (
    CORNERS,
    REST,
    box_of,
    corners_of,
    filename_of,
    is_spare,
    label,
    same,
    spare_name,
    xml_path,
)
from millrace.detection.voc_xml import Element, add, allowed, arranged, from_json, write_root

IMAGE_ORDER = ("folder", "filename", "path", "source", "owner", "size", "segmented", None, "coco", "object")
OBJECT_ORDER = ("name", "pose", "truncated", "occluded", "difficult", "bndbox", None, "part", "coco")
_LONGEST = 200  # bytes of a name; file systems take 255
_EXACT = ("#file", "#filename", "#corners")


def write_voc(dataset: Dataset, folder: Path, first_pixel: int = 0) -> None:
    """Write an XML file for each image into a folder, in subfolders as the images' names have them.

    Names of categories and images are content: a file name is made of an image's name only where it stays in the
    folder, and of its id otherwise.

    Args:
        dataset: Anything: what cannot be said in XML is kept beside it.
        folder: Made if need be; files of these names are replaced.
        first_pixel: Number of the leftmost and topmost pixel.
    """
    paths = _paths(dataset.images)
    order = sorted(range(len(paths)), key=lambda index: paths[index])
    of_image: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in dataset.annotations:
        of_image[annotation.image_id].append(annotation)
    files = [(paths[index], dataset.images[index], of_image.pop(dataset.images[index].id, [])) for index in order]
    orphans = [annotation for left in of_image.values() for annotation in left]
    names: dict[int, list[str]] = defaultdict(list)
    for category in dataset.categories:
        names[category.id].append(category.name)
    used = sorted({label(each.category_id, names[each.category_id]) for _, _, own in files for each in own})
    stated = [(each.id, each.name) for each in dataset.categories]
    plain = stated == list(enumerate(used, 1)) and not any(each.extra for each in dataset.categories)
    folder.mkdir(parents=True, exist_ok=True)
    if not plain or orphans or dataset.extra:
        write_coco(Dataset(dataset.categories, (), tuple(orphans), dataset.extra), folder / REST)
    ids = {label(number, [name]): number for number, own in reversed(names.items()) for name in own}
    counted_images = [image.id for _, image, _ in files] == list(range(1, len(files) + 1))
    boxes = [each.id for _, _, own in files for each in own]
    counted_boxes = boxes == list(range(1, len(boxes) + 1))
    for path, image, own in files:
        known = counted_images and not is_spare(path, image.id)
        root = _image_element(image, path, {} if known else {"id": image.id})
        for annotation in own:
            name = label(annotation.category_id, names[annotation.category_id])
            rest = {} if counted_boxes else {"id": annotation.id}
            rest |= {} if ids.get(name) == annotation.category_id else {"category_id": annotation.category_id}
            root.append(_object_element(annotation, name, rest, first_pixel))
        write_root(arranged(root, IMAGE_ORDER), folder / path)


def _paths(images: Sequence[ImageEntry]) -> list[str]:
    """Of the XML file of each image: no two are equal, not even where upper and lower case are one."""
    given: set[str] = set()
    paths = []
    for image in images:
        voc = image.extra.get("voc")
        wanted = str(voc.get("#file")) if isinstance(voc, dict) else ""
        spare = (spare_name(image.id, number) for number in count())
        candidates = chain(filter(_is_safe, [wanted, xml_path(image.file_name)]), spare)
        path = next(path for path in candidates if path.casefold() not in given)
        given.add(path.casefold())
        paths.append(path)
    return paths


def _is_safe(path: str) -> bool:
    """Whether a file can be called so, inside its folder, and is found there again."""
    if not path.lower().endswith(".xml") or "\\" in path or allowed(path) != path:
        return False
    pure = PurePosixPath(path)
    return (
        str(pure) == path
        and not pure.is_absolute()
        and not pure.name.startswith(".")
        and all(part != ".." and len(part.encode()) <= _LONGEST for part in pure.parts)
        and not any(part.lower().endswith(".xml") for part in pure.parts[:-1])
    )


def _image_element(image: ImageEntry, path: str, rest: dict[str, Any]) -> Element:
    root, exact, left = _from_extra(
        "annotation", image.extra, ("filename", "object", "coco"), "size", ("width", "height")
    )
    stated = exact.get("#filename")
    if isinstance(stated, str) and allowed(stated).strip() == stated:
        filename = stated
    else:
        filename = filename_of(image.file_name)
        if not filename or str(PurePosixPath(path).parent / filename) != image.file_name:
            rest["file_name"] = image.file_name
    add(root, "filename", filename)
    sides = [(tag, side) for tag, side in (("width", image.width), ("height", image.height)) if side is not None]
    _add_first(root, "size", [(tag, str(side)) for tag, side in sides])
    _add_json(root, {**left, **rest})
    return root


def _object_element(annotation: Annotation, name: str, rest: dict[str, Any], first_pixel: int) -> Element:
    root, exact, left = _from_extra("object", annotation.extra, ("name", "difficult", "coco"), "bndbox", CORNERS)
    place = annotation.x, annotation.y, annotation.width, annotation.height
    corners = corners_of(place, first_pixel)
    try:
        stated = box(exact.get("#corners"))
        corners = stated if same(box_of(stated, first_pixel), place) else corners
    except ValueError:
        pass
    if not same(box_of(corners, first_pixel), place):
        rest["bbox"] = list(place)
    if annotation.crowd:
        rest["iscrowd"] = 1
    add(root, "name", name)
    add(root, "difficult", str(int(annotation.difficult)))
    _add_first(root, "bndbox", [(tag, _digits(value)) for tag, value in zip(CORNERS, corners, strict=True)])
    _add_json(root, {**left, **rest})
    return arranged(root, OBJECT_ORDER)


def _from_extra(
    tag: str, extra: Mapping[str, Any], own: Sequence[str], nested: str, own_nested: Sequence[str]
) -> tuple[Element, Mapping[str, Any], dict[str, Any]]:
    """The element with what `extra` has for it, the exact values that it states, and what has to be JSON.

    Args:
        tag: Of the element.
        extra: Of the record.
        own: Children that are written from the record itself.
        nested: A child that has some of these too.
        own_nested: Which.
    """
    voc = extra.get("voc")
    if not voc or not isinstance(voc, dict):
        return etree.Element(tag), {}, {**extra}
    left = {key: value for key, value in extra.items() if key != "voc"}
    tree = {key: value for key, value in voc.items() if key not in _EXACT}
    inside = tree.get(nested, {})
    taken = any(key in tree for key in own) or not isinstance(inside, dict) or any(key in inside for key in own_nested)
    element = from_json(tag, tree) if tree and not taken else None
    if tree and element is None:
        left["voc"] = tree
    return etree.Element(tag) if element is None else element, voc, left


def _add_first(parent: Element, tag: str, children: Sequence[tuple[str, str]]) -> None:
    """Put children before others into a child, which may be there already."""
    if not children:
        return
    child = parent.find(tag)
    if child is None:
        child = etree.SubElement(parent, tag)
    for number, (name, content) in enumerate(children):
        first = etree.Element(name)
        first.text = content
        child.insert(number, first)


def _add_json(parent: Element, content: Mapping[str, Any]) -> None:
    if content:
        add(parent, "coco", json.dumps(content, sort_keys=True))


def _digits(value: float) -> str:
    """A number in full; whole ones without a point, as VOC's programs expect them."""
    return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)
