"""Resampled tiles keep thin lines, unknown pixels, metres and places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from millrace.roof.classes import UNKNOWN
from millrace.roof.resample import resampled
from millrace.roof.scene import Labelled, Lines


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


bits = arrays.arrays(np.uint8, (12, 17), elements=st.integers(0, 31))
factors = st.sampled_from([0.2, 1 / 3, 0.5, 0.7, 0.96, 1.0, 1.4, 2.0, 3.3])


@given(bits, bits, factors)
def test_no_line_is_lost_and_none_is_known_to_be_absent_that_was_not(lines, known, factor):
    tile = resampled(Labelled(image=picture(12, 17), lines=lines & known, lines_known=known), factor)
    assert tile.lines.shape == tile.image.shape[:2] == (max(1, round(12 * factor)), round(17 * factor))
    assert not (tile.lines & ~tile.lines_known).any()
    rows, columns = (
        np.minimum(((np.arange(old) + 0.5) * new / old).astype(int), new - 1)
        for old, new in zip((12, 17), tile.lines.shape, strict=True)
    )
    if factor <= 1:
        there = tile.lines[np.ix_(rows, columns)]
        assert (there & (lines & known) == lines & known).all()
        absent = tile.lines_known & ~tile.lines
        assert not (absent[np.ix_(rows, columns)] & ~known).any()
    assert np.bitwise_or.reduce(tile.lines, axis=None) == np.bitwise_or.reduce(lines & known, axis=None)


@given(arrays.arrays(np.uint8, (9, 8), elements=st.sampled_from([0, 3, 16, 17, UNKNOWN])), factors)
def test_classes_are_those_of_the_nearest_pixel(segments, factor):
    found = resampled(Labelled(image=picture(9, 8), segments=segments, roof=segments), factor)
    height, width = found.segments.shape
    expected = [
        [segments[int((row + 0.5) * 9 / height), int((column + 0.5) * 8 / width)] for column in range(width)]
        for row in range(height)
    ]
    np.testing.assert_array_equal(found.segments, expected)
    np.testing.assert_array_equal(found.roof, expected)


def test_a_reduced_image_is_the_mean_of_areas():
    image = picture(12, 8)
    reduced = resampled(Labelled(image=image), 0.25).image
    expected = image.reshape(3, 4, 2, 4, 3).mean(axis=(1, 3))
    # Rows and columns are each rounded.
    assert np.abs(reduced - expected).max() <= 1


def test_heights_stay_metres_and_nodata_stays_out():
    height = np.full((20, 20), 7.5, np.float32)
    height[:, :10] = np.nan
    for factor in (0.5, 0.3, 1.7, 2.0):
        found = resampled(Labelled(image=picture(20, 20), height=height), factor).height
        assert found.dtype == np.float32
        assert np.nanmax(np.abs(found - 7.5)) < 1e-4
        middle = found.shape[1] // 2
        assert np.isnan(found[:, : middle - 1]).all()
        assert np.isfinite(found[:, middle + 1 :]).all()
    alone = np.full((16, 16), np.nan, np.float32)
    alone[5, 5] = 3
    assert np.isnan(resampled(Labelled(image=picture(16, 16), height=alone), 0.25).height).all()
    slope = np.tile(np.arange(40, dtype=np.float32), (4, 1))
    halved = resampled(Labelled(image=picture(4, 40), height=slope), 0.5).height
    np.testing.assert_allclose(halved[:, 2:-2], np.tile(np.arange(0.5, 40, 2), (2, 1))[:, 2:-2], atol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_vectors_are_scaled(factor):
    lines = Lines(np.array([1], np.uint8), np.array([[2.0, 4, 6, 8]]))
    found = resampled(Labelled(image=picture(10, 20), vectors=lines, vector_kinds=2), factor)
    np.testing.assert_allclose(found.vectors.ends, lines.ends * factor)
    assert found.vector_kinds == 2


def test_what_is_not_labelled_is_not_made():
    found = resampled(Labelled(image=picture(10, 10)), 0.5)
    assert all(
        getattr(found, name) is None for name in ("segments", "superstructures", "roof", "lines", "height", "vectors")
    )
    same = Labelled(image=picture(10, 10))
    assert resampled(same, 1.01) is same
