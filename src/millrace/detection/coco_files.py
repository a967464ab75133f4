"""Several COCO files as one data set: what they share is there once, what only shares a number gets another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from millrace.detection.coco import read_coco
from millrace.detection.dataset import Annotation, Category, Dataset, ImageEntry
from millrace.detection.fields import Problems
from millrace.detection.params import Prepare
from millrace.errors import Problem

Entry = TypeVar("Entry", Category, ImageEntry, Annotation)


def read_coco_files(
    paths: Sequence[Path],
    settings: Prepare,
    same_file: Callable[[ImageEntry, ImageEntry], bool],
    *,
    extra: bool = False,
) -> tuple[Dataset, list[Problem]]:
    """Read several files as one data set, in their order.

    A category, an image or an annotation that more than one file has is one, that of the first file. Where two files
    use an id for images of different files, or for boxes in different images, those of the later one get the smallest
    ids that nothing has. It is a problem if they disagree about one thing: an id of a category with two names, a name
    with two ids, one image of two sizes, an id for two boxes in one image. Of the other top-level keys those of the
    first file that has them are kept.

    Args:
        paths: The files.
        settings: As for `read_coco`.
        same_file: Whether two entries mean one image file.
        extra: As for `read_coco`.

    Returns:
        As `read_coco`; `notes` of the data set tell of each file how many ids it lost.
    """
    if len(paths) == 1:
        return read_coco(paths[0], settings, extra=extra)
    problems: list[Problem] = []
    parts: dict[Path, Dataset] = {}
    for path in paths:
        parts[path], found = read_coco(path, settings, extra=extra)
        problems += found
    clashes = {path: Problems(path) for path in paths}
    # Categories are never renumbered: whether two files mean one class by different ids is not ours to guess.
    categories = _Merged[Category]((), _told_category, lambda *_: True)
    images = _Merged[ImageEntry](_ids(part.images for part in parts.values()), _told_image, same_file)
    annotations = _Merged[Annotation](
        _ids(part.annotations for part in parts.values()),
        _told_annotation,
        lambda first, own: first.image_id == own.image_id,
    )
    names: dict[str, tuple[int, Path]] = {}
    moved: dict[Path, dict[int, int]] = {}
    for path, part in parts.items():
        categories.add(path, part.categories, clashes[path])
        for category in part.categories:
            number, file = names.setdefault(category.name, (category.id, path))
            if number != category.id and file != path:
                what = f"category {category.name!r} has the id {category.id} here and {number} in {file}"
                clashes[path].add(what, "names")
        moved[path] = images.add(path, part.images, clashes[path])
    notes = []
    for path, part in parts.items():
        boxes: Sequence[Annotation] = part.annotations
        if any(moved.values()):
            boxes = _of_own_images(part, moved[path], clashes[path])
        renumbered = {"image": moved[path], "annotation": annotations.add(path, boxes, clashes[path])}
        if note := _note(renumbered):
            notes.append(Problem(path, note))
    rest: dict[str, Any] = {}
    for part in parts.values():
        rest = {**part.extra, **rest}
    problems += [problem for each in clashes.values() for problem in each.told()]
    merged = tuple(categories.entries), tuple(images.entries), tuple(annotations.entries)
    return Dataset(*merged, rest, tuple(notes)), problems


class _Merged(Generic[Entry]):
    """Entries of several files, those of each as the file has them: what is in it twice stays twice.

    Args:
        taken: Ids that no entry can get.
        told: What an entry is, for people; equal where entries are.
        same: Whether two entries with one id are of one thing, about which they can only agree or disagree.

    Attributes:
        entries: In the order of the files.
    """

    def __init__(
        self, taken: Iterable[int], told: Callable[[Entry], str], same: Callable[[Entry, Entry], bool]
    ) -> None:
        self._told: Callable[[Entry], str] = told
        self._same: Callable[[Entry, Entry], bool] = same
        self._free = _not_in(set(taken))
        self._known: dict[int, tuple[Entry, Path]] = {}
        self.entries: list[Entry] = []

    def add(self, path: Path, own: Sequence[Entry], clashes: Problems) -> dict[int, int]:
        """Add the entries of a file, less those that are there; a clash for each that is there and differs.

        Returns:
            New ids by the file's own, of what was renumbered.
        """
        renumbered: dict[int, int] = {}
        for entry in own:
            first, _ = self._known.get(entry.id, (entry, path))
            if entry.id not in renumbered and not self._same(first, entry):
                renumbered[entry.id] = next(self._free)
        new: list[Entry] = []
        for entry in own:
            first, file = self._known.get(entry.id, (entry, path))
            if entry.id in renumbered:
                new.append(replace(entry, id=renumbered[entry.id]))
            elif entry.id not in self._known:
                new.append(entry)
            elif self._told(first) != self._told(entry):
                kind = f"ids of an {type(entry).__name__}"
                clashes.add(f"id {entry.id} is {self._told(entry)} here and {self._told(first)} in {file}", kind)
        self._known.update((entry.id, (entry, path)) for entry in new)
        self.entries += new
        return renumbered


def _of_own_images(part: Dataset, moved: Mapping[int, int], clashes: Problems) -> list[Annotation]:
    """Boxes of a file with the new ids of its images; a box of an image that it does not have is a problem."""
    declared = {image.id for image in part.images}
    for each in part.annotations:
        if each.image_id not in declared:
            what = f"annotation {each.id} is of image {each.image_id}, which is not in this file"
            clashes.add(f"{what}, and other files mean different images by one id", "images of other files")
    return [
        replace(each, image_id=moved[each.image_id]) if each.image_id in moved else each for each in part.annotations
    ]


def _note(renumbered: Mapping[str, Mapping[int, int]]) -> str:
    """How many ids a file lost, with an example of each kind; "" of one that lost none."""
    told = []
    for what, ids in renumbered.items():
        if ids:
            old, new = next(iter(ids.items()))
            told.append(f"{len(ids)} {what}(s), the first with the id {new} instead of {old}")
    return "; ".join(told)


def _ids(lists: Iterable[Sequence[ImageEntry] | Sequence[Annotation]]) -> Iterator[int]:
    return (entry.id for own in lists for entry in own)


def _not_in(taken: set[int]) -> Iterator[int]:
    """Numbers from 1 that are not among those taken."""
    return (number for number in count(1) if number not in taken)


def _told_category(category: Category) -> str:
    return f"the category {category.name!r}"


def _told_image(image: ImageEntry) -> str:
    return f"the image {image.file_name!r} of {image.width} x {image.height} pixels"


def _told_annotation(annotation: Annotation) -> str:
    place = annotation.x, annotation.y, annotation.width, annotation.height
    return f"the box {list(place)} of category {annotation.category_id} in image {annotation.image_id}"
