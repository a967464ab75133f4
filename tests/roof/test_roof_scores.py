"""Class scores against hand-computed cases, and what must hold for any picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.roof.calibration import BINS, calibration_counts, calibration_error, reliability
from millrace.roof.classes import UNKNOWN
from millrace.roof.scores import (
    agreement,
    agreement_counts,
    azimuth_error,
    binary_scores,
    boundary_counts,
    class_iou,
    confusion,
    mean_iou,
)

FLAT, GROUND = 4, 5
SHAPE = (7, 9)
CLASSES = st.integers(0, GROUND)
RASTER = hnp.arrays(np.uint8, SHAPE, elements=CLASSES)
LABELS = hnp.arrays(np.uint8, SHAPE, elements=st.one_of(CLASSES, st.just(UNKNOWN)))
MASK = hnp.arrays(bool, SHAPE)
TOLERANCE = st.sampled_from([0.0, 1.0, 1.5, 2.0])


def raster(*rows):
    return np.array(rows, np.uint8)


def test_counts_by_hand():
    truth = raster([0, 0, 1, GROUND], [FLAT, 255, 1, GROUND])
    predicted = raster([0, 3, 1, 0], [GROUND, 2, FLAT, GROUND])
    counts = confusion(truth, predicted, 6)
    assert counts.sum() == 7
    assert counts[0, 0] == counts[0, 3] == counts[1, 1] == counts[GROUND, 0] == counts[FLAT, GROUND] == 1
    assert counts[1, FLAT] == counts[GROUND, GROUND] == 1
    # North: one right, one taken for west, one ground taken for it.
    assert class_iou(counts)[[0, 1, 3, 4, 5]] == pytest.approx([1 / 3, 1 / 2, 0, 0, 1 / 3])
    assert math.isnan(class_iou(counts)[2])
    # Without the background and without south, which is nowhere.
    assert mean_iou(counts) == pytest.approx((1 / 3 + 1 / 2 + 0 + 0) / 4)
    # One right, and north for west, which is a quarter turn: not three.
    assert azimuth_error(counts) == pytest.approx((0 + 90 + 0) / 3)


def test_north_and_background_are_classes_of_their_own():
    """Class 0 is North, and the last is the background: neither is `nothing`."""
    north, ground = np.zeros(SHAPE, np.uint8), np.full(SHAPE, GROUND, np.uint8)
    assert mean_iou(confusion(north, north, 6)) == 1
    assert mean_iou(confusion(north, ground, 6)) == 0
    assert math.isnan(mean_iou(confusion(ground, ground, 6)))


@pytest.mark.parametrize(("predicted", "degrees"), [(0, 0), (1, 45), (4, 180), (5, 135), (7, 45)])
def test_azimuth_error_goes_the_short_way_round(predicted, degrees):
    truth = np.zeros(SHAPE, np.uint8)
    assert azimuth_error(confusion(truth, truth + np.uint8(predicted), 10)) == degrees


def test_azimuth_error_leaves_out_what_is_flat_or_background_in_either():
    truth = raster([0, 8, 9, 0, 2])
    predicted = raster([8, 0, 0, 9, 3])
    assert azimuth_error(confusion(truth, predicted, 10)) == 45
    assert math.isnan(azimuth_error(confusion(truth[:, :4], predicted[:, :4], 10)))


def test_confusion_refuses_what_is_no_class():
    with pytest.raises(ValueError, match="not below 6"):
        confusion(raster([17]), raster([0]), 6)
    with pytest.raises(ValueError, match="not below 6"):
        confusion(raster([0]), raster([255]), 6)
    with pytest.raises(ValueError, match="prediction"):
        confusion(raster([0]), raster([0, 0]), 6)


@settings(max_examples=40)
@given(LABELS)
def test_perfect_prediction_scores_one(truth):
    counts = confusion(truth, np.where(truth == UNKNOWN, 3, truth).astype(np.uint8), 6)
    assert mean_iou(counts) == 1 or not (truth < GROUND).any()
    assert azimuth_error(counts) == 0 or not (truth < FLAT).any()


@settings(max_examples=40)
@given(LABELS, RASTER, RASTER)
def test_unknown_pixels_never_change_a_score(truth, predicted, other):
    changed = np.where(truth == UNKNOWN, other, predicted)
    np.testing.assert_array_equal(confusion(truth, predicted, 6), confusion(truth, changed, 6))
    confidence = np.full(SHAPE, 0.7, np.float16)
    elsewhere = np.where(truth == UNKNOWN, np.float16(0.1), confidence)
    np.testing.assert_array_equal(
        calibration_counts(truth, predicted, confidence), calibration_counts(truth, changed, elsewhere)
    )


@settings(max_examples=40)
@given(LABELS, RASTER, st.integers(0, SHAPE[0]))
def test_counts_of_parts_add_up(truth, predicted, cut):
    parts = confusion(truth[:cut], predicted[:cut], 6) + confusion(truth[cut:], predicted[cut:], 6)
    np.testing.assert_array_equal(parts, confusion(truth, predicted, 6))


@settings(max_examples=40)
@given(LABELS, RASTER, st.integers(1, 3))
def test_turning_all_azimuths_changes_neither_mean_nor_error(truth, predicted, step):
    def turned(classes):
        return np.where(classes < FLAT, (classes + step) % 4, classes).astype(np.uint8)

    before, after = confusion(truth, predicted, 6), confusion(turned(truth), turned(predicted), 6)
    assert mean_iou(before) == pytest.approx(mean_iou(after), nan_ok=True)
    assert azimuth_error(before) == pytest.approx(azimuth_error(after), nan_ok=True)


def test_roof_scores_by_hand():
    truth, predicted = raster([1, 1, 1, 0, 255, 0]), raster([1, 1, 0, 1, 1, 0])
    iou, f1 = binary_scores(confusion(truth, predicted, 2))
    assert (iou, f1) == (pytest.approx(2 / 4), pytest.approx(4 / 6))
    nothing = np.zeros(SHAPE, np.uint8)
    assert all(math.isnan(value) for value in binary_scores(confusion(nothing, nothing, 2)))


def test_border_by_hand():
    truth = np.zeros((9, 9), np.uint8)
    truth[2:7, 2:7] = 1
    moved = np.zeros((9, 9), bool)
    moved[2:7, 3:8] = True
    # Each border has 16 pixels. Without tolerance they share two runs of four pixels, above and below, and no side.
    np.testing.assert_array_equal(boundary_counts(truth, moved, 0), [16, 8, 16, 8])
    assert agreement(boundary_counts(truth, moved, 1)) == (1, 1, 1)
    assert agreement(boundary_counts(truth, np.zeros_like(moved), 1))[2] == 0
    assert agreement(boundary_counts(np.zeros_like(truth), moved, 1))[2] == 0
    assert math.isnan(agreement(boundary_counts(np.zeros_like(truth), np.zeros_like(moved), 1))[2])


def test_edge_of_the_picture_is_no_border():
    assert not boundary_counts(np.ones(SHAPE, np.uint8), np.ones(SHAPE, bool), 1).any()


def test_neighbour_that_is_not_labelled_makes_no_border():
    truth = np.ones(SHAPE, np.uint8)
    truth[:, 4] = UNKNOWN
    predicted = truth == 1
    assert not boundary_counts(truth, predicted, 1).any()


def reference_agreement(truth, predicted, known, tolerance):
    """`agreement_counts` pixel by pixel."""
    points = [tuple(point) for point in np.argwhere(known)]
    unknown = [tuple(point) for point in np.argwhere(~known)]

    def near(point, others):
        return any(math.dist(point, other) <= tolerance for other in others)

    counts = []
    for own, other in ((predicted, truth), (truth, predicted)):
        partners = [point for point in points if other[point]]
        mine = [point for point in points if own[point]]
        found = [point for point in mine if near(point, partners)]
        counts += [len([point for point in mine if point in found or not near(point, unknown)]), len(found)]
    return counts


@settings(max_examples=40)
@given(MASK, MASK, MASK, TOLERANCE)
def test_agreement_equals_a_search_pixel_by_pixel(truth, predicted, known, tolerance):
    found = agreement_counts(truth, predicted, known, tolerance)
    np.testing.assert_array_equal(found, reference_agreement(truth, predicted, known, tolerance))


@settings(max_examples=40)
@given(LABELS.map(lambda labels: np.where(labels > 1, UNKNOWN, labels)), MASK, MASK, TOLERANCE)
def test_unlabelled_pixels_never_change_the_border_score(truth, predicted, other, tolerance):
    changed = np.where(truth == UNKNOWN, other, predicted)
    counts = boundary_counts(truth, predicted, tolerance)
    np.testing.assert_array_equal(counts, boundary_counts(truth, changed, tolerance))


@settings(max_examples=40)
@given(LABELS.map(lambda labels: np.where(labels > 1, UNKNOWN, labels)), TOLERANCE)
def test_perfect_mask_agrees(truth, tolerance):
    _, _, f1 = agreement(boundary_counts(truth, truth == 1, tolerance))
    assert f1 == 1 or math.isnan(f1)


def test_calibration_by_hand():
    truth, predicted = raster([0, 0, 0, 0, 255]), raster([0, 0, 1, 1, 0])
    confidence = np.array([[1.0, 0.9375, 0.9375, 0.5, 0.1]], np.float32)
    counts = calibration_counts(truth, predicted, confidence)
    # Three in the last bin, two of them right; one at 0.5, in the eighth, wrong.
    assert counts[BINS - 1].tolist() == [3, 2.875, 2]
    assert counts[7].tolist() == [1, 0.5, 0]
    assert calibration_error(counts) == pytest.approx((0.875 + 0.5) / 4)
    table = reliability(counts)
    assert table["pixels"].tolist() == [1, 3]
    assert table["accuracy"].tolist() == pytest.approx([0, 2 / 3])


def test_no_confidence_is_lost():
    confidence = np.linspace(0, 1, 63, dtype=np.float32).reshape(SHAPE)
    counts = calibration_counts(np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8), confidence)
    assert counts[:, 0].sum() == 63
    assert counts[:, 1].sum() == pytest.approx(confidence.sum())
    assert math.isnan(calibration_error(np.zeros((BINS, 3))))


@settings(max_examples=40)
@given(LABELS, RASTER, hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)))
def test_calibration_of_parts_adds_up(truth, predicted, confidence):
    whole = calibration_counts(truth, predicted, confidence)
    parts = [calibration_counts(*(each[rows] for each in (truth, predicted, confidence))) for rows in range(SHAPE[0])]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0))
    assert 0 <= calibration_error(whole) <= 1 or math.isnan(calibration_error(whole))
