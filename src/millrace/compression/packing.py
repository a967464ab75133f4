"""The two plain encodings inside an `.mrz` file: variable-length integers and raw deflate, both with limits."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

VARINT_MAX_BYTES = 5
VARINT_LIMIT = 1 << 7 * VARINT_MAX_BYTES
# Higher levels take four times as long on a mask of noise, for 0 to 2 % fewer bytes.
LEVEL = 7
MEMORY_LEVEL = 9


def pack_varints(values: NDArray[np.int64]) -> bytes:
    """Integers (N,) of 0 to 2**35 - 1 as LEB128: seven bits a byte, the lowest first; bit 7 says that more follow.

    Raises:
        ValueError: A value is out of range.
    """
    if values.size and not 0 <= values.min() <= values.max() < VARINT_LIMIT:
        raise ValueError(f"a varint holds 0 to {VARINT_LIMIT - 1}")
    sizes = np.ones(len(values), np.intp)
    for place in range(1, VARINT_MAX_BYTES):
        sizes += values >= 1 << 7 * place
    packed = np.empty(sizes.sum(), np.uint8)
    starts = np.cumsum(sizes) - sizes
    for place in range(sizes.max(initial=0)):
        there = sizes > place
        more = np.where(sizes[there] > place + 1, 0x80, 0)
        packed[starts[there] + place] = values[there] >> 7 * place & 0x7F | more
    return packed.tobytes()


def unpack_varints(data: bytes, count: int) -> tuple[NDArray[np.int64], int]:
    """The first `count` varints in `data`, shape (count,), and how many bytes they take.

    Raises:
        ValueError: There are fewer, or one is longer than it has to be or than five bytes.
    """
    available = np.frombuffer(data, np.uint8, min(len(data), count * VARINT_MAX_BYTES))
    ends = np.flatnonzero(available < 0x80)[:count]
    if len(ends) < count:
        raise ValueError("a number is missing or too long")
    if not count:
        return np.zeros(0, np.int64), 0
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if sizes.max() > VARINT_MAX_BYTES or (available[ends[sizes > 1]] == 0).any():
        raise ValueError("a number takes more bytes than it needs")
    values = np.zeros(count, np.int64)
    for place in range(sizes.max()):
        there = sizes > place
        values[there] |= (available[starts[there] + place] & np.int64(0x7F)) << 7 * place
    return values, int(ends[-1]) + 1


def deflate(data: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """Raw deflate stream (RFC 1951), without the header and checksum of zlib."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, MEMORY_LEVEL, strategy)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Content of a raw deflate stream that fills `data` exactly.

    Raises:
        ValueError: The stream is damaged, does not end with `data`, or holds more than `max_bytes` bytes.
    """
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # A limit of 0 would be none.
        content = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"a compressed part is damaged ({error})") from None
    if len(content) > max_bytes:
        raise ValueError(f"a compressed part holds more than {max_bytes} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("a compressed part does not end where it should")
    return content
