"""An annotated set of images as its files state it: nothing mended, nothing renumbered but what clashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millrace.errors import Problem


@dataclass(frozen=True, slots=True)
class Category:
    """A class of objects.

    Attributes:
        id: As in the file; VOC, which has none, counts the sorted names from 1.
        name: As in the file, which may hold any character.
        extra: Other keys of the file, `supercategory` for one.
    """

    id: int
    name: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image that a file speaks of; whether it exists is another question.

    Attributes:
        id: As in the file, or another where several files use it for different images; VOC, which has none, counts the
            annotation files in sorted order from 1.
        file_name: As in the file: relative to the folder of images, with slashes.
        width: Stated, in pixels; None where nothing is stated.
        height: Likewise.
        source: The annotation file.
        extra: Other keys of the file.
    """

    id: int
    file_name: str
    width: int | None
    height: int | None
    source: Path
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A box as stated, in pixels: it may be empty, out of the frame, or not a number.

    Attributes:
        id: Likewise; VOC counts from 1.
        image_id: Of its image.
        category_id: Of its category.
        x: Left edge; the left edge of the image is 0, whatever number VOC files give their first pixel.
        y: Top edge, likewise.
        width: To the right edge, continuous.
        height: To the bottom edge.
        crowd: COCO's `iscrowd`.
        difficult: VOC's `difficult`; also read from COCO files that have the key.
        source: The annotation file.
        extra: Other keys of the file.
    """

    id: int
    image_id: int
    category_id: int
    x: float
    y: float
    width: float
    height: float
    crowd: bool
    difficult: bool
    source: Path
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """All of it, in the order of the files.

    Attributes:
        categories: Of several COCO files, those of all; an id stands for one name.
        images: In file order.
        annotations: In file order.
        extra: Other top-level keys (`info`, `licenses`).
        notes: What was renumbered, by file.
    """

    categories: tuple[Category, ...]
    images: tuple[ImageEntry, ...]
    annotations: tuple[Annotation, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()
