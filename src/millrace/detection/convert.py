"""COCO to VOC and back, without a field lost; images stay where they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from millrace.detection.coco import write_coco
from millrace.detection.params import Prepare
from millrace.detection.raw import load
from millrace.detection.voc_writer import write_voc
from millrace.errors import DataError, UserError

log = logging.getLogger(__name__)
COCO_FILE, VOC_FOLDER = "instances.json", "Annotations"


def convert(raw: Path, out: Path, target: Literal["coco", "voc"], settings: Prepare) -> None:
    """Write the annotations of a raw folder in a format: `instances.json`, or XML files in `Annotations/`.

    Several files or folders become one; what has to be renumbered for that is logged. File names of images stay as they
    are, relative to the folder of images.

    Args:
        raw: As `detection.raw`.
        out: A new or empty folder.
        target: The format.
        settings: How to read, and which number the first pixel has in VOC files, read or written.

    Raises:
        UserError: `out` has something in it, or the raw folder cannot be used.
        DataError: The annotations have problems; nothing was written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty. Name a new folder for the converted annotations.")
    _, dataset, problems = load(raw, settings, extra=True)
    if problems:
        raise DataError(f"{raw} has annotations that cannot be read; nothing was written.", problems)
    for note in dataset.notes:
        log.warning("Renumbered: %s", note)
    out.mkdir(parents=True, exist_ok=True)
    if target == "coco":
        write_coco(dataset, out / COCO_FILE)
    else:
        write_voc(dataset, out / VOC_FOLDER, settings.voc_first_pixel)
