"""Stage `detection-evaluate`: the model and a classical baseline, scored on images that they have not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.detection.baseline import Baseline
from millrace.detection.boxes import Detections
from millrace.detection.evaluate_pictures import write_pictures
from millrace.detection.finder import Finder
from millrace.detection.matching import best_threshold
from millrace.detection.params import Detection, Evaluate
from millrace.detection.results import coco_results
from millrace.detection.scored import Scored, evaluate_boxes
from millrace.detection.scores import RECALLS
from millrace.detection.store import Store
from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json, write_text
from millrace.settings import Runtime

MODEL = Path("models/detection")
METRICS = Path("metrics/detection")

Find = Callable[[Sequence[NDArray[np.uint8]]], list[Detections]]


def run(params: Detection, runtime: Runtime) -> None:
    """Score `models/detection` on the test images and write `metrics/detection/evaluate.json` and `evaluate/`."""
    store = Store()
    finder = Finder(MODEL, params.evaluate, runtime)
    if finder.categories != store.categories:
        raise UserError(f"{MODEL} was trained for other classes than the data have. Run `dvc repro detection-train`.")
    baseline = Baseline.fit(store)
    finds: dict[str, Find] = {
        "model": finder.find,
        "baseline": lambda pictures: [baseline.find(picture) for picture in pictures],
    }
    evaluate_split(store, finds, params.evaluate, METRICS, progress=runtime.progress)


def evaluate_split(
    store: Store, finds: Mapping[str, Find], settings: Evaluate, out: Path, *, progress: bool = True
) -> None:
    """Score methods on the test images, each at the score threshold that is best on the validation images.

    Args:
        store: Prepared data.
        finds: The `model`, and others that only its scores stand beside of: `baseline`.
        settings: How to.
        out: Gets `evaluate.json` and `evaluate/`.
        progress: Show a bar.

    Raises:
        UserError: There is no test image, or no validation image.
    """
    sides = {side: store.positions(side) for side in ("validation", "test")}
    for side, positions in sides.items():
        if not positions:
            share = f"detection.prepare.split.{side} is its share, and split.given.{side} its list"
            raise UserError(f"The {side} split holds no image; {share}")
    truths = {side: [store.truth(position) for position in positions] for side, positions in sides.items()}
    found = {side: detect(store, positions, finds, settings, progress) for side, positions in sides.items()}
    thresholds = {
        name: best_threshold(truths["validation"], found["validation"][name], settings.match_iou).score
        for name in finds
    }

    def scored(side: str, name: str) -> Scored:
        return evaluate_boxes(truths[side], found[side][name], store.names, thresholds[name], settings)

    test = {name: scored("test", name) for name in finds}
    chosen_on = scored("validation", "model")
    summary = {name: each.summary() for name, each in test.items()}
    write_json(out / "evaluate.json", {**summary, "validation": chosen_on.summary()})
    with whole_folder(out / "evaluate") as folder:
        category_ids = [category["id"] for category in store.categories]
        write_details(folder, store, sides["test"], test["model"], category_ids, settings)
        write_csv(folder / "f1_curve.csv", test["model"].f1_curve().assign(f1_validation=chosen_on.f1_curve()["f1"]))
        write_csv(folder / "precision_recall.csv", precision_by_recall(test))
        others = [each.per_class().add_suffix(f"_{name}") for name, each in test.items() if name != "model"]
        columns = [each.drop(columns=each.columns[:2]) for each in others]
        write_csv(folder / "per_class.csv", pd.concat([test["model"].per_class(), *columns], axis=1))


def detect(
    store: Store, positions: Sequence[int], finds: Mapping[str, Find], settings: Evaluate, progress: bool
) -> dict[str, list[Detections]]:
    """What each method finds in images, which are read a batch at a time and once for all methods."""
    found: dict[str, list[Detections]] = {name: [] for name in finds}
    with tqdm(desc="detect", total=len(positions), unit=" images", disable=not progress) as bar:
        for pictures in _batches(store, positions, settings.batch_size):
            for name, find in finds.items():
                found[name] += find(pictures)
            bar.update(len(pictures))
    return found


def write_details(
    folder: Path,
    store: Store,
    positions: Sequence[int],
    scored: Scored,
    category_ids: Sequence[int],
    settings: Evaluate,
) -> None:
    """Write tables, pictures and boxes.

    Args:
        folder: To write to.
        store: Images.
        positions: Rows of those that were scored.
        scored: Their scores.
        category_ids: Of the classes, as the boxes are to have them.
        settings: Number of pictures.
    """
    write_csv(folder / "pr_curve.csv", scored.pr_curve())
    write_csv(folder / "confusion.csv", scored.confusion())
    write_csv(folder / "errors.csv", scored.error_kinds())
    write_csv(folder / "sizes.csv", scored.sizes())
    write_csv(folder / "per_image.csv", scored.per_image(list(store.images["file_name"].iloc[list(positions)])))
    image_ids = store.images["image_id"].iloc[list(positions)].tolist()
    pairs = zip(image_ids, scored.found, strict=True)
    entries = [json.dumps(each) for image_id, found in pairs for each in coco_results(image_id, found, category_ids)]
    write_text(folder / "detections.json", lambda stream: stream.write("[" + ",\n".join(entries) + "]\n"))
    write_pictures(folder, store, positions, scored, settings.examples)


def precision_by_recall(scored: Mapping[str, Scored]) -> pd.DataFrame:
    """Of each method at IoU 0.5 the precision at COCO's recalls, a mean over classes, 0 where it is not reached."""
    columns = {}
    for name, each in scored.items():
        known = each.coco.precision50[~np.isnan(each.coco.precision50).any(axis=1)]
        columns[name] = known.mean(axis=0) if len(known) else np.full(len(RECALLS), np.nan)
    return pd.DataFrame({"recall": RECALLS, **columns})


def _batches(store: Store, positions: Sequence[int], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    for start in range(0, len(positions), size):
        yield [store.pixels(position) for position in positions[start : start + size]]
