"""Checks of a raw folder: every file read, everything found told, before anything is written."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from millrace.detection.checks import Checked, check_dataset
from millrace.detection.data_pictures import write_sheet
from millrace.detection.dataset import Dataset
from millrace.detection.findings import TABLE, Done, Finding, printable, stops, table, told
from millrace.detection.image_checks import inspect_all
from millrace.detection.raw import Raw, load, split_files
from millrace.errors import Problem
from millrace.files import write_csv, write_json
from millrace.settings import Runtime
from millrace.splitting import SIDES

if TYPE_CHECKING:
    from millrace.detection.params import Detection, Prepare

SIZE_BINS = 40
"""Of the histogram of box sizes, at most."""


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        raw: Where everything is.
        dataset: As stated.
        checked: Findings, and what can be used.
        files: Of the usable images.
    """

    raw: Raw
    dataset: Dataset
    checked: Checked
    files: list[Path]


def check_folder(raw: Path, settings: Prepare, runtime: Runtime) -> Report:
    """Read annotations and every image of a raw folder and report on them; writes nothing.

    Raises:
        UserError: The folder itself is not usable.
    """
    found, dataset, problems = load(raw, settings)
    inspected = inspect_all(found, dataset.images, settings, runtime)
    checked = check_dataset(dataset, inspected, found.lists, settings, raw)
    checked.findings[:0] = [
        *(_of_file(problem, raw, "structure", "stopped") for problem in problems),
        *(_of_file(note, raw, "ids_shared", "renumbered") for note in dataset.notes),
    ]
    if not settings.split.given.lists:
        checked.findings.extend(
            Finding("split_unused", name, None, "", None, f"for {side}", "kept")
            for side, name in split_files(found).items()
        )
    return Report(found, dataset, checked, [inspected[entry].path for entry in checked.images["entry"]])


def summary(report: Report) -> dict[str, Any]:
    """Counts for data.json."""
    checked = report.checked
    images, boxes = checked.images, checked.boxes
    sides = np.sqrt(boxes["width"].to_numpy() * boxes["height"].to_numpy())
    return {
        "images": len(images),
        "images_stated": len(report.dataset.images),
        "images_without_box": len(images) - boxes["image"].nunique(),
        "copies": len(images) - images["content"].nunique(),
        "megapixels": float((images["width"] * images["height"]).sum() / 1e6),
        "categories": len(checked.categories),
        "boxes": len(boxes),
        "boxes_stated": len(report.dataset.annotations),
        "boxes_ignored": int(boxes["ignored"].sum()),
        "median_box_px": float(np.median(sides)) if len(boxes) else 0.0,
        "findings": dict(Counter(finding.kind for finding in checked.findings)),
    }


def class_balance(checked: Checked) -> pd.DataFrame:
    """Numbers of each category on all sides together ("all") and on each one.

    Returns:
        `category`, `split`, `images`, `boxes`, and `share` of the boxes of the side.
    """
    names = [category["name"] for category in checked.categories]
    side_of_box = checked.images["split"].reindex(checked.boxes["image"]).to_numpy()
    rows = []
    for side in ("all", *SIDES):
        own = checked.boxes if side == "all" else checked.boxes[side_of_box == side]
        if not len(own):
            continue
        boxes = np.bincount(own["label"], minlength=len(names))
        images = np.bincount(own.drop_duplicates(["image", "label"])["label"], minlength=len(names))
        rows.append(
            pd.DataFrame(
                {"category": names, "split": side, "images": images, "boxes": boxes, "share": boxes / len(own)}
            )
        )
    return (
        pd.concat(rows, ignore_index=True)
        if rows
        else pd.DataFrame(columns=["category", "split", "images", "boxes", "share"])
    )


def box_sizes(checked: Checked) -> pd.DataFrame:
    """Histogram of the square roots of the boxes' areas: `category`, `start_px` of a bin, `boxes` in it."""
    sides = np.sqrt(checked.boxes["width"].to_numpy() * checked.boxes["height"].to_numpy())
    step = _round_up(max(sides.max(initial=0), 1) / SIZE_BINS)
    bins = (sides // step).astype(np.int64)
    starts = np.arange(bins.max(initial=0) + 1)
    labels = checked.boxes["label"].to_numpy()
    counts = np.bincount(labels * len(starts) + bins, minlength=len(checked.categories) * len(starts))
    names = [category["name"] for category in checked.categories]
    return pd.DataFrame(
        {
            "category": np.repeat(np.array(names, object), len(starts)),
            "start_px": np.tile(starts * step, len(names)),
            "boxes": counts,
        }
    )


def write_report(report: Report, folder: Path) -> None:
    """Write `findings.csv`, `class_balance.csv`, `box_sizes.csv` and `sheet.png`."""
    checked = report.checked
    write_csv(folder / TABLE, table(checked.findings))
    write_csv(folder / "class_balance.csv", class_balance(checked))
    write_csv(folder / "box_sizes.csv", box_sizes(checked))
    if len(checked.images):
        names = [category["name"] for category in checked.categories]
        write_sheet(folder / "sheet.png", checked.images, checked.boxes, names, report.files)


def print_check(raw: Path, out: Path, params: Detection, runtime: Runtime) -> bool:
    """The command `check detection`: print what was found; write tables, counts and pictures.

    Args:
        raw: Folder of images and annotations.
        out: Gets `findings.csv`, `class_balance.csv`, `box_sizes.csv`, `sheet.png` and `data.json`.
        params: The `detection` section.
        runtime: The machine.

    Returns:
        Whether nothing was found that stops.
    """
    report = check_folder(raw, params.prepare, runtime)
    checked = report.checked
    out.mkdir(parents=True, exist_ok=True)
    write_report(report, out)
    counts = summary(report)
    write_json(out / "data.json", counts)
    for name, value in counts.items():
        if name != "findings":
            print(f"{name:20} {value:.4g}" if isinstance(value, float) else f"{name:20} {value}")
    balance = class_balance(checked)
    balance["category"] = [printable(name) for name in balance["category"]]
    print("", balance.to_string(index=False, float_format=lambda share: f"{share:.3g}"), "", sep="\n")
    for path, reason in report.raw.skipped.items():
        print(printable(f"not used: {path}: {reason}"))
    print(*told(checked.findings), sep="\n")
    print(f"\nTables and pictures: {out}")
    return not stops(checked.findings)


def _of_file(problem: Problem, raw: Path, kind: str, done: Done) -> Finding:
    file = problem.path.relative_to(raw) if problem.path.is_relative_to(raw) else problem.path
    return Finding(kind, file.as_posix(), None, "", None, problem.reason, done)


def _round_up(value: float) -> float:
    """The next larger of 1, 2, 5, 10, 20, 50 ...; at least 1."""
    power = 10.0 ** max(0, math.floor(math.log10(value)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value)
