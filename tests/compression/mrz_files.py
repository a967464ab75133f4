"""Small `.mrz` files for tests: as they are made, as bytes, and what a reader finds in them."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.compression.container import MAGIC, Reader, write
from millrace.compression.header import Header
from millrace.compression.mask_coding import encode_mask

FINGERPRINT = bytes(range(1, 9))


@dataclass
class Content:
    """What is written: masks (H, W) of no, one or each band, coded block by block."""

    header: Header
    payloads: list[list[bytes]]
    masks: list[NDArray[np.bool_]] = field(default_factory=list)

    def mask_chunks(self) -> list[list[bytes]]:
        return [[encode_mask(mask[window]) for window in windows(self.header)] for mask in self.masks]

    def as_bytes(self) -> bytes:
        stream = io.BytesIO()
        size = write(stream, self.header, self.payloads, self.mask_chunks())
        assert size == len(stream.getvalue())
        return stream.getvalue()


def header_of(**fields: Any) -> Header:
    usual = {
        "width": 20,
        "height": 20,
        "dtype": "uint16",
        "values": "amplitude",
        "ranges": ((14.7688, 24.5407),),
        "step": 1.0,
        "fingerprint": FINGERPRINT,
    }
    return Header(**(usual | fields))


def windows(header: Header) -> list[tuple[slice, slice]]:
    side, (rows, columns) = header.block_px, header.grid
    return [
        (slice(side * row, side * (row + 1)), slice(side * column, side * (column + 1)))
        for row in range(rows)
        for column in range(columns)
    ]


def edge(height: int, width: int, slope: float) -> NDArray[np.bool_]:
    return np.arange(width) >= slope * np.arange(height)[:, None]


def plain() -> Content:
    """One block, nothing that is not needed."""
    return Content(header_of(width=224, height=200, dtype="uint8"), [[b"seven.."]])


def two_bands() -> Content:
    """2 x 2 blocks in two bands that share a mask; one block is empty."""
    header = header_of(
        width=25,
        height=20,
        ranges=((-25.0, 5.0), (-30.0, 0.1)),
        block_px=16,
        nodata=0,
        metadata={"crs": "EPSG:32630", "transform": [10.0, 0.0, 399960.0, 0.0, -10.0, 4500000.0]},
    )
    payloads = [[b"first", b"second", b"", b"4"], [b"a" * 30, b"b", b"", bytes(range(256))[::37]]]
    return Content(header, payloads, [edge(20, 25, 0.7)] * 2)


def three_bands() -> Content:
    """Masks that differ, NaN as nodata, no georeferencing."""
    header = header_of(
        width=40,
        height=33,
        dtype="float32",
        values="decibel",
        ranges=((-25.0, 5.0), (-30.0, 0.1), (0.0, 1e-3)),
        step=0.25,
        block_px=32,
        nodata=float("nan"),
        metadata={"descriptions": ["VV", "VH", "Größe"]},
    )
    holes = np.ones((33, 40), bool)
    holes[[3, 8, 30], [5, 33, 1]] = False
    masks = [edge(33, 40, 0.4), np.ones((33, 40), bool), holes]
    return Content(header, [[bytes([band, block]) * 9 for block in range(4)] for band in range(3)], masks)


def sealed(head: bytes, rest: bytes = b"", version: int = 1) -> bytes:
    """File with this head and a checksum that is right."""
    assert len(head) < 1 << 21
    length = bytes([len(head) & 0x7F | 0x80, len(head) >> 7 & 0x7F | 0x80, len(head) >> 14])
    short = length[:1] if len(head) < 1 << 7 else length[:2] if len(head) < 1 << 14 else length
    start = MAGIC + bytes([version]) + short[:-1] + bytes([short[-1] & 0x7F]) + head
    return start + zlib.crc32(start).to_bytes(4, "little") + rest


def found_in(reader: Reader) -> tuple[list[list[bytes | None]], list[list[NDArray[np.bool_] | None]]]:
    """Payloads and masks of all blocks of each band."""
    rows, columns = reader.header.grid
    blocks = [(row, column) for row in range(rows) for column in range(columns)]
    bands = range(reader.header.bands)
    return (
        [[reader.payload(band, *block) for block in blocks] for band in bands],
        [[reader.mask(band, *block) for block in blocks] for band in bands],
    )
