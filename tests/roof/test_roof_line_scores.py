"""Line scores against hand-computed cases and L-CNN's own way to compute structural AP."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.roof.classes import ALL_LINES, LINES
from millrace.roof.line_scores import (
    SAP_THRESHOLDS,
    UNIT_PX,
    LineMatches,
    line_pixel_counts,
    match_lines,
    structural_ap,
)
from millrace.roof.scene import Lines
from millrace.roof.scores import agreement

RIDGE, EAVE = LINES.index("ridge"), LINES.index("eave")
SIDE = 256


def truths(*ends, kind=RIDGE):
    return Lines(np.full(len(ends), kind, np.uint8), np.array(ends, np.float64).reshape(-1, 4))


def found(*ends, kind=RIDGE, scores=None):
    lines = truths(*ends, kind=kind)
    given_scores = np.linspace(0.9, 0.1, len(ends)) if scores is None else np.array(scores, np.float64)
    return SimpleNamespace(kinds=lines.kinds, ends=lines.ends, scores=given_scores)


def ap(truth, predicted, known=ALL_LINES, side=SIDE):
    return structural_ap(match_lines(truth, known, predicted, (side, side)))


def test_one_unit_is_four_pixels():
    """Both ends off by d pixels: 2 (d / 4)^2 square units."""
    truth = truths((50, 50, 50, 150))
    for d, expected in ((6.3, [1, 1, 1]), (6.4, [0, 1, 1]), (8.9, [0, 1, 1]), (9.0, [0, 0, 1]), (11.0, [0, 0, 0])):
        assert ap(truth, found((50 + d, 50, 50 + d, 150)))[RIDGE].tolist() == expected
    assert UNIT_PX == 512 / 128


def test_scores_do_not_depend_on_the_size_of_the_tile():
    truth, predicted = truths((50, 50, 50, 150)), found((58, 50, 58, 150))
    np.testing.assert_array_equal(ap(truth, predicted, side=200), ap(truth, predicted, side=2000))


def test_either_end_may_come_first():
    assert ap(truths((10, 20, 90, 80)), found((90, 80, 10, 20)))[RIDGE].tolist() == [1, 1, 1]


def test_kind_must_be_right():
    assert ap(truths((10, 20, 90, 80)), found((10, 20, 90, 80), kind=EAVE))[RIDGE].tolist() == [0, 0, 0]


def test_a_true_line_is_found_once():
    matches = match_lines(truths((10, 20, 90, 80)), ALL_LINES, found((10, 20, 90, 80), (10, 20, 90, 81)), (SIDE, SIDE))
    assert matches.right[:, 0].tolist() == [True, False]


def test_average_precision_by_hand():
    truth = truths((10, 20, 90, 80), (10, 120, 90, 180), (110, 20, 190, 80))
    # Right, wrong, right: precision 1 up to recall 1/3, 2/3 up to 2/3, and then nothing.
    predicted = found((10, 20, 90, 80), (200, 20, 200, 80), (10, 120, 90, 180))
    assert ap(truth, predicted)[RIDGE, 0] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)


def test_lines_of_equal_score_have_no_order():
    truth = truths((10, 20, 90, 80))
    right, wrong = (10, 20, 90, 80), (200, 20, 200, 80)
    one = ap(truth, found(right, wrong, scores=[0.5, 0.5]))[RIDGE]
    other = ap(truth, found(wrong, right, scores=[0.5, 0.5]))[RIDGE]
    assert one.tolist() == other.tolist() == [0.5, 0.5, 0.5]


def test_kinds_that_are_not_given_as_vectors_do_not_count():
    truth, predicted = truths((10, 20, 90, 80)), found((200, 20, 200, 80), kind=EAVE)
    matches = match_lines(truth, 1 << RIDGE, predicted, (SIDE, SIDE))
    assert matches.true.tolist() == [1, 0, 0, 0, 0]
    assert len(matches.kinds) == 0
    assert np.isnan(structural_ap(matches)[EAVE]).all()
    assert structural_ap(matches)[RIDGE].tolist() == [0, 0, 0]


def test_lines_end_at_the_edge_of_the_tile():
    crossing, outside, corner = (-40, 50, 60, 50), (-40, 50, -10, 90), (-10, 10, 2, -2)
    truth = truths(crossing, outside, corner, (100, 300, 200, 300))
    matches = match_lines(truth, ALL_LINES, found((0, 50, 60, 50)), (SIDE, SIDE))
    assert matches.true[RIDGE] == 1
    assert matches.right.tolist() == [[True, True, True]]


@pytest.mark.parametrize("ends", [(0, 50, 0, 90), (256, 50, 256, 90), (50, 0, 90, 0), (50, 256, 90, 256)])
def test_lines_along_the_edge_of_the_tile_are_inside(ends):
    assert match_lines(truths(ends), ALL_LINES, found(), (SIDE, SIDE)).true[RIDGE] == 1


def reference_sap(tiles, threshold):
    """The loop of L-CNN's evaluation: nearest true line, taken once, in the order of scores, over all tiles."""
    marks, total = [], 0
    for true, predicted, scores in tiles:
        taken = set()
        total += len(true)
        for index in sorted(range(len(predicted)), key=lambda index: -scores[index]):
            best, nearest = math.inf, -1
            for number, line in enumerate(true):
                a, b = np.reshape(line, (2, 2)) / 4, np.reshape(predicted[index], (2, 2)) / 4
                distance = min(((a - b) ** 2).sum(), ((a - b[::-1]) ** 2).sum())
                if distance < best:
                    best, nearest = distance, number
            hit = best < threshold and nearest not in taken
            taken |= {nearest} if hit else set()
            marks.append((scores[index], hit))
    marks.sort(key=lambda mark: -mark[0])
    right, points = 0, []
    for count, (_, hit) in enumerate(marks, start=1):
        right += hit
        points.append((right / total, right / count))
    area, before = 0.0, 0.0
    for place, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[place:])
        before = recall
    return area


@st.composite
def tiles_of_lines(draw):
    """True lines, and predictions near them or anywhere, each with a score of its own."""
    place = st.integers(0, 63)
    tiles, number = [], 0
    for _ in range(draw(st.integers(1, 3))):
        # Longer than a unit, so that none is left out.
        line = st.tuples(place, place, place, place).filter(lambda ends: math.dist(ends[:2], ends[2:]) > 24)
        true = draw(st.lists(line, max_size=4, unique=True))
        near = st.tuples(*[st.integers(-9, 9)] * 4)
        drawn = [np.clip(np.add(ends, draw(near)), 0, 63) for ends in true] + draw(st.lists(line, max_size=3))
        predicted = [tuple(int(value) for value in ends) for ends in drawn]
        predicted = [ends for ends in predicted if math.dist(ends[:2], ends[2:]) > 4]
        tiles.append((true, predicted, list(range(number, number + len(predicted)))))
        number += len(predicted)
    scores = draw(st.permutations(range(number)))
    return [(true, predicted, [scores[place] / 100 for place in places]) for true, predicted, places in tiles]


@settings(max_examples=40)
@given(tiles_of_lines())
def test_structural_ap_equals_that_of_l_cnn(tiles):
    parts = [match_lines(truths(*true), ALL_LINES, found(*lines, scores=s), (64, 64)) for true, lines, s in tiles]
    values = structural_ap(LineMatches.joined(parts))[RIDGE]
    if not any(true for true, _, _ in tiles):
        assert np.isnan(values).all()
        return
    expected = [reference_sap(tiles, threshold) for threshold in SAP_THRESHOLDS]
    assert values == pytest.approx(expected)
    backwards = structural_ap(LineMatches.joined(parts[::-1]))[RIDGE]
    np.testing.assert_array_equal(values, backwards)


@settings(max_examples=40)
@given(tiles_of_lines())
def test_perfect_lines(tiles):
    parts = [match_lines(truths(*true), ALL_LINES, found(*true), (64, 64)) for true, _, _ in tiles]
    values = structural_ap(LineMatches.joined(parts))[RIDGE]
    assert (values == 1).all() or not any(true for true, _, _ in tiles)


BITS = hnp.arrays(np.uint8, (12, 13), elements=st.integers(0, ALL_LINES))


def probabilities(bits):
    return np.stack([(bits >> kind & 1) for kind in range(len(LINES))]).astype(np.float16)


def test_pixels_within_the_tolerance_agree():
    truth, predicted = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    truth[10, 2:18] = 1 << RIDGE
    predicted[12, 2:18] = 1 << RIDGE
    known = np.full((20, 20), ALL_LINES, np.uint8)
    near = line_pixel_counts(truth, known, probabilities(predicted), 0.5, 2)
    assert agreement(near[RIDGE]) == (1, 1, 1)
    assert agreement(line_pixel_counts(truth, known, probabilities(predicted), 0.5, 1)[RIDGE])[2] == 0
    assert not near[EAVE].any()


def test_a_thick_line_reaches_no_further():
    truth, predicted = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[10, 5:35] = 1 << RIDGE
    predicted[10:19, 5:35] = 1 << RIDGE
    known = np.full((40, 40), ALL_LINES, np.uint8)
    assert agreement(line_pixel_counts(truth, known, probabilities(predicted), 0.5, 2)[RIDGE])[2] < 0.3


def test_a_kind_that_is_not_labelled_is_unknown_rather_than_absent():
    truth, known = np.zeros((20, 20), np.uint8), np.full((20, 20), 1 << EAVE, np.uint8)
    counts = line_pixel_counts(truth, known, np.ones((5, 20, 20), np.float16), 0.5, 2)
    assert not counts[RIDGE].any()
    assert counts[EAVE, 0] > 0


@settings(max_examples=40)
@given(BITS, BITS)
def test_perfect_pixels(truth, known):
    counts = line_pixel_counts(truth, known, probabilities(truth), 0.5, 2)
    assert all(f1 == 1 or math.isnan(f1) for f1 in (agreement(own)[2] for own in counts))


@settings(max_examples=40)
@given(BITS, BITS, BITS, BITS)
def test_unknown_pixels_never_change_a_score(truth, known, predicted, other):
    counts = line_pixel_counts(truth, known, probabilities(predicted), 0.5, 2)
    changed = line_pixel_counts(
        (truth & known) | (other & ~known), known, probabilities((predicted & known) | (other & ~known)), 0.5, 2
    )
    np.testing.assert_array_equal(counts, changed)
