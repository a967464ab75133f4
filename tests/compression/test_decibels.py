"""Values to decibels and back, and what is refused as something else than it is called; filled holes."""

from __future__ import annotations

import io
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from millrace.compression.decibels import Scaling, check_values, clip_range, to_decibels, to_power, with_logarithm
from millrace.compression.fill import fill
from millrace.errors import ImageError

RNG = np.random.default_rng(0)
POWER = RNG.gamma(4.4, 0.1 / 4.4, 20_000)
"""Calibrated power of speckle."""


def test_decibels_are_ten_times_the_logarithm_of_power():
    np.testing.assert_allclose(to_decibels(np.array([1, 10, 100], np.uint16), "amplitude"), [0, 20, 40])
    np.testing.assert_allclose(to_decibels(np.array([1.0, 10, 1e-3]), "power"), [0, 10, -30])
    values = np.array([-25.5, 3.25], np.float32)
    for kind in ("decibel", "linear"):
        np.testing.assert_array_equal(to_decibels(values, kind), values)
    assert to_decibels(values.astype(np.float64), "power").dtype == np.float64
    for kind, stored in {"amplitude": np.sqrt(POWER), "power": POWER, "decibel": 10 * np.log10(POWER)}.items():
        np.testing.assert_allclose(to_power(stored, kind), POWER)


def test_what_has_no_logarithm_is_invalid_and_stays_silent():
    values = np.array([-1.0, 0.0, np.nan, np.inf, 2.0, 3.0], np.float32)
    readable = np.array([True, True, False, False, True, False])
    for kind in ("amplitude", "power"):
        assert with_logarithm(values, readable, kind).tolist() == [False] * 4 + [True, False]
        normalised = Scaling(-10, 10, kind).normalise(values)
        assert normalised[:3].tolist() == [0, 0, 0]
        assert np.isfinite(normalised).all()
    for kind in ("decibel", "linear"):
        assert with_logarithm(values, readable, kind).tolist() == readable.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("kind", ["amplitude", "power"])
def test_every_integer_comes_back_exactly(dtype, kind):
    values = np.arange(1, np.iinfo(dtype).max + 1).astype(dtype)
    scaling = Scaling(-0.5, 97.0, kind)
    back = scaling.denormalise(scaling.normalise(values), dtype, nodata=0)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == dtype


def test_saturated_values_come_back_as_the_ends_of_the_range():
    scaling = Scaling(20.0, 40.0, "amplitude")
    normalised = scaling.normalise(np.array([1, 10, 100, 60_000], np.uint16))
    assert normalised.tolist() == [0, 0, 1, 1]
    assert scaling.denormalise(normalised, "uint16", None).tolist() == [10, 10, 100, 100]


@given(
    values=hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-100, 100, width=32)),
    kind=st.sampled_from(["decibel", "linear"]),
)
def test_floats_come_back_to_within_rounding(values, kind):
    scaling = Scaling(-100.0, 100.0, kind)
    for dtype, tolerance in (("float32", 5e-5), ("float64", 5e-5)):
        back = scaling.denormalise(scaling.normalise(values.astype(dtype)), dtype, None)
        assert back.dtype == dtype
        np.testing.assert_allclose(back, values, atol=tolerance)


@given(
    normalised=hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32)),
    kind=st.sampled_from(["amplitude", "power", "decibel", "linear"]),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    low=st.floats(-50, 50),
    width=st.floats(0.01, 100),
    data=st.data(),
)
def test_no_decoded_pixel_is_nodata_or_has_no_logarithm(normalised, kind, dtype, low, width, data):
    scaling = Scaling(low, low + width, kind)
    without = scaling.denormalise(normalised, dtype, None)
    nodata = data.draw(st.sampled_from([0.0, 1.0, 255.0, float(without[0]), float(without[-1])]))
    if dtype.startswith("f"):
        nodata = data.draw(st.sampled_from([nodata, math.nan, -math.inf]))
    values = scaling.denormalise(normalised, dtype, nodata)
    assert values.dtype == dtype
    assert np.isfinite(values).all()
    assert not (values == nodata).any()
    assert with_logarithm(values, np.ones(values.shape, bool), kind).all()
    moved = values != without
    np.testing.assert_allclose(without[moved], nodata, rtol=2e-5)
    np.testing.assert_allclose(values[moved].astype(float), nodata, rtol=2e-5, atol=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nodata", [-99.0, 0.0, 1e-3, 12345.0])
def test_readers_that_compare_floats_with_a_tolerance_see_valid_pixels(dtype, nodata):
    """GDAL: |a - b| < 2 epsilon |a + b|, with the epsilon of float32."""
    near = nodata * (1 + np.linspace(-1e-6, 1e-6, 9))
    scaling = Scaling(nodata - 1, nodata + 1, "linear")
    values = scaling.denormalise(scaling.normalise(near), dtype, nodata).astype(np.float64)
    assert (np.abs(values - nodata) > 2 * np.finfo(np.float32).eps * np.abs(values + nodata)).all()
    np.testing.assert_allclose(values, nodata, rtol=3e-5, atol=1e-30)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf), (-1e9, 1), (0, 301)])
def test_an_impossible_range_is_refused(low, high):
    with pytest.raises(ImageError, match=r"its clip range .* is not usable"):
        Scaling(low, high, "amplitude")


def occurring(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    levels, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    return levels, counts


DN = np.rint(200 * np.sqrt(POWER / 0.1))
ACCEPTED = [
    (DN, "uint16", "amplitude"),
    (np.r_[DN, np.zeros(9000)], "uint16", "amplitude"),
    (DN**2, "float32", "power"),
    (POWER, "float32", "power"),
    (np.r_[POWER, -POWER[:150]], "float32", "power"),
    (np.sqrt(POWER), "float64", "amplitude"),
    (10 * np.log10(POWER), "float32", "decibel"),
    (np.rint(10 * np.log10(POWER)), "int16", "decibel"),
    (10 * np.log10(DN), "float32", "decibel"),
    (20 * np.log10(DN), "float32", "decibel"),
    (10 * np.log10(POWER / 0.1), "float32", "decibel"),
    (DN % 256, "uint8", "linear"),
    (10 * np.log10(POWER), "float32", "linear"),
]
CONTRADICTIONS = [
    (10 * np.log10(POWER), "float32", "amplitude", "100% of its values are negative.*: set values to decibel$"),
    (10 * np.log10(POWER), "float32", "power", "set values to decibel$"),
    (np.r_[POWER, -POWER[:5000]], "float32", "power", "20% of its values are negative.* set values to decibel, or lin"),
    (-DN, "int16", "amplitude", "set values to decibel$"),
    (DN, "uint16", "decibel", "its values are uint16.*: set values to amplitude$"),
    (DN % 256, "uint8", "decibel", "its values are uint8.*: set values to linear$"),
    (DN, "float32", "decibel", "nearly all its values are beyond 60 dB: set values to amplitude$"),
    (-100 - DN, "int16", "decibel", "beyond 60 dB: set values to linear$"),
    (POWER, "float32", "decibel", "none below, as no decibels do: set values to power$"),
    (np.r_[10 * np.log10(POWER), np.zeros(5000)], "float32", "decibel", "20% of its values are exactly 0 dB.*nodata$"),
    (np.r_[POWER, 1e38], "float32", "power", r"values up to 1e\+38: no measurement; declare them as nodata"),
]


@pytest.mark.parametrize("case", range(len(ACCEPTED)))
def test_what_values_are_called_is_believed_where_it_can_be_true(case):
    values, dtype, kind = ACCEPTED[case]
    check_values(*occurring(values), dtype, kind)


@pytest.mark.parametrize("case", range(len(CONTRADICTIONS)))
def test_values_that_are_something_else_are_refused_and_the_likely_setting_is_named(case):
    values, dtype, kind, reason = CONTRADICTIONS[case]
    with pytest.raises(ImageError, match=reason):
        check_values(*occurring(values), dtype, kind)


@given(
    values=hnp.arrays(np.uint16, st.integers(1, 200), elements=st.integers(1, 3000)),
    low=st.floats(0, 99),
    more=st.floats(0.1, 100),
)
def test_the_clip_range_is_that_of_numpy_and_never_empty(values, low, more):
    high = min(100.0, low + more)
    bottom, top = clip_range(*occurring(values), "amplitude", low, high)
    expected = 20 * np.log10(np.percentile(values, [low, high], method="inverted_cdf"))
    assert top > bottom
    if expected[1] > expected[0]:
        np.testing.assert_allclose([bottom, top], expected, rtol=1e-6)
    else:
        assert bottom < expected[0] < top


@pytest.mark.parametrize("kind", ["amplitude", "power", "decibel", "linear"])
def test_a_constant_has_a_range_around_it(kind):
    bottom, top = clip_range(np.array([5.0]), np.array([9]), kind, 1, 99)
    assert Scaling(bottom, top, kind).normalise(np.array([5.0]))[0] == pytest.approx(0.5)


# Holes


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    share=st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]),
    seed=st.integers(0, 999),
)
def test_filling_keeps_valid_pixels_and_stays_in_their_range(shape, share, seed):
    rng = np.random.default_rng(seed)
    image, valid = rng.random(shape, np.float32), rng.random(shape) < share
    image[~valid] = np.nan
    filled = fill(image, valid)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[valid], image[valid])
    if valid.any():
        assert filled.min() >= image[valid].min() - 1e-6
        assert filled.max() <= image[valid].max() + 1e-6
    else:
        assert (filled == 0.5).all()
    np.testing.assert_array_equal(fill(image, valid), filled)


def test_what_stands_in_a_hole_does_not_count():
    valid = RNG.random((90, 70)) < 0.4
    image = RNG.random((90, 70), np.float32)
    np.testing.assert_array_equal(fill(np.where(valid, image, 9), valid), fill(np.where(valid, image, -7), valid))


@pytest.mark.parametrize(("shape", "step", "error"), [("disk", 0.004, 0.004), ("border", 0.035, 0.035)])
def test_filling_is_continuous_at_the_edge_of_a_hole(shape, step, error):
    """A slope with steps of 0.0016 from pixel to pixel; beyond a border nothing is known of how it goes on."""
    rows, columns = np.mgrid[:200, :300]
    slope = (0.1 + 0.8 * (rows + columns) / 500).astype(np.float32)
    valid = np.hypot(rows - 90, columns - 150) > 40 if shape == "disk" else columns + rows // 3 > 90
    filled = fill(slope, valid)
    assert max(np.abs(np.diff(filled, axis=axis)).max() for axis in (0, 1)) < step
    edge = ~valid & ndimage.binary_dilation(valid)
    assert np.abs(filled - slope)[edge].max() < error


def test_a_hole_costs_next_to_nothing():
    """JPEG 2000 at 50 dB: a scene with a border takes little more than its valid share of a whole one."""

    def coded_bytes(image: np.ndarray) -> int:
        stream = io.BytesIO()
        quality = {"quality_mode": "dB", "quality_layers": [50], "irreversible": True}
        Image.fromarray(np.rint(image * 65535).astype(np.uint16)).save(stream, "JPEG2000", **quality)
        return len(stream.getvalue())

    rows, columns = np.mgrid[:256, :256]
    speckle = np.clip((10 * np.log10(RNG.gamma(4.4, 1 / 4.4, (256, 256))) + 10) / 15, 0, 1).astype(np.float32)
    valid = columns > 100 + rows // 4
    share = coded_bytes(fill(speckle, valid)) / coded_bytes(speckle)
    assert share < valid.mean() + 0.03
    assert share < coded_bytes(np.where(valid, speckle, 0)) / coded_bytes(speckle)


def test_filling_takes_little_memory():
    image, valid = np.ones((1500, 1500), np.float32), np.zeros((1500, 1500), bool)
    valid[:700] = True
    tracemalloc.start()
    try:
        fill(image, valid)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / image.size < 12
