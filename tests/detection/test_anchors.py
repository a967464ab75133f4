"""Anchors that fit the boxes of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.detection.anchors import STEPS_PER_DOUBLING, fit_anchors


def squares(*sides: float) -> np.ndarray:
    return np.array([[3, 5, 3 + side, 5 + side] for side in sides], np.float32).reshape(-1, 4)


@pytest.mark.parametrize("levels", [(3, 4, 5), (2, 3, 4, 5, 6), (4,)])
@pytest.mark.parametrize("smallest", [32, 40, 57, 100])
def test_boxes_of_three_sizes_get_anchors_of_these_sizes(levels, smallest):
    sides = [smallest * 2**step for step in range(len(levels))]
    anchors = fit_anchors(squares(*sides), np.zeros(len(sides), np.int64), levels)
    # One of the searched sizes is at most half a step away.
    np.testing.assert_allclose(anchors, sides, rtol=2 ** (0.51 / STEPS_PER_DOUBLING) - 1)


def test_each_anchor_is_twice_the_one_below_and_whole():
    rng = np.random.default_rng(0)
    anchors = fit_anchors(squares(*rng.uniform(5, 300, 200)), rng.integers(0, 3, 200), (2, 3, 4, 5, 6))
    assert all(anchor == round(anchor) for anchor in anchors)
    np.testing.assert_allclose(np.divide(anchors[1:], anchors[:-1]), 2, rtol=0.05)


def test_long_boxes_count_by_their_area():
    tall = np.array([[0, 0, 32, 128]], np.float32)
    assert fit_anchors(tall, np.zeros(1, np.int64), (4,)) == (64.0,)


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    sides = [40] * 99 + [160]
    labels = np.array([0] * 99 + [1])
    assert fit_anchors(squares(*sides), labels, (3,))[0] == pytest.approx(80, rel=0.03)
    assert fit_anchors(squares(*sides), np.zeros(100, np.int64), (3,))[0] == pytest.approx(40, rel=0.05)


def test_class_numbers_without_a_box_do_no_harm():
    assert fit_anchors(squares(64, 64), np.array([4, 4]), (3,)) == (64.0,)


@given(
    sides=st.lists(st.floats(0, 2000, width=32), max_size=20),
    first=st.integers(2, 6),
    count=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_the_smallest_anchor_is_two_of_its_levels_pixels_or_more(sides, first, count, seed):
    levels = tuple(range(first, first + count))
    anchors = fit_anchors(squares(*sides), np.random.default_rng(seed).integers(0, 3, len(sides)), levels)
    assert len(anchors) == count
    assert np.isfinite(anchors).all()
    assert anchors[0] >= 2 * 2**first
    assert list(anchors) == sorted(anchors)


def test_no_other_size_fits_better():
    """The stated measure, searched finely and without the code under test."""
    rng = np.random.default_rng(1)
    sides, labels = np.exp(rng.uniform(np.log(20), np.log(250), 60)), rng.integers(0, 3, 60)

    def misfit(smallest: float) -> float:
        anchors = np.log2([smallest, 2 * smallest])
        nearest = np.abs(np.log2(sides)[:, None] - anchors).min(axis=1) ** 2
        return float(sum(nearest[labels == label].mean() for label in range(3)))

    found = fit_anchors(squares(*sides), labels, (3, 4))[0]
    assert misfit(found) < min(misfit(each) for each in np.geomspace(16, 250, 500)) * 1.05


def test_without_a_box_the_usual_sizes_are_taken():
    assert fit_anchors(squares(), np.empty(0, np.int64), (2, 3, 4, 5, 6)) == (32.0, 64.0, 128.0, 256.0, 512.0)
