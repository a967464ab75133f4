"""Synthetic scenes: the truth is that of the geometry, the picture that of the truth, and no trick solves it."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from millrace.roof.classes import LINES, NO_SUPERSTRUCTURE, SUPERSTRUCTURES
from millrace.roof.sample_render import Sun, cast_shadow
from millrace.roof.sample_roofs import Face
from millrace.roof.sample_surface import Grid, heights
from millrace.roof.sample_texture import smooth_noise
from millrace.roof.sample_truth import Truth, make_scene, segment_class

SIZE, PIXEL_M = 200, 0.25
SHADOW, TREE = SUPERSTRUCTURES.index("shadow"), SUPERSTRUCTURES.index("tree")


@pytest.fixture(scope="module")
def scenes() -> list[Truth]:
    return [make_scene((0, index), SIZE, PIXEL_M, centred=True) for index in range(8)]


def bare(scene: Truth) -> np.ndarray:
    """Roof pixels with no edge, structure or tree beside them."""
    plain = (scene.superstructures == NO_SUPERSTRUCTURE) | (scene.superstructures == SHADOW)
    plain &= scene.roof == 1
    same = ndimage.minimum_filter(scene.segments, 3) == ndimage.maximum_filter(scene.segments, 3)
    return ndimage.binary_erosion(plain, np.ones((3, 3))) & same


def test_equal_seeds_give_equal_scenes_and_others_do_not(scenes):
    again = make_scene((0, 0), SIZE, PIXEL_M, centred=True)
    for name in ("image", "segments", "superstructures", "roof", "height"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scenes[0], name))
    np.testing.assert_array_equal(again.lines.ends, scenes[0].lines.ends)
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_azimuth_class_is_the_aspect_of_the_height_field(scenes):
    seen = set()
    for scene in scenes:
        south, east = np.gradient(scene.height.astype(np.float64), PIXEL_M)
        aspect = np.degrees(np.arctan2(-east, south)) % 360
        where = bare(scene)
        # Where two faces of one class meet, as of two houses, a slope across both means nothing.
        where &= np.hypot(*np.gradient(south)) + np.hypot(*np.gradient(east)) < 1e-4
        expected = np.where(np.hypot(south, east) < 1e-3, 16, np.rint(aspect / 22.5) % 16)
        border = np.abs(aspect / 22.5 % 1 - 0.5) < 0.01
        check = where & ~border
        assert check.sum() > 1000
        np.testing.assert_array_equal(scene.segments[check], expected[check])
        seen |= set(np.unique(scene.segments).tolist())
    assert len(seen) > 12


@pytest.mark.parametrize(("degrees", "expected"), [(0, 0), (11, 0), (12, 1), (90, 4), (180, 8), (348, 15), (349, 0)])
def test_classes_are_centred_on_their_azimuth(degrees, expected):
    angle = math.radians(degrees)
    face = Face(shapely.box(0, 0, 1, 1), (-math.sin(angle), -math.cos(angle), 5.0))
    assert segment_class(face) == expected


def test_masks_agree_with_each_other(scenes):
    for scene in scenes:
        np.testing.assert_array_equal(scene.roof, scene.segments != 17)
        assert (scene.superstructures[scene.roof == 0] == NO_SUPERSTRUCTURE).all()
        assert scene.height.dtype == np.float32
        assert scene.height.min() == 0
        assert (scene.height[scene.roof == 1] > 1.2).all()
        assert 0.08 < scene.roof.mean() < 0.6


def test_outline_is_the_border_of_the_mask(scenes):
    for scene in scenes:
        kinds = scene.lines.kinds == LINES.index("outline")
        inside = scene.roof == 1
        border = inside ^ ndimage.binary_erosion(inside, border_value=1)
        distance = np.full((SIZE, SIZE), np.inf)
        rows, columns = np.indices((SIZE, SIZE)) + 0.5
        for row0, column0, row1, column1 in scene.lines.ends[kinds]:
            length = math.hypot(row1 - row0, column1 - column0)
            share = ((rows - row0) * (row1 - row0) + (columns - column0) * (column1 - column0)) / length**2
            share = np.clip(share, 0, 1)
            away = np.hypot(rows - row0 - share * (row1 - row0), columns - column0 - share * (column1 - column0))
            distance = np.minimum(distance, away)
        assert distance[border].max() < 1.5
        drawn = distance < 0.5
        drawn[[0, 1, -2, -1]] = drawn[:, [0, 1, -2, -1]] = False  # the roof may begin just outside
        assert (ndimage.distance_transform_edt(~border)[drawn] < 2.3).all()


def test_ridges_lie_on_crests_and_valleys_in_troughs(scenes):
    checked = {"ridge": 0, "valley": 0, "hip": 0}
    for scene in scenes:
        plain = ndimage.binary_erosion(
            ((scene.superstructures == NO_SUPERSTRUCTURE) | (scene.superstructures == SHADOW)) & (scene.roof == 1),
            np.ones((9, 9)),
        )
        for kind, ends in zip(scene.lines.kinds, scene.lines.ends, strict=True):
            name, length = LINES[kind], math.dist(ends[:2], ends[2:])
            middle = (ends[:2] + ends[2:]) / 2
            if name not in checked or length < 10 or not (middle > 5).all() or not (middle < SIZE - 5).all():
                continue
            if not plain[tuple(middle.astype(int))]:
                continue
            across = np.array([ends[1] - ends[3], ends[2] - ends[0]]) / length
            points = middle[:, None] - 0.5 + across[:, None] * np.array([-3, 0, 3])
            left, on, right = ndimage.map_coordinates(scene.height, points, order=1)
            bend = on - (left + right) / 2
            assert (bend < -0.02) if name == "valley" else (bend > 0.02)
            checked[name] += 1
    assert checked["ridge"] > 5
    assert checked["hip"] > 5


def test_every_kind_of_structure_and_line_occurs():
    kinds, lines = set(), set()
    for index in range(6):
        scene = make_scene((1, index), SIZE, PIXEL_M)
        kinds |= set(np.unique(scene.superstructures).tolist())
        lines |= set(scene.lines.kinds.tolist())
    assert kinds == set(range(9))
    assert lines == set(range(5))


def test_centred_scenes_have_a_roof_in_the_middle(scenes):
    middle = slice(SIZE // 2 - 12, SIZE // 2 + 12)
    assert np.mean([scene.roof[middle, middle].mean() > 0.5 for scene in scenes]) > 0.8


@pytest.mark.parametrize("azimuth", [0, 30, 90, 135, 180, 200, 270, 333])
@pytest.mark.parametrize("elevation", [25, 45])
def test_shadow_of_a_post_has_the_length_and_direction_of_the_sun(azimuth, elevation):
    field, pixel_m, tall = np.zeros((201, 201), np.float32), 0.1, 3.0
    field[97:104, 97:104] = tall
    shadow = cast_shadow(field, Sun(azimuth, elevation), pixel_m) > 0.1
    rows, columns = np.nonzero(shadow)
    length = tall / math.tan(math.radians(elevation)) / pixel_m
    away = math.radians(azimuth + 180)
    along = (columns - 100) * math.sin(away) - (rows - 100) * math.cos(away)
    across = (columns - 100) * math.cos(away) + (rows - 100) * math.sin(away)
    assert along.max() == pytest.approx(length + 3.5, abs=3)
    assert along.min() > -1
    assert np.abs(across).max() < 6.5
    assert not shadow[field > 0].any()


def test_plane_that_the_sun_sees_casts_no_shadow_on_itself():
    slope = (np.arange(80, dtype=np.float32) * 0.05)[:, None] + np.zeros((80, 60), np.float32)
    shadow = cast_shadow(slope, Sun(30, 40), 0.1)
    assert shadow[:, 8:-8].max() < 1e-3


def test_shadow_is_darker_than_the_same_faces_in_the_sun(scenes):
    ratios = []
    for scene in scenes:
        brightness, plain = scene.image.mean(axis=2), scene.superstructures == NO_SUPERSTRUCTURE
        for azimuth in range(17):
            shaded = brightness[(scene.segments == azimuth) & (scene.superstructures == SHADOW)]
            lit = brightness[(scene.segments == azimuth) & plain]
            if min(len(shaded), len(lit)) > 60:
                ratios.append(shaded.mean() / lit.mean())
    assert len(ratios) > 5
    assert np.mean(ratios) < 0.85


def test_faces_towards_the_sun_are_brighter(scenes):
    """The only trace of an azimuth in the colours."""
    ratios = []
    for scene in scenes:
        brightness, plain = scene.image.mean(axis=2), scene.superstructures == NO_SUPERSTRUCTURE
        turned = (scene.segments * 22.5 - scene.sun.azimuth_deg + 180) % 360 - 180
        towards = brightness[plain & (scene.segments < 16) & (np.abs(turned) < 60)]
        away = brightness[plain & (scene.segments < 16) & (np.abs(turned) > 120)]
        if min(len(towards), len(away)) > 300:
            ratios.append(towards.mean() / away.mean())
    assert len(ratios) > 3
    assert np.mean(ratios) > 1.15


def test_sun_stands_in_the_south_or_on_the_other_half_of_the_earth_in_the_north(scenes):
    assert all(105 <= scene.sun.azimuth_deg <= 255 for scene in scenes)
    sun = make_scene((0, 0), 64, PIXEL_M, south=True).sun
    assert math.cos(math.radians(sun.azimuth_deg)) > -0.26


def test_pictures_are_exposed_as_photographs(scenes):
    for scene in scenes:
        assert (scene.image.shape, scene.image.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert 50 < scene.image.mean() < 190
        assert scene.image.std() > 15
        assert (scene.image == 255).all(axis=2).mean() < 0.02


def test_brightness_does_not_tell_roofs(scenes):
    common = either = 0
    for scene in scenes:
        brightness = scene.image.mean(axis=2)
        bright = brightness > threshold_otsu(brightness)
        common += int((bright & (scene.roof == 1)).sum())
        either += int((bright | (scene.roof == 1)).sum())
    assert common / either < 0.5


@given(st.integers(0, 2**32), st.floats(-3, 3), st.floats(-3, 3), st.floats(-2000, 2000))
@settings(max_examples=20)
def test_height_of_a_plane_far_from_the_origin(seed, a, b, far):
    grid = Grid(far, -far, 0.2, 16, 24)
    number = np.random.default_rng(seed).integers(-1, 1, (16, 24)).astype(np.int32)
    found = heights(grid, number, [(a, b, 7 - a * far + b * far)], np.full((16, 24), 2, np.float32))
    rows, columns = np.indices((16, 24))
    expected = np.where(number == 0, 7 + a * 0.2 * (columns + 0.5) - b * 0.2 * (rows + 0.5), 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0, 20.0])
def test_noise_has_the_breadth_that_it_is_asked_for(scale):
    noise = smooth_noise(np.random.default_rng(0), (400, 500), scale)
    assert noise.shape == (400, 500)
    assert noise.dtype == np.float32
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.15))
    near, far = max(1, round(scale / 4)), math.ceil(5 * scale)
    for axis in (0, 1):
        first, second = np.take(noise, range(300), axis), np.take(noise, range(far, 300 + far), axis)
        assert abs(np.mean(first * second)) < 0.25
        if scale > 1:
            second = np.take(noise, range(near, 300 + near), axis)
            assert np.mean(first * second) > 0.7


@pytest.mark.parametrize(("size", "pixel_m"), [(64, 0.05), (96, 1.0)])
def test_other_pixel_sizes(size, pixel_m):
    scene = make_scene((3, 0), size, pixel_m, centred=True)
    assert scene.image.shape == (size, size, 3)
    assert scene.image.std() > 5
    assert scene.roof.any()
