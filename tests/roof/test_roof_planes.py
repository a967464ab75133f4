"""Class rasters to planes: outlines, areas, azimuths and slopes."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_roofs import AZIMUTHS, BACKGROUND, azimuth_class, hipped_roof, roof_image
from rasterio.features import rasterize
from scipy import ndimage

from millrace.errors import ImageError
from millrace.roof import outlines
from millrace.roof.classes import UNKNOWN, flat_class
from millrace.roof.ground import Ground, ground_of, square_ground
from millrace.roof.outlines import regions
from millrace.roof.params import Vectorise
from millrace.roof.planes import find_planes
from millrace.roof.scene import Georeference

SHAPE = (200, 220)
GROUND = square_ground(0.2)


def classes_of(roofs, shape=SHAPE):
    return roof_image(shape, roofs)[..., 0] // 20


def planes_of(classes, height=None, ground=GROUND, settings=Vectorise()):  # noqa: B008  # a frozen model
    return find_planes(classes, np.ones(classes.shape, np.float16), height, AZIMUTHS, ground, settings)


def intersection_over_union(one, other):
    return one.intersection(other).area / one.union(other).area


@given(turn=st.floats(0, 360), row=st.floats(85, 115), column=st.floats(95, 125))
@settings(max_examples=25)
def test_planes_of_a_drawn_roof_have_its_corners_areas_and_directions(turn, row, column):
    truth, _ = hipped_roof((row, column), 110, 70, turn)
    planes = planes_of(classes_of([(truth, _)]))
    assert len(planes) == 4
    assert shapely.coverage_is_valid([plane.polygon for plane in planes])
    for polygon, direction in truth:
        plane = max(planes, key=lambda each: intersection_over_union(each.polygon, polygon))
        assert intersection_over_union(plane.polygon, polygon) > 0.93  # a border may run through the centres of pixels
        assert plane.area_m2 == pytest.approx(polygon.area * 0.04, rel=0.06)
        assert plane.azimuth_deg == pytest.approx(azimuth_class(direction) * 45)
        assert plane.azimuth_from == "class"
        assert len(plane.polygon.exterior.coords) <= 7
    assert sum(plane.area_m2 for plane in planes) == pytest.approx(sum(each.area for each, _ in truth) * 0.04, rel=0.02)


def test_an_upright_rectangle_is_exact():
    classes = np.full((60, 80), BACKGROUND, np.uint8)
    classes[10:40, 20:70] = 2
    (plane,) = planes_of(classes)
    assert plane.polygon.equals(shapely.box(20, 10, 70, 40))
    assert len(plane.polygon.exterior.coords) == 5
    assert (plane.facing, plane.azimuth_deg, plane.confidence) == ("E", 90, 1)
    assert plane.area_m2 == pytest.approx(30 * 50 * 0.04)


def test_holes_stay_and_flat_and_unknown_roofs_have_no_azimuth():
    classes = np.full((100, 200), BACKGROUND, np.uint8)
    classes[10:90, 10:90] = flat_class(AZIMUTHS)
    classes[30:60, 40:70] = BACKGROUND
    classes[10:90, 110:190] = UNKNOWN
    flat, unknown = planes_of(classes)
    assert len(flat.polygon.interiors) == 1
    assert flat.area_m2 == pytest.approx((80 * 80 - 30 * 30) * 0.04)
    assert (flat.facing, flat.azimuth_deg) == ("flat", None)
    assert (unknown.facing, unknown.azimuth_deg, unknown.azimuth_from) == (None, None, None)


def test_specks_go_to_the_plane_around_them_and_small_roofs_away():
    classes = np.full((100, 100), BACKGROUND, np.uint8)
    classes[20:80, 20:80] = 4
    classes[40:43, 40:43] = BACKGROUND
    classes[50:53, 60:63] = 1
    classes[5:9, 5:9] = 3
    (plane,) = planes_of(classes)
    assert (plane.facing, len(plane.polygon.interiors)) == ("S", 0)
    assert plane.area_m2 == pytest.approx(60 * 60 * 0.04)


@given(
    seed=st.integers(0, 10_000),
    side=st.integers(3, 60),
    smooth=st.floats(0.0, 3),
    kinds=st.integers(2, 4),
    tolerance=st.floats(0, 6),
)
@settings(max_examples=40)
def test_any_raster_gives_valid_polygons_that_share_borders(seed, side, smooth, kinds, tolerance):
    noise = np.random.default_rng(seed).standard_normal((kinds, side, side + 5))
    classes = ndimage.gaussian_filter(noise, (0, smooth, smooth)).argmax(axis=0).astype(np.uint8)
    found = regions(classes, 0, tolerance)
    assert sum(each.pixels.area for each in found) == (classes != 0).sum()
    polygons = [each.polygon for each in found]
    assert all(polygon.is_valid and polygon.geom_type == "Polygon" and polygon.area > 0 for polygon in polygons)
    assert shapely.coverage_is_valid(polygons)


@given(seed=st.integers(0, 10_000), tolerance=st.floats(0, 6))
@settings(max_examples=20)
def test_regions_are_the_same_in_any_batches(seed, tolerance):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((90, 100)), 2)
    classes = np.where(noise > 0.2, 1, np.where(noise > 0.1, 2, 0)).astype(np.uint8)
    with mock.patch.object(outlines, "BATCH", 1):
        found = regions(classes, 0, tolerance)
    assert found == regions(classes, 0, tolerance)


def test_noisy_borders_are_straightened_without_gain_or_loss():
    truth, lines = hipped_roof((100, 110), 110, 70, 25)
    classes = classes_of([(truth, lines)])
    shift = 8 * ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((2, *SHAPE)), (0, 2, 2))
    rows, columns = (np.indices(SHAPE) + shift).round().astype(int)
    noisy = classes[np.clip(rows, 0, SHAPE[0] - 1), np.clip(columns, 0, SHAPE[1] - 1)]
    planes = planes_of(noisy)
    corners = sum(len(plane.polygon.exterior.coords) for plane in planes)
    raw = sum(len(each.pixels.exterior.coords) for each in regions(noisy, BACKGROUND, 0))
    assert corners < raw / 3
    assert sum(plane.area_m2 for plane in planes) == pytest.approx((noisy != BACKGROUND).sum() * 0.04, rel=0.02)


@pytest.mark.parametrize("turn", [0, 20, 200])
@pytest.mark.parametrize("slope", [0.05, 0.2])
def test_heights_give_slope_and_azimuth(turn, slope):
    truth, lines = hipped_roof((100, 110), 110, 70, turn)
    image = roof_image(SHAPE, [(truth, lines)], slope_per_px=slope)
    rows, columns = np.indices(SHAPE) + 0.5
    height = np.zeros(SHAPE, np.float32)
    for polygon, direction in truth:
        inside = rasterize([polygon], SHAPE).astype(bool)
        downslope = -np.cos(np.radians(direction)) * rows + np.sin(np.radians(direction)) * columns
        height[inside] = (20 - slope * downslope)[inside]
    planes = planes_of(image[..., 0] // 20, height)
    for polygon, direction in truth:
        plane = max(planes, key=lambda each: intersection_over_union(each.polygon, polygon))
        assert plane.azimuth_from == "height"
        assert abs((plane.azimuth_deg - direction + 180) % 360 - 180) < 0.5
        assert plane.slope_deg == pytest.approx(np.degrees(np.arctan(slope / 0.2)), abs=0.2)


@pytest.mark.parametrize("case", ["noise", "other way", "flat", "unknown"])
def test_heights_that_do_not_tell_leave_the_class(case):
    classes = np.full((60, 80), BACKGROUND, np.uint8)
    classes[10:50, 10:70] = 0
    rows = np.indices(classes.shape)[0]
    height = {
        "noise": np.random.default_rng(0).normal(8, 2, classes.shape),
        "other way": 20 - 0.1 * rows,
        "flat": np.full(classes.shape, 5.0),
        "unknown": np.full(classes.shape, np.nan),
    }[case].astype(np.float32)
    (plane,) = planes_of(classes, height)
    assert (plane.azimuth_deg, plane.azimuth_from) == (0, "class")
    assert (plane.slope_deg is None) == (case == "unknown")
    if case == "other way":
        assert plane.slope_deg == pytest.approx(np.degrees(np.arctan(0.5)))


def test_directions_follow_the_image_on_the_ground():
    classes = np.full((60, 80), BACKGROUND, np.uint8)
    classes[10:50, 10:70] = 0
    upside_down = Ground((-0.2, 0.0), (0.0, 0.2))
    (plane,) = planes_of(classes, ground=upside_down)
    assert plane.azimuth_deg == pytest.approx(180)


@pytest.mark.parametrize(
    ("crs", "transform", "width_m", "height_m"),
    [
        ("EPSG:25832", (0.2, 0, 500_000, 0, -0.2, 5_335_000), 0.2, 0.2),
        # Web Mercator's metres are 1 / cos(latitude) too long: here at 60 degrees north.
        ("EPSG:3857", (0.4, 0, 1_100_000, 0, -0.4, 8_399_737.9), 0.2, 0.2),
        # Degrees at 48 north: a degree of longitude has 74.6 km there, one of latitude 111.2 km.
        ("EPSG:4326", (1e-6, 0, 11, 0, -1e-6, 48), 0.074628, 0.111200),
        # US survey feet
        ("EPSG:2263", (0.5, 0, 984_000, 0, -0.5, 200_000), 0.1524, 0.1524),
    ],
)
def test_metres_on_the_ground_in_any_coordinate_system(crs, transform, width_m, height_m):
    ground = ground_of(Georeference(crs, transform), 100, 100)
    assert ground.width_m == pytest.approx(width_m, rel=0.005)
    assert ground.height_m == pytest.approx(height_m, rel=0.005)
    assert ground.pixel_area_m2 == pytest.approx(width_m * height_m, rel=0.01)
    assert ground.azimuth_deg(-1, 0) == pytest.approx(0, abs=3) or ground.azimuth_deg(-1, 0) > 357


def test_a_place_off_the_earth_is_refused():
    with pytest.raises(ImageError, match="no place on earth"):
        ground_of(Georeference("EPSG:25832", (0.2, 0, 1e12, 0, -0.2, 1e12)), 10, 10)
