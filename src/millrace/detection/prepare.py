"""Stage `detection-prepare`: a checked raw folder to the images and boxes that training and evaluation read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from millrace.detection.check import Report, check_folder, summary, write_report
from millrace.detection.coco import write_coco
from millrace.detection.dataset import Dataset
from millrace.detection.findings import FindingsError, stops, told
from millrace.detection.params import Detection, Prepare, Split
from millrace.detection.split import assign
from millrace.detection.store import BOXES, BYTES, IMAGES, META, PREPARED, instances_file
from millrace.files import whole_folder, write_json
from millrace.settings import Runtime
from millrace.splitting import SIDES

log = logging.getLogger(__name__)
METRICS = Path("metrics/detection")
_OF_IMAGES = ["image_id", "file_name", "width", "height", "orientation", "split", "content", "offset", "length"]
_OF_BOXES = ["annotation_id", "image", "image_id", "file_name", "category_id", "category", "label"]
_OF_BOXES += ["x", "y", "width", "height", "ignored", "split"]


def run(params: Detection, runtime: Runtime) -> None:
    """Check the raw folder, split it, and write `data/prepared/detection` and `metrics/detection/data.json`, `data/`.

    Raises:
        DataError: Something was found for which a policy says stop.
        UserError: The folder cannot be used or split.
    """
    report = prepare_folder(Path(params.raw), params.prepare, runtime, PREPARED)
    with whole_folder(METRICS / "data") as folder:
        write_report(report, folder)
    images, boxes = (table["split"].value_counts() for table in (report.checked.images, report.checked.boxes))
    sides = {side: {"images": int(images.get(side, 0)), "boxes": int(boxes.get(side, 0))} for side in SIDES}
    write_json(METRICS / "data.json", summary(report) | sides)
    for line in told(finding for finding in report.checked.findings if finding.done != "kept"):
        log.warning(line)


def prepare_folder(raw: Path, settings: Prepare, runtime: Runtime, target: Path, side: str | None = None) -> Report:
    """Check a raw folder and write what a `Store` reads; what was in `target` is deleted.

    Args:
        raw: Folder of images and annotations.
        settings: Policies and split.
        runtime: The machine.
        target: Folder to write.
        side: Of all images, whatever the settings say of lists and shares; None splits them.

    Returns:
        What was found, with the images and boxes that were written.

    Raises:
        DataError: Something was found for which a policy says stop; nothing is written.
        UserError: The folder cannot be used or split.
    """
    if side is not None:
        settings = settings.model_copy(update={"split": Split(seed=settings.split.seed)})
    report = check_folder(raw, settings, runtime)
    if stops(report.checked.findings):
        raise FindingsError(raw, report.checked.findings)
    report = _with_sides(report, settings.split, side)
    with whole_folder(target) as folder:
        images, boxes = report.checked.images, report.checked.boxes
        images["length"] = list(_copy(report.files, folder / BYTES))
        images["offset"] = images["length"].cumsum() - images["length"]
        images[_OF_IMAGES].to_parquet(folder / IMAGES, index=False)
        boxes[_OF_BOXES].to_parquet(folder / BOXES, index=False)
        for each in SIDES:
            write_coco(_instances(report, each), folder / instances_file(each))
        write_json(folder / META, {"categories": report.checked.categories})
    return report


def _with_sides(report: Report, settings: Split, side: str | None) -> Report:
    """The report of the images that are on a side, with it in the column `split` of both tables."""
    checked = report.checked
    images, boxes = checked.images, checked.boxes
    sides = assign(images, boxes, settings) if side is None else pd.Series(side, index=images.index, dtype="str")
    on_one = (sides != "").to_numpy(bool)
    images = images.assign(split=sides).loc[on_one].reset_index(drop=True)
    boxes = boxes.loc[on_one[boxes["image"]]].reset_index(drop=True)
    boxes["image"] = (np.cumsum(on_one) - 1)[boxes["image"]]
    boxes["split"] = images["split"].to_numpy()[boxes["image"]]
    files = [file for file, kept in zip(report.files, on_one, strict=True) if kept]
    return replace(report, checked=replace(checked, images=images, boxes=boxes), files=files)


def _copy(files: Sequence[Path], target: Path) -> Iterator[int]:
    """Write files end to end; the length of each."""
    with target.open("wb") as stream:
        for file in files:
            yield stream.write(file.read_bytes())


def _instances(report: Report, side: str) -> Dataset:
    """Images of a side and their boxes as they are used: sizes as shown, boxes cut, what is ignored as a crowd."""
    stated, checked = report.dataset, report.checked
    images = checked.images[checked.images["split"] == side]
    boxes = checked.boxes[checked.boxes["split"] == side]
    columns = (boxes[name].tolist() for name in ("annotation", "x", "y", "width", "height", "ignored"))
    return Dataset(
        tuple(sorted(stated.categories, key=lambda category: category.id)),
        tuple(
            replace(stated.images[entry], width=width, height=height)
            for entry, width, height in zip(
                *(images[name].tolist() for name in ("entry", "width", "height")), strict=True
            )
        ),
        tuple(
            replace(stated.annotations[row], x=x, y=y, width=width, height=height, crowd=ignored)
            for row, x, y, width, height, ignored in zip(*columns, strict=True)
        ),
    )
