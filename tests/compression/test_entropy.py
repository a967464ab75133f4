"""Entropy coding: exact, at the price that the tables say, the same bytes everywhere, and safe against any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from codec_models import codec_of, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.compression.entropy import (
    DC,
    KINDS,
    LIMIT,
    TOTAL,
    CorruptBlockError,
    Tables,
    finished,
    frequencies_of,
    new_decoder,
    new_encoder,
)
from millrace.compression.scales import COUNT
from millrace.compression.trellis import LARGEST

PLACES = np.abs(np.arange(-LIMIT, LIMIT + 1))


def simple_frequencies():
    """Tables of all limits, from whole numbers only."""
    rows = [
        frequencies_of((10_000 // (1 + (kind + 1) * PLACES)).astype(np.float64), 1 + (7 * scale + kind) % LIMIT)
        for kind in range(KINDS)
        for scale in range(COUNT)
    ]
    return np.array(rows).reshape(KINDS, COUNT, 2 * LIMIT + 1)


GOLDEN = "50132c3832071c3652ede54e8251839858b9469d1ea17733f90c12091fc246c2b17a69da03f16bb973acc387e0b583b47213085c"
"""Made with constriction 0.5.0. Files of users hold such bytes: what no longer gives them cannot read those."""
FREQUENCIES = simple_frequencies()
TABLES = Tables(FREQUENCIES)
MODEL_TABLES = codec_of(small_network()).block_coder().tables


def coded(tables, *parts):
    """Bytes of several calls, of (kinds, scales, indices) each."""
    coder = new_encoder()
    for kinds, scales, indices in parts:
        tables.encode(coder, np.array(kinds, np.int64), np.array(scales, np.int64), np.array(indices, np.int64))
    return finished(coder)


def ideal_bits(kinds, scales, indices):
    """Bits by the definition of the tables and of Elias's gamma code."""
    limits = 1 + (7 * scales + kinds) % LIMIT
    known = np.clip(indices, -limits, limits)
    bits = -np.log2(FREQUENCIES[kinds, scales, known + LIMIT] / TOTAL)
    excess = np.abs(indices) - limits
    return (bits + np.where(excess >= 0, 2 * np.floor(np.log2(np.maximum(excess, 0) + 1)) + 1, 0)).sum()


INDICES = st.one_of(
    st.integers(-3, 3),
    st.integers(-LIMIT - 3, LIMIT + 3),
    st.sampled_from([LARGEST - 1, 1 - LARGEST, 2 * LARGEST, -2 * LARGEST, (1 << 20) - 1, 1 - (1 << 20)]),
)
SYMBOLS = st.lists(st.tuples(st.integers(0, KINDS - 1), st.integers(0, COUNT - 1), INDICES), min_size=1, max_size=60)


@given(st.lists(SYMBOLS, max_size=4))
@settings(max_examples=150)
def test_what_is_encoded_is_decoded(parts):
    columns = [[[row[place] for row in part] for place in range(3)] for part in parts]
    for tables in (TABLES, MODEL_TABLES):
        data = coded(tables, *columns)
        assert not data.endswith(b"\0")
        coder = new_decoder(data)
        for kinds, scales, indices in columns:
            assert tables.decode(coder, np.array(kinds, np.int64), np.array(scales, np.int64)).tolist() == indices


@pytest.mark.parametrize("count", [1, 10, 10_000])
def test_what_is_nearly_certain_takes_hardly_a_byte(count):
    frequencies = np.zeros_like(FREQUENCIES)
    frequencies[..., [LIMIT - 1, LIMIT, LIMIT + 1]] = 1, TOTAL - 2, 1
    tables, nothing = Tables(frequencies), np.zeros(count, np.int64)
    data = coded(tables, (nothing, nothing, nothing))
    assert len(data) <= 4
    assert not tables.decode(new_decoder(data), nothing, nothing).any()


def test_zero_bytes_at_the_end_are_left_out_and_read():
    # One message of 256 or so ends with a zero byte.
    kinds, scales, shorter = np.zeros(2, np.int64), np.full(2, COUNT - 1), 0
    for number in range(1600):
        indices = np.array([number // 40 - 20, number % 40 - 20])
        coder = new_encoder()
        TABLES.encode(coder, kinds, scales, indices)
        data = finished(coder)
        shorter += len(data) < 4 * len(coder.get_compressed())
        assert np.array_equal(TABLES.decode(new_decoder(data), kinds, scales), indices)
        assert np.array_equal(TABLES.decode(new_decoder(data + bytes(9)), kinds, scales), indices)
    assert shorter > 0


def test_the_price_is_what_the_tables_say():
    random = np.random.default_rng(0)
    kinds, scales = random.integers(0, KINDS, 20_000), random.integers(0, COUNT, 20_000)
    indices = np.rint(random.laplace(0, 6, 20_000)).astype(np.int64)
    indices[::50] *= 100
    data, expected = coded(TABLES, (kinds, scales, indices)), ideal_bits(kinds, scales, indices)
    assert expected < 8 * len(data) < 1.0002 * expected + 40
    # Two coders after one another cost no more than one: there is nothing a call leaves behind.
    halves = coded(TABLES, *((kinds[i::2], scales[i::2], indices[i::2]) for i in (0, 1)))
    assert abs(len(halves) - len(data)) <= 4


def pseudo_random(count):
    """Whole numbers by a linear congruential generator."""
    state = 1
    for _ in range(count):
        state = (1_103_515_245 * state + 12_345) % (1 << 31)
        yield state >> 8


def test_bytes_are_the_same_on_every_machine_and_with_every_version():
    drawn = np.array([*pseudo_random(120)]).reshape(40, 3)
    kinds, scales, indices = (drawn % [KINDS, COUNT, 2 * LIMIT + 11] - [0, 0, LIMIT + 5]).T
    large = np.array([0, DC]), np.array([3, COUNT - 1]), np.array([LARGEST - 1, -2 * LARGEST])
    assert coded(TABLES, (kinds, scales, indices), large).hex() == GOLDEN
    coder = new_decoder(bytes.fromhex(GOLDEN))
    assert np.array_equal(TABLES.decode(coder, kinds, scales), indices)
    assert np.array_equal(TABLES.decode(coder, *large[:2]), large[2])


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 63)), min_size=1, max_size=300))
@settings(max_examples=150)
def test_any_bytes_give_indices_or_are_corrupt(data, tables):
    kinds, scales = np.array(tables).T
    try:
        indices = TABLES.decode(new_decoder(data), kinds, scales)
    except CorruptBlockError:
        return
    assert indices.shape == kinds.shape
    assert np.abs(indices).max() <= LIMIT + (1 << 20) - 2


def test_a_block_of_nothing_but_the_longest_escapes():
    # The most that bytes can ask of a decoder: each index an escape, and all of the longest code.
    count = 20_000
    nothing = np.zeros(count, np.int64)
    data = coded(TABLES, (nothing, nothing, np.full(count, (1 << 20) - 1)))
    assert TABLES.decode(new_decoder(data), nothing, nothing).tolist() == [(1 << 20) - 1] * count
    with pytest.raises(CorruptBlockError):
        TABLES.decode(new_decoder(b"\xff" * len(data)), nothing, nothing)


@given(st.lists(st.floats(0, 1e9) | st.just(0.0), min_size=81, max_size=81), st.integers(1, LIMIT))
@settings(max_examples=100)
def test_frequencies_are_a_table(counts, limit):
    counts = np.array(counts)
    counts[LIMIT] += 1e-3
    frequencies = frequencies_of(counts, limit)
    assert frequencies.shape == (2 * LIMIT + 1,)
    assert frequencies.sum() == TOTAL
    assert ((frequencies > 0) == (limit >= PLACES)).all()
    limited = np.zeros(81)
    np.add.at(limited, np.clip(np.arange(-LIMIT, LIMIT + 1), -limit, limit) + LIMIT, counts)
    expected = limited / limited.sum() * TOTAL
    assert np.abs(frequencies - expected)[np.arange(81) != LIMIT].max() <= 2 * LIMIT + 2
    assert np.abs(frequencies - expected)[LIMIT] <= (2 * LIMIT + 2) * (2 * LIMIT + 1)


@pytest.mark.parametrize("damage", ["sum", "hole", "uneven", "negative", "nothing"])
def test_what_is_not_a_set_of_tables_is_refused(damage):
    frequencies = FREQUENCIES.copy()
    row = frequencies[1, 5]
    limit = 1 + 36 % LIMIT
    if damage == "sum":
        row[LIMIT] += 1
    elif damage == "hole":
        row[LIMIT] += row[LIMIT + 1]
        row[LIMIT + 1] = 0
    elif damage == "uneven":
        row[LIMIT] += row[LIMIT + limit]
        row[LIMIT + limit] = 0
    elif damage == "negative":
        row[LIMIT + limit + 1] = -5
        row[LIMIT] += 5
    else:
        row[:] = 0
    with pytest.raises(ValueError, match="tables"):
        Tables(frequencies)
