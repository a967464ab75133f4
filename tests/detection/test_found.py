"""Validation metrics: what they gather image by image is scored as a whole."""

from __future__ import annotations

import pytest
import torch
from box_sets import EMPTY, NOTHING, found, random_set, truth

from millrace.detection import found as found_module
from millrace.detection.boxes import Detections, Truth
from millrace.detection.found import NAMES, Found, FoundValue
from millrace.detection.matching import DEFAULT_THRESHOLD, best_threshold
from millrace.detection.scores import coco_scores

CLASSES = 3


def update(metric: Found, position: int, true: Truth, each: Detections) -> None:
    """As validation does: everything is float there."""
    metric.update(
        position,
        {
            "boxes": torch.from_numpy(each.boxes),
            "labels": torch.from_numpy(each.labels).float(),
            "scores": torch.from_numpy(each.scores),
        },
        true,
    )


def gathered(truths, detections, order=None, classes: int = CLASSES) -> dict[str, float]:
    metric = Found(classes)
    for position in order or range(len(truths)):
        update(metric, position, truths[position], detections[position])
    return numbers(metric)


def numbers(metric: Found) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def expected(truths, detections, classes: int = CLASSES) -> dict[str, float]:
    scores, best = coco_scores(truths, detections, classes), best_threshold(truths, detections)
    return {"ap": scores.ap, "ap50": scores.ap50, "f1": best.f1, "score_threshold": best.score}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_values_are_those_of_the_whole_set(seed):
    truths, detections = random_set(seed, crowd=0.1)
    whole = expected(truths, detections)
    assert tuple(whole) == NAMES
    assert 0.05 < whole["ap"] < whole["ap50"] < 0.95
    assert gathered(truths, detections) == pytest.approx(whole, abs=1e-9)


def test_the_order_of_the_images_does_not_matter():
    truths, detections = random_set(2, crowd=0.1)
    assert gathered(truths, detections, list(range(len(truths)))[::-1]) == gathered(truths, detections)


def test_images_without_boxes_count():
    box = (0, 10, 10, 40, 40)
    hit, false_alarm = (0, 0.9, 10, 10, 40, 40), (0, 0.95, 100, 100, 130, 140)
    truths = [truth(box), EMPTY, EMPTY, truth(box)]
    detections = [found(hit), found(false_alarm), NOTHING, NOTHING]
    values = gathered(truths, detections)
    assert values == pytest.approx(expected(truths, detections), abs=1e-9)
    without = gathered(truths[:1] + truths[3:], detections[:1] + detections[3:])
    for name in ("ap", "ap50", "f1"):  # the detection in the empty image is a false alarm
        assert values[name] < without[name]


def test_where_there_is_nothing_to_find_the_scores_are_zero_and_the_threshold_is_usable():
    for detections in ([NOTHING, NOTHING], [found((1, 0.7, 0, 0, 9, 9)), NOTHING]):
        values = gathered([EMPTY, EMPTY], detections)
        assert values == {"ap": 0.0, "ap50": 0.0, "f1": 0.0, "score_threshold": DEFAULT_THRESHOLD}


@pytest.mark.parametrize(
    "shares", [([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]), ([3], [11, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10])]
)
def test_processes_put_their_images_together(shares):
    """As torchmetrics does: each list is concatenated, then those of all processes are."""
    truths, detections = random_set(3, crowd=0.1)
    truths[5], detections[7] = EMPTY, NOTHING
    states = {"true": [], "found": []}
    for share in shares:
        metric = Found(CLASSES)
        for position in share:
            update(metric, position, truths[position], detections[position])
        for state, parts in states.items():
            parts.append(torch.cat(getattr(metric, state)))
    whole = Found(CLASSES)
    whole.true, whole.found = torch.cat(states["true"]), torch.cat(states["found"])
    whole._update_count = 1  # or it warns
    assert numbers(whole) == pytest.approx(expected(truths, detections), abs=1e-9)


def test_a_metric_starts_again_after_a_reset():
    truths, detections = random_set(4, crowd=0.1)
    metric = Found(CLASSES)
    values = [FoundValue(metric, name) for name in NAMES]
    for position in range(len(truths)):
        update(metric, position, truths[position], detections[position])
    assert {name: float(value.compute()) for name, value in zip(NAMES, values, strict=True)} == numbers(metric)
    for value in values:
        value.reset()
    update(metric, 0, truth((0, 10, 10, 40, 40)), found((0, 0.5, 10, 10, 40, 40)))
    assert [float(value.compute()) for value in values] == pytest.approx([1.0, 1.0, 1.0, 0.5])


def test_all_values_are_from_one_scoring_of_one_copy_of_the_boxes(monkeypatch):
    scorings = []
    for score in (coco_scores, best_threshold):
        monkeypatch.setattr(
            found_module, score.__name__, lambda *of, score=score: scorings.append(score.__name__) or score(*of)
        )
    metric = Found(CLASSES)
    values = [FoundValue(metric, name) for name in NAMES]
    update(metric, 0, truth((0, 10, 10, 40, 40)), found((0, 0.5, 10, 10, 40, 40)))
    for value in values:
        value.compute()
    assert sorted(scorings) == ["best_threshold", "coco_scores"]
    assert {id(part) for value in values for part in value.modules() if isinstance(part, Found)} == {id(metric)}
    assert not any(value.metric_state for value in values)


def test_higher_is_better_so_that_training_knows_the_mode():
    assert all(FoundValue(Found(CLASSES), name).higher_is_better for name in NAMES)
