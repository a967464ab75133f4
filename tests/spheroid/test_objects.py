"""From foreground and distance to numbered objects."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.draw import disk

from millrace.spheroid import objects
from millrace.spheroid.objects import EIGHT_CONNECTED, find_objects, keep_large
from millrace.spheroid.params import Postprocess
from millrace.spheroid.targets import distance_target

SHAPE = (60, 80)


def disks(*centres_and_radii, shape=SHAPE):
    """Label image with one object a disk; a later disk lies over an earlier one."""
    labels = np.zeros(shape, np.int32)
    for number, (row, column, radius) in enumerate(centres_and_radii, start=1):
        labels[disk((row, column), radius, shape=shape)] = number
    return labels


def found_from_truth(labels, settings, dtype=np.float32):
    """Objects from the outputs that a perfect model would give."""
    return find_objects((labels > 0).astype(dtype), distance_target(labels).astype(dtype), settings)


def components(mask, structure=None):
    labelled, count = ndimage.label(mask, structure)
    return [labelled == number for number in range(1, count + 1)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_touching_disks_with_an_ideal_distance_come_apart(dtype):
    truth = disks((30, 20, 14), (30, 46, 12.5))
    assert len(components(truth > 0)) == 1
    np.testing.assert_array_equal(found_from_truth(truth, Postprocess(), dtype), truth)


def test_a_flat_distance_leaves_touching_disks_together():
    foreground = (disks((30, 20, 14), (30, 46, 12.5)) > 0).astype(np.float32)
    assert find_objects(foreground, np.zeros_like(foreground), Postprocess()).max() == 1
    assert find_objects(foreground, np.ones_like(foreground), Postprocess()).max() == 1


def test_smoothing_keeps_speckle_in_the_distance_from_splitting_an_object():
    truth = disks((30, 40, 20))
    speckle = np.random.default_rng(0).normal(0, 0.2, SHAPE)
    distance = (distance_target(truth) + speckle).clip(0, 1).astype(np.float32)
    foreground = (truth > 0).astype(np.float32)
    assert find_objects(foreground, distance, Postprocess(smoothing_px=0, smoothing_share=0)).max() > 1
    assert find_objects(foreground, distance, Postprocess(smoothing_px=4, smoothing_share=0)).max() == 1
    assert find_objects(foreground, distance, Postprocess(smoothing_px=0, smoothing_share=0.2)).max() == 1


def test_a_peak_counts_from_its_height_above_the_way_to_a_higher_one():
    """Two peaks of 0.9 and 0.7 with 0.55 between them: the lower one rises by 0.15."""
    foreground = np.ones((1, 30), np.float32)
    distance = np.interp(np.arange(30), [0, 7, 15, 22, 29], [0.1, 0.9, 0.55, 0.7, 0.1])[None].astype(np.float32)
    plain = {"smoothing_px": 0, "smoothing_share": 0, "min_area_px": 0}
    counts = {
        height: int(find_objects(foreground, distance, Postprocess(seed_height=height, **plain)).max())
        for height in (0.1, 0.14, 0.16, 0.5)
    }
    assert counts == {0.1: 2, 0.14: 2, 0.16: 1, 0.5: 1}


def test_twin_peaks_closer_than_the_height_are_one():
    foreground = np.ones((1, 9), np.float32)
    distance = np.array([[0.1, 0.5, 0.9, 0.85, 0.9, 0.85, 0.9, 0.5, 0.1]], np.float32)
    assert find_objects(foreground, distance, Postprocess(smoothing_px=0, smoothing_share=0, min_area_px=0)).max() == 1


def test_smoothing_sees_the_components_own_pixels_only():
    foreground, distance = np.zeros((2, 15), np.float32), np.ones((2, 15), np.float32)
    foreground[0] = foreground[1, 0] = 1
    distance[0] = 0.6
    distance[0, 6:9] = 0
    found = find_objects(foreground, distance, Postprocess(min_area_px=0))
    np.testing.assert_array_equal(found[0, [0, 5, 9, 14]], [1, 1, 2, 2])


def test_a_diagonal_line_is_one_object():
    line = np.eye(20, dtype=np.float32)
    assert find_objects(line, line, Postprocess(smoothing_px=0)).max() == 1


def test_empty_image():
    nothing = np.zeros(SHAPE, np.float16)
    found = find_objects(nothing, nothing, Postprocess())
    assert found.dtype == np.int32
    assert not found.any()


def test_threshold_includes_its_own_value_and_small_objects_go():
    foreground = np.zeros(SHAPE, np.float32)
    foreground[:5, :5] = 0.5
    foreground[10:15, 10:15] = 0.49
    foreground[20:24, 20:24] = 1
    assert find_objects(foreground, foreground, Postprocess(min_area_px=17)).max() == 1
    assert find_objects(foreground, foreground, Postprocess(min_area_px=16)).max() == 2
    assert find_objects(foreground, foreground, Postprocess(min_area_px=16, threshold=0.49)).max() == 3


def ring_with(*islands):
    """Outer ring of 20 px with other disks in its hole."""
    labels = disks((30, 40, 20))
    labels[disk((30, 40), 15)] = 0
    for row, column, radius in islands:
        labels[disk((row, column), radius)] = 2
    return labels


def test_holes_are_filled_or_kept():
    ring = ring_with()
    np.testing.assert_array_equal(found_from_truth(ring, Postprocess()), disks((30, 40, 20)))
    kept = found_from_truth(ring, Postprocess(fill_holes=False, seed_height=0.1))
    np.testing.assert_array_equal(kept, ring)


def test_an_object_in_a_hole_stays_and_a_speck_does_not():
    island = found_from_truth(ring_with((30, 40, 6)), Postprocess())
    assert island.max() == 2
    assert (island == 2).sum() == (disks((30, 40, 6)) > 0).sum()
    assert ((island > 0) == (disks((30, 40, 20)) > 0)).all()
    speck = found_from_truth(ring_with((30, 40, 2)), Postprocess(min_area_px=16))
    np.testing.assert_array_equal(speck, disks((30, 40, 20)))


def test_what_two_objects_in_a_hole_enclose_together_stays_background():
    foreground, distance = np.zeros((13, 13), np.float32), np.ones((13, 13), np.float32)
    foreground[[0, -1]] = foreground[:, [0, -1]] = 1
    foreground[4:9, 4:9] = 1
    foreground[5:8, 5:8] = 0
    distance[:, 6] = 0.1
    distance[[0, -1]] = 1
    found = find_objects(foreground, distance, Postprocess(smoothing_px=0, min_area_px=0))
    assert found.max() == 3
    assert not found[5:8, 5:8].any()
    assert (found[1:4, 1:12] == 1).all()


def test_a_small_ring_counts_with_its_hole():
    ring = np.zeros(SHAPE, np.float32)
    ring[10:15, 10:15] = 1
    ring[11:14, 11:14] = 0
    assert find_objects(ring, ring, Postprocess(min_area_px=20)).sum() == 25
    assert not find_objects(ring, ring, Postprocess(min_area_px=20, fill_holes=False)).any()


def test_a_gap_between_three_objects_is_no_hole():
    truth = disks((20, 26, 12), (20, 50, 12), (40, 38, 12))
    found = found_from_truth(truth, Postprocess())
    assert found.max() == 3
    assert ((found > 0) == (truth > 0)).all()


POSTPROCESS = st.builds(
    Postprocess,
    threshold=st.just(0.5),
    seed_height=st.sampled_from([0.05, 0.1, 0.4]),
    smoothing_share=st.sampled_from([0.0, 0.2]),
    smoothing_px=st.sampled_from([0.0, 0.7, 2.0]),
    min_area_px=st.integers(0, 6),
    fill_holes=st.booleans(),
)


@st.composite
def outputs(draw):
    """A model's two channels on a small image."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))
    foreground = draw(hnp.arrays(np.float16, shape, elements=st.sampled_from([0.0, 0.5, 1.0]), fill=st.nothing()))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return foreground, generator.random(shape).astype(np.float16)


@settings(max_examples=200, deadline=None)
@given(outputs(), POSTPROCESS)
def test_what_holds_for_every_result(channels, settings):
    foreground, distance = channels
    found = find_objects(foreground, distance, settings)
    mask = foreground >= settings.threshold
    assert not found[~(ndimage.binary_fill_holes(mask) if settings.fill_holes else mask)].any()
    if settings.min_area_px <= 1:
        assert found[mask].all()
    ids = found[found > 0]
    first_seen = list(dict.fromkeys(ids.tolist()))
    assert first_seen == list(range(1, len(first_seen) + 1))
    for number in first_seen:
        own = found == number
        assert own.sum() >= settings.min_area_px
        assert len(components(own, EIGHT_CONNECTED)) == 1
        if settings.fill_holes:
            holes = components(ndimage.binary_fill_holes(own) & (found == 0))
            assert not any((ndimage.binary_dilation(hole) & own).any() for hole in holes)


@settings(max_examples=100, deadline=None)
@given(outputs(), POSTPROCESS, st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2))
def test_the_place_in_the_image_does_not_matter(channels, settings, margins):
    foreground, distance = channels
    found = find_objects(foreground, distance, settings)
    moved = find_objects(np.pad(foreground, margins), np.pad(distance, margins), settings)
    np.testing.assert_array_equal(moved, np.pad(found, margins))


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int32, (7, 6), elements=st.sampled_from([0, 0, 2, 3, 9])), st.integers(0, 8))
def test_keep_large_in_strips(labels, min_area_px):
    expected = np.zeros_like(labels)
    order = [number for number in dict.fromkeys(labels.ravel().tolist()) if number]
    large = [number for number in order if (labels == number).sum() >= min_area_px]
    for new, number in enumerate(large, start=1):
        expected[labels == number] = new
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "STRIP_PX", 12)
        keep_large(labels, min_area_px)
    np.testing.assert_array_equal(labels, expected)


def test_memory_mapped_result_and_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "STRIP_PX", 2**14)
    truth = np.tile(disks((30, 20, 14), (30, 46, 12.5)), (20, 15))
    foreground, distance = (truth > 0).astype(np.float16), np.tile(distance_target(truth[:60, :80]), (20, 15))
    distance = distance.astype(np.float16)
    out = np.memmap(tmp_path / "labels", np.int32, "w+", shape=truth.shape)
    tracemalloc.start()
    found = find_objects(foreground, distance, Postprocess(), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is out
    assert out.max() == 600
    assert ((out > 0) == (truth > 0)).all()
    # The thresholded image takes one byte a pixel, boxes, strips and crops come on top; a float16 copy would take two.
    assert peak < 1.6 * truth.size
