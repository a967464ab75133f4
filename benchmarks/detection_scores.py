"""How fast COCO's twelve numbers come from arrays of boxes, beside pycocotools on the same boxes in one process.

    python benchmarks/detection_scores.py [--images 5000] [--rounds 1]

Boxes as in COCO's validation set: about seven an image of 80 classes, 1 % of them crowds; forty detections an image,
most of them moved copies of true boxes, a fifth with another class, with scores of three digits, so that many are
equal. CPU time of the process, medians of the rounds, which take turns. `ours` is `coco_scores` (faster-coco-eval
below) from our arrays; `pycocotools` from lists of its dictionaries, made beforehand, to the summary: its index,
`loadRes`, `evaluate`, `accumulate`, `summarize`. The last column is the largest difference of the twelve numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from millrace.detection.boxes import Detections, Truth
from millrace.detection.scores import coco_scores

CLASSES, WIDTH_PX, HEIGHT_PX = 80, 640, 480
BOXES, DETECTIONS = 7.35, 40.0
CROWD, OTHER_CLASS, SHIFT = 0.01, 0.2, 0.12


def images(count: int, seed: int) -> tuple[list[Truth], list[Detections]]:
    """True boxes and detections of so many images."""
    random = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(count):
        number, guesses = random.poisson(BOXES), random.poisson(DETECTIONS)
        size = np.exp(random.uniform(np.log(8), np.log(400), (number, 2)))
        corner = random.uniform(0, 1, (number, 2)) * np.maximum(1, np.array([WIDTH_PX, HEIGHT_PX]) - size)
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = random.integers(0, CLASSES, number)
        truths.append(Truth(boxes.astype(np.float32), labels, random.random(number) < CROWD))
        near = random.integers(0, number, guesses) if number else np.zeros(guesses, np.int64)
        about = boxes[near] if number else np.tile([100.0, 100.0, 200.0, 200.0], (guesses, 1))
        sides = about[:, 2:] - about[:, :2]
        moved = about + random.normal(0, SHIFT, (guesses, 4)) * np.tile(sides, 2)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        right = labels[near] if number else random.integers(0, CLASSES, guesses)
        said = np.where(random.random(guesses) < OTHER_CLASS, random.integers(0, CLASSES, guesses), right)
        scores = np.sort(random.random(guesses).round(3))[::-1]
        found.append(Detections(moved.astype(np.float32), said, scores.astype(np.float32)))
    return truths, found


def dictionaries(truths: list[Truth], found: list[Detections]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same as pycocotools takes it."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (truth, each) in enumerate(zip(truths, found, strict=True), start=1):
        for box, label, crowd in zip(_corner_and_size(truth.boxes), truth.labels.tolist(), truth.ignored, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(crowd),
                }
            )
        for box, label, score in zip(_corner_and_size(each.boxes), each.labels.tolist(), each.scores, strict=True):
            results.append({"image_id": image, "category_id": label + 1, "bbox": box, "score": float(score)})
    dataset = {
        "images": [{"id": image} for image in range(1, len(truths) + 1)],
        "categories": [{"id": label + 1} for label in range(CLASSES)],
        "annotations": annotations,
    }
    return dataset, results


def pycocotools_numbers(dataset: dict[str, Any], results: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


def _corner_and_size(boxes: np.ndarray[Any, Any]) -> list[list[float]]:
    wide = boxes.astype(np.float64)
    rows: list[list[float]] = np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1).tolist()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truths, found = images(options.images, options.seed)
    dataset, results = dictionaries(truths, found)
    print(f"    {shlex.join(['python', *sys.argv])}\n")
    print(
        f"{os.cpu_count()} cores; {len(truths)} images, {len(dataset['annotations'])} boxes, {len(results)} "
        f"detections, {CLASSES} classes\n"
    )
    times: dict[str, list[float]] = {"ours": [], "pycocotools": []}
    for _ in range(options.rounds):
        start = time.process_time()
        numbers = np.array(list(coco_scores(truths, found, CLASSES).numbers().values()))
        middle = time.process_time()
        reference = pycocotools_numbers(dataset, results)
        times["ours"].append(middle - start)
        times["pycocotools"].append(time.process_time() - middle)
    medians = {name: statistics.median(values) for name, values in times.items()}
    difference = float(np.abs(numbers - reference).max())
    print("| ours CPU s | pycocotools CPU s | ratio | AP | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    print(
        f"| {medians['ours']:.2f} | {medians['pycocotools']:.2f} | {medians['pycocotools'] / medians['ours']:.1f} | "
        f"{numbers[0]:.6f} | {difference:.1e} |"
    )


if __name__ == "__main__":
    main()
