"""Varints against their definition, and limits of what is unpacked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.compression.packing import VARINT_LIMIT, deflate, inflate, pack_varints, unpack_varints

VALUES = st.lists(st.integers(0, 300) | st.integers(0, VARINT_LIMIT - 1) | st.sampled_from([2**7, 2**14, 2**21, 2**28]))


def leb128(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


@given(VALUES, st.binary(max_size=9))
def test_varints_are_leb128_and_come_back(values, rest):
    packed = pack_varints(np.array(values, np.int64))
    assert packed == b"".join(map(leb128, values))
    unpacked, used = unpack_varints(packed + rest, len(values))
    assert unpacked.tolist() == values
    assert used == len(packed)


@pytest.mark.parametrize("value", [-1, VARINT_LIMIT])
def test_a_number_that_no_varint_holds_is_refused(value):
    with pytest.raises(ValueError, match="a varint holds"):
        pack_varints(np.array([1, value]))


@pytest.mark.parametrize("data", [b"", b"\1", b"\1\x80", b"\1\x81\x80\0", b"\1\x80\0", b"\1\xff\xff\xff\xff\xff\1"])
def test_missing_overlong_and_padded_numbers_are_refused(data):
    with pytest.raises(ValueError, match="a number"):
        unpack_varints(data, 2)


@given(st.binary(max_size=300))
def test_deflate_comes_back_within_the_limit(content):
    packed = deflate(content)
    assert inflate(packed, len(content)) == content
    if content:
        with pytest.raises(ValueError, match="more than"):
            inflate(packed, len(content) - 1)
