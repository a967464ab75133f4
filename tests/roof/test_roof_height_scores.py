"""Height scores against hand-computed cases, and what must hold for any heights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.roof.classes import UNKNOWN
from millrace.roof.height_scores import height_counts, height_scores

SHAPE = (4, 5)
HEIGHT = hnp.arrays(np.float32, SHAPE, elements=st.floats(-10, 500, width=32))
LABELS = hnp.arrays(np.float32, SHAPE, elements=st.one_of(st.floats(-10, 500, width=32), st.just(float("nan"))))
ROOF = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, UNKNOWN]))


def metres(*values):
    return np.array([values], np.float32)


def test_heights_by_hand():
    truth, predicted = metres(4, 8, 0, np.nan), metres(5, 7, 2, 99)
    roof = np.array([[1, 1, 0, 1]], np.uint8)
    scores = height_scores(height_counts(truth, predicted, roof))
    assert scores["depth_rmse_m"] == pytest.approx(math.sqrt((1 + 1 + 4) / 3))
    assert scores["depth_mae_m"] == pytest.approx(4 / 3)
    # 5 / 4 is not below 1.25; 8 / 7 is; the ground is predicted 2 m high.
    assert scores["depth_delta"] == pytest.approx(1 / 3)
    assert scores["depth_roof_rmse_m"] == pytest.approx(1)
    assert scores["depth_roof_mae_m"] == pytest.approx(1)
    assert scores["depth_roof_delta"] == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("truth", "predicted", "right"), [(0, 0, True), (0, 1.2, True), (0, 1.3, False), (-3, 0.5, True), (3, 0, False)]
)
def test_near_the_ground_a_metre_stands_in(truth, predicted, right):
    assert height_scores(height_counts(metres(truth), metres(predicted), None))["depth_delta"] == right


def test_without_labels_there_is_no_score():
    nothing = height_scores(height_counts(metres(np.nan), metres(3), np.ones((1, 1), np.uint8)))
    assert all(math.isnan(value) for value in nothing.values())
    no_roof = height_scores(height_counts(metres(2), metres(3), None))
    assert math.isnan(no_roof["depth_roof_rmse_m"])
    assert no_roof["depth_rmse_m"] == 1


@settings(max_examples=30)
@given(LABELS, ROOF)
def test_perfect_heights(truth, roof):
    scores = height_scores(height_counts(truth, np.nan_to_num(truth, nan=7.0), roof))
    if not np.isnan(truth).all():
        assert (scores["depth_rmse_m"], scores["depth_mae_m"], scores["depth_delta"]) == (0, 0, 1)


@settings(max_examples=30)
@given(LABELS, HEIGHT, HEIGHT, ROOF)
def test_unknown_pixels_never_change_a_score(truth, predicted, other, roof):
    changed = np.where(np.isnan(truth), other, predicted)
    np.testing.assert_array_equal(height_counts(truth, predicted, roof), height_counts(truth, changed, roof))
    elsewhere = np.where(np.isnan(truth), 1, roof).astype(np.uint8)
    np.testing.assert_array_equal(height_counts(truth, predicted, roof), height_counts(truth, predicted, elsewhere))


@settings(max_examples=30)
@given(LABELS, HEIGHT, ROOF, st.integers(0, SHAPE[0]))
def test_counts_of_parts_add_up(truth, predicted, roof, cut):
    parts = [height_counts(truth[rows], predicted[rows], roof[rows]) for rows in (slice(cut), slice(cut, None))]
    np.testing.assert_allclose(sum(parts), height_counts(truth, predicted, roof), rtol=1e-12)
