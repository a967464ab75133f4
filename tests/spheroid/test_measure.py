"""Measurements against ideal shapes and against Fiji's of real spheroids."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import roifile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import ellipe

from millrace.spheroid.measure import measure

COLUMNS = [
    "label",
    "area_px",
    "perimeter_px",
    "equivalent_diameter_px",
    "major_axis_px",
    "minor_axis_px",
    "eccentricity",
    "circularity",
    "solidity",
    "centroid_row_px",
    "centroid_column_px",
    "bbox_top",
    "bbox_left",
    "bbox_bottom",
    "bbox_right",
    "mean_intensity",
    "touches_border",
]
LENGTHS = ["perimeter", "equivalent_diameter", "major_axis", "minor_axis"]
CENTROIDS = ["centroid_row", "centroid_column"]
MICROMETRES = ["area_um2", *(f"{length}_um" for length in [*CENTROIDS, *LENGTHS])]


def ellipse(row, column, half_major, half_minor, angle, shape=(140, 150)):
    """Pixels whose centre lies in an ellipse; the angle is that of the major axis to the columns."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    along = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
    across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
    return ((along / half_major) ** 2 + (across / half_minor) ** 2 <= 1).astype(np.int32)


def only_row(labels, pixel_size_um=None):
    table = measure(labels, np.zeros(labels.shape, np.uint8), pixel_size_um)
    assert len(table) == 1
    return table.iloc[0]


OFFSET = st.floats(-0.5, 0.5)


def ellipse_perimeter(half_major, half_minor):
    return 4 * half_major * ellipe(1 - (half_minor / half_major) ** 2)


@settings(max_examples=50, deadline=None)
@given(st.floats(15, 50), st.floats(1, 2.5), st.floats(0, np.pi), OFFSET, OFFSET)
def test_any_ellipse(half_minor, ratio, angle, down, right):
    half_major = min(half_minor * ratio, 60)
    row = only_row(ellipse(70 + down, 75 + right, half_major, half_minor, angle))
    perimeter = ellipse_perimeter(half_major, half_minor)
    # A pixel is in or out by its centre, so that the border is displaced by less than half a pixel: a rim of that width
    # bounds the area, one pixel the axes, and 2 pi / 2 the perimeter, of which four directions see 2 % more or less.
    assert row.area_px == pytest.approx(np.pi * half_major * half_minor, abs=perimeter / 2)
    assert row.major_axis_px == pytest.approx(2 * half_major, abs=1)
    assert row.minor_axis_px == pytest.approx(2 * half_minor, abs=1)
    assert row.perimeter_px == pytest.approx(perimeter, abs=np.pi + 0.02 * perimeter)
    assert row.centroid_row_px == pytest.approx(70 + down, abs=0.1)
    assert row.centroid_column_px == pytest.approx(75 + right, abs=0.1)
    assert row.eccentricity**2 == pytest.approx(1 - (row.minor_axis_px / row.major_axis_px) ** 2)
    assert row.circularity == pytest.approx(4 * np.pi * row.area_px / row.perimeter_px**2)
    # The corners of border pixels stand out of the ellipse by less than a pixel's diagonal.
    assert 1 - np.sqrt(2) * perimeter / row.area_px < row.solidity < 1


@pytest.mark.parametrize(("half_minor", "tolerance"), [(5, 0.015), (8, 0.015), (20, 0.005), (40, 0.005)])
@pytest.mark.parametrize("ratio", [1, 1.5])
def test_no_bias_over_many_ellipses(half_minor, ratio, tolerance):
    generator = np.random.default_rng(half_minor)
    half_major = half_minor * ratio
    placed = [(*(70 + generator.uniform(-0.5, 0.5, 2)), generator.uniform(0, np.pi)) for _ in range(30)]
    rows = [only_row(ellipse(row, column, half_major, half_minor, angle)) for row, column, angle in placed]
    perimeter = ellipse_perimeter(half_major, half_minor)
    # Half a pixel too many or too few all around would be 10 % of the smallest diameter and 1.25 % of the largest.
    truth = {
        "area_px": np.pi * half_major * half_minor,
        "equivalent_diameter_px": 2 * np.sqrt(half_major * half_minor),
        "major_axis_px": 2 * half_major,
        "minor_axis_px": 2 * half_minor,
        "perimeter_px": perimeter,
        "circularity": 4 * np.pi**2 * half_major * half_minor / perimeter**2,
    }
    means = pd.DataFrame(rows)[list(truth)].mean()
    assert means.to_dict() == pytest.approx(truth, rel=tolerance)


def test_hand_computed_table():
    labels = np.zeros((8, 9), np.int32)
    labels[0:2, 3:8] = 4
    labels[4:7, 1:4] = 7
    labels[5, 3] = 0
    labels[5, 8] = 2
    grey = np.arange(72, dtype=np.uint16).reshape(8, 9) * 900
    table = measure(labels, grey, 0.5)
    assert table.columns.to_list() == COLUMNS + MICROMETRES
    assert table["label"].to_list() == [2, 4, 7]
    assert table["area_px"].to_list() == [1, 10, 8]
    np.testing.assert_allclose(table["centroid_row_px"], [5, 0.5, 5])
    np.testing.assert_allclose(table["centroid_column_px"], [8, 5, 15 / 8])
    box = table[["bbox_top", "bbox_left", "bbox_bottom", "bbox_right"]].to_numpy().tolist()
    assert box == [[5, 8, 6, 9], [0, 3, 2, 8], [4, 1, 7, 4]]
    assert table["touches_border"].to_list() == [True, True, False]
    np.testing.assert_allclose(table["mean_intensity"], [grey[labels == label].mean() for label in (2, 4, 7)])
    np.testing.assert_allclose(table["solidity"], [1, 1, 8 / 9])
    np.testing.assert_allclose(table["equivalent_diameter_px"] ** 2 * np.pi / 4, table["area_px"])
    np.testing.assert_allclose(table["area_um2"], [0.25, 2.5, 2])
    for length in [*CENTROIDS, *LENGTHS]:
        np.testing.assert_allclose(table[f"{length}_um"], table[f"{length}_px"] / 2)


@pytest.mark.parametrize("side", [(0, 3), (3, 0), (7, 3), (3, 7)])
def test_each_edge_of_the_image_is_a_border(side):
    labels = np.zeros((8, 8), np.int32)
    labels[3, 3] = 1
    labels[side] = 2
    assert measure(labels, labels, None)["touches_border"].to_list() == [False, True]


@pytest.mark.parametrize("pixel_size_um", [None, 0.7])
def test_no_object_gives_the_same_columns_and_types(pixel_size_um):
    labels = np.zeros((6, 6), np.int32)
    empty = measure(labels, labels.astype(np.uint8), pixel_size_um)
    labels[2:4, 2:4] = 1
    full = measure(labels, labels.astype(np.uint8), pixel_size_um)
    assert len(empty) == 0
    assert len(full) == 1
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, (7, 7)).filter(np.any), st.integers(2, 5))
def test_enlarging_the_pixels_scales_the_measurements(mask, factor):
    small = only_row(mask.astype(np.int32))
    large = only_row(np.kron(mask, np.ones((factor, factor))).astype(np.int32))
    assert large.area_px == small.area_px * factor**2
    assert large.equivalent_diameter_px == pytest.approx(small.equivalent_diameter_px * factor)
    assert large.solidity == pytest.approx(small.solidity)
    assert large.centroid_row_px + 0.5 == pytest.approx((small.centroid_row_px + 0.5) * factor)


def test_memory_mapped_input_and_bounded_memory(tmp_path):
    shape = (2000, 2000)
    labels = np.memmap(tmp_path / "labels", np.int32, "w+", shape=shape)
    grey = np.memmap(tmp_path / "grey", np.uint16, "w+", shape=shape)
    for number in range(1, 101):
        row, column = divmod(number - 1, 10)
        labels[200 * row : 200 * row + 40, 200 * column : 200 * column + 40] = number
    grey[:] = labels * 3
    tracemalloc.start()
    table = measure(labels, grey, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(table["mean_intensity"], 3 * table["label"])
    # Objects cover 4 % of the image; a copy of it would take a byte a pixel at the least.
    assert peak < 0.5 * labels.size


FIJI = Path(os.environ.get("MILLRACE_SHARED_DATA", "")) / "spheroid" / "wis_ewing_spheroids"
PIXEL_SIZE_UM = 0.690


def enclosed(corners, shape):
    """Pixels inside an outline of (column, row) corners that runs along pixel edges, as ImageJ traces a mask."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int32)
    for (column, row), (next_column, next_row) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if column == next_column:
            crossings[min(row, next_row) : max(row, next_row), column] += 1
    return crossings.cumsum(axis=1, dtype=np.int32)[:, :-1] % 2


@pytest.mark.skipif("MILLRACE_SHARED_DATA" not in os.environ, reason="MILLRACE_SHARED_DATA, the real files, is not set")
@pytest.mark.parametrize("well", ["B10", "B2", "C10", "C2"])
def test_real_spheroids_against_fiji(well):
    (outline_file,) = FIJI.glob(f"*_{well}_SpheroidRoiSet.roi")
    (table_file,) = FIJI.glob(f"*_{well}_DetailedResults.xls")
    fiji = pd.read_csv(table_file, sep="\t").iloc[0]
    corners = roifile.roiread(outline_file).coordinates()
    ours = only_row(enclosed(corners, (2056, 2464)), PIXEL_SIZE_UM)

    # The same pixels: equal to the three decimals of the table.
    assert ours.area_um2 == pytest.approx(fiji.aArea, abs=0.0006)
    assert ours.equivalent_diameter_um == pytest.approx(2 * fiji.aEffectiveRadius, abs=0.0011)
    assert ours.solidity == pytest.approx(fiji.aSolidity, abs=0.0006)
    # Fiji shrinks the ellipse of equal moments until its area is the object's: by 0.12 % at most here, and exactly so.
    shrunk = np.sqrt(ours.area_um2 / (np.pi / 4 * ours.major_axis_um * ours.minor_axis_um))
    assert ours.major_axis_um == pytest.approx(fiji.aMajor, rel=0.0013)
    assert ours.minor_axis_um == pytest.approx(fiji.aMinor, rel=0.0013)
    assert ours.major_axis_um * shrunk == pytest.approx(fiji.aMajor, rel=1e-5)
    assert ours.minor_axis_um * shrunk == pytest.approx(fiji.aMinor, rel=1e-5)
    # Fiji's perimeter is that of the outline's corners, each averaged with its two neighbours. On disks it is 3 % too
    # long, so its circularity is 1.03**2 = 1.06 times too small; the rest is the finer structure of the rims.
    smoothed = (np.roll(corners, 1, axis=0) + corners + np.roll(corners, -1, axis=0)) / 3
    fiji_perimeter = np.hypot(*(smoothed - np.roll(smoothed, 1, axis=0)).T).sum()
    assert 4 * np.pi * ours.area_px / fiji_perimeter**2 == pytest.approx(fiji.aCirc, abs=0.0011)
    assert ours.circularity == pytest.approx(1.06 * fiji.aCirc, rel=0.01)
