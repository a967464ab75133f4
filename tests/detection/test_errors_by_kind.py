"""Errors by kind, as TIDE sorts them, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from box_sets import EMPTY, NOTHING, found, random_set, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.detection.errors_by_kind import KINDS, ap_gains, errors_by_kind
from millrace.detection.matching import match

TRUE = (0, 0, 0, 100, 100)
SETS = st.builds(
    random_set,
    seed=st.integers(0, 10**6),
    images=st.integers(1, 8),
    boxes=st.sampled_from([0, 1, 6, 15]),
    extra=st.sampled_from([0, 4]),
    crowd=st.sampled_from([0, 0.2]),
)


def sorted_errors(true, *boxes, iou=0.5, classes=2):
    matches = match([true], [found(*boxes)], iou)
    errors = errors_by_kind(matches, iou)
    counts = {kind: count for kind, count in errors.counts().items() if count}
    gains = ap_gains(matches, errors, classes)
    return counts, {kind: pytest.approx(gain) for kind, gain in gains.items() if abs(gain) > 1e-12}


def test_a_right_box_of_another_class_is_a_classification_error():
    counts, gains = sorted_errors(truth(TRUE), (1, 0.9, 0, 0, 100, 90))
    # The box is not missed as well: the one error stands for both.
    assert counts == {"classification": 1}
    assert gains == {"classification": 1}


def test_a_box_of_the_class_beside_the_place_is_a_localisation_error():
    assert sorted_errors(truth(TRUE), (0, 0.9, 0, 0, 100, 40)) == ({"localisation": 1}, {"localisation": 1})


def test_another_class_beside_the_place_is_both():
    counts, gains = sorted_errors(truth(TRUE), (1, 0.9, 0, 0, 100, 40))
    assert counts == {"both": 1, "missed": 1}
    assert gains == {"missed": 1}


def test_a_second_box_of_what_is_found_is_a_duplicate():
    true = truth(TRUE, (0, 200, 0, 300, 100))
    boxes = (0, 0.9, 0, 0, 100, 100), (0, 0.8, 0, 0, 100, 95), (0, 0.7, 200, 0, 300, 100)
    counts, gains = sorted_errors(true, *boxes)
    assert counts == {"duplicate": 1}
    # Recalls 0 to .5 at precision 1, .51 to 1 at 2/3.
    assert gains == {"duplicate": 50 / 101 / 3}


def test_a_box_on_nothing_is_background():
    counts, gains = sorted_errors(truth(TRUE), (0, 0.9, 0, 0, 100, 100), (0, 0.95, 300, 300, 400, 400))
    assert counts == {"background": 1}
    assert gains == {"background": 0.5}


def test_a_box_that_nothing_found_is_missed():
    counts, gains = sorted_errors(truth(TRUE, (0, 200, 0, 300, 100)), (0, 0.9, 0, 0, 100, 100))
    assert counts == {"missed": 1}
    assert gains == {"missed": 50 / 101}


def test_the_kinds_meet_at_their_overlaps():
    one = truth(TRUE)
    for bottom, same, other in (
        (50, {}, "classification"),
        (49, "localisation", "both"),
        (10, "localisation", "background"),
    ):
        assert sorted_errors(one, (0, 0.9, 0, 0, 100, bottom))[0] == ({same: 1} if same else {})
        assert next(iter(sorted_errors(one, (1, 0.9, 0, 0, 100, bottom))[0])) == other
    assert "background" in sorted_errors(one, (0, 0.9, 0, 0, 100, 9))[0]
    assert sorted_errors(one, (0, 0.9, 0, 0, 100, 60), iou=0.7)[0] == {"localisation": 1}


def test_of_several_errors_about_a_box_the_best_is_mended_and_the_others_go():
    true = truth(TRUE, (1, 200, 0, 300, 100))
    boxes = (1, 0.9, 0, 0, 100, 100), (0, 0.8, 0, 0, 100, 40), (1, 0.7, 200, 0, 300, 100)
    counts, gains = sorted_errors(true, *boxes)
    assert counts == {"classification": 1, "localisation": 1}
    # Class 0 has an AP of 0 and class 1 one of .5. The first detection scores more, so it becomes the box of class 0;
    # the second goes, which changes nothing.
    assert gains == {"classification": 0.75}


def test_what_lies_on_an_ignored_box_is_no_error():
    true = truth(TRUE, (0, 200, 200, 400, 400), ignored=[1])
    assert sorted_errors(true, (0, 0.9, 0, 0, 100, 100), (0, 0.8, 210, 210, 250, 250)) == ({}, {})


@settings(max_examples=25)
@given(SETS, st.sampled_from([0.0, 0.5]), st.sampled_from([0.3, 0.5, 0.75]))
def test_the_kinds_part_the_wrong_detections(sets, threshold, iou):
    matches = match(*sets, iou).above(threshold)
    errors = errors_by_kind(matches, iou)
    np.testing.assert_array_equal(errors.kind >= 0, ~matches.hit & ~matches.ignored)
    counts = errors.counts()
    assert tuple(counts) == KINDS
    assert sum(counts.values()) == int((errors.kind >= 0).sum() + errors.missed.sum())
    assert not (errors.missed & ~matches.missed).any()


@settings(max_examples=25)
@given(SETS)
def test_mending_never_makes_it_worse_and_mending_all_makes_it_perfect(sets):
    matches = match(*sets, 0.5)
    gains = ap_gains(matches, errors_by_kind(matches, 0.5), 3)
    base = matches.average_precisions(3)
    if np.isnan(base).all():
        assert all(np.isnan(gain) for gain in gains.values())
    else:
        assert all(-1e-12 <= gain <= 1 - np.nanmean(base) + 1e-12 for gain in gains.values())


def test_nothing_there_and_nothing_found():
    for true, each in (([EMPTY], [NOTHING]), ([], [])):
        matches = match(true, each, 0.5)
        errors = errors_by_kind(matches, 0.5)
        assert set(errors.counts().values()) == {0}
        assert all(np.isnan(gain) for gain in ap_gains(matches, errors, 2).values())


def test_counts_and_gains_are_those_of_tide():
    """Of tidecv 1.0.1 on the same boxes, in its order: class, box, both, duplicate, background, missed."""
    truths, detections = random_set(5, images=30, classes=3, crowd=0, digits=9)
    matches = match(truths, detections, 0.5)
    errors = errors_by_kind(matches, 0.5)
    assert list(errors.counts().values()) == [30, 17, 14, 118, 68, 38]
    gains = ap_gains(matches, errors, 3)
    expected = [4.044481855, 1.997608416, 2.295519290, 5.662003854, 9.538957332, 11.231247295]
    # Its recalls are another rounding of hundredths than COCO's, which moves single points of a curve.
    np.testing.assert_allclose([100 * gains[kind] for kind in KINDS], expected, atol=1e-3)
