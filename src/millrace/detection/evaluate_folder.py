"""The command `evaluate --raw`: an existing model scored on any labelled folder."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.detection.boxes import Detections
from millrace.detection.evaluate import detect, write_details
from millrace.detection.finder import Finder
from millrace.detection.findings import told
from millrace.detection.params import Detection, Evaluate
from millrace.detection.prepare import prepare_folder
from millrace.detection.scored import Scored, evaluate_boxes
from millrace.detection.store import Store
from millrace.errors import UserError
from millrace.files import write_csv, write_json
from millrace.settings import Runtime

log = logging.getLogger(__name__)
LATENCY_IMAGES = 30


def evaluate_folder(raw: Path, out: Path, folder: Path, params: Detection, runtime: Runtime) -> Scored:
    """Score an existing model on any labelled folder.

    Categories are the model's by name, whatever ids the folder gives them. Boxes of a category that the model does not
    know are counted as missed.

    Args:
        raw: Folder of images, and COCO files or VOC's XML files.
        out: Gets `evaluate.json`, tables, pictures, and `latency.json`; an existing folder keeps its other files.
        folder: The model. Its own score threshold, chosen when it was trained, is applied.
        params: `prepare` says how the folder is read and checked, but all of its images are scored, without a split;
            `evaluate` how they are scored.
        runtime: The machine.

    Raises:
        DataError: Something was found in the folder for which a policy says stop; nothing is scored.
        UserError: The folder or the model cannot be used, or they have no category in common.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out names a folder")
    finder = Finder(folder, params.evaluate, runtime)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepared-", dir=out) as temporary:
        prepared = Path(temporary) / "prepared"
        report = prepare_folder(raw, params.prepare, runtime, prepared, side="test")
        for line in told(finding for finding in report.checked.findings if finding.done != "kept"):
            log.warning(line)
        return evaluate_store(Store(prepared), finder, params.evaluate, out, progress=runtime.progress)


def evaluate_store(store: Store, finder: Finder, settings: Evaluate, out: Path, *, progress: bool = True) -> Scored:
    """Score a model on all images of prepared data; see `evaluate_folder`."""
    names = [str(category["name"]) for category in finder.categories]
    present = [store.names[label] for label in np.unique(store.boxes["label"])]
    unknown = [name for name in present if name not in names]
    if present == unknown:
        raise UserError(
            f"The folder has boxes of {_listed(unknown)}, and the model knows {_listed(names)}: no name is in both"
        )
    if unknown:
        log.warning("The model does not know %s: their boxes are counted as missed", _listed(unknown))
    names += unknown
    numbers = np.array([names.index(name) if name in names else -1 for name in store.names])
    positions = list(range(len(store.images)))
    truths = [store.truth(position) for position in positions]
    truths = [truth._replace(labels=numbers[truth.labels]) for truth in truths]
    clock = _Clock(finder)
    found = detect(store, positions, {"model": clock.find}, settings, progress)["model"]
    scored = evaluate_boxes(truths, found, names, finder.score_threshold, settings)
    write_details(out, store, positions, scored, _category_ids(store, names), settings)
    write_csv(out / "f1_curve.csv", scored.f1_curve())
    write_csv(out / "per_class.csv", scored.per_class())
    write_json(out / "latency.json", clock.summary(store, settings.batch_size))
    write_json(out / "evaluate.json", {"model": scored.summary(), "unknown_categories": unknown})
    return scored


class _Clock:
    """Measures how long a model takes, from pixels to boxes."""

    def __init__(self, finder: Finder) -> None:
        self._finder, self._images, self._seconds = finder, 0, 0.0

    def find(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if not self._images:
            self._finder.find(pictures[:1])  # the first call prepares much that the others find done
        start = time.perf_counter()
        found = self._finder.find(pictures)
        self._seconds += time.perf_counter() - start
        self._images += len(pictures)
        return found

    def summary(self, store: Store, batch_size: int) -> dict[str, Any]:
        """Images per second in batches, and milliseconds of single images, some of them evenly over all."""
        picked = np.linspace(0, len(store.images) - 1, min(LATENCY_IMAGES, len(store.images))).round().astype(int)
        times, pixels = [], []
        for position in picked.tolist():
            picture = store.pixels(position)
            start = time.perf_counter()
            self._finder.find([picture])
            times.append(1000 * (time.perf_counter() - start))
            pixels.append(picture.shape[0] * picture.shape[1])
        return {
            "images_per_second": self._images / self._seconds,
            "batch_size": batch_size,
            "ms_median": statistics.median(times),
            "ms_p95": float(np.percentile(times, 95)),
            "images_timed": len(times),
            "pixels_median": statistics.median(pixels),
        }


def _category_ids(store: Store, names: Sequence[str]) -> list[int]:
    """The folder's ids of the classes; those that it does not have get numbers that it does not use."""
    own = {str(category["name"]): int(category["id"]) for category in store.categories}
    free = count(max(own.values()) + 1)
    return [own[name] if name in own else next(free) for name in names]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
