"""Entropy coding of indices by tables of integer frequencies, on constriction's range coder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from millrace.compression.scales import COUNT

# constriction ships no types.
Categorical: Any = constriction.stream.model.Categorical
Uniform: Any = constriction.stream.model.Uniform
Encoder = Any
"""constriction.stream.queue.RangeEncoder"""
Decoder = Any
"""constriction.stream.queue.RangeDecoder"""

KINDS = 3
"""Of tables: of the two quantisers, `EVEN` and `ODD`, and of the errors of channel 0's prediction."""
DC = 2
TOTAL = 1 << 20
"""Sum of the frequencies of a table."""
LIMIT = 40
"""Indices from here on are coded as this and what they exceed it by."""
_MOST_BITS = 20  # of an excess

Integers = NDArray[np.int64]


class CorruptBlockError(Exception):
    """The bytes of a block are not what an encoder writes."""


class Tables:
    """Frequencies of indices by kind and scale.

    Args:
        frequencies: (3, 64, 81) int32, those of index i at 40 + i. Those of a table are positive from -n to n for
            some n, the table's limit, 0 beyond, and add up to 2^20.
    """

    def __init__(self, frequencies: NDArray[np.int32]) -> None:
        rows = frequencies.reshape(-1, 2 * LIMIT + 1)
        self._limits = (rows > 0).sum(1) // 2
        if (
            (rows < 0).any()
            or not (rows.sum(1) == TOTAL).all()
            or not all((row[LIMIT - n : LIMIT + n + 1] > 0).all() for row, n in zip(rows, self._limits, strict=True))
        ):
            raise ValueError("not a set of frequency tables")
        # Fractions of 2^20 are exact in float64, and so is all that the coder computes from them.
        self._models = [
            Categorical(row[LIMIT - n : LIMIT + n + 1] / float(TOTAL), perfect=False)
            for row, n in zip(rows, self._limits, strict=True)
        ]

    def encode(self, coder: Encoder, kinds: Integers, scales: Integers, indices: Integers) -> None:
        """Append indices (N,), each by the table of its kind and scale (N,)."""
        tables = kinds * COUNT + scales
        limits = self._limits[tables]
        symbols = (np.clip(indices, -limits, limits) + limits).astype(np.int32)
        excess = np.abs(indices) - limits
        for table, places in _groups(tables):
            coder.encode(symbols[places], self._models[table])
            own = excess[places]
            for value in own[own >= 0]:
                _encode_excess(coder, int(value))

    def decode(self, coder: Decoder, kinds: Integers, scales: Integers) -> Integers:
        """Read indices (N,) that were encoded with the same kinds and scales.

        Raises:
            CorruptBlockError: No encoder writes what is there.
        """
        indices = np.empty(len(kinds), np.int64)
        try:
            for table, places in _groups(kinds * COUNT + scales):
                limit = int(self._limits[table])
                values = coder.decode(self._models[table], len(places)).astype(np.int64) - limit
                for place in np.flatnonzero(np.abs(values) == limit):
                    values[place] += (1 if values[place] > 0 else -1) * _decode_excess(coder)
                indices[places] = values
        except AssertionError as error:  # constriction's name for bytes that cannot be
            raise CorruptBlockError(str(error)) from None
        return indices


def _groups(tables: Integers) -> Iterator[tuple[int, Integers]]:
    """Places of each table in use, by its number."""
    small = tables.astype(np.uint8)  # NumPy sorts bytes by counting them
    order = np.argsort(small, kind="stable")
    counts = np.bincount(small, minlength=1)
    ends = np.cumsum(counts)
    for table in np.flatnonzero(counts):
        yield int(table), order[ends[table] - counts[table] : ends[table]]


_BITS = Categorical(np.ldexp(1.0, -np.arange(1, _MOST_BITS + 1)), perfect=False)


def _encode_excess(coder: Encoder, excess: int) -> None:
    """Elias's gamma code: the number of bits, then the bits after the first."""
    bits = (excess + 1).bit_length()
    coder.encode(bits - 1, _BITS)
    if bits > 1:
        coder.encode(excess + 1 - (1 << (bits - 1)), Uniform(1 << (bits - 1)))


def _decode_excess(coder: Decoder) -> int:
    bits = int(coder.decode(_BITS)) + 1
    rest = int(coder.decode(Uniform(1 << (bits - 1)))) if bits > 1 else 0
    return (1 << (bits - 1)) + rest - 1


def new_encoder() -> Encoder:
    return constriction.stream.queue.RangeEncoder()


def finished(coder: Encoder) -> bytes:
    """All that was encoded. Zero bytes at the end are left out: a decoder reads them where nothing is."""
    return bytes(coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


def new_decoder(data: bytes) -> Decoder:
    return constriction.stream.queue.RangeDecoder(np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32))


def frequencies_of(counts: NDArray[np.float64], limit: int) -> NDArray[np.int32]:
    """Frequencies (81,) that add up to 2^20 from counts (81,) of indices; those beyond the limit count as the limit."""
    inside = counts[LIMIT - limit : LIMIT + limit + 1].copy()
    inside[0] += counts[: LIMIT - limit].sum()
    inside[-1] += counts[LIMIT + limit + 1 :].sum()
    frequencies = 1 + np.floor(inside / inside.sum() * (TOTAL - len(inside)))
    frequencies[limit] += TOTAL - frequencies.sum()
    result = np.zeros(2 * LIMIT + 1, np.int32)
    result[LIMIT - limit : LIMIT + limit + 1] = frequencies
    return result
