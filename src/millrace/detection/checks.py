"""Every finding of an annotated set of images, at once, and what of it can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.box_checks import check_boxes
from millrace.detection.dataset import Category, Dataset
from millrace.detection.findings import DONE, Done, Finding
from millrace.detection.image_checks import Inspected, check_images, copies, deal_given
from millrace.detection.params import Policy, Prepare


@dataclass(frozen=True)
class Checked:
    """A set that was checked.

    Attributes:
        findings: All.
        images: A row a usable image: `entry` (its place in the set), `image_id`, `file_name`, `file` (that speaks of
            it), `width`, `height` (as shown), `orientation` (to apply), `content`, `split` (its side by given lists;
            None of an image that has none).
        boxes: A row a usable box of these, in their order: `annotation` (its place in the set), `annotation_id`,
            `image` (row of `images`), `image_id`, `file_name`, `category_id`, `category`, `label`, `x`, `y`, `width`,
            `height` (inside the image), `ignored`.
        categories: `id` and `name` by class number.
    """

    findings: list[Finding]
    images: pd.DataFrame
    boxes: pd.DataFrame
    categories: list[dict[str, Any]]


def check_dataset(
    dataset: Dataset,
    inspected: Sequence[Inspected],
    given: Mapping[str, Collection[int]],
    settings: Prepare,
    raw: Path,
) -> Checked:
    """Check a set whose files have been looked at; a million boxes take seconds.

    Args:
        dataset: As stated.
        inspected: Of each image.
        given: Ids of the images of each side, where lists came with the set.
        settings: Policies.
        raw: Folder to which the names of annotation files are shown relative.
    """
    policy = settings.policy
    files = _shown([each.source for each in dataset.images], raw)
    found, images = check_images(dataset.images, files, inspected, policy)
    found += copies(images[images["usable"]]) + check_categories(dataset.categories)
    names = {each.id: each.name for each in sorted(dataset.categories, key=lambda each: each.id)}
    boxes = _box_table(dataset, images, list(names), raw)
    stated = np.bincount(boxes["image"].to_numpy() + 1, minlength=len(images) + 1)[1:]
    more, boxes = check_boxes(boxes, settings)
    found += more
    left = np.bincount(boxes["image"].to_numpy(), minlength=len(images))
    empty = images["usable"].to_numpy() & (left == 0)
    found += _empty(images[empty], stated[empty], policy)
    if policy.image_empty != "keep":
        images["usable"] &= ~empty
    images, boxes = _usable(images, boxes)
    more, images["split"] = deal_given(images, given, policy)
    found += more
    used = set(boxes["category_id"].tolist())
    unused = {number: name for number, name in names.items() if number not in used}
    found += [
        _of_set("category_unused", f"{name} (id {number})", DONE[policy.category_unused])
        for number, name in unused.items()
    ]
    if policy.category_unused == "drop":
        names = {number: name for number, name in names.items() if number in used}
        boxes["label"] = _rows_of(boxes["category_id"].to_numpy(), np.array(list(names), np.int64))
    if not len(images):
        found.append(_of_set("no_image", f"{len(dataset.images)} image(s) are declared", "stopped"))
    elif boxes["ignored"].all():
        what = f"{len(dataset.annotations)} box(es) are stated; {len(boxes)} are left, all crowds or difficult"
        found.append(_of_set("no_box", what, "stopped"))
    boxes["category"] = pd.Series([names[each] for each in boxes["category_id"]], index=boxes.index, dtype="str")
    return Checked(found, images, boxes, [{"id": each, "name": name} for each, name in names.items()])


def check_categories(categories: Sequence[Category]) -> list[Finding]:
    """Ids or names that stand for two categories, and ids that do not count from 1."""
    found = []
    for what, values in (("id", [each.id for each in categories]), ("name", [each.name for each in categories])):
        found += [
            _of_set("category_repeated", f"{count} categories have the {what} {value}", "stopped")
            for value, count in Counter[object](values).items()
            if count > 1
        ]
    named = {each.id: each.name for each in categories}
    if sorted(named) != list(range(1, len(named) + 1)):
        found += [
            _of_set("category_numbers", f"{named[number]} (id {number}) is class {label} inside", "kept")
            for label, number in enumerate(sorted(named))
        ]
    return found


def _of_set(kind: str, what: str, done: Done) -> Finding:
    return Finding(kind, "", None, "", None, what, done)


def _shown(paths: Sequence[Path], raw: Path) -> list[str]:
    """Names of files; there are few different ones."""
    names = {path: (path.relative_to(raw) if path.is_relative_to(raw) else path).as_posix() for path in set(paths)}
    return [names[path] for path in paths]


def _box_table(dataset: Dataset, images: pd.DataFrame, categories: list[int], raw: Path) -> pd.DataFrame:
    """Stated boxes as `check_boxes` takes them, and `annotation`, the place of each in the set."""
    stated = dataset.annotations
    boxes = pd.DataFrame(
        {
            "annotation": np.arange(len(stated)),
            "annotation_id": np.array([each.id for each in stated], np.int64),
            "image_id": np.array([each.image_id for each in stated], np.int64),
            "category_id": np.array([each.category_id for each in stated], np.int64),
            "x": np.array([each.x for each in stated], np.float64),
            "y": np.array([each.y for each in stated], np.float64),
            "width": np.array([each.width for each in stated], np.float64),
            "height": np.array([each.height for each in stated], np.float64),
            "crowd": np.array([each.crowd for each in stated], bool),
            "difficult": np.array([each.difficult for each in stated], bool),
            "file": pd.Series(_shown([each.source for each in stated], raw), dtype="str"),
        }
    )
    boxes["image"] = _rows_of(boxes["image_id"].to_numpy(), images["image_id"].to_numpy(np.int64))
    boxes["label"] = _rows_of(boxes["category_id"].to_numpy(), np.array(categories, np.int64))
    own = images[["file_name", "width", "height"]].reindex(boxes["image"])
    boxes["file_name"] = own["file_name"].fillna("").to_numpy()
    boxes["frame_width"], boxes["frame_height"] = own["width"].to_numpy(), own["height"].to_numpy()
    return boxes


def _rows_of(numbers: NDArray[np.int64], declared: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each number stands first among those declared; -1 of one that does not."""
    values, first = np.unique(declared, return_index=True)
    if not len(values):
        return np.full(len(numbers), -1)
    place = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
    return np.where(values[place] == numbers, first[place], -1)


def _empty(images: pd.DataFrame, stated: NDArray[np.intp], policy: Policy) -> list[Finding]:
    rows = zip(*(images[name].tolist() for name in ("file", "image_id", "file_name")), stated.tolist(), strict=True)
    return [
        Finding(
            "image_empty",
            file,
            number,
            name,
            None,
            f"none of its {count} stated box(es) is left" if count else "nothing is marked in it",
            DONE[policy.image_empty],
        )
        for file, number, name, count in rows
    ]


def _usable(images: pd.DataFrame, boxes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Usable images and their boxes, numbered anew."""
    usable = images["usable"].to_numpy(bool)
    boxes = boxes.loc[usable[boxes["image"]]].sort_values("image", kind="stable", ignore_index=True)
    boxes["image"] = (np.cumsum(usable) - 1)[boxes["image"]]
    images = images.loc[usable].rename_axis("entry").reset_index().astype({"width": "int64", "height": "int64"})
    return images.drop(columns="usable"), boxes.drop(columns=["frame_width", "frame_height", "file"])
