"""What can be wrong with an annotated set of images, and how each of it is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from millrace.errors import DataError, Problem, UserError

Done = Literal["stopped", "dropped", "clipped", "turned", "renumbered", "kept"]
DONE: dict[str, Done] = {
    "stop": "stopped",
    "drop": "dropped",
    "clip": "clipped",
    "turn": "turned",
    "keep": "kept",
    "ignore": "kept",
}
"""By the word of a policy."""
SHOWN = 5
TABLE = "findings.csv"
_POLICY = "detection.prepare.policy"


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        title: Of one and of several.
        remedy: What to do.
    """

    title: tuple[str, str]
    remedy: str


KINDS: dict[str, Kind] = {
    "structure": Kind(
        ("place where a file is not as its format wants", "places where a file is not as its format wants"),
        "Mend the file; nothing can be left out of one that cannot be understood.",
    ),
    "no_image": Kind(("set without a usable image",) * 2, "Set detection.raw to a folder with images."),
    "no_box": Kind(("set without a usable box",) * 2, "Add annotations: there is nothing to learn or to score."),
    "boxes_as_corners": Kind(
        ("set with corners where sizes belong",) * 2,
        "Write each `bbox` as [x, y, width, height]: subtract its first two numbers from its last two.",
    ),
    "ids_shared": Kind(
        (
            "file with ids that stand for others in an earlier file",
            "files with ids that stand for others in earlier files",
        ),
        "Nothing: each box is still in its image. To keep the ids, make them unique in all files together.",
    ),
    "image_repeated": Kind(
        ("image with an id that another has", "images with an id that another has"),
        "Give each image an id of its own, and each box the id of its image.",
    ),
    "file_name_repeated": Kind(
        ("image with a file that another has", "images with a file that another has"),
        "Merge the entries into one, with the boxes of all.",
    ),
    "annotation_repeated": Kind(
        ("box with an id that another has", "boxes with an id that another has"),
        "Give each annotation an id of its own.",
    ),
    "category_repeated": Kind(
        ("category with an id or a name that another has", "categories with an id or a name that another has"),
        "Make ids and names of `categories` unique.",
    ),
    "image_escapes": Kind(
        ("image with a path that leaves the raw folder, or is none", "images with paths that leave the raw folder"),
        "Copy the files into it, and name them relative to the folder of images, or set "
        f"{_POLICY}.image_unreadable: drop.",
    ),
    "image_missing": Kind(
        ("image that is not there", "images that are not there"),
        f"Add the files, set detection.prepare.images to their folder, or set {_POLICY}.image_missing: drop.",
    ),
    "image_unreadable": Kind(
        ("image that cannot be read", "images that cannot be read"),
        f"Replace the files, or set {_POLICY}.image_unreadable: drop.",
    ),
    "image_size": Kind(
        ("image that is not of its stated size", "images that are not of their stated size"),
        f"Check that these are the images that were annotated. {_POLICY}.image_size: keep believes the files, "
        "drop leaves the images out.",
    ),
    "image_turned": Kind(
        ("image that EXIF wants turned", "images that EXIF wants turned"),
        f"See how the boxes lie: {_POLICY}.image_turned: turn, or ignore, or drop. Where the stated size tells, "
        "it was believed.",
    ),
    "unknown_image": Kind(
        ("box of an image that is not declared", "boxes of images that are not declared"),
        f"Add the entries to `images`, or set {_POLICY}.unknown_image: drop.",
    ),
    "undeclared_category": Kind(
        ("box of a category that is not declared", "boxes of categories that are not declared"),
        f"Add the entries to `categories`, or set {_POLICY}.undeclared_category: drop.",
    ),
    "box_not_finite": Kind(
        ("box with NaN or infinity", "boxes with NaN or infinity"),
        f"Mend them, or set {_POLICY}.box_not_finite: drop.",
    ),
    "box_empty": Kind(
        ("box without an area", "boxes without an area"), f"Mend them, or set {_POLICY}.box_empty: drop."
    ),
    "box_outside": Kind(
        ("box that leaves its image", "boxes that leave their image"),
        f"Mend them, or set {_POLICY}.box_outside: clip, or drop.",
    ),
    "box_repeated": Kind(
        ("box that is there twice", "boxes that are there twice"),
        f"See detection.prepare.repeated_iou; {_POLICY}.box_repeated: drop leaves the later one out.",
    ),
    "leakage": Kind(
        ("image on a list, and it or a copy on another", "images on a list, and they or copies on another"),
        f"Mend the lists, or set {_POLICY}.leakage: drop, which takes them from the list for training first.",
    ),
    "image_empty": Kind(
        ("image without a box", "images without a box"),
        f"Kept, they are examples of background; {_POLICY}.image_empty: drop leaves them out.",
    ),
    "picture_repeated": Kind(
        ("image with the picture of another", "images with the picture of another"),
        "Nothing: where sides are dealt by share, they are on the same one.",
    ),
    "split_unused": Kind(
        ("file that looks like one side of a split", "files that look like the sides of a split"),
        "Images are dealt by share. To keep this split, set detection.prepare.split.given.train, .validation and "
        ".test to these files.",
    ),
    "crowd": Kind(
        ("box of a crowd", "boxes of crowds"),
        "detection.prepare.crowds: ignore neither trains on them nor counts them, drop forgets them.",
    ),
    "difficult": Kind(
        ("box that is marked as difficult", "boxes that are marked as difficult"),
        "detection.prepare.difficult: keep, ignore or drop.",
    ),
    "category_unused": Kind(
        ("category without a box", "categories without a box"),
        f"Add examples: it cannot be learned. {_POLICY}.category_unused: drop leaves it out.",
    ),
    "category_numbers": Kind(
        ("category whose id is not its place, counted from 1", "categories whose id is not their place, from 1"),
        "Nothing: classes are numbered by sorted id inside, and results come with the ids of the files.",
    ),
}
"""In the order in which they are told."""


class Finding(NamedTuple):
    """One thing found.

    Attributes:
        kind: Of `KINDS`.
        file: The annotation file that speaks of it, relative to the raw folder.
        image_id: Of the image, where it is about one.
        file_name: Of the image.
        annotation_id: Of the box, where it is about one.
        what: What is wrong.
        done: What was done with it.
    """

    kind: str
    file: str
    image_id: int | None
    file_name: str
    annotation_id: int | None
    what: str
    done: Done

    def __str__(self) -> str:
        image = f"image {self.image_id} ({self.file_name})" if self.image_id is not None else ""
        box = f"annotation {self.annotation_id}" if self.annotation_id is not None else ""
        return printable(": ".join(filter(None, [self.file, ", ".join(filter(None, [box, image])), self.what])))


class FindingsError(DataError):
    """A raw folder that cannot be used; the message has every kind of finding, with the first few of each.

    Attributes:
        findings: All of them, also those that stopped nothing.
    """

    def __init__(self, raw: Path, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        stopping = stops(findings)
        self.problems = tuple(sorted({Problem(Path(each.file_name or each.file), each.what) for each in stopping}))
        # Not DataError's own message: it would have a line for each of what may be a million boxes.
        summary = f"{raw}: {len(stopping)} finding(s) that must not be; nothing was written."
        UserError.__init__(
            self, "\n".join([summary, *told(findings, "listed by `python src/millrace check detection`")])
        )


def stops(findings: Iterable[Finding]) -> list[Finding]:
    """Those that nothing may be written with."""
    return [finding for finding in findings if finding.done == "stopped"]


def told(findings: Iterable[Finding], rest: str = f"see {TABLE}") -> list[str]:
    """Lines for people: each kind with its count, its first few findings, and its remedy; what stops comes first.

    Args:
        findings: Any.
        rest: Where those are that are not shown.
    """
    groups: dict[tuple[str, Done], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind, finding.done].append(finding)
    order = {kind: number for number, kind in enumerate(KINDS)}
    lines = []
    for (kind, done), own in sorted(groups.items(), key=lambda item: (item[0][1] != "stopped", order[item[0][0]])):
        one, several = KINDS[kind].title
        lines.append(f"{done}: {len(own)} {one if len(own) == 1 else several} ({kind})")
        lines += [f"    {finding}" for finding in own[:SHOWN]]
        if len(own) > SHOWN:
            lines.append(f"    and {len(own) - SHOWN} more, {rest}")
        lines.append(f"  {KINDS[kind].remedy}")
    return lines


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row a finding, kinds in their order."""
    rows = pd.DataFrame(findings, columns=Finding._fields)
    rows["order"] = rows["kind"].map({kind: number for number, kind in enumerate(KINDS)})
    rows = rows.sort_values("order", kind="stable").drop(columns="order")
    return rows.astype({"image_id": "Int64", "annotation_id": "Int64"})


def printable(text: str) -> str:
    """Text without what a terminal would obey: names come from files that anyone may have made."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
