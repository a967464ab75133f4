"""Turning and mirroring keep the truth true."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from analytic_roofs import downslope_classes, hipped
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from millrace.roof.augment import mirrored, randomly_turned, recoloured, scaled_side, turned
from millrace.roof.classes import AZIMUTHS, UNKNOWN, background_class, flat_class, segment_names
from millrace.roof.params import Augmentation
from millrace.roof.scene import Labelled, Lines


@st.composite
def tiles(draw: st.DrawFn) -> Labelled:
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    azimuths = draw(st.sampled_from(AZIMUTHS))
    classes = st.sampled_from([*range(azimuths + 2), UNKNOWN])
    count = draw(st.integers(0, 3))
    ends = draw(arrays.arrays(np.float64, (count, 4), elements=st.integers(-20, 40).map(lambda half: half / 2)))
    return Labelled(
        image=draw(arrays.arrays(np.uint8, (*shape, 3))),
        segments=draw(st.none() | arrays.arrays(np.uint8, shape, elements=classes)),
        azimuths=azimuths,
        roof=draw(st.none() | arrays.arrays(np.uint8, shape)),
        lines=draw(st.none() | arrays.arrays(np.uint8, shape)),
        height=draw(st.none() | arrays.arrays(np.float32, shape, elements=st.floats(0, 9, width=32) | st.just(np.nan))),
        vectors=Lines(np.zeros(count, np.uint8), ends),
        vector_kinds=1,
    )


def assert_same(first: Labelled, second: Labelled) -> None:
    for field in fields(Labelled):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if field.name == "vectors":
            np.testing.assert_array_equal(one.kinds, other.kinds)
            np.testing.assert_allclose(one.ends, other.ends)
        else:
            np.testing.assert_array_equal(one, other, err_msg=field.name)


@settings(max_examples=50)
@given(tiles(), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, 1]))
def test_turns_and_mirrorings_are_a_group(tile, first, second, axis):
    assert_same(turned(tile, 4), tile)
    assert_same(turned(turned(tile, first), second), turned(tile, first + second))
    assert_same(mirrored(mirrored(tile, axis), axis), tile)
    assert_same(mirrored(mirrored(tile, 0), 1), turned(tile, 2))
    assert_same(mirrored(turned(tile, 1), axis), turned(mirrored(tile, 1 - axis), 1))


@pytest.mark.parametrize("azimuths", AZIMUTHS)
@settings(max_examples=40)
@given(st.floats(0, 360), st.integers(0, 3), st.sampled_from([None, 0, 1]))
def test_relabelled_segments_are_what_the_turned_roof_has(azimuths, turn_deg, quarter_turns, axis):
    """The truth of a turned scene is computed anew, from the slopes of its turned heights."""
    height = hipped(40, (19.0, 22.0), (15.0, 9.0), turn_deg)
    classes, sloped = downslope_classes(height, azimuths)
    segments = np.where(sloped, classes, UNKNOWN).astype(np.uint8)
    tile = Labelled(image=np.zeros((40, 40, 3), np.uint8), segments=segments, azimuths=azimuths, height=height)
    changed = turned(tile if axis is None else mirrored(tile, axis), quarter_turns)
    again, sloped = downslope_classes(changed.height, azimuths)
    width_deg = 360 / azimuths
    assume(abs(turn_deg % width_deg - width_deg / 2) > 0.01)  # planes that face exactly between two classes
    assert sloped.sum() > 100
    np.testing.assert_array_equal(changed.segments[sloped], again[sloped])


def test_what_faces_east_faces_north_after_a_turn_and_west_in_the_mirror():
    names = segment_names(8)
    classes = [names.index("E"), names.index("NE"), flat_class(8), background_class(8), UNKNOWN]
    tile = Labelled(np.zeros((1, 5, 3), np.uint8), segments=np.array([classes], np.uint8), azimuths=8)

    def named(row: np.ndarray) -> list[str]:
        return ["unknown" if place == UNKNOWN else names[place] for place in row]

    assert named(turned(tile, 1).segments[:, 0]) == ["unknown", "background", "flat", "NW", "N"]
    assert named(mirrored(tile, 1).segments[0]) == ["unknown", "background", "flat", "NW", "W"]
    assert named(mirrored(tile, 0).segments[0]) == ["E", "SE", "flat", "background", "unknown"]


@given(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3), st.sampled_from([0, 1]))
def test_vectors_stay_on_their_pixels(row, column, quarter_turns, axis):
    image = np.zeros((5, 7, 3), np.uint8)
    image[row, column] = 9
    ends = np.array([[row + 0.5, column + 0.5, 0.0, 0.0]])
    tile = Labelled(image, vectors=Lines(np.zeros(1, np.uint8), ends), vector_kinds=1)
    changed = turned(mirrored(tile, axis), quarter_turns)
    found = changed.vectors.ends[0].astype(int)
    assert (changed.image[found[0], found[1]] == 9).all()
    height, width = changed.image.shape[:2]
    assert changed.vectors.ends[0, 2] in (0, height)
    assert changed.vectors.ends[0, 3] in (0, width)


def test_all_eight_symmetries_are_drawn():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    rng = np.random.default_rng(0)
    found = {randomly_turned(Labelled(image), Augmentation(), rng).image.tobytes() for _ in range(200)}
    assert len(found) == 8
    still = Augmentation(flip=0, turn=False)
    assert {randomly_turned(Labelled(image), still, rng).image.tobytes() for _ in range(9)} == {image.tobytes()}


def test_magnification_and_its_inverse_are_equally_likely():
    rng = np.random.default_rng(0)
    sides = np.array([scaled_side(100, Augmentation(scale=2.0), rng) for _ in range(2000)])
    assert sides.min() >= 50
    assert sides.max() <= 200
    assert 0.45 < (sides < 100).mean() < 0.55
    assert scaled_side(100, Augmentation(scale=1.0), rng) == 100


def test_colours_change_within_their_limits():
    rng = np.random.default_rng(0)
    image = rng.random((8, 8, 3), np.float32)
    still = Augmentation(brightness=0, contrast=0, saturation=0)
    np.testing.assert_allclose(recoloured(image, still, rng), image, atol=1e-6)
    changed = recoloured(image, Augmentation(), rng)
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert np.abs(changed - image).max() > 0.01
    moved = recoloured(0.5 * np.ones_like(image), Augmentation(brightness=0.1, contrast=0.3, saturation=0.3), rng)
    assert np.abs(moved - 0.5).max() <= 0.1 + 1e-6
