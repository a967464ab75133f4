"""Bands to blocks and back: any size and mask, no seams, the same bytes everywhere, damage that stays where it is."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_models import codec_of, decoded, encoded, latents_of, rows_of, small_network, speckled, synthesised
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.compression.codec import Codec, _reflected

MODEL = codec_of(small_network())
CODEC = Codec(MODEL, 1.0, threads=1)
REACH_PX = 48 + 8
"""Pixels around a block that its latents can change."""
ROOT = Path(__file__).parents[2]


def mask_of(kind, shape, seed=0):
    """Valid pixels: all, none, one side of a slanting line, or all but specks and a hole."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    if kind == "half":
        return np.asarray(x + y / 3 > shape[1] / 2)
    valid = np.full(shape, kind != "none")
    if kind == "speckled":
        valid = np.random.default_rng(seed).random(shape) > 0.3
        valid[shape[0] // 3 : shape[0] // 2] = False
    return valid


def assert_comes_back(image, valid, block_px):
    blocks = encoded(CODEC, image, block_px, valid)
    pixels, good = decoded(CODEC, blocks, image.shape, block_px)
    assert len(blocks) == -(-image.shape[0] // block_px) * -(-image.shape[1] // block_px)
    assert pixels.shape == good.shape == image.shape
    assert pixels.dtype == np.float32
    assert good.all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    # Block by block, the decoder makes what it would make of all latents at once.
    whole = synthesised(MODEL, latents_of(MODEL, blocks, image.shape, block_px), image.shape)
    np.testing.assert_allclose(pixels, whole, rtol=0, atol=1e-6)
    if valid.any():
        assert np.square(pixels - image)[valid].mean() < 0.01


@st.composite
def bands(draw):
    """Image, valid pixels and side of a block."""
    block_px = draw(st.sampled_from([16, 32, 48]))
    shape = tuple(draw(st.integers(1, min(70, 3 * block_px))) for _ in range(2))
    seed = draw(st.integers(0, 2**31))
    kind = draw(st.sampled_from(["all", "none", "half", "speckled"]))
    return speckled(*shape, seed), mask_of(kind, shape, seed), block_px


@given(bands())
@settings(max_examples=10)
def test_a_band_comes_back(band):
    assert_comes_back(*band)


@pytest.mark.parametrize("shape", [(112, 16), (16, 112), (1, 1), (7, 70)])
def test_small_blocks_see_as_far_around_as_large_ones(shape):
    # Pixels depend on latents of up to four blocks away.
    assert_comes_back(speckled(*shape), np.ones(shape, bool), 16)


def test_values_of_invalid_pixels_do_not_count():
    image, valid = speckled(48, 64), mask_of("half", (48, 64))
    expected = encoded(CODEC, image, 64, valid)
    changed = np.where(valid, image, np.float32(1e30))
    assert list(CODEC.encode(lambda first, last: (changed[first:last], valid[first:last]), (48, 64), 64)) == expected


def test_a_larger_step_gives_smaller_blocks_and_larger_errors():
    image = speckled(64, 64)
    sizes, errors = [], []
    for multiplier in (0.5, 1.0, 2.0):
        codec = Codec(MODEL, multiplier, threads=1)
        blocks = encoded(codec, image, 64)
        pixels, _ = decoded(codec, blocks, image.shape, 64)
        sizes.append(len(blocks[0]))
        errors.append(float(np.square(pixels - image).mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[2] > 3 * errors[0]


def digest(threads):
    """Hashes of the blocks of an image, and of its pixels when they are decoded."""
    codec, image = Codec(MODEL, 1.0, threads), speckled(80, 112, 1)
    blocks = encoded(codec, image, 48)
    pixels, _ = decoded(codec, blocks, image.shape, 48)
    return [hashlib.sha256(data).hexdigest() for data in (b"|".join(blocks), pixels.tobytes())]


@pytest.fixture(scope="module")
def expected_digest():
    return digest(1)


@pytest.mark.parametrize("threads", [2, 4])
def test_bytes_and_pixels_do_not_depend_on_threads(threads, expected_digest):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert digest(threads) == expected_digest
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_bytes_and_pixels_are_those_of_another_process(expected_digest):
    # One that uses two threads wherever libraries choose for themselves.
    threads = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "2")
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests", "tests/compression"))
    code = "from test_codec import digest; print(*digest(0))"
    environment = os.environ | threads | {"PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == expected_digest, run.stderr


FINE = Codec(MODEL, 0.2, threads=1)
SIDE_PX, BLOCK_PX = 224, 64


def images():
    """Noise of which no pixel tells of its neighbours, and a wave without any noise."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    noise = 0.5 + 0.15 * np.random.default_rng(0).standard_normal((SIDE_PX, SIDE_PX))
    wave = 0.5 + 0.2 * np.sin(7 * x + 3 * y) * np.cos(6 * y - x)
    return {"noise": np.clip(noise, 0, 1).astype(np.float32), "wave": wave.astype(np.float32)}


def test_the_error_hardly_depends_on_the_size_of_blocks():
    image = speckled(96, 96, 2)
    errors = []
    for block_px in (32, 96):
        pixels, _ = decoded(FINE, encoded(FINE, image, block_px), image.shape, block_px)
        errors.append(10 * np.log10(np.square(pixels - image).mean()))
    assert np.ptp(errors) < 0.5


@pytest.mark.parametrize("kind", ["noise", "wave"])
def test_errors_at_the_borders_of_blocks_are_those_of_elsewhere(kind):
    image = images()[kind]
    pixels, _ = decoded(FINE, encoded(FINE, image, BLOCK_PX), image.shape, BLOCK_PX)
    place = np.arange(SIDE_PX)
    near = np.isin(place % BLOCK_PX, [0, 1, BLOCK_PX - 2, BLOCK_PX - 1]) & (place > 1) & (place < SIDE_PX - 2)
    border, error = near[:, None] | near[None], np.square(pixels - image)
    assert error[border].mean() < 1.08 * error[~border].mean()
    # Nor does the image jump from one block to the next: its error does not, more than from pixel to pixel elsewhere.
    jumps = np.square(np.diff(pixels - image, axis=1))
    at = np.arange(1, SIDE_PX) % BLOCK_PX == 0
    assert jumps[:, at].mean() < 1.1 * jumps[:, ~at].mean()


COARSE = Codec(MODEL, 3.0, threads=1)


@pytest.fixture(scope="module")
def nine_blocks():
    """A band of 3 x 3 blocks of 64 pixels: its blocks and pixels."""
    blocks = encoded(COARSE, speckled(185, 192, 4), 64)
    return blocks, decoded(COARSE, blocks, (185, 192), 64)[0]


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\x07", b"\xff" * 900, np.random.default_rng(0).bytes(300)],
    ids=["missing", "empty", "short", "impossible", "random"],
)
@pytest.mark.parametrize("block", [0, 4])
def test_damage_stays_where_it_is(data, block, nine_blocks):
    blocks, expected = nine_blocks
    damaged, told = [*blocks], []
    damaged[block] = data
    strips = COARSE.decode(lambda y, x: damaged[3 * y + x], (185, 192), 64, lambda *place: told.append(place))
    pixels, good = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    y, x = np.mgrid[:185, :192]
    top, left = (64 * place for place in divmod(block, 3))
    away = np.maximum.reduce([top - y, y - (top + 63), left - x, x - (left + 63)])
    assert (away > REACH_PX).sum() > 2000
    assert np.array_equal(pixels[away > REACH_PX], expected[away > REACH_PX])
    assert not np.array_equal(pixels[away <= 0], expected[away <= 0])
    assert np.isfinite(pixels).all()
    # A block that is missing is known to be, and one that cannot be decoded is told of.
    assert (~good[away <= 8]).all() == (~good).any() == (data is None or bool(told))
    assert good[away > 8].all()  # as far as basis functions of the block reach
    assert told in ([], [divmod(block, 3)])
    assert told or data != b"\xff" * 900


def test_a_band_of_which_no_block_is_left_is_grey():
    pixels, good = decoded(CODEC, [None] * 4, (100, 90), 64)
    assert not good.any()
    assert pixels.shape == (100, 90)
    assert np.ptp(pixels) < 0.1


@pytest.mark.parametrize(("last", "there"), [(56, [True, False]), (55, [True, False]), (57, [True, True])])
def test_blocks_that_no_valid_pixel_depends_on_take_no_bytes(last, there):
    # A block's latents depend on pixels up to eight from its border.
    image = speckled(128, 128)
    valid = np.zeros(image.shape, bool)
    valid[:, :last] = True
    assert [bool(block) for block in encoded(CODEC, image, 64, valid)] == there * 2
    assert [bool(block) for block in encoded(CODEC, image.T, 64, valid.T)] == [there[0]] * 2 + [there[1]] * 2


def test_every_block_with_a_valid_pixel_takes_bytes():
    random, image = np.random.default_rng(0), speckled(70, 83)
    for _ in range(6):
        valid = np.zeros(image.shape, bool)
        y, x = int(random.integers(70)), int(random.integers(83))
        valid[y, x] = True
        blocks = encoded(CODEC, image, 32, valid)
        assert blocks[y // 32 * 3 + x // 32]
        far = [
            max(32 * row - y, y - 32 * row - 31, 32 * column - x, x - 32 * column - 31) > 32
            for row in range(3)
            for column in range(3)
        ]
        assert not any(block for block, away in zip(blocks, far, strict=True) if away)


def test_no_more_rows_are_read_than_a_strip_and_its_surroundings():
    read, image = [], np.zeros((5000, 20), np.float32)

    def rows(first, last):
        read.append((first, last))
        return rows_of(image, np.zeros(image.shape, bool))(first, last)

    assert not any(CODEC.encode(rows, image.shape, 64))
    assert len(read) == 79
    assert all(0 <= first < last <= 5000 and last - first <= 64 + 2 * (8 + 64) for first, last in read)


def test_rows_are_decoded_as_they_are_asked_for():
    asked = []

    def payload(row, column):
        asked.append(row)
        return b""

    strips = CODEC.decode(payload, (5000, 20), 64, lambda *place: None)
    assert next(strips)[0].shape == (64, 20)
    assert max(asked) <= 4
    assert [len(strip) for strip, _ in strips] == [64] * 77 + [8]
    assert asked == [*range(79)]


@given(st.integers(1, 100), st.integers(-40, 120), st.integers(1, 150))
def test_an_axis_is_mirrored_at_its_padded_end_and_there_at_its_own(length, start, count):
    padded = -(-length // 16) * 16
    own = np.pad(np.arange(length), (0, padded - length), mode="symmetric")
    around = np.pad(own, 300, mode="symmetric")
    assert np.array_equal(_reflected(start, start + count, length), around[300 + start : 300 + start + count])
