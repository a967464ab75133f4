"""Values between keys."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframes.timelines import curves, value_at
from millrace.keyframes.curve import Curve, Key


def key(time, value, ease="linear", **handles):
    return Key(Fraction(time), value, ease, **handles)


@given(st.data(), st.lists(st.integers(-3000, 3000), min_size=1, max_size=20))
def test_linear_and_held_segments_are_those_of_the_definition(data, hundredths):
    curve = data.draw(curves(Fraction(25), 0, 50))
    times = [Fraction(each, 100) for each in hundredths]
    expected = [value_at(curve, time) for time in times]
    np.testing.assert_allclose(curve.at(np.array([float(time) for time in times])), expected, rtol=1e-9, atol=1e-9)


def test_values_hold_before_the_first_key_and_after_the_last():
    curve = Curve([key(1, 10), key(2, 20)])
    assert curve.at(np.array([-5.0, 1.0, 1.25, 2.0, 99.0])).tolist() == [10, 10, 12.5, 20, 20]


def test_of_keys_at_one_time_the_last_counts_whatever_their_order():
    curve = Curve([key(2, 20), key(1, 10), key(2, 30)])
    assert [each.value for each in curve.keys] == [10, 30]
    with pytest.raises(ValueError, match="needs a key"):
        Curve([])


def test_a_bezier_with_flat_handles_eases_in_and_out():
    """Handles of a third, flat: the cubic 3s^2 - 2s^3 with time running evenly."""
    flat = (1 / 3, 0.0)
    curve = Curve([key(0, 0, "bezier", reach_out=flat), key(1, 8, "bezier", reach_in=(-1 / 3, 0.0))])
    times = np.linspace(0, 1, 9)
    np.testing.assert_allclose(curve.at(times), 8 * (3 * times**2 - 2 * times**3), atol=1e-9)


def test_a_bezier_without_handles_is_straight():
    curve = Curve([key(0, 0, "bezier"), key(2, 4, "bezier")])
    np.testing.assert_allclose(curve.at(np.array([0.5, 1.0, 1.7])), [1, 2, 3.4], atol=1e-9)


@given(st.tuples(*[st.floats(-5, 5) for _ in range(4)]))
def test_any_handles_pass_through_the_keys_and_stay_near_them(handles):
    out_time, out_value, in_time, in_value = handles
    left = key(1, 3, "bezier", reach_out=(abs(out_time), out_value))
    right = key(2, 7, "bezier", reach_in=(-abs(in_time), in_value))
    values = Curve([left, right]).at(np.linspace(1, 2, 50))
    assert values[0] == pytest.approx(3, abs=1e-6)
    assert values[-1] == pytest.approx(7, abs=1e-6)
    assert values.min() >= min(3, 7, 3 + out_value, 7 + in_value) - 1e-6
    assert values.max() <= max(3, 7, 3 + out_value, 7 + in_value) + 1e-6


def test_a_held_key_before_a_bezier_one_holds():
    curve = Curve([key(0, 5, "hold"), key(1, 9, "bezier", reach_in=(-0.5, 0.0))])
    assert curve.at(np.array([0.0, 0.99, 1.0])).tolist() == [5, 5, 9]
