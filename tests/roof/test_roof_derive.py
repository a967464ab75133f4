"""Derived targets follow from the labels, and what does not follow is unknown."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from millrace.errors import ImageError
from millrace.roof.classes import ALL_LINES, AZIMUTHS, LINES, UNKNOWN, segment_names
from millrace.roof.derive import (
    HIP,
    MEETINGS,
    OUTLINE,
    REACH_PX,
    RIDGE,
    VALLEY,
    complete,
    meetings,
    merge_azimuths,
    outline,
)
from millrace.roof.line_drawing import clipped, drawn
from millrace.roof.scene import Labelled, Lines

FLAT, BACKGROUND = 16, 17
EAVE = 1 << LINES.index("eave")


def tile(segments, **labels) -> Labelled:
    return Labelled(image=np.zeros((*segments.shape, 3), np.uint8), segments=segments, **labels)


def downslope(azimuth_deg):
    """Row and column of the horizontal vector that a plane faces."""
    angle = np.radians(azimuth_deg)
    return np.stack([-np.cos(angle), np.sin(angle)], axis=-1)


def plane_heights(azimuths_deg, middle, half_spans, pitches, shape):
    """Heights of planes that rise from their eaves, (planes, H, W): negative outside of an eave."""
    places = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1) + 0.5 - np.array(middle)
    return np.stack(
        [
            (span - places @ downslope(azimuth)) * pitch
            for azimuth, span, pitch in zip(azimuths_deg, half_spans, pitches, strict=True)
        ]
    )


def classes_of(azimuths_deg, azimuths=16):
    return np.floor(np.asarray(azimuths_deg) * azimuths / 360 + 0.5).astype(np.uint8) % azimuths


def hip_roof(turn_deg, pitches=(1, 1, 1, 1), shape=(120, 130)):
    """Segments and heights of a house of 76 x 44 pixels with four planes, turned clockwise."""
    azimuths = (np.array([0, 90, 180, 270]) + turn_deg) % 360
    heights = plane_heights(azimuths, (60, 65), (22, 38, 22, 38), pitches, shape)
    segments = np.where(heights.min(axis=0) > 0, classes_of(azimuths)[heights.argmin(axis=0)], BACKGROUND)
    return segments.astype(np.uint8), heights.min(axis=0)


def crossed_gables(turn_deg, shape=(140, 140)):
    """Segments of two gabled houses that cross: a valley in each of the four corners."""
    segments, best = np.full(shape, BACKGROUND, np.uint8), np.zeros(shape)
    for turn in (turn_deg, turn_deg + 90):
        azimuths = (np.array([0, 90, 180, 270]) + turn) % 360
        heights = plane_heights(azimuths, (70, 70), (20, 50, 20, 50), (1, 1, 1, 1), shape)
        slopes = heights[[0, 2]].min(axis=0)
        higher = (heights.min(axis=0) > 0) & (slopes > best)
        segments[higher] = classes_of(azimuths[[0, 2]])[heights[[0, 2]].argmin(axis=0)][higher]
        best = np.where(higher, slopes, best)
    return segments


def has(bits, kind):
    return (bits & kind) != 0


# Merging azimuths


@pytest.mark.parametrize(("fine", "coarse"), [(16, 8), (16, 4), (8, 4), (16, 16)])
def test_each_azimuth_goes_into_the_nearest_class_and_a_tie_clockwise(fine, coarse):
    merged = merge_azimuths(np.arange(fine + 2, dtype=np.uint8), coarse, fine)
    for number in range(fine):
        distances = (np.arange(coarse) * 360 / coarse - number * 360 / fine + 180) % 360 - 180
        nearest = np.flatnonzero(np.abs(distances) == np.abs(distances).min())
        clockwise = nearest[np.argmax(distances[nearest])]
        assert merged[number] == clockwise
    assert segment_names(coarse)[merged[fine]] == "flat"
    assert segment_names(coarse)[merged[fine + 1]] == "background"


def test_unknown_and_north_keep_their_meaning():
    # Bug (b) of the source system: 0 read as background, and 9 to 17 as nothing.
    segments = np.array([[0, 8, 15, 16, 17, UNKNOWN]], np.uint8)
    assert merge_azimuths(segments, 4).tolist() == [[0, 2, 0, 4, 5, UNKNOWN]]
    assert merge_azimuths(segments, 8).tolist() == [[0, 4, 0, 8, 9, UNKNOWN]]


@given(arrays.arrays(np.uint8, (4, 5), elements=st.sampled_from([*range(18), UNKNOWN])), st.sampled_from(AZIMUTHS))
def test_merging_commutes_with_a_quarter_turn_of_the_compass(segments, azimuths):
    def turned(values, number):
        return np.where(values < number, (values + number // 4) % number, values)

    np.testing.assert_array_equal(
        merge_azimuths(turned(segments, 16), azimuths), turned(merge_azimuths(segments, azimuths), azimuths)
    )


def test_classes_are_never_invented():
    with pytest.raises(ImageError, match=r"has 4 azimuth classes, and roof.prepare.azimuths is 8"):
        complete(tile(np.zeros((4, 4), np.uint8), azimuths=4), 8, 1)


# Where planes meet


@given(st.floats(0, 360, exclude_max=True))
def test_a_hip_roof_has_a_ridge_and_four_hips_at_any_turn(turn):
    segments, heights = hip_roof(turn)
    lines, known = meetings(segments, 16, 1)
    assert not has(lines, VALLEY).any()
    on_roof = heights > 2
    # The ridge is 32 pixels long and 22 high.
    assert 40 < has(lines, RIDGE).sum() < 100
    assert heights[has(lines, RIDGE)].min() > 19
    assert heights[has(lines, HIP)].max() < 22.1
    assert np.ptp(heights[has(lines, HIP)]) > 18
    border = np.zeros(segments.shape, bool)
    border[:-1] |= segments[:-1] != segments[1:]
    border[:, :-1] |= segments[:, :-1] != segments[:, 1:]
    assert has(lines, RIDGE | HIP)[border & on_roof].mean() > 0.9
    assert (known == MEETINGS)[on_roof & ~border & (heights < 19)].mean() > 0.9


@given(st.floats(0, 360, exclude_max=True), st.floats(0.4, 1))
def test_planes_of_different_pitch_still_meet_in_hips(turn, pitch):
    segments, _ = hip_roof(turn, (1, pitch, 1, pitch))
    lines, _ = meetings(segments, 16, 1)
    assert has(lines, HIP).sum() > 60
    assert not has(lines, VALLEY).any()


@given(st.floats(0, 360, exclude_max=True))
def test_crossed_gables_have_four_valleys_and_no_hip(turn):
    segments = crossed_gables(turn)
    lines, _ = meetings(segments, 16, 1)
    assert not has(lines, HIP).any()
    distance = np.hypot(*(np.mgrid[:140, :140] + 0.5 - 70))
    assert np.ptp(distance[has(lines, VALLEY)]) > 20
    assert distance[has(lines, VALLEY)].max() < 32
    assert distance[has(lines, RIDGE)].max() > 40


@pytest.mark.parametrize("azimuths", AZIMUTHS)
def test_opposite_planes_meet_in_a_ridge_or_a_valley_by_where_they_face(azimuths):
    south, background = azimuths // 2, azimuths + 1
    gable = np.full((40, 60), background, np.uint8)
    gable[5:20, 5:55], gable[20:35, 5:55] = 0, south
    lines, known = meetings(gable, azimuths, 1)
    expected = np.zeros_like(gable)
    expected[19:21, 5:55] = RIDGE
    np.testing.assert_array_equal(lines, expected)
    assert (known[:, 10:50] == MEETINGS).all()
    butterfly = np.where(gable == 0, south, np.where(gable == south, 0, gable)).astype(np.uint8)
    lines, _ = meetings(butterfly, azimuths, 1)
    np.testing.assert_array_equal(lines, np.where(expected, VALLEY, 0))


@pytest.mark.parametrize(
    ("left", "right"),
    [(0, 8), (0, 4), (12, 8), (2, 10), (4, FLAT), (FLAT, 12), (0, 1)],
    ids=["opposite along it", "one along it", "both sideways", "crossing", "flat right", "flat left", "party wall"],
)
def test_borders_that_cannot_be_told_are_unknown_and_not_absent(left, right):
    segments = np.full((40, 40), BACKGROUND, np.uint8)
    segments[5:35, 5:20], segments[5:35, 20:35] = left, right
    lines, known = meetings(segments, 16, 1)
    assert not lines.any()
    assert not known[5:35, 18:22].any()
    assert (known[5:35, 5:15] == MEETINGS).all()
    assert (known[:2] == MEETINGS).all()


def test_short_and_jagged_borders_are_unknown():
    segments = np.full((40, 60), BACKGROUND, np.uint8)
    segments[5:20, 5:55] = 0
    segments[20:35, 28:32] = 8
    lines, known = meetings(segments, 16, 1)
    assert not lines.any()
    assert not known[18:22, 28:32].any()
    segments[20:35, 5:55] = 8
    segments[14:26, 5:55] = np.random.default_rng(0).choice(np.array([0, 8], np.uint8), (12, 50))
    lines, known = meetings(segments, 16, 1)
    assert has(lines, RIDGE).mean() < 0.05
    assert (known[15:25, 6:54] == MEETINGS).mean() < 0.05


def test_a_gap_of_the_drawing_between_planes_is_no_absence():
    segments = np.full((40, 60), BACKGROUND, np.uint8)
    segments[5:19, 5:55], segments[21:35, 5:55] = 0, 8
    lines, known = meetings(segments, 16, 1)
    assert not lines.any()
    assert not known[19:21, 7:53].any()
    segments[19:21] = BACKGROUND
    segments[19:27] = BACKGROUND
    assert (meetings(segments, 16, 1)[1] == MEETINGS).all()


@pytest.mark.parametrize(("width", "rows"), [(1, 2), (2, 2), (3, 4), (5, 6)])
def test_lines_are_centred_on_the_border(width, rows):
    segments = np.full((40, 60), BACKGROUND, np.uint8)
    segments[5:20, 5:55], segments[20:35, 5:55] = 0, 8
    for lines, column in (
        (meetings(segments, 16, width)[0] & RIDGE, 30),
        (outline((segments[:, ::-1] == 0).astype(np.uint8), width)[0][10:30], 30),
    ):
        on = np.flatnonzero(lines[:, column])
        assert len(on) == rows
        assert on.mean() == (19.5 if len(lines) == 40 else 9.5)


# The outline


def test_the_outline_is_the_border_of_the_roof_and_nothing_at_the_edge():
    roof = np.zeros((10, 12), np.uint8)
    roof[:5, 3:9] = 1
    lines, known = outline(roof, 1)
    assert (known == OUTLINE).all()
    assert np.argwhere(lines)[:, 0].max() == 5
    assert not lines[0, 4:8].any()
    assert lines[2].tolist() == [0, 0, OUTLINE, OUTLINE, 0, 0, 0, 0, OUTLINE, OUTLINE, 0, 0]


def test_the_outline_is_unknown_where_the_roof_is():
    roof = np.zeros((10, 12), np.uint8)
    roof[:, 6:] = 1
    roof[:, 5] = UNKNOWN
    lines, known = outline(roof, 1)
    assert not lines.any()
    assert not known[:, 3:8].any()
    assert known[:, 2].all()


# All together


def test_nothing_labelled_is_nothing_derived():
    # Bug (d) of the source system: absent targets became negatives.
    bare = complete(Labelled(image=np.zeros((8, 9, 3), np.uint8)), 8, 1)
    assert all(getattr(bare, name) is None for name in ("segments", "superstructures", "roof", "lines", "height"))
    assert bare.lines_known is None


def test_what_a_source_labels_decides_which_kinds_are_known():
    segments, _ = hip_roof(0)
    only_segments = complete(tile(segments), 8, 1)
    assert not has(only_segments.lines_known, EAVE).any()
    assert has(only_segments.lines_known, OUTLINE).all()
    gutters = Lines(np.array([LINES.index("eave")], np.uint8), np.array([[38.0, 27, 38, 103]]))
    with_gutters = complete(tile(segments, vectors=gutters, vector_kinds=EAVE), 8, 1)
    assert has(with_gutters.lines_known, EAVE).all()
    assert has(with_gutters.lines, EAVE)[37:39, 28:102].all()
    only_roof = complete(
        Labelled(image=np.zeros((*segments.shape, 3), np.uint8), roof=(segments < 17).astype(np.uint8)), 8, 1
    )
    assert np.unique(only_roof.lines_known).tolist() == [OUTLINE]
    assert only_roof.segments is None
    np.testing.assert_array_equal(has(only_roof.lines, OUTLINE), has(only_segments.lines, OUTLINE))


def test_vectors_that_are_not_all_of_their_kind_are_lines_but_no_absence():
    some = Lines(np.array([0], np.uint8), np.array([[5.5, 2, 5.5, 8]]))
    made = complete(Labelled(image=np.zeros((10, 10, 3), np.uint8), vectors=some, vector_kinds=0), 8, 1)
    np.testing.assert_array_equal(made.lines, made.lines_known)
    assert has(made.lines, RIDGE).sum() == 8


def test_labels_outrank_what_is_derived():
    segments, _ = hip_roof(0)
    shape = segments.shape
    nothing = complete(
        tile(segments, lines=np.zeros(shape, np.uint8), lines_known=np.full(shape, RIDGE, np.uint8)), 16, 1
    )
    assert not has(nothing.lines, RIDGE).any()
    assert has(nothing.lines, HIP).any()
    roof = np.ones(shape, np.uint8)
    roof[0] = UNKNOWN
    filled = complete(tile(segments, roof=roof), 16, 1).roof
    assert filled[1:].all()
    assert not filled[0].any()


def test_lines_come_from_the_finer_azimuths():
    segments = np.full((40, 60), BACKGROUND, np.uint8)
    # NNE and WSW, each 22.5 degrees from N and W: with 4 classes they are N and W too, but N and NNE are both N.
    segments[5:20, 5:55], segments[20:35, 5:55] = 1, 9
    assert has(complete(tile(segments), 4, 1).lines, RIDGE).any()


segments_strategy = st.builds(
    lambda blocks, size: np.kron(blocks, np.ones((size, size), np.uint8)),
    arrays.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 3, 4, 8, 11, 12, FLAT, BACKGROUND, UNKNOWN])),
    st.sampled_from([5, 9]),
)


def turned(scene: Labelled) -> Labelled:
    """A scene turned by 90 degrees counterclockwise, its labels with it."""
    width = scene.image.shape[1]

    def arrays_of(name):
        values = getattr(scene, name)
        return None if values is None else np.rot90(values).copy()

    segments = arrays_of("segments")
    if segments is not None:
        number = scene.azimuths
        segments = np.where(segments < number, (segments + number - number // 4) % number, segments).astype(np.uint8)
    vectors = scene.vectors
    if vectors is not None:
        row0, column0, row1, column1 = vectors.ends.T
        vectors = Lines(vectors.kinds, np.stack([width - column0, row0, width - column1, row1], axis=1))
    names = ("image", "superstructures", "roof", "lines", "lines_known", "height")
    return replace(scene, segments=segments, vectors=vectors, **{name: arrays_of(name) for name in names})


def assert_same(one: Labelled, other: Labelled):
    for name in ("image", "segments", "superstructures", "roof", "lines", "lines_known", "height"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@given(segments_strategy, st.sampled_from(AZIMUTHS), st.sampled_from([1, 2, 3]), st.data())
def test_turning_a_scene_commutes_with_completing_it(segments, azimuths, width, data):
    kinds = data.draw(st.lists(st.integers(0, 4), max_size=3))
    ends = [[data.draw(st.integers(-8, 90)) / 2 for _ in range(4)] for _ in kinds]
    lines = Lines(np.array(kinds, np.uint8), np.array(ends, float).reshape(-1, 4))
    scene = tile(segments, vectors=lines, vector_kinds=EAVE)
    assert_same(complete(turned(scene), azimuths, width), turned(complete(scene, azimuths, width)))


@pytest.mark.parametrize("turn", [0, 13, 45, 100])
def test_turned_houses_have_turned_lines(turn):
    for segments in (hip_roof(turn)[0], crossed_gables(turn)):
        assert_same(complete(turned(tile(segments)), 8, 1), turned(complete(tile(segments), 8, 1)))


def test_an_unknown_corner_makes_no_direction_of_a_border_certain():
    segments = np.full((40, 40), 8, np.uint8)
    segments[:15], segments[15:25, :15] = 0, 0
    less = segments.copy()
    less[18:26, 10:20] = UNKNOWN
    (lines, known), (_, less_known) = meetings(segments, 16, 1), meetings(less, 16, 1)
    assert has(lines, RIDGE)[14:16, 25:].all()
    assert not known[14:16, 15:18].any()
    assert not (less_known & ~known).any()


@given(segments_strategy, st.data())
def test_knowing_less_never_makes_more_known(segments, data):
    height, width = segments.shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    less = segments.copy()
    less[top : top + data.draw(st.integers(1, 12)), left : left + data.draw(st.integers(1, 12))] = UNKNOWN
    all_of, some_of = complete(tile(segments), 16, 1), complete(tile(less), 16, 1)
    assert not (some_of.lines_known & ~all_of.lines_known).any()
    known = some_of.lines_known
    np.testing.assert_array_equal(some_of.lines & known, all_of.lines & known)
    assert not (some_of.lines & ~known).any()
    assert (some_of.roof[less == UNKNOWN] == UNKNOWN).all()
    assert (some_of.segments[less == UNKNOWN] == UNKNOWN).all()
    assert not (some_of.lines_known[less == UNKNOWN] & (MEETINGS | EAVE)).any()


@given(segments_strategy, st.integers(0, 20), st.integers(0, 20))
def test_nothing_depends_on_pixels_out_of_reach(segments, row, column):
    far = np.pad(segments, 2 * REACH_PX, mode="wrap")
    own = slice(REACH_PX, -REACH_PX), slice(REACH_PX, -REACH_PX)
    whole, part = complete(tile(far), 8, 9), complete(tile(far[own]), 8, 9)
    inner = slice(2 * REACH_PX, -2 * REACH_PX), slice(2 * REACH_PX, -2 * REACH_PX)
    for name in ("lines", "lines_known", "roof"):
        np.testing.assert_array_equal(getattr(whole, name)[inner], getattr(part, name)[own], err_msg=name)


# Drawing


@given(
    st.tuples(*[st.floats(-20, 50)] * 4),
    st.sampled_from([1.0, 1.5, 3.0, 9.0]),
)
def test_drawn_lines_are_the_pixels_near_them(ends, width):
    ends = np.array(ends)
    picture = drawn(Lines(np.array([2], np.uint8), ends[None]), (25, 30), width)
    places = np.stack(np.mgrid[:25, :30], axis=-1) + 0.5
    along = ends[2:] - ends[:2]
    part = np.clip((places - ends[:2]) @ along / max(along @ along, 1e-12), 0, 1)
    distance = np.linalg.norm(places - ends[:2] - part[..., None] * along, axis=-1)
    clear = np.abs(distance - width / 2) > 1e-3
    np.testing.assert_array_equal((picture == 4)[clear], (distance < width / 2)[clear])


@given(st.tuples(*[st.integers(-20, 50)] * 4))
def test_clipped_lines_are_what_lies_in_the_picture(ends):
    import shapely

    ends = np.array(ends, float)
    assume(np.hypot(*(ends[2:] - ends[:2])) > 0)
    inside = shapely.LineString(ends.reshape(2, 2)).intersection(shapely.box(0, 0, 25, 30))
    cut = clipped(Lines(np.array([1], np.uint8), ends[None]), 25, 30)
    if abs(inside.length - 1) < 1e-6:
        return
    assert len(cut.kinds) == (inside.length > 1)
    if len(cut.kinds):
        found = shapely.LineString(cut.ends.reshape(2, 2))
        assert found.hausdorff_distance(inside) < 1e-6


def test_several_kinds_cross_in_one_pixel():
    ends = np.array([[5.5, 0, 5.5, 10], [0, 5.5, 10, 5.5]])
    picture = drawn(Lines(np.array([0, 3], np.uint8), ends), (10, 10), 1)
    assert picture[5, 5] == RIDGE | EAVE
    assert {int(value) for value in np.unique(picture)} == {0, RIDGE, EAVE, RIDGE | EAVE}
    assert picture.max() <= ALL_LINES
    assert [tuple(place) for place in np.argwhere(picture)] == [
        (row, column) for row, column in product(range(10), range(10)) if 5 in (row, column)
    ]
