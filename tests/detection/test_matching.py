"""What found what, score thresholds, and the confusion table."""

from __future__ import annotations

import time

import numpy as np
import pytest
from box_sets import EMPTY, NOTHING, found, random_set, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.detection.matching import DEFAULT_THRESHOLD, best_threshold, match, rates
from millrace.detection.scores import coco_scores

SETS = st.builds(
    random_set,
    seed=st.integers(0, 10**6),
    images=st.integers(1, 8),
    boxes=st.sampled_from([0, 1, 6, 15]),
    extra=st.sampled_from([0, 4]),
    digits=st.integers(0, 9),
    crowd=st.sampled_from([0, 0.2, 1]),
)


@settings(max_examples=25)
@given(SETS)
def test_average_precision_is_that_of_coco(sets):
    scores = coco_scores(*sets, 3)
    np.testing.assert_allclose(match(*sets, 0.5).average_precisions(3), scores.class_ap50, rtol=0, atol=1e-12)
    aps = match(*sets, 0.75).average_precisions(3)
    assert (
        np.nanmean(aps) == pytest.approx(scores.ap75, abs=1e-12) if not np.isnan(aps).all() else np.isnan(scores.ap75)
    )


@settings(max_examples=25)
@given(SETS, st.sampled_from([0.0, 0.3, 0.75, 1.0]))
def test_one_matching_serves_every_score_threshold(sets, threshold):
    truths, detections = sets
    above = match(truths, detections, 0.5).above(threshold)
    afresh = match(truths, [each.above(threshold) for each in detections], 0.5)
    np.testing.assert_array_equal(above.truth, afresh.truth)
    np.testing.assert_array_equal(above.score, afresh.score)
    for part, other in zip(above.pairs, afresh.pairs, strict=True):
        np.testing.assert_array_equal(part, other)


@settings(max_examples=25)
@given(SETS)
def test_a_box_is_found_once_and_by_its_class(sets):
    matches = match(*sets, 0.5)
    rows = matches.truth[matches.hit]
    assert len(np.unique(rows)) == len(rows)
    np.testing.assert_array_equal(matches.true_label[rows], matches.label[matches.hit])
    np.testing.assert_array_equal(matches.true_image[rows], matches.image[matches.hit])
    assert matches.missed.sum() + matches.hit.sum() == (~matches.true_ignored).sum()


def test_the_higher_score_chooses_first_and_takes_what_it_overlaps_most():
    truths = [truth((0, 0, 0, 100, 100), (0, 30, 0, 130, 100))]
    matches = match(
        truths, [found((0, 0.6, 0, 0, 100, 100), (0, 0.9, 10, 0, 110, 100), (0, 0.7, 20, 0, 120, 100))], 0.5
    )
    # The second detection takes the first box, the third the second one, and nothing is left for the exact one.
    assert matches.truth.tolist() == [-1, 0, 1]


def test_of_equal_scores_the_first_chooses_first():
    truths = [truth((0, 0, 0, 100, 100))]
    assert match(truths, [found((0, 0.5, 0, 0, 90, 100), (0, 0.5, 0, 0, 100, 100))], 0.5).hit.tolist() == [True, False]


def test_a_detection_prefers_a_box_that_counts_to_a_crowd():
    truths = [truth((0, 0, 0, 100, 100), (0, 0, 0, 60, 100), ignored=[0])]
    detections = [found((0, 0.9, 0, 0, 100, 100), (0, 0.8, 0, 0, 50, 50), (0, 0.7, 50, 50, 90, 90))]
    matches = match(truths, detections, 0.5)
    assert matches.hit.tolist() == [True, False, False]
    assert matches.ignored.tolist() == [False, True, True]
    assert [each.tolist() for each in matches.counts("label", 1)] == [[1], [1], [1]]


def test_the_overlap_that_is_needed_is_enough():
    truths, detections = [truth((0, 0, 0, 100, 100))], [found((0, 0.9, 0, 0, 100, 50))]
    assert match(truths, detections, 0.5).hit.all()
    assert not match(truths, detections, 0.51).hit.any()


@settings(max_examples=25)
@given(SETS)
def test_the_best_threshold_is_best_and_the_highest_of_several(sets):
    truths, detections = sets
    matches = match(truths, detections, 0.5)
    best = matches.best_threshold()
    assert best == best_threshold(truths, detections) or np.isnan(best.f1)
    every = np.unique(np.concatenate([matches.score, [0.0, 1.0]])).astype(np.float64)
    f1 = np.nan_to_num(matches.curve(every).f1)
    assert f1.max() <= np.nan_to_num(best.f1) + 1e-12
    if best.f1 > 0:
        higher = every[every > best.score + 1e-5]
        assert (np.nan_to_num(matches.curve(higher).f1) < best.f1).all()
    else:
        assert best.score == DEFAULT_THRESHOLD


def test_a_threshold_that_is_written_with_six_digits_still_lets_its_box_in():
    score = np.nextafter(np.float32(0.1234567), np.float32(0))
    best = best_threshold([truth((0, 0, 0, 9, 9))], [found((0, score, 0, 0, 9, 9))])
    assert best.f1 == 1
    assert np.float32(float(f"{best.score:.6g}")) <= score


def test_a_threshold_that_cannot_be_chosen():
    true, wrong = truth((0, 0, 0, 9, 9)), found((0, 0.9, 50, 50, 99, 99))
    assert best_threshold([true], [NOTHING]) == (DEFAULT_THRESHOLD, 0)
    assert best_threshold([true], [wrong]) == (DEFAULT_THRESHOLD, 0)
    assert best_threshold([EMPTY], [wrong]) == (DEFAULT_THRESHOLD, 0)
    for nothing in (best_threshold([EMPTY], [NOTHING]), best_threshold([], [])):
        assert nothing.score == DEFAULT_THRESHOLD
        assert np.isnan(nothing.f1)


def test_a_curve_counts_what_is_at_least_the_threshold():
    truths = [truth((0, 0, 0, 9, 9), (0, 20, 0, 29, 9))]
    detections = [found((0, 0.8, 0, 0, 9, 9), (0, 0.6, 50, 0, 59, 9), (0, 0.4, 20, 0, 29, 9))]
    curve = match(truths, detections, 0.5).curve(np.array([0.0, 0.4, 0.5, 0.8, 0.9]))
    np.testing.assert_allclose(curve.precision, [2 / 3, 2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(curve.recall, [1, 1, 0.5, 0.5, 0])
    np.testing.assert_allclose(curve.f1, [0.8, 0.8, 0.5, 2 / 3, 0])


def test_rates_of_nothing_are_nan():
    assert np.isnan(rates(*(np.array([0]),) * 3)).all()
    assert rates(np.array([0]), np.array([0]), np.array([3])).f1 == 0


@settings(max_examples=25)
@given(SETS, st.sampled_from([0.0, 0.5]))
def test_the_confusion_table_agrees_with_all_other_counts(sets, threshold):
    matches = match(*sets, 0.5).above(threshold)
    table = matches.confusion(3, 0.5)
    hits, detections, boxes = matches.counts("label", 3)
    np.testing.assert_array_equal(np.diag(table)[:3], hits)
    np.testing.assert_array_equal(table[:3].sum(axis=1), boxes)
    np.testing.assert_array_equal(table[:, :3].sum(axis=0), detections)
    assert table[3, 3] == 0


def test_confusion_pairs_the_best_overlap_of_what_is_left():
    truths = [truth((0, 0, 0, 100, 100), (1, 200, 0, 300, 100), (2, 0, 200, 100, 300))]
    detections = [
        found(
            (0, 0.3, 0, 0, 100, 80),
            # Overlaps the first box more and scores more, but that is found by its own class.
            (1, 0.9, 0, 0, 100, 100),
            (2, 0.8, 200, 0, 300, 70),
            (0, 0.7, 200, 0, 300, 90),
        )
    ]
    assert match(truths, detections, 0.5).confusion(3, 0.5).tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 1, 1, 0],
    ]


def test_an_image_scores_by_what_was_found_and_how_well():
    truths = [truth((0, 0, 0, 100, 100)), truth((0, 0, 0, 100, 100)), truth((0, 0, 0, 9, 9)), EMPTY, EMPTY]
    one = (0, 0.9, 0, 0, 100, 100)
    detections = [found(one), found((0, 0.9, 0, 0, 100, 80), (0, 0.8, 200, 0, 300, 80)), NOTHING, NOTHING, found(one)]
    np.testing.assert_allclose(match(truths, detections, 0.5).image_scores(), [1, 2 * 0.8 / 3, 0, 1, 0])


def test_no_image_at_all():
    matches = match([], [], 0.5)
    assert matches.image_scores().shape == (0,)
    assert matches.confusion(2, 0.5).sum() == 0
    assert np.isnan(matches.average_precisions(2)).all()


def test_many_detections_take_no_time_worth_speaking_of():
    truths, detections = random_set(0, images=600, classes=20, boxes=8, extra=38)
    assert sum(len(each.labels) for each in detections) > 28_000
    start = time.process_time()
    matches = match(truths, detections, 0.5)
    matches.best_threshold()
    matches.confusion(20, 0.5)
    matches.image_scores()
    assert time.process_time() - start < 5
