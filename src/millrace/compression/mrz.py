"""Normalised bands to an `.mrz` file and back, whatever they were read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from millrace.compression import container
from millrace.compression.codec import Codec, Rows
from millrace.compression.codec_model import CodecModel
from millrace.compression.container import Damage, Reader
from millrace.compression.header import Header
from millrace.compression.mask_coding import encode_mask

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def encode(target: Path | BinaryIO, header: Header, bands: Sequence[Rows], model: CodecModel, threads: int = 0) -> int:
    """Write a file.

    Args:
        target: Path, or a binary stream.
        header: Of the image; its `step` is the multiplier.
        bands: Give the rows of each band.
        model: The one whose fingerprint the header has.
        threads: See `Codec`.

    Returns:
        Bytes written.
    """
    codec, shape = Codec(model, header.step, threads), (header.height, header.width)
    payloads = [list(codec.encode(rows, shape, header.block_px)) for rows in bands]
    return container.write(target, header, payloads, [list(masks(header, rows)) for rows in bands])


def decode(reader: Reader, model: CodecModel, threads: int = 0) -> Iterator[tuple[Image, Mask]]:
    """Strips of a file from top to bottom: normalised values and valid pixels, both (bands, rows, W).

    A damaged block is not valid; `reader.damaged` lists it afterwards.
    """
    header = reader.header
    codec, shape = Codec(model, header.step, threads), (header.height, header.width)

    strips = [
        codec.decode(partial(reader.payload, band), shape, header.block_px, partial(_report, reader, band))
        for band in range(header.bands)
    ]
    for row, parts in enumerate(zip(*strips, strict=True)):
        values = np.stack([values for values, _ in parts])
        good = np.stack([good for _, good in parts])
        yield values, good & np.stack([_mask_row(reader, band, row) for band in range(header.bands)])


def _report(reader: Reader, band: int, row: int, column: int) -> None:
    reader.damaged.append(Damage("pixels", band, row, column, "it holds what no encoder writes"))


def masks(header: Header, rows: Rows) -> Iterator[bytes]:
    """Coded mask of each block of a band."""
    side = header.block_px
    for row in range(header.grid[0]):
        _, valid = rows(row * side, min(header.height, (row + 1) * side))
        for column in range(header.grid[1]):
            yield encode_mask(valid[:, column * side : (column + 1) * side])


def _mask_row(reader: Reader, band: int, row: int) -> Mask:
    """Valid pixels (rows, W) of a row of blocks; a block whose mask is damaged has none."""
    parts = []
    for column in range(reader.header.grid[1]):
        mask = reader.mask(band, row, column)
        parts.append(np.zeros(reader.header.block_shape(row, column), bool) if mask is None else mask)
    return np.concatenate(parts, axis=1)
