"""A block of latents and its bytes: exact for every shape, and safe against any bytes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from codec_models import codec_of, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.compression.block_coding import dc_passes, quantisers_of, steps
from millrace.compression.entropy import CorruptBlockError
from millrace.compression.transform import CHANNELS
from millrace.compression.trellis import LARGEST

CODER = codec_of(small_network()).block_coder()
SIDES = st.integers(1, 8)


def random_indices(shape, density, spread=3.0, seed=0, channels=CHANNELS):
    """Indices (256, h, w) that get fewer and smaller from low frequencies to high; channel 0 is a slope with noise."""
    random = np.random.default_rng(seed)
    fall = np.exp(-3 * np.arange(CHANNELS) / CHANNELS)[:, None, None]
    indices = np.rint(random.laplace(0, spread, (CHANNELS, *shape)) * fall).astype(np.int64)
    indices[random.random(indices.shape) > density * fall] = 0
    indices[channels:] = 0
    slope = np.add.outer(np.arange(shape[0]), -2 * np.arange(shape[1]))
    indices[0] = slope + np.rint(random.normal(0, 2, shape)).astype(np.int64)
    return indices


def latents_of(indices):
    """What indices stand for, in steps."""
    sizes = np.concatenate([2 * np.abs(indices[:1]), steps(np.abs(indices[1:]), quantisers_of(indices[1:]))])
    return np.sign(indices) * sizes


@given(SIDES, SIDES, st.sampled_from([0.0, 0.02, 0.3, 1.0]), st.sampled_from([0.5, 3.0, 300.0]), st.integers(0, 2**31))
@settings(max_examples=40)
def test_a_block_comes_back(height, width, density, spread, seed):
    indices = random_indices((height, width), density, spread, seed)
    found = CODER.decode(CODER.encode(indices), (height, width))
    assert found.dtype == np.int16
    assert np.array_equal(found, latents_of(indices))


@pytest.mark.parametrize("shape", [(1, 1), (1, 32), (29, 1), (32, 32), (9, 31)])
@pytest.mark.parametrize("density", [0.0, 0.2])
def test_a_block_of_any_shape_comes_back(shape, density):
    indices = random_indices(shape, density, seed=1)
    assert np.array_equal(CODER.decode(CODER.encode(indices), shape), latents_of(indices))


@pytest.mark.parametrize("last", [0, 1, 15, 16, 17, 254, 255])
def test_what_lies_above_the_last_channel_takes_nothing(last):
    indices = random_indices((3, 4), 1.0, seed=2, channels=last + 1)
    indices[last, 1, 2] = 1
    data = CODER.encode(indices)
    assert data[0] == last
    assert np.array_equal(CODER.decode(data, (3, 4)), latents_of(indices))


def test_an_even_block_takes_little():
    assert len(CODER.encode(np.zeros((CHANNELS, 32, 32), np.int64))) < 32 * 32 / 5


def test_the_largest_latents_come_back():
    indices = np.zeros((CHANNELS, 3, 3), np.int64)
    indices[:] = np.where(np.arange(9).reshape(3, 3) % 2, LARGEST - 1, 1 - LARGEST)
    indices[7] = np.sign(indices[7]) * (LARGEST - 2)
    found = CODER.decode(CODER.encode(indices), (3, 3))
    assert np.array_equal(found, latents_of(indices))
    assert found.max() == 2 * LARGEST - 2


@pytest.mark.parametrize("channel", [0, 255])
@pytest.mark.parametrize("index", [LARGEST, LARGEST + 1, -LARGEST, -3 * LARGEST])
def test_latents_beyond_their_type_are_corrupt(channel, index):
    indices = np.zeros((CHANNELS, 2, 2), np.int64)
    indices[channel, 1, 0] = index
    with pytest.raises(CorruptBlockError, match="too large"):
        CODER.decode(CODER.encode(indices), (2, 2))


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 16, 17, 31, 33])
@pytest.mark.parametrize("width", [1, 2, 4, 7, 16, 33])
def test_passes_visit_each_place_once_and_look_back_only(height, width):
    visited = np.zeros(height * width, bool)
    for number, dc in enumerate(dc_passes(height, width)):
        assert not visited[dc.places].any()
        assert visited[dc.neighbours[dc.present]].all()
        assert dc.present.any(1).all() == (number > 0)
        visited[dc.places] = True
    assert visited.all()


@given(SIDES, SIDES, st.integers(0, 2**31))
@settings(max_examples=30)
def test_a_prediction_is_the_rounded_mean_of_neighbours_at_one_distance(height, width, seed):
    plane = np.random.default_rng(seed).integers(-50, 50, height * width)
    for dc in dc_passes(height, width):
        mean, spread = dc.predict(plane)
        for place, neighbours, present, found, wide in zip(
            dc.places, dc.neighbours, dc.present, mean, spread, strict=True
        ):
            y, x = divmod(int(place), width)
            near = [divmod(int(each), width) for each in neighbours[present]]
            assert len({(ny - y) ** 2 + (nx - x) ** 2 for ny, nx in near}) <= 1
            assert len({*near}) == len(near)
            values = [int(plane[ny * width + nx]) for ny, nx in near]
            assert found == (np.floor(sum(values) / len(values) + 0.5) if values else 0)
            assert wide == (max(values) - min(values) if values else 0)


SMALL = CODER.encode(random_indices((2, 3), 1.0, seed=3, channels=40))


def decoded_or_corrupt(data, shape=(2, 3)):
    """Whether bytes were decoded: to latents of the right shape and type."""
    try:
        latents = CODER.decode(data, shape)
    except CorruptBlockError:
        return False
    assert latents.shape == (CHANNELS, *shape)
    assert latents.dtype == np.int16
    assert latents.min() > -2 * LARGEST
    return True


def test_a_block_cut_off_anywhere_is_corrupt_or_wrong():
    whole = CODER.decode(SMALL, (2, 3))
    for length in range(1, len(SMALL)):
        decoded_or_corrupt(SMALL[:length])
    with pytest.raises(CorruptBlockError, match="empty"):
        CODER.decode(b"", (2, 3))
    assert not np.array_equal(CODER.decode(SMALL[: len(SMALL) // 2], (2, 3)), whole)


@given(st.binary(min_size=1, max_size=400), SIDES, SIDES)
@settings(max_examples=60)
def test_any_bytes_are_decoded_or_corrupt(data, height, width):
    decoded_or_corrupt(data, (height, width))


@given(st.integers(1, len(SMALL) - 1), st.integers(1, 255))
@settings(max_examples=60)
def test_damaged_bytes_are_decoded_or_corrupt(place, change):
    damaged = bytearray(SMALL)
    damaged[place] ^= change
    decoded_or_corrupt(bytes(damaged))


def test_no_bytes_ask_for_much_time_or_memory():
    random = np.random.default_rng(5)
    tracemalloc.start()
    outcomes = set()
    for fill in (b"\x00", b"\xff", b"\x55"):
        outcomes.add(decoded_or_corrupt(b"\xff" + fill * 20_000, (16, 16)))
    for _ in range(5):
        outcomes.add(decoded_or_corrupt(b"\xff" + random.bytes(20_000), (16, 16)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6
    assert False in outcomes
