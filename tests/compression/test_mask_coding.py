"""Validity masks come back as they were, in few bytes."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from millrace.compression.mask_coding import decode_mask, encode_mask
from millrace.errors import UserError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
BLOCK = 512
ROW, COLUMN = np.ogrid[:BLOCK, :BLOCK]


def noise(share: float) -> np.ndarray:
    return np.random.default_rng(0).random((BLOCK, BLOCK)) >= share


def entropy_bytes(valid: np.ndarray) -> float:
    share = valid.mean()
    return -valid.size / 8 * (share * np.log2(share) + (1 - share) * np.log2(1 - share))


@given(SHAPES.flatmap(lambda shape: arrays(bool, shape)))
def test_any_mask_comes_back(valid):
    assert np.array_equal(decode_mask(encode_mask(valid), valid.shape), valid)


@given(SHAPES, st.floats(-5, 5), st.floats(-20, 40), st.booleans())
def test_slanted_edges_come_back(shape, slope, start, upright):
    row, column = np.ogrid[: shape[0], : shape[1]]
    valid = column >= start + slope * row if upright else row >= start + slope * column
    assert np.array_equal(decode_mask(encode_mask(valid), shape), valid)


def test_a_mask_may_be_a_view_of_a_larger_one():
    scene = noise(0.3)
    view = scene[10:40:2, 400:300:-3]
    assert np.array_equal(decode_mask(encode_mask(view), view.shape), view)


@pytest.mark.parametrize(
    ("valid", "most_bytes"),
    [
        (np.ones((BLOCK, BLOCK), bool), 0),
        (np.zeros((BLOCK, BLOCK), bool), 4),
        ((ROW != 100) | (COLUMN != 200), 8),
        (COLUMN >= 30 + 0.2 * ROW, 30),
        (COLUMN >= 0.371 * ROW, 30),
        (ROW >= 0.13 * COLUMN, 30),
        (COLUMN <= 900 - 2.63 * ROW, 50),
        ((COLUMN + ROW) % 2 == 0, 700),
        (noise(0.02), 1.12 * entropy_bytes(noise(0.02))),
        (noise(0.1), 1.25 * entropy_bytes(noise(0.1))),
        (noise(0.5), 1.01 * BLOCK**2 / 8),
    ],
)
def test_typical_masks_are_small(valid, most_bytes):
    coded = encode_mask(valid)
    assert len(coded) <= most_bytes
    assert np.array_equal(decode_mask(coded, valid.shape), valid)


def test_the_bytes_are_those_of_the_specification():
    stored = b"\1\5\0\xfa\xff"  # a deflate block of five bytes that are not compressed
    # Runs unset, set, unset, set, unset and, left out, set; the unset ones stand first.
    as_it_is = b"\0" + stored + bytes([2, 3, 1, 1, 2])
    valid = np.array([[1, 1, 0, 1, 1], [1, 0, 0, 1, 0]], bool)
    assert np.array_equal(decode_mask(as_it_is, (2, 5)), valid)
    against_the_row_above = b"\1" + as_it_is[1:]
    expected = np.array([[1, 1, 0, 1, 1], [1 ^ 0, 1 ^ 1, 0 ^ 1, 1, 1 ^ 1]], bool)
    assert np.array_equal(decode_mask(against_the_row_above, (2, 5)), expected)


def raw(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\2" + raw(b"\1"), "unknown mode 2"),
        (b"\0", "does not end"),
        (b"\0\xff", "damaged"),
        (b"\0" + raw(b"\1") + b"x", "does not end"),
        (b"\0" + raw(b"\1")[:-1], "does not end"),
        (b"\0" + raw(bytes([25])), "do not fit"),
        (b"\0" + raw(bytes([24, 0])), "do not fit"),
        (b"\0" + raw(bytes([0, 3, 0])), "do not fit"),
        (b"\0" + raw(bytes([0x80 | 3])), "cut off"),
        (b"\0" + raw(bytes([0x80 | 3, 0])), "more bytes than it needs"),
        (b"\0" + raw(b"\xff\xff\xff\xff\xff\1"), "too long|more bytes"),
        (b"\0" + raw(b"\xff\xff\xff\xff\x7f"), "do not fit"),
        (b"\0" + raw(bytes(27)), "more than 26 bytes"),
    ],
)
def test_what_is_no_mask_is_refused(data, reason):
    with pytest.raises(UserError, match=f"no mask of 5 x 5 pixels: .*({reason})"):
        decode_mask(data, (5, 5))


@given(st.binary(max_size=30), st.booleans())
def test_any_bytes_are_a_mask_or_refused(data, deflated):
    data = data[:1] + raw(data[1:]) if deflated else data
    with contextlib.suppress(UserError):
        assert decode_mask(data, (7, 9)).shape == (7, 9)


def test_a_bomb_is_not_unpacked():
    bomb = b"\0" + raw(bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 65537 bytes"):
        decode_mask(bomb, (256, 256))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
