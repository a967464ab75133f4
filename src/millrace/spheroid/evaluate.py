"""Stage `spheroid-evaluate`: the model and a classical baseline, scored on whole images it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.imagery.pictures import outlines, sheet, write_png
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.baseline import otsu_watershed
from millrace.spheroid.params import Evaluate, Spheroid
from millrace.spheroid.scores import Scores
from millrace.spheroid.segment import Segmenter
from millrace.spheroid.store import Store

MODEL = Path("models/spheroid")
METRICS = Path("metrics/spheroid")
EXAMPLES, EXAMPLE_PX = 12, 320
TRUTH, PREDICTED = (0, 220, 0), (255, 0, 255)

Labelled = tuple[str, NDArray[np.float32], NDArray[np.int32]]


@dataclass
class Result:
    """Scores of the model and the baseline on the same images."""

    model: Scores = field(default_factory=Scores)
    baseline: Scores = field(default_factory=Scores)

    def summary(self) -> dict[str, Any]:
        return {"model": self.model.summary(), "baseline": self.baseline.summary()}

    def ap_curves(self) -> pd.DataFrame:
        """Average precision over the IoU threshold, a column a method."""
        curve = self.model.ap_curve()[["iou_threshold", "ap"]].rename(columns={"ap": "model"})
        return curve.assign(baseline=self.baseline.ap_curve()["ap"].to_numpy())

    def per_image(self) -> pd.DataFrame:
        return self.model.per_image().merge(self.baseline.per_image(), on="image", suffixes=("", "_baseline"))


def run(params: Spheroid, runtime: Runtime) -> None:
    """Score `models/spheroid` on the test split and write `metrics/spheroid/evaluate.json` and `evaluate/`."""
    store = Store()
    network, _ = model.load(MODEL)
    segmenter = Segmenter(network, params.evaluate, runtime)
    test, validation = store.positions("test"), store.positions("validation")
    evaluate_split(store, test, validation, segmenter, params.evaluate, METRICS, progress=runtime.progress)


def evaluate_split(
    store: Store,
    test: list[int],
    validation: list[int],
    segmenter: Segmenter,
    settings: Evaluate,
    out: Path,
    *,
    progress: bool = True,
) -> None:
    """Score prepared images; thresholds are to be chosen on `validation`, whose scores stand beside the test's."""
    if not test:
        raise UserError("The test split holds no image; spheroid.prepare.split.test is its share")
    result = score(_prepared(store, test), segmenter, settings, len(test), progress)
    summary = result.summary()
    if validation:
        chosen_on = score(_prepared(store, validation), segmenter, settings, len(validation), progress)
        summary["validation"] = chosen_on.model.summary()
    write_json(out / "evaluate.json", summary)
    with whole_folder(out / "evaluate") as folder:
        write_details(result, _prepared(store, test), segmenter, folder)


def score(images: Iterable[Labelled], segmenter: Segmenter, settings: Evaluate, count: int, progress: bool) -> Result:
    """Run model and baseline over images one by one and sum up their scores."""
    result = Result()
    for name, image, labels in tqdm(images, desc="evaluate", total=count, disable=not progress):
        result.model.add(name, labels, segmenter.labels(image))
        result.baseline.add(name, labels, otsu_watershed(image, settings.min_area_px))
    return result


def _prepared(store: Store, positions: list[int]) -> Iterator[Labelled]:
    for position in positions:
        name = str(store.index["name"].iloc[position])
        yield name, np.array(store.array("image", position)), np.array(store.array("labels", position))


def write_details(result: Result, images: Iterable[Labelled], segmenter: Segmenter, folder: Path) -> None:
    """Write the precision curve, a row an image, and pictures of some images."""
    write_csv(folder / "ap_curve.csv", result.ap_curves())
    per_image = result.per_image()
    write_csv(folder / "per_image.csv", per_image)
    # Evenly from the worst to the best: errors are what one wants to see.
    ranked = per_image.sort_values(["ap50", "image"])["image"].to_list()
    picks = np.linspace(0, len(ranked) - 1, min(EXAMPLES, len(ranked))).round().astype(int)
    wanted = {ranked[pick]: place for place, pick in enumerate(picks)}
    ap50 = per_image.set_index("image")["ap50"]
    pictures = {}
    for name, image, labels in images:
        if name in wanted:
            line_px = max(1, -(-max(image.shape) // EXAMPLE_PX))
            drawn = outlines(image, [(labels, TRUTH), (segmenter.labels(image), PREDICTED)], line_px)
            pictures[wanted[name]] = (drawn, f"{name} AP50 {ap50[name]:.2f}")
    ordered = [pictures[place] for place in sorted(pictures)]
    examples = sheet(
        [picture for picture, _ in ordered], [caption for _, caption in ordered], columns=4, cell_px=EXAMPLE_PX
    )
    write_png(folder / "examples.png", examples)
