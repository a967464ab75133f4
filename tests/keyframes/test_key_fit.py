"""Rows to keys: as few as there can be, and close enough in every row."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.key_fit import EXACT, TOLERANCE, fit, fit_animation
from millrace.keyframes.sampling import PARAMETERS
from millrace.keyframes.timeline import DEFAULTS

STEP = Fraction(1, 10)
FIRSTS = st.sampled_from([Fraction(0), Fraction(1001, 3), Fraction(3600), Fraction(-7, 30)])
ANY = st.floats(-1e4, 1e4, width=32)
WHOLE = st.integers(-3, 3).map(float)


def times_of(first, count):
    return [first + row * STEP for row in range(count)]


def shown(curve, first, count):
    return curve.at(np.array([float(time) for time in times_of(first, count)]))


def fit_one(values, tolerance, first=Fraction(0)):
    return fit(np.array(values)[:, None], first, STEP, [tolerance])[0]


@given(st.lists(st.one_of(ANY, WHOLE), min_size=1, max_size=40), st.sampled_from([0.01, 0.5, 3, 1e5]), FIRSTS)
def test_every_row_is_within_the_tolerance(values, tolerance, first):
    curve = fit_one(values, tolerance, first)
    assert np.abs(shown(curve, first, len(values)) - values).max() <= tolerance + 1e-6


@given(st.lists(st.one_of(ANY, WHOLE), min_size=1, max_size=40), FIRSTS)
def test_without_tolerance_every_float32_comes_back(values, first):
    curve = fit_one(values, 0, first)
    assert shown(curve, first, len(values)).astype(np.float32).tolist() == np.float32(values).tolist()


@given(st.data(), FIRSTS, st.sampled_from([0, 0.01]))
def test_a_line_with_m_corners_has_at_most_m_keys(data, first, tolerance):
    corners = sorted(data.draw(st.sets(st.integers(0, 60), min_size=1, max_size=6)))
    steps = np.zeros(60)
    for begin, end in pairwise(corners):  # in whole 64ths, so that each row is a float32 and not only near one
        steps[begin:end] = data.draw(st.integers(-640, 640)) / 64
    curve = fit_one(np.cumsum([0.25, *steps]), tolerance, first)
    assert len(curve.keys) <= len(corners)


def fits(values, keys, tolerance):
    line = np.interp(np.arange(len(values)), keys, [values[key] for key in keys])
    return np.abs(line - values).max() <= tolerance


@given(st.lists(WHOLE, min_size=1, max_size=8), st.sampled_from([0.4, 0.9, 1.3]))
def test_no_smaller_choice_of_rows_would_do(values, tolerance):
    """Against all choices; the tolerances are no sums of quotients of what is drawn, so that none is met exactly."""
    wanted = next(
        count
        for count in range(1, len(values) + 1)
        if any(fits(values, keys, tolerance) for keys in combinations(range(len(values)), count))
    )
    assert len(fit_one(values, tolerance).keys) == wanted


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (np.linspace(100, 150, 50), [(0, 100), (49, 150)]),
        ([5.0] * 50, [(0, 5)]),
        ([*[1.0] * 10, *np.linspace(1, 2, 11), *[2.0] * 30], [(10, 1), (20, 2)]),
        ([*[1.0] * 10, *[2.0] * 10], [(9, 1), (10, 2)]),
        ([7.0], [(0, 7)]),
    ],
)
def test_keys_stand_at_the_corners(values, keys):
    curve = fit_one(values, 0.001)
    assert [(key.time / STEP, key.value) for key in curve.keys] == keys


def test_a_corner_within_the_tolerance_of_others_is_met():
    values = np.interp(np.arange(41), [0, 20, 40], [0, 10, 12])
    assert [key.time / STEP for key in fit_one(values + 0.01 * (-1) ** np.arange(41), 0.3).keys] == [0, 20, 40]


def test_two_parameters_share_the_times_of_their_keys():
    rows = np.arange(31)
    x, y = np.interp(rows, [0, 10, 30], [0, 1, 1]), np.interp(rows, [0, 20, 30], [0, 1, 0])
    curves = fit(np.stack([x, y], axis=1), Fraction(2), STEP, [0.001, 0.001])
    assert [[(key.time - 2) / STEP for key in curve.keys] for curve in curves] == [[0, 10, 20, 30]] * 2


def test_an_animation_names_what_moves_and_what_rests_elsewhere():
    rows = np.arange(21)
    cells = np.tile(np.array(list(DEFAULTS.values())), (21, 1))
    cells[:, PARAMETERS.index("scale")] = 100.02
    cells[:, PARAMETERS.index("x")] = rows / 20
    cells[:, PARAMETERS.index("crop_l")] = 12.5 + 0.04 * (rows % 2)
    cells[:, PARAMETERS.index("rotation")] = np.interp(rows, [0, 10], [0, 90])
    curves = fit_animation(cells, Fraction(5), STEP, TOLERANCE)
    assert {name: len(curve.keys) for name, curve in curves.items()} == {"x": 2, "crop_l": 1, "rotation": 2}
    assert curves["crop_l"].keys == (Key(Fraction(0), float(np.float32(12.52))),)
    assert [key.time for key in curves["rotation"].keys] == [5, 6]
    exact = fit_animation(cells[:, :7], Fraction(5), STEP, EXACT)
    assert set(exact) == {"scale", "x", "crop_l"}
    assert exact["scale"].keys == Curve.constant(float(np.float32(100.02))).keys


def test_a_thousand_rows_of_a_random_walk():
    values = np.float32(np.cumsum(np.random.default_rng(0).normal(size=1000)))
    curve = fit_one(values, 1.5)
    assert np.abs(shown(curve, 0, 1000) - values).max() <= 1.5 + 1e-6
    assert len(curve.keys) < 200
