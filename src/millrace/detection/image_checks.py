"""Checks of images: is the file there, can it be read, is it what its entry says, and is it on one list only."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.dataset import ImageEntry
from millrace.detection.findings import DONE, Done, Finding
from millrace.detection.params import Policy, Prepare
from millrace.detection.raw import Raw
from millrace.errors import ImageError
from millrace.imagery.colour import probe_rgb, read_rgb
from millrace.parallel import parallel_map
from millrace.settings import Runtime
from millrace.splitting import SIDES, connected

FIRST_TURNED = 5
"""EXIF orientations from this number on swap width and height."""


class Inspected(NamedTuple):
    """What a file holds.

    Attributes:
        path: Of it; the empty path of a file that cannot be used.
        width: As stored, in pixels; 0 likewise.
        height: Likewise.
        orientation: EXIF's.
        content: Equal for equal pictures, turned and flipped copies included.
        kind: Of finding, where the file cannot be used.
        reason: Why.
    """

    path: Path = Path()
    width: int = 0
    height: int = 0
    orientation: int = 1
    content: str = ""
    kind: str = ""
    reason: str = ""


def inspect_all(raw: Raw, images: Sequence[ImageEntry], settings: Prepare, runtime: Runtime) -> list[Inspected]:
    """Read every image once."""
    # Without the lists, which would go to each process with each image.
    look = partial(inspect, raw=replace(raw, lists={}), max_pixels=int(settings.max_megapixels * 1e6))
    return parallel_map(look, images, runtime, "detection check")


def inspect(image: ImageEntry, raw: Raw, max_pixels: int) -> Inspected:
    """Read an image, unless its name leads out of the raw folder."""
    try:
        path = raw.path_of(image)
    except ImageError as error:
        return Inspected(kind="image_escapes", reason=str(error))
    if not path.exists():
        return Inspected(kind="image_missing", reason=f"there is no {path.relative_to(raw.folder)}")
    try:
        info = probe_rgb(path, max_pixels)
        return Inspected(path, *info, content_of(read_rgb(path, max_pixels, "ignore")))
    except ImageError as error:
        return Inspected(kind="image_unreadable", reason=str(error))


def content_of(pixels: NDArray[np.uint8]) -> str:
    """Hash of a picture (H, W, 3) that is the same for all eight turned and flipped copies."""
    copies = [np.rot90(base, turns) for base in (pixels, pixels.transpose(1, 0, 2)) for turns in range(4)]
    height = min(len(copy) for copy in copies)
    copies = [copy for copy in copies if len(copy) == height]
    # The copy that comes first in order of its bytes; they seldom agree in more than a row.
    for row in range(height):
        least = min(copy[row].tobytes() for copy in copies)
        copies = [copy for copy in copies if copy[row].tobytes() == least]
        if len(copies) == 1:
            break
    shape = f"{copies[0].shape}".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(copies[0]).tobytes()).hexdigest()[:16]


def check_images(
    entries: Sequence[ImageEntry], files: Sequence[str], inspected: Sequence[Inspected], policy: Policy
) -> tuple[list[Finding], pd.DataFrame]:
    """Hold images against what is stated of them.

    Args:
        entries: Stated.
        files: Name of each one's annotation file, for findings.
        inspected: Of each one's file.
        policy: What to do.

    Returns:
        Findings, and a row for each entry: `image_id`, `file_name`, `file`, `width` and `height` as shown (what is
        stated where the file cannot be read; NaN where nothing is), `orientation` to apply, `content` ("" where the
        file cannot be read), and whether it is `usable`.
    """
    found = _repeated(entries, files, inspected)
    rows = []
    for entry, file, own in zip(entries, files, inspected, strict=True):
        stated = _stated(entry)
        kept, orientation, size = True, 1, stated or (np.nan, np.nan)
        told: list[tuple[str, str, Done]] = []
        if own.kind:
            chosen = policy.image_missing if own.kind == "image_missing" else policy.image_unreadable
            told.append((own.kind, own.reason, DONE[chosen]))
        else:
            orientation, told = _judge(own, stated, policy)
            size = _shown(own, orientation)
        found += [Finding(kind, file, entry.id, entry.file_name, None, what, done) for kind, what, done in told]
        kept = not any(done in ("stopped", "dropped") for _, _, done in told)
        rows.append((entry.id, entry.file_name, file, *size, orientation, own.content, kept))
    columns = ["image_id", "file_name", "file", "width", "height", "orientation", "content", "usable"]
    table = pd.DataFrame(rows, columns=columns)
    return found, table.astype({"width": "float64", "height": "float64", "usable": "bool"})


def copies(images: pd.DataFrame) -> list[Finding]:
    """Images with the picture of an earlier one."""
    first: dict[str, tuple[int, str]] = {}
    found = []
    for number, name, file, content in _rows(images):
        twin = first.setdefault(content, (number, name))
        if content and twin != (number, name):
            what = f"the same picture, perhaps turned or flipped, as image {twin[0]} ({twin[1]})"
            found.append(Finding("picture_repeated", file, number, name, None, what, "kept"))
    return found


def deal_given(
    images: pd.DataFrame, given: Mapping[str, Collection[int]], policy: Policy
) -> tuple[list[Finding], list[str | None]]:
    """Side of each image by given lists, and what is on more than one of them: by id, by file name, or as a copy.

    Of images that belong together only those keep a side that are on the last list, in the order training, validation,
    test, that any of them is on.

    Args:
        images: `image_id`, `file_name`, `file`, `content` ("" matches nothing).
        given: Ids by side.
        policy: What to do.

    Returns:
        Findings, and the side of each image, None of one that is on no list or is taken off its own.
    """
    rows = list(_rows(images))
    listed = [[side for side in SIDES if row[0] in given.get(side, ())] for row in rows]
    units = connected(
        [
            [("id", number), ("name", os.path.normpath(name)), *([("content", content)] if content else [])]
            for number, name, _, content in rows
        ]
    )
    last: dict[int, tuple[str, int]] = {}
    for place, (unit, own) in enumerate(zip(units, listed, strict=True)):
        if own and (unit not in last or SIDES.index(own[-1]) > SIDES.index(last[unit][0])):
            last[unit] = own[-1], place
    found: list[Finding] = []
    sides: list[str | None] = []
    for unit, own, (number, name, file, _) in zip(units, listed, rows, strict=True):
        if not own:
            sides.append(None)
            continue
        side, twin = last[unit]
        via = "it" if side in own else f"its copy {rows[twin][1]} (image {rows[twin][0]})"
        found += [
            Finding("leakage", file, number, name, None, f"is for {each}, and {via} for {side}", DONE[policy.leakage])
            for each in own
            if each != side
        ]
        sides.append(side if side in own else None)
    return found, sides


def _rows(images: pd.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    """Id, file name, annotation file and content of each image."""
    return zip(*(images[name].tolist() for name in ("image_id", "file_name", "file", "content")), strict=True)


def _repeated(entries: Sequence[ImageEntry], files: Sequence[str], inspected: Sequence[Inspected]) -> list[Finding]:
    by_id: dict[int, str] = {}
    by_name: dict[str, int] = {}
    found = []
    for entry, file, seen in zip(entries, files, inspected, strict=True):
        own = entry.id, entry.file_name
        if entry.id in by_id:
            what = f"{by_id[entry.id]} has this id too"
            found.append(Finding("image_repeated", file, *own, None, what, "stopped"))
        if (name := os.path.normpath(entry.file_name if seen.kind else seen.path)) in by_name:
            what = f"image {by_name[name]} has this file too"
            found.append(Finding("file_name_repeated", file, *own, None, what, "stopped"))
        by_id.setdefault(entry.id, entry.file_name)
        by_name.setdefault(name, entry.id)
    return found


def _stated(entry: ImageEntry) -> tuple[int, int] | None:
    return None if entry.width is None or entry.height is None else (entry.width, entry.height)


def _shown(own: Inspected, orientation: int) -> tuple[int, int]:
    return (own.height, own.width) if orientation >= FIRST_TURNED else (own.width, own.height)


def _judge(own: Inspected, stated: tuple[int, int] | None, policy: Policy) -> tuple[int, list[tuple[str, str, Done]]]:
    """Orientation to apply to a readable image, and what is wrong with it: kind, reason, what was done."""
    told: list[tuple[str, str, Done]] = []
    stored, turned = _shown(own, 1), _shown(own, own.orientation)
    if stated is not None and stated not in (stored, turned):
        what = f"is {stored[0]}x{stored[1]}, stated is {stated[0]}x{stated[1]}"
        told.append(("image_size", what, DONE[policy.image_size]))
    if own.orientation == 1:
        return 1, told
    what = f"orientation {own.orientation}, {stored[0]}x{stored[1]} as stored, {turned[0]}x{turned[1]} as shown"
    if stored != turned and stated in (stored, turned):
        done: Done = "turned" if stated == turned else "kept"
        what += ", as stated" if stated == turned else "; the former is stated"
    else:
        done = DONE[policy.image_turned]
    return own.orientation if done == "turned" else 1, [*told, ("image_turned", what, done)]
