"""BD-rate and BD-PSNR: known differences, published curves, and what has no answer."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.compression.bjontegaard import bd_psnr, bd_rate, decibels, pareto

ANCHOR = [(0.1, 20.1), (0.2, 21.3), (0.45, 23.3), (0.7, 25.0), (1.0, 26.7), (2.0, 32.1)]

STEPS = st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 5))
CURVES = st.lists(STEPS, min_size=3, max_size=7).map(
    lambda steps: [tuple(point) for point in np.cumsum([(0.05, 20.0), *steps], axis=0).tolist()]
)


def scaled(curve, factor):
    return [(rate * factor, quality) for rate, quality in curve]


def raised(curve, by):
    return [(rate, quality + by) for rate, quality in curve]


@given(CURVES, st.sampled_from([None, (0.06, 0.4)]))
def test_a_curve_against_itself(curve, rates):
    assert bd_rate(curve, curve, rates).value == 0
    assert bd_psnr(curve, curve, rates).value == 0


@given(CURVES, st.floats(0.5, 2), st.sampled_from([None, (0.06, 0.2)]))
def test_every_rate_scaled(curve, factor, rates):
    assert bd_rate(curve, scaled(curve, factor), rates).value == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_nine_tenths_of_the_rate_is_minus_ten_percent():
    found = bd_rate(ANCHOR, scaled(ANCHOR, 0.9))
    assert found.value == pytest.approx(-10, abs=1e-12)
    assert (found.low, found.high) == (20.1, 32.1)


@given(CURVES, st.floats(-3, 3), st.sampled_from([None, (0.06, 0.4)]))
def test_every_quality_raised(curve, by, rates):
    assert bd_psnr(curve, raised(curve, by), rates).value == pytest.approx(by, abs=1e-9)


def test_one_decibel_is_one_decibel_of_the_window():
    found = bd_psnr(ANCHOR, raised(ANCHOR, 1), (0.15, 1.5))
    assert found.value == pytest.approx(1, abs=1e-12)
    assert (found.low, found.high) == (0.15, 1.5)


@given(CURVES, CURVES)
def test_exchanging_the_curves_inverts_the_ratio(first, second):
    if max(first[0][1], second[0][1]) >= min(first[-1][1], second[-1][1]):
        return
    there, back = bd_rate(first, second), bd_rate(second, first)
    assert (1 + there.value / 100) * (1 + back.value / 100) == pytest.approx(1)
    assert (there.low, there.high) == (back.low, back.high)


@pytest.mark.parametrize(
    ("anchor", "tested", "rate", "psnr"),
    [
        (
            ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]),
            ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]),
            -4.41748535,
            0.11969279,
        ),
        (
            ([82472.76, 26875.24, 9487.76, 4593.6], [43.825, 41.404, 40.037, 38.615]),
            ([99896.96, 33952.04, 9787.8, 4469.0], [44.731, 41.875, 40.121, 38.651]),
            -4.47218200,
            0.08887485,
        ),
    ],
)
def test_as_the_reference_implementation(anchor, tested, rate, psnr):
    # The two examples of https://github.com/FAU-LMS/bjontegaard, whose PCHIP agrees with the spreadsheet of JVET-T2010;
    # the numbers are what its release 1.3.0 answers with method="pchip".
    anchor, tested = list(zip(*anchor, strict=True)), list(zip(*tested, strict=True))
    assert bd_rate(anchor, tested).value == pytest.approx(rate, abs=1e-7)
    assert bd_psnr(anchor, tested).value == pytest.approx(psnr, abs=1e-7)


def test_two_points_are_joined_by_a_line():
    # ln rate = q / 10 and ln rate = q / 20 - 1: over q = 20 to 40 the mean difference is -(q / 20 + 1) at q = 30.
    anchor = [(math.exp(2), 20), (math.exp(4), 40)]
    tested = [(math.exp(-0.5), 10), (math.exp(1.5), 50)]
    found = bd_rate(anchor, tested)
    assert found.value == pytest.approx(100 * math.expm1(-2.5))
    assert (found.low, found.high) == (20, 40)


def test_the_window_cuts_the_anchor_and_not_the_tested_curve():
    # The tested curve is better by 10 % within the window's quality, and far worse beyond it.
    anchor = [(rate, 10 * math.log10(rate)) for rate in np.geomspace(0.1, 3, 24)]
    tested = [(rate * (0.9 if rate <= 1.5 else 2.0), quality) for rate, quality in anchor]
    inside = bd_rate(anchor, tested, (0.15, 1.2))
    assert inside.value == pytest.approx(-10, abs=1e-9)
    assert (inside.low, inside.high) == pytest.approx((10 * math.log10(0.15), 10 * math.log10(1.2)), abs=0.01)
    assert bd_rate(anchor, tested).value > 0
    cheap = scaled(anchor, 0.1)  # has these qualities at 0.015 to 0.12 bits per pixel
    assert bd_rate(anchor, cheap, (0.15, 1.2)).value == pytest.approx(-90)


def test_a_window_wider_than_the_anchor_is_the_anchor():
    assert bd_rate(ANCHOR, scaled(ANCHOR, 1.3), (0.001, 90)) == bd_rate(ANCHOR, scaled(ANCHOR, 1.3))


def test_beaten_points_take_no_part():
    worse = [(0.15, 20.0), (0.45, 20.2), (2.5, 32.0), (2.0, 32.1)]
    mixed = [*ANCHOR[::-1], *worse]
    rates, qualities = pareto(mixed)
    assert list(zip(rates, qualities, strict=True)) == ANCHOR
    assert bd_rate(mixed, scaled(ANCHOR, 0.9)).value == pytest.approx(-10, abs=1e-12)


@pytest.mark.parametrize(
    ("tested", "rates", "told"),
    [
        (raised(ANCHOR, 30), None, "share no quality"),
        (raised(ANCHOR, 12.0), None, "share no quality"),  # they touch in one point
        (ANCHOR, (5, 6), "share no rates"),
        (ANCHOR[:1], None, "2 points"),
        ([(0.1, 30.0), (0.2, 30.0)], None, "2 points"),
        ([], None, "2 points"),
        ([(0.0, 20.0), (0.1, 21.0)], None, "positive"),
        ([(0.1, 20.0), (0.2, math.inf)], None, "finite"),
        ([(0.1, 20.0), (0.2, math.nan)], None, "finite"),
    ],
)
def test_no_answer(tested, rates, told):
    with pytest.raises(ValueError, match=told):
        bd_rate(ANCHOR, tested, rates)


def test_no_common_rates():
    with pytest.raises(ValueError, match="share no rates"):
        bd_psnr(ANCHOR, scaled(ANCHOR, 100))
    with pytest.raises(ValueError, match="within the window"):
        bd_psnr(ANCHOR, scaled(ANCHOR, 2), (0.01, 0.05))


def test_ms_ssim_in_decibels():
    assert decibels([0.9, 0.99, 0.0]) == pytest.approx([10, 20, 0])
    assert float(decibels(0.5)) == pytest.approx(3.0103, abs=1e-4)
    with pytest.raises(ValueError, match="no finite value"):
        decibels([0.5, 1.0])


def test_the_values_are_plain_numbers():
    found = bd_rate(ANCHOR, scaled(ANCHOR, 0.9), (0.15, 1.5))
    assert json.dumps([found.value, found.low, found.high])
