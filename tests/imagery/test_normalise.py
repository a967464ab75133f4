from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from millrace.errors import ImageError
from millrace.imagery import normalise
from millrace.imagery.normalise import GreyScale, grey_scale

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
FLOATS = st.floats(-1e6, 1e6, width=32)
IMAGES = st.one_of(
    arrays(np.uint8, SIDES),
    arrays(np.uint16, SIDES),
    arrays(np.float32, SIDES, elements=FLOATS),
)
LOW = st.floats(0, 49)
HIGH = st.floats(51, 100)


def textured(image: np.ndarray) -> bool:
    return bool(image.min() < image.max())


@given(image=IMAGES, low=LOW, high=HIGH)
def test_percentiles_are_those_of_numpy(image, low, high):
    assume(textured(image))
    expected = np.percentile(image.astype(np.float64), [low, high])
    scale = grey_scale(image, low_percentile=low, high_percentile=high, polarity="bright")
    if np.isclose(*expected, rtol=1e-9, atol=0):
        expected = image.min(), image.max()
        assume(scale.low != scale.high)
    np.testing.assert_allclose((scale.low, scale.high), expected, rtol=1e-6, atol=1e-6 * np.ptp(expected))


@given(image=IMAGES, low=LOW, high=HIGH, polarity=st.sampled_from(["bright", "dark", "auto"]))
def test_values_are_between_0_and_1_and_of_one_window_as_of_the_whole(image, low, high, polarity):
    assume(textured(image))
    scale = grey_scale(image, low_percentile=low, high_percentile=high, polarity=polarity)
    whole = scale.apply(image)
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(scale.apply(image[1:, 2:5]), whole[1:, 2:5])


def float32_precision(image: np.ndarray, scale: GreyScale) -> float:
    """How far rounding of float32 grey values can move a normalised one."""
    return 1e-6 + float(image.max()) * 2**-22 / (scale.high - scale.low)


@given(
    image=arrays(np.uint8, SIDES),
    factor=st.integers(1, 200),
    offset=st.integers(0, 10_000),
    polarity=st.sampled_from(["bright", "dark", "auto"]),
    dtype=st.sampled_from([np.uint16, np.float32]),
)
def test_brightness_and_contrast_of_the_camera_do_not_matter(image, factor, offset, polarity, dtype):
    assume(textured(image))
    other = (image.astype(np.int64) * factor + offset).astype(dtype)
    percentiles = {"low_percentile": 1, "high_percentile": 98}
    scale, other_scale = (grey_scale(i, **percentiles, polarity=polarity) for i in (image, other))
    assert scale.inverted == other_scale.inverted
    precision = float32_precision(image, scale) + float32_precision(other, other_scale)
    np.testing.assert_allclose(scale.apply(image), other_scale.apply(other), atol=precision)


@given(image=arrays(np.uint8, SIDES), low=st.integers(0, 49), high=st.integers(51, 100))
def test_negative_image_gives_the_same_with_the_other_polarity(image, low, high):
    assume(textured(image))
    negative = 255 - image
    scale = grey_scale(image, low_percentile=low, high_percentile=high, polarity="bright")
    other = grey_scale(negative, low_percentile=100 - high, high_percentile=100 - low, polarity="dark")
    precision = float32_precision(image, scale) + float32_precision(negative, other)
    np.testing.assert_allclose(scale.apply(image), other.apply(negative), atol=precision)
    middle = (scale.low + scale.high) / 2
    assume(abs(np.median(image) - middle) > 1e-6)
    auto = grey_scale(image, low_percentile=low, high_percentile=high, polarity="auto")
    other = grey_scale(negative, low_percentile=100 - high, high_percentile=100 - low, polarity="auto")
    assert auto.inverted != other.inverted
    np.testing.assert_allclose(auto.apply(image), other.apply(negative), atol=precision)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=IMAGES, pixels_a_strip=st.integers(1, 2000))
def test_strips_and_memory_maps_do_not_change_the_scale(image, pixels_a_strip, tmp_path):
    assume(textured(image))
    arguments = {"low_percentile": 0.5, "high_percentile": 99.5, "polarity": "auto"}
    expected = grey_scale(image, **arguments)
    mapped = np.memmap(tmp_path / "image", image.dtype, "w+", shape=image.shape)
    mapped[:] = image
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "_STRIP_PIXELS", pixels_a_strip)
        assert grey_scale(mapped, **arguments) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("objects_are_bright", [True, False])
def test_auto_makes_the_few_pixels_of_objects_bright(dtype, objects_are_bright):
    rng = np.random.default_rng(0)
    image = rng.normal(180 if not objects_are_bright else 60, 5, (100, 100))
    image[40:60, 40:60] = 120
    normalised = grey_scale(image.astype(dtype), low_percentile=0.5, high_percentile=99.5, polarity="auto").apply(image)
    assert normalised[40:60, 40:60].mean() > 0.9
    assert np.median(normalised) < 0.3


def test_image_of_few_object_pixels_takes_least_and_greatest_value():
    image = np.full((100, 100), 7, np.uint8)
    image[3, 4] = 9
    assert grey_scale(image, low_percentile=0.5, high_percentile=99.5, polarity="auto") == GreyScale(
        7, 9, inverted=False
    )
    assert grey_scale(16 - image, low_percentile=0.5, high_percentile=99.5, polarity="auto") == GreyScale(
        7, 9, inverted=True
    )


def test_one_stray_value_does_not_spoil_a_float_image():
    image = np.random.default_rng(0).random((50, 50), np.float32)
    image[0, 0] = 3e38
    scale = grey_scale(image, low_percentile=0.5, high_percentile=99.5, polarity="bright")
    np.testing.assert_allclose((scale.low, scale.high), np.percentile(image, [0.5, 99.5]), rtol=1e-6)
    assert scale.apply(image)[0, 0] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_image_of_one_grey_value_is_refused(dtype):
    with pytest.raises(ImageError, match=r"^all its pixels have the grey value 3: there is nothing to see$"):
        grey_scale(np.full((9, 9), 3, dtype), low_percentile=0, high_percentile=100, polarity="auto")
