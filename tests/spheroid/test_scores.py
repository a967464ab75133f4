"""Scores against hand-computed cases and a search over all assignments."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.spheroid import objects
from millrace.spheroid.scores import IOU_THRESHOLDS, Scores, match

THRESHOLD = st.sampled_from([0.1, 0.3, 0.5, 0.75])
SIDE = st.integers(1, 7)


@st.composite
def label_pairs(draw):
    """Truth and prediction that overlap often: the prediction is the truth with some pixels redrawn."""
    labels = st.sampled_from([0, 1, 2, 5])
    truth = draw(hnp.arrays(np.int32, (draw(SIDE), draw(SIDE)), elements=labels))
    redrawn = draw(hnp.arrays(bool, truth.shape))
    return truth, np.where(redrawn, draw(hnp.arrays(np.int32, truth.shape, elements=labels)), truth).astype(np.int32)


def scored(truth, predicted):
    scores = Scores()
    scores.add("image", np.asarray(truth, np.int32), np.asarray(predicted, np.int32))
    return scores


def best_assignment(truth, predicted, iou_threshold):
    """Largest total IoU over every subset of the candidate pairs that uses no object twice."""
    pairs = {}
    for t in set(truth.ravel().tolist()) - {0}:
        for p in set(predicted.ravel().tolist()) - {0}:
            both = np.count_nonzero((truth == t) & (predicted == p))
            either = np.count_nonzero((truth == t) | (predicted == p))
            if both / either >= iou_threshold:
                pairs[t, p] = both / either
    best = 0.0
    for count in range(len(pairs) + 1):
        for chosen in combinations(pairs, count):
            if len({t for t, _ in chosen}) == len({p for _, p in chosen}) == count:
                best = max(best, sum(pairs[pair] for pair in chosen))
    return pairs, best


@settings(max_examples=200, deadline=None)
@given(label_pairs(), THRESHOLD)
def test_matches_equal_a_search_over_all_assignments(images, iou_threshold):
    truth, predicted = images
    pairs, best = best_assignment(truth, predicted, iou_threshold)
    found = match(truth, predicted, iou_threshold)
    assert found.iou.sum() == pytest.approx(best)
    assert len(set(found.true_ids)) == len(set(found.predicted_ids)) == len(found.iou)
    assert (np.diff(found.true_ids) > 0).all()
    for true_id, predicted_id, iou in zip(found.true_ids, found.predicted_ids, found.iou, strict=True):
        assert pairs[true_id, predicted_id] == iou


@settings(max_examples=100, deadline=None)
@given(label_pairs())
def test_swapping_truth_and_prediction_swaps_precision_and_recall(images):
    truth, predicted = images
    one, other = scored(truth, predicted).summary(), scored(predicted, truth).summary()
    for name, counterpart in {"instance_precision": "instance_recall", "objects_true": "objects_predicted"}.items():
        assert (one.pop(name), one.pop(counterpart)) == (other.pop(counterpart), other.pop(name))
    assert one == pytest.approx(other)


IDS = st.permutations([1, 300, 70_000, 2**31 - 1]).map(lambda ids: np.array([0, *ids[:2], 0, 0, ids[2]], np.int32))


@settings(max_examples=100, deadline=None)
@given(label_pairs(), IDS, IDS)
def test_ids_are_only_names(images, true_names, predicted_names):
    truth, predicted = images
    renamed = scored(true_names[truth], predicted_names[predicted])
    assert renamed.summary() == pytest.approx(scored(truth, predicted).summary())


@settings(max_examples=100, deadline=None)
@given(label_pairs())
def test_strips_change_nothing(images):
    with pytest.MonkeyPatch.context() as patch:
        whole = scored(*images).summary()
        patch.setattr(objects, "STRIP_PX", 5)
        assert scored(*images).summary() == whole


# Truth: objects of 4, 2 and 3 pixels. Prediction: IoU 3/4 with the first, 2/3 with the second, two strays.
TRUTH = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 0, 3, 3, 3]], np.int32)
PREDICTED = np.array([[9, 9, 9, 0, 0, 4, 4, 4, 5, 6, 0, 0]], np.int32)


def test_hand_computed_image():
    summary = scored(TRUTH, PREDICTED).summary()
    assert summary == pytest.approx(
        {
            "images": 1,
            "objects_true": 3,
            "objects_predicted": 4,
            "dice": 2 * 6 / (9 + 8),
            "iou": 6 / 11,
            "instance_precision": 2 / 4,
            "instance_recall": 2 / 3,
            "instance_f1": 4 / 7,
            "instance_ap50": 2 / 5,
            # Two matches at .5 to .65, one at .7 and .75 (6 unmatched pairs' worth: 3 + 4 - 1), none from .8 to .9.
            "instance_ap": (4 * 2 / 5 + 2 * 1 / 6) / 9,
            "mean_matched_iou": (3 / 4 + 2 / 3) / 2,
            "dice_per_image": 12 / 17,
            "iou_per_image": 6 / 11,
            "instance_ap50_per_image": 2 / 5,
        }
    )


def test_sums_over_images_and_means_of_images_differ():
    scores = Scores()
    scores.add("a", TRUTH, PREDICTED)
    scores.add("b", TRUTH, TRUTH)
    scores.add("c", TRUTH, np.zeros_like(TRUTH))
    summary = scores.summary()
    assert summary["images"] == 3
    assert summary["dice"] == pytest.approx(2 * (6 + 9) / (9 + 8 + 9 + 9 + 9))
    assert summary["dice_per_image"] == pytest.approx((12 / 17 + 1 + 0) / 3)
    assert summary["iou_per_image"] == pytest.approx((6 / 11 + 1 + 0) / 3)
    assert summary["instance_ap50"] == pytest.approx((2 + 3) / (5 + 3 + 3))
    assert summary["instance_ap50_per_image"] == pytest.approx((2 / 5 + 1 + 0) / 3)
    assert summary["mean_matched_iou"] == pytest.approx((3 / 4 + 2 / 3 + 3) / 5)
    table = scores.per_image().set_index("image")
    columns = ["dice", "iou", "tp", "fp", "fn", "ap50", "objects_true", "objects_predicted", "mean_matched_iou"]
    assert table.columns.to_list() == columns
    assert table.loc["a", ["tp", "fp", "fn"]].to_list() == [2, 2, 1]
    assert table.loc["c"].to_list() == [0, 0, 0, 0, 3, 0, 3, 0, 0]


def test_curve_over_thresholds():
    curve = scored(TRUTH, PREDICTED).ap_curve()
    assert curve.columns.to_list() == ["iou_threshold", "ap", "precision", "recall", "f1"]
    np.testing.assert_allclose(curve["iou_threshold"], np.arange(50, 100, 5) / 100)
    np.testing.assert_allclose(curve["ap"], [2 / 5] * 4 + [1 / 6] * 2 + [0] * 4)
    np.testing.assert_allclose(curve["precision"], [2 / 4] * 4 + [1 / 4] * 2 + [0] * 4)
    np.testing.assert_allclose(curve["recall"], [2 / 3] * 4 + [1 / 3] * 2 + [0] * 4)


def test_an_iou_on_the_threshold_counts():
    for threshold in IOU_THRESHOLDS:
        truth = np.ones((1, 20), np.int32)
        predicted = np.arange(20)[None] < round(20 * threshold)
        assert len(match(truth, predicted.astype(np.int32), threshold).iou) == 1


def test_two_halves_compete_for_one_object():
    whole, halves = np.array([[1, 1, 1, 1]], np.int32), np.array([[1, 1, 2, 2]], np.int32)
    table = scored(whole, halves).per_image()
    assert table.loc[0, ["tp", "fp", "fn"]].to_list() == [1, 1, 0]


def test_the_best_total_may_leave_objects_out():
    # IoU 8/12 for (1, 1), 2/10 for (1, 2) and (2, 1): one pair is worth more than two.
    truth = np.array([[1] * 10 + [2] * 2], np.int32)
    predicted = np.array([[2] * 2 + [1] * 10], np.int32)
    found = match(truth, predicted, 0.1)
    assert (found.true_ids.tolist(), found.predicted_ids.tolist(), found.iou.tolist()) == ([1], [1], [8 / 12])


def test_nothing_to_divide_by():
    nothing = np.zeros_like(TRUTH)
    counts = {"images", "objects_true", "objects_predicted"}
    both_empty = scored(nothing, nothing)
    assert {value for name, value in both_empty.summary().items() if name not in counts} == {1.0}
    assert both_empty.ap_curve()["ap"].eq(1).all()
    for truth, predicted in ((TRUTH, nothing), (nothing, TRUTH)):
        assert {value for name, value in scored(truth, predicted).summary().items() if name not in counts} == {0.0}


def test_misuse():
    with pytest.raises(ValueError, match=r"truth is \(2, 3\), prediction \(3, 2\)"):
        scored(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="no image"):
        Scores().summary()
