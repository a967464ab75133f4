"""COCO's numbers, beside pycocotools."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from box_sets import EMPTY, NOTHING, found, pycocotools, random_set, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.detection.boxes import Detections, Truth
from millrace.detection.scores import NAMES, RECALLS, coco_scores

EXACT = 1e-12


def check_parity(truths: list[Truth], detections: list[Detections], classes: int) -> None:
    ours, reference = coco_scores(truths, detections, classes), pycocotools(truths, detections, classes)
    stats = np.where(reference.stats < 0, np.nan, reference.stats)
    np.testing.assert_allclose([ours.numbers()[name] for name in NAMES], stats, rtol=0, atol=EXACT)
    precision = np.where(reference.eval["precision"] < 0, np.nan, reference.eval["precision"])[..., 0, 2]
    np.testing.assert_allclose(ours.class_ap, precision.mean(axis=(0, 1)), rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours.class_ap50, precision[0].mean(axis=0), rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours.precision50, precision[0].T, rtol=0, atol=EXACT)
    known = ~np.isnan(ours.precision50)
    np.testing.assert_array_equal(ours.score50[known], reference.eval["scores"][0, ..., 0, 2].T[known])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 10),
    classes=st.integers(1, 6),
    boxes=st.sampled_from([0, 0.5, 5, 20]),
    extra=st.sampled_from([0, 4]),
    digits=st.integers(0, 9),
    crowd=st.sampled_from([0, 0.2, 1]),
)
def test_the_numbers_are_those_of_pycocotools(seed, images, classes, boxes, extra, digits, crowd):
    check_parity(*random_set(seed, images, classes, boxes, extra, digits, crowd), classes)


def test_more_detections_of_a_class_than_are_scored():
    truths, detections = random_set(3, images=3, classes=1, boxes=60, extra=200)
    assert max(len(each.labels) for each in detections) > 200
    check_parity(truths, detections, 1)


def test_boxes_on_whole_pixels_whose_sizes_are_between_two_classes():
    truths = [truth((0, 0, 0, 32, 32), (0, 40, 40, 136, 136))]
    detections = [found((0, 0.9, 0, 0, 32, 32), (0, 0.8, 40, 40, 136, 88))]
    check_parity(truths, detections, 1)
    scores = coco_scores(truths, detections, 1)
    assert scores.ar_small == 1
    assert scores.ar_large == pytest.approx(0.1)


def test_the_boxes_of_real_cells():
    folder = os.environ.get("MILLRACE_SHARED_DATA")
    if not folder:
        pytest.skip("MILLRACE_SHARED_DATA does not name a folder with real files")
    content = json.loads((Path(folder) / "detection/bccd/instances_test.json").read_text())
    random = np.random.default_rng(0)
    truths, detections = [], []
    for image in content["images"]:
        own = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        sized = np.array([each["bbox"] for each in own], np.float64)
        boxes = np.concatenate([sized[:, :2], sized[:, :2] + sized[:, 2:]], axis=1)
        labels = np.array([each["category_id"] - 1 for each in own])
        truths.append(Truth(boxes.astype(np.float32), labels, np.zeros(len(own), bool)))
        moved = np.repeat(boxes, 2, axis=0) + random.normal(0, 6, (2 * len(own), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = random.random(len(moved)).round(2).astype(np.float32)
        detections.append(Detections(moved.astype(np.float32), np.repeat(labels, 2), scores))
    check_parity(truths, detections, 3)
    assert 0.3 < coco_scores(truths, detections, 3).ap50 < 0.99


def test_what_is_true_is_perfect():
    truths, _ = random_set(0, crowd=0)
    detections = [Detections(each.boxes, each.labels, np.ones(len(each.labels), np.float32)) for each in truths]
    scores = coco_scores(truths, detections, 3)
    assert scores.ap == scores.ap50 == scores.ar100 == 1
    assert (scores.precision50 == 1).all()


def test_nothing_found_is_zero_and_nothing_to_be_found_is_nan():
    truths, detections = random_set(1, classes=2, boxes=30)
    assert set(coco_scores(truths, [NOTHING] * len(truths), 2).numbers().values()) == {0.0}
    for empty in (
        coco_scores([EMPTY] * len(truths), detections, 2),
        coco_scores([], [], 2),
        coco_scores([EMPTY], [NOTHING], 2),
    ):
        assert np.isnan(list(empty.numbers().values())).all()
        assert empty.class_ap.shape == (2,)
        assert np.isnan(empty.class_ap).all()
        assert empty.precision50.shape == empty.score50.shape == (2, len(RECALLS))


def test_a_class_without_boxes_is_nan_and_not_in_the_mean():
    scores = coco_scores([truth((1, 0, 0, 50, 50))], [found((1, 0.9, 0, 0, 50, 50), (0, 0.8, 5, 5, 9, 9))], 3)
    np.testing.assert_array_equal(scores.class_ap, [np.nan, 1, np.nan])
    assert scores.ap == 1


def test_an_ignored_box_is_neither_missed_nor_wrong_to_find():
    truths = [truth((0, 0, 0, 50, 50), (0, 100, 100, 300, 300), ignored=[1])]
    on_the_crowd = [(0, 0.95, 110 + 40 * step, 110, 140 + 40 * step, 140) for step in range(4)]
    assert coco_scores(truths, [found((0, 0.5, 0, 0, 50, 50), *on_the_crowd)], 1).ap == 1
    assert coco_scores([truths[0]._replace(ignored=np.zeros(2, bool))], [found(*on_the_crowd)], 1).ap == 0


def test_fewer_detections_can_be_scored():
    truths = [truth(*((0, 40 * step, 0, 40 * step + 30, 30) for step in range(8)))]
    detections = [found(*((0, 0.9, 40 * step, 0, 40 * step + 30, 30) for step in range(8)))]
    assert coco_scores(truths, detections, 1, max_detections=4).ar100 == pytest.approx(0.5)
    assert coco_scores(truths, detections, 1, max_detections=4).ar10 == pytest.approx(0.5)
    assert coco_scores(truths, detections, 1).ar1 == pytest.approx(1 / 8)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="1 images have true boxes and 2"):
        coco_scores([EMPTY], [NOTHING, NOTHING], 1)
    with pytest.raises(ValueError, match="labels from 3 to 3 of 3 classes"):
        coco_scores([truth((3, 0, 0, 5, 5))], [NOTHING], 3)
