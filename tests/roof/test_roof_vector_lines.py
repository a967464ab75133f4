"""Line probabilities to straight lines with common junctions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_roofs import hipped_roof
from scipy import ndimage

from millrace.roof.classes import LINES
from millrace.roof.line_drawing import drawn
from millrace.roof.params import Vectorise
from millrace.roof.scene import Lines
from millrace.roof.vector_lines import vectorise_lines

SHAPE = (220, 240)
PIXEL_M = 0.2
NEAR_PX = 2.5
"""Where a blurred line ends is uncertain by about its width."""
RIDGE, VALLEY, HIP, EAVE, OUTLINE = range(5)


def probabilities(lines, shape=SHAPE, width_px=1.0, blur_px=1.0, noise=0.0, seed=0):
    """What a network might say of lines: blurred, near 1 at their middle, with noise on every pixel."""
    bits = drawn(lines, shape, width_px)
    maps = np.stack([bits >> kind & 1 for kind in range(len(LINES))]).astype(float)
    if blur_px:
        maps = np.stack([np.clip(2.5 * ndimage.gaussian_filter(each, blur_px), 0, 1) for each in maps])
    maps += noise * np.random.default_rng(seed).standard_normal(maps.shape)
    return np.clip(maps, 0, 1).astype(np.float16)


def lines_of(*lines):
    kinds, *ends = zip(*lines, strict=True)
    return Lines(np.array(kinds, np.uint8), np.array(ends, float).T.reshape(-1, 4))


def largest_errors(found, truth):
    """Of each true line, how far the worse end of the nearest line of its kind is away."""
    errors = []
    for kind, ends in zip(truth.kinds, truth.ends, strict=True):
        own = found.ends[found.kinds == kind].reshape(-1, 2, 2)
        both = [np.linalg.norm(each - ends.reshape(2, 2), axis=2).max(axis=1) for each in (own, own[:, ::-1])]
        errors.append(np.min(both, initial=np.inf))
    return np.array(errors)


def junctions(found):
    return np.unique(found.ends.reshape(-1, 2), axis=0)


@given(
    kind=st.integers(0, 4),
    row=st.floats(40, 180),
    column=st.floats(60, 180),
    angle=st.floats(0, np.pi),
    length=st.floats(20, 70),
    width=st.floats(1, 5),
)
@settings(max_examples=30)
def test_a_drawn_line_comes_back_with_its_kind_and_ends(kind, row, column, angle, length, width):
    reach = length / 2 * np.array([np.sin(angle), np.cos(angle)])
    truth = Lines(
        np.array([kind], np.uint8), np.array([[row, column, row, column] + np.tile(reach, 2) * [1, 1, -1, -1]])
    )
    found = vectorise_lines(probabilities(truth, width_px=width), Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [kind]
    assert largest_errors(found, truth).max() < NEAR_PX
    assert 0.5 < found.scores[0] <= 1


@given(
    turn=st.floats(0, 360), row=st.floats(95, 125), column=st.floats(105, 135), noise=st.sampled_from([0, 0.05, 0.1])
)
@settings(max_examples=20)
def test_the_lines_of_a_hipped_roof_meet_in_six_points(turn, row, column, noise):
    _, truth = hipped_roof((row, column), 110, 70, turn)
    found = vectorise_lines(probabilities(truth, noise=noise), Vectorise(), PIXEL_M)
    assert sorted(found.kinds.tolist()) == sorted(truth.kinds.tolist())
    assert largest_errors(found, truth).max() < NEAR_PX
    # A hip, a ridge and an eave that meet have the very same coordinates there.
    assert len(junctions(found)) == 6


def test_a_thick_line_is_one_line():
    truth = lines_of((RIDGE, 100.5, 40.5, 100.5, 180.5))
    found = vectorise_lines(probabilities(truth, width_px=9, blur_px=0), Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [RIDGE]
    assert abs(found.ends[0, [0, 2]] - 100.5).max() < 0.5
    assert found.scores[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("turn", [0, 1, 44, 45, 46, 90, 135])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_lines_two_pixels_wide_are_not_lost_on_diagonals(turn, width):
    reach = 60 * np.array([np.sin(np.radians(turn)), np.cos(np.radians(turn))])
    truth = lines_of((HIP, *(np.array([110.0, 120, 110, 120]) + np.concatenate([reach, -reach]))))
    found = vectorise_lines(probabilities(truth, width_px=width, blur_px=0), Vectorise(), PIXEL_M)
    assert len(found.kinds) == 1
    assert largest_errors(found, truth).max() < NEAR_PX


def test_a_gap_is_bridged_and_a_spot_is_no_line():
    truth = lines_of((RIDGE, 100, 40, 100, 200))
    maps = probabilities(truth)
    maps[:, :, 118:123] = 0
    maps[HIP, 20:23, 20:23] = 1
    found = vectorise_lines(maps, Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [RIDGE]
    assert largest_errors(found, truth).max() < NEAR_PX


def test_two_lines_in_a_row_stay_two_where_they_end_apart():
    truth = lines_of((EAVE, 100, 20, 100, 100), (EAVE, 100, 120, 100, 200))
    found = vectorise_lines(probabilities(truth), Vectorise(), PIXEL_M)
    assert len(found.kinds) == 2
    assert largest_errors(found, truth).max() < NEAR_PX


def test_a_line_that_bends_is_two_with_a_common_end():
    truth = lines_of((VALLEY, 40, 40, 110, 120), (VALLEY, 110, 120, 60, 200))
    found = vectorise_lines(probabilities(truth), Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [VALLEY, VALLEY]
    assert largest_errors(found, truth).max() < NEAR_PX
    assert len(junctions(found)) == 3


def test_a_ring_has_its_corners():
    corners = [(40, 50), (50, 180), (160, 170), (150, 60)]
    truth = lines_of(*((OUTLINE, *a, *b) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)))
    found = vectorise_lines(probabilities(truth), Vectorise(), PIXEL_M)
    assert len(found.kinds) == 4
    assert largest_errors(found, truth).max() < NEAR_PX
    assert len(junctions(found)) == 4


def test_a_line_that_ends_on_another_touches_it_and_leaves_it_whole():
    truth = lines_of((RIDGE, 60, 100, 150, 100), (OUTLINE, 150, 30, 150, 190))
    found = vectorise_lines(probabilities(truth), Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [RIDGE, OUTLINE]
    assert largest_errors(found, truth).max() < NEAR_PX
    lower = found.ends[0].reshape(2, 2)[1]
    assert abs(lower[0] - 150) < 0.3


def test_of_two_kinds_at_one_place_the_likelier_stays_but_an_outline_may_be_an_eave():
    truth = lines_of(
        (RIDGE, 60, 40, 60, 200), (HIP, 60, 40, 60, 200), (EAVE, 150, 40, 150, 200), (OUTLINE, 150, 40, 150, 200)
    )
    maps = probabilities(truth)
    maps[HIP] *= np.float16(0.8)
    found = vectorise_lines(maps, Vectorise(), PIXEL_M)
    assert found.kinds.tolist() == [RIDGE, EAVE, OUTLINE]
    assert (found.ends[1] == found.ends[2]).all()


def test_short_lines_are_dropped_by_their_length_in_metres():
    truth = lines_of((RIDGE, 50, 50, 50, 62), (RIDGE, 100, 50, 100, 100))
    maps = probabilities(truth)
    assert len(vectorise_lines(maps, Vectorise(min_line_m=1.0), PIXEL_M).kinds) == 2
    assert len(vectorise_lines(maps, Vectorise(min_line_m=4.0), PIXEL_M).kinds) == 1
    assert len(vectorise_lines(maps, Vectorise(min_line_m=4.0), 3 * PIXEL_M).kinds) == 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_blank_and_full_maps_do_not_fail(value):
    found = vectorise_lines(np.full((5, 40, 50), value, np.float16), Vectorise(), PIXEL_M)
    assert found.ends.shape == (len(found.kinds), 4)
    assert len(found.scores) == len(found.kinds)


@given(seed=st.integers(0, 1000), density=st.floats(0.3, 0.9))
@settings(max_examples=8)
def test_noise_gives_lines_in_the_image_with_finite_scores(seed, density):
    maps = np.random.default_rng(seed).random((5, 60, 70)).astype(np.float16)
    found = vectorise_lines(maps, Vectorise(line_threshold=density), PIXEL_M)
    assert np.isfinite(found.ends).all()
    assert (np.abs(found.ends - [30, 35, 30, 35]) < 60).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_mapped_files_give_the_same_as_arrays(tmp_path):
    _, truth = hipped_roof((100, 120), 110, 70, 30)
    maps = probabilities(truth)
    np.save(tmp_path / "lines.npy", maps)
    one = vectorise_lines(maps, Vectorise(), PIXEL_M)
    other = vectorise_lines(np.load(tmp_path / "lines.npy", mmap_mode="r"), Vectorise(), PIXEL_M)
    assert (one.ends == other.ends).all()
    assert (one.scores == other.scores).all()
