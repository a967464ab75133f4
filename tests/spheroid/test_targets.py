"""The distance that the model learns to predict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.spheroid.targets import distance_target

SMALL_LABELS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))


def by_definition(labels):
    """Search over all pixels, written from the definition."""
    places = np.stack(np.nonzero(np.ones(labels.shape)), axis=1)
    flat = labels.ravel()
    depth = np.full(labels.size, np.inf)
    for index, place in enumerate(places):
        outside = places[flat != flat[index]]
        if len(outside):
            depth[index] = np.hypot(*(outside - place).T).min()
    target = np.zeros(labels.size)
    for label in set(flat.tolist()) - {0}:
        own = flat == label
        target[own] = 1 if np.isinf(depth[own]).any() else depth[own] / depth[own].max()
    return target.reshape(labels.shape)


@settings(max_examples=150, deadline=None)
@given(SMALL_LABELS)
def test_equals_the_definition(labels):
    np.testing.assert_allclose(distance_target(labels), by_definition(labels), atol=1e-6)


def test_touching_neighbours_are_outside_and_the_images_edge_is_not():
    labels = np.array([[1, 1, 1, 2, 2]], np.int32)
    np.testing.assert_allclose(distance_target(labels), [[1, 2 / 3, 1 / 3, 0.5, 1]], atol=1e-6)


def test_ids_may_have_gaps():
    labels = np.zeros((5, 5), np.int32)
    labels[1:4, 1:4] = 700
    target = distance_target(labels)
    assert target.dtype == np.float32
    np.testing.assert_array_equal(target[2], np.array([0, 0.5, 1, 0.5, 0], np.float32))


def test_an_object_without_outside_and_an_image_without_object():
    assert (distance_target(np.ones((4, 6), np.int32)) == 1).all()
    assert (distance_target(np.zeros((4, 6), np.int32)) == 0).all()
