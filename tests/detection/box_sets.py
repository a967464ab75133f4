"""True and found boxes for the tests of scores."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from millrace.detection.boxes import Detections, Truth

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
EMPTY = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))


def truth(*boxes: tuple[float, ...], ignored: Sequence[int] = ()) -> Truth:
    """True boxes, each as label, left, top, right, bottom."""
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    return Truth(rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64), np.isin(np.arange(len(rows)), ignored))


def found(*boxes: tuple[float, ...]) -> Detections:
    """Found boxes, each as label, score, left, top, right, bottom."""
    rows = np.array(boxes, np.float64).reshape(-1, 6)
    return Detections(rows[:, 2:].astype(np.float32), rows[:, 0].astype(np.int64), rows[:, 1].astype(np.float32))


def random_set(
    seed: int,
    images: int = 12,
    classes: int = 3,
    boxes: float = 6,
    extra: float = 3,
    digits: int = 2,
    crowd: float = 0.1,
) -> tuple[list[Truth], list[Detections]]:
    """Boxes of COCO's three sizes, moved copies of most of them, and others; few digits make scores equal."""
    random = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        number = int(random.poisson(boxes))
        size = np.exp(random.uniform(np.log(6), np.log(250), (number, 2)))
        corner = random.uniform(0, 400, (number, 2))
        true = np.concatenate([corner, corner + size], axis=1)
        labels = random.integers(0, classes, number)
        truths.append(Truth(true.astype(np.float32), labels, random.random(number) < crowd))
        copies = np.repeat(np.arange(number), random.integers(0, 4, number))
        moved = true[copies] + random.normal(0, 0.12, (len(copies), 4)) * np.tile(size[copies], 2)
        others = random.uniform(0, 400, (int(random.poisson(extra)), 2))
        other = np.concatenate([others, others + random.uniform(5, 200, others.shape)], axis=1)
        every = np.concatenate([moved, other])
        every[:, 2:] = np.maximum(every[:, 2:], every[:, :2] + 1)
        said = np.concatenate([labels[copies], random.integers(0, classes, len(other))])
        wrong = random.random(len(said)) < 0.2
        said[wrong] = random.integers(0, classes, int(wrong.sum()))
        scores = random.random(len(said)).round(digits)
        detections.append(Detections(every.astype(np.float32), said, scores.astype(np.float32)))
    return truths, detections


def pycocotools(truths: Sequence[Truth], detections: Sequence[Detections], classes: int) -> COCOeval:
    """The reference, evaluated; nan for its -1 is the caller's."""
    annotations, results = [], []
    for image, (true, each) in enumerate(zip(truths, detections, strict=True), start=1):
        for box, label, crowd in zip(_sized(true.boxes), true.labels.tolist(), true.ignored, strict=True):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": label, "iscrowd": int(crowd)}
            annotations.append({**entry, "bbox": box, "area": box[2] * box[3]})
        for box, label, score in zip(_sized(each.boxes), each.labels.tolist(), each.scores.tolist(), strict=True):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": image} for image in range(1, len(truths) + 1)],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": annotations,
        }
        reference.createIndex()
        # `loadRes` does not take an empty list.
        evaluation = COCOeval(reference, reference.loadRes(results) if results else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _sized(boxes: np.ndarray) -> list[list[float]]:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1).tolist()
