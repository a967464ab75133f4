"""The lapped transform: orthonormal, exact to the edges, and the same in parts as in whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.compression.transform import (
    CHANNELS,
    OVERLAP,
    STRIDE,
    LappedTransform,
    frequencies,
    lapped_basis,
    mirrored,
)

POSITIONS = st.integers(1, 5)
EDGES = (True, True, True, True)
UNTRAINED = LappedTransform()


def images(height, width, seed=0):
    """Values (2, 1, 16 height, 16 width) around 0."""
    return torch.rand((2, 1, STRIDE * height, STRIDE * width), generator=torch.Generator().manual_seed(seed)) - 0.5


def trained():
    """A transform whose parameters have moved."""
    transform, random = LappedTransform(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
    return transform


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_the_basis_is_orthonormal_with_its_own_neighbours(size):
    basis = lapped_basis(size)
    assert basis.shape == (size, 2 * size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=1e-13)
    np.testing.assert_allclose(basis[:, :size] @ basis[:, size:].T, 0, atol=1e-13)


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_basis_functions_are_even_and_odd_in_turn_by_rising_frequency(size):
    basis = lapped_basis(size)
    for number, function in enumerate(basis):
        np.testing.assert_allclose(function[::-1], (-1) ** number * function, atol=1e-13)
    power = np.abs(np.fft.rfft(basis, 1024, axis=1)) ** 2
    middle = power @ np.arange(power.shape[1]) / power.sum(1)
    assert (np.diff(middle) > 0).all()


def test_channels_are_all_pairs_of_frequencies_from_low_to_high():
    places = frequencies()
    assert places[0].tolist() == [0, 0]
    assert len({tuple(place) for place in places.tolist()}) == CHANNELS
    assert set(places.ravel().tolist()) == set(range(STRIDE))
    assert (np.diff((places**2).sum(1)) >= 0).all()


@given(POSITIONS, POSITIONS, st.integers(0, 2**31))
@settings(max_examples=25)
@torch.no_grad()
def test_an_image_comes_back_whole_up_to_its_edges(height, width, seed):
    image = images(height, width, seed)
    latents = UNTRAINED.analyse(mirrored(image))
    assert latents.shape == (2, CHANNELS, height, width)
    torch.testing.assert_close(UNTRAINED.synthesise(UNTRAINED.mirror(latents, *EDGES)), image, rtol=0, atol=5e-6)


@given(POSITIONS, POSITIONS)
@settings(max_examples=10)
@torch.no_grad()
def test_latents_have_the_energy_of_the_pixels(height, width):
    image = images(height, width)
    for surroundings in (mirrored(image), F.pad(image, [OVERLAP] * 4, mode="circular")):
        energy = UNTRAINED.analyse(surroundings).square().sum()
        torch.testing.assert_close(energy, image.square().sum(), rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_mirrored_image_has_mirrored_latents_whatever_training_did():
    transform, image = trained(), images(2, 3)
    inside = transform.analyse(mirrored(image))
    wide = torch.cat([image.flip(-1), image, image.flip(-1)], dim=-1)
    around = transform.analyse(mirrored(torch.cat([wide.flip(-2), wide, wide.flip(-2)], dim=-2)))
    torch.testing.assert_close(transform.mirror(inside, *EDGES), around[..., 1:-1, 2:-2], rtol=0, atol=1e-5)


@given(st.data(), POSITIONS, POSITIONS)
@settings(max_examples=25)
@torch.no_grad()
def test_latents_with_their_surroundings_give_the_pixels_of_the_whole(data, height, width):
    transform = trained()
    latents = torch.randn((1, CHANNELS, height, width), generator=torch.Generator().manual_seed(2))
    whole = transform.synthesise(transform.mirror(latents, *EDGES))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    around = latents[..., max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
    tile = transform.synthesise(transform.mirror(around, top == 0, bottom == height, left == 0, right == width))
    expected = whole[..., STRIDE * top : STRIDE * bottom, STRIDE * left : STRIDE * right]
    torch.testing.assert_close(tile, expected, rtol=0, atol=1e-4)
