"""The file format `.mrz`: a header, and blocks that are read and damaged one by one (docs/mrz.md)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from millrace.compression.header import Header, pack_head, unpack_head
from millrace.compression.mask_coding import decode_mask
from millrace.compression.packing import VARINT_MAX_BYTES, pack_varints, unpack_varints
from millrace.errors import UserError

# Like that of PNG, the first byte does not survive a transfer as text.
MAGIC = b"\x8dMRZ"
VERSION = 1
MAX_HEAD_BYTES = 32 << 20
MAX_PIXELS = 4_000_000_000
CRC_BYTES = 4


def write(
    target: Path | BinaryIO,
    header: Header,
    payloads: Sequence[Sequence[bytes]],
    masks: Sequence[Sequence[bytes]] = (),
) -> int:
    """Write a file; a path is replaced only when the new file is whole.

    Args:
        target: Path, or a binary stream.
        header: The image and how it was coded.
        payloads: For each band its coded blocks in raster order; a block may be empty.
        masks: What `encode_mask` returned for the blocks of each band, or of one mask that all bands share; nothing
            where every pixel is valid. Masks that are equal in all bands are stored once, those without an invalid
            pixel not at all.

    Returns:
        Bytes written.

    Raises:
        UserError: The file cannot be written, or the metadata are too large or hold what JSON does not.
        ValueError: The number of bands or blocks is not that of the header.
    """
    blocks = header.grid[0] * header.grid[1]
    if len(payloads) != header.bands or len(masks) not in (0, 1, header.bands):
        raise ValueError(f"{len(payloads)} bands and {len(masks)} masks for {header.bands} bands")
    if any(len(plane) != blocks for plane in [*payloads, *masks]):
        raise ValueError(f"a band or mask has not {blocks} blocks")
    stored = masks if any(chunk for plane in masks for chunk in plane) else ()
    if stored and all(list(plane) == list(stored[0]) for plane in stored):
        stored = stored[:1]
    planes = [*stored, *payloads]
    head = pack_head(header, len(stored), np.array([[len(chunk) for chunk in plane] for plane in planes], np.int64))
    start = MAGIC + bytes([VERSION]) + pack_varints(np.array([len(head)])) + head
    parts = [start, *(chunk for plane in planes for chunk in plane if chunk)]
    with _stream_of(target) as stream:
        for part in parts:
            stream.write(part + _crc(part))
    return sum(map(len, parts)) + CRC_BYTES * len(parts)


@dataclass(frozen=True)
class Damage:
    """A block of pixels or of a mask that cannot be had back.

    Attributes:
        part: What is lost. Without its mask a block's pixels are not known to be valid.
        band: 0 the first; None where all bands share the mask.
        row: Of the block, 0 the first.
        column: Of the block, 0 the first.
        reason: Why.
    """

    part: Literal["mask", "pixels"]
    band: int | None
    row: int
    column: int
    reason: str

    def __str__(self) -> str:
        band = "all bands" if self.band is None else f"band {self.band + 1}"
        return f"{self.part} of {band}, block row {self.row + 1}, block column {self.column + 1}: {self.reason}"


class Reader:
    """An `.mrz` file, read block by block; for one thread at a time.

    Args:
        source: Path, or a binary stream that can seek, which stays open.
        max_pixels: Of all bands; a file that claims more is refused.

    Attributes:
        header: The image and how it was coded.
        mask_planes: 0 (all pixels are valid), 1 (all bands share a mask) or the number of bands.
        file_bytes: Size of the file.
        extra_bytes: How much of that is behind the last block; below 0 where the file is cut off.
        damaged: What was asked for and could not be had, in the order of asking.

    Raises:
        UserError: The file cannot be read, is no `.mrz` file, or of a newer version; or its header or its table of
            blocks is damaged or out of the limits.
    """

    def __init__(self, source: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> None:
        self._name = str(source if isinstance(source, Path) else getattr(source, "name", "the stream"))
        self._owned = isinstance(source, Path)
        try:
            self._stream = source.open("rb") if isinstance(source, Path) else source
            self.file_bytes = self._stream.seek(0, 2)
        except OSError as error:
            raise UserError(f"{self._name} cannot be read: {error.strerror or error}") from None
        try:
            self._read_head(max_pixels)
        except BaseException:
            self.close()
            raise
        self.damaged: list[Damage] = []
        self._reported: set[Damage] = set()

    def payload(self, band: int, row: int, column: int) -> bytes | None:
        """Coded pixels of a block; None where they are damaged, which `damaged` then tells."""
        return self._chunk(self.mask_planes + self._in_grid(band, row, column), row, column)

    def mask(self, band: int, row: int, column: int) -> NDArray[np.bool_] | None:
        """Which pixels of a block are valid, (H, W); None where that is damaged, which `damaged` then tells."""
        band = self._in_grid(band, row, column)
        shape = self.header.block_shape(row, column)
        if not self.mask_planes:
            return np.ones(shape, bool)
        plane = band if self.mask_planes > 1 else 0
        chunk = self._chunk(plane, row, column)
        if chunk is None:
            return None
        try:
            return decode_mask(chunk, shape)
        except UserError as error:
            self._report(plane, row, column, str(error))
            return None

    def check(self) -> list[Damage]:
        """Read all blocks without decoding them, and return `damaged`."""
        rows, columns = self.header.grid
        for plane in range(self.mask_planes + self.header.bands):
            for block in range(rows * columns):
                self._chunk(plane, *divmod(block, columns))
        return self.damaged

    def bytes_of(self, part: Literal["mask", "pixels"]) -> int:
        """Bytes of all blocks of pixels or masks as the table has them, without checksums."""
        lengths = self._lengths[: self.mask_planes] if part == "mask" else self._lengths[self.mask_planes :]
        return int(lengths.sum())

    def close(self) -> None:
        if self._owned:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read_head(self, max_pixels: int) -> None:
        start = self._read(0, len(MAGIC) + 1 + VARINT_MAX_BYTES)
        self._refuse_foreign(start)
        try:
            (length,), used = unpack_varints(start[len(MAGIC) + 1 :], 1)
            end = len(MAGIC) + 1 + used + int(length)
            if length > MAX_HEAD_BYTES or end + CRC_BYTES > self.file_bytes:
                raise ValueError("it is cut off")
            head = self._read(0, end + CRC_BYTES)
            if _crc(head[:end]) != head[end:]:
                raise ValueError("its checksum differs")
        except ValueError as error:
            message = (
                f"{self._name}: the header is damaged ({error}), without it nothing can be read. Copy the file again"
            )
            raise UserError(message) from None
        version = start[len(MAGIC)]
        if version != VERSION:
            raise UserError(
                f"{self._name} was written by a newer program: its format is {version}, this one reads {VERSION}. "
                "Update this program"
            )
        try:
            self.header, self.mask_planes, self._lengths = unpack_head(head[len(MAGIC) + 1 + used : end], max_pixels)
        except (UserError, ValueError) as error:
            raise UserError(f"{self._name} is refused, its header is not valid: {error}") from None
        sizes = np.where(self._lengths > 0, self._lengths + CRC_BYTES, 0)
        ends = end + CRC_BYTES + np.cumsum(sizes).reshape(sizes.shape)
        self._starts = ends - sizes
        self.extra_bytes = self.file_bytes - int(ends[-1, -1])

    def _refuse_foreign(self, start: bytes) -> None:
        if start.startswith(MAGIC):
            return
        if MAGIC[1:] in start:
            raise UserError(f"{self._name} was damaged by a transfer as text. Copy it again, as a binary file")
        raise UserError(f"{self._name} is no .mrz file")

    def _in_grid(self, band: int, row: int, column: int) -> int:
        rows, columns = self.header.grid
        if not (0 <= band < self.header.bands and 0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"no block {row}, {column} of band {band}")
        return band

    def _chunk(self, plane: int, row: int, column: int) -> bytes | None:
        block = row * self.header.grid[1] + column
        start, length = int(self._starts[plane, block]), int(self._lengths[plane, block])
        if not length:
            return b""
        if start + length + CRC_BYTES > self.file_bytes:
            self._report(plane, row, column, "the file is cut off before its end")
            return None
        data = self._read(start, length + CRC_BYTES)
        if _crc(data[:length]) != data[length:]:
            self._report(plane, row, column, "its checksum differs")
            return None
        return data[:length]

    def _report(self, plane: int, row: int, column: int, reason: str) -> None:
        if plane >= self.mask_planes:
            found = Damage("pixels", plane - self.mask_planes, row, column, reason)
        else:
            found = Damage("mask", plane if self.mask_planes > 1 else None, row, column, reason)
        if found not in self._reported:
            self._reported.add(found)
            self.damaged.append(found)

    def _read(self, start: int, count: int) -> bytes:
        try:
            self._stream.seek(start)
            return self._stream.read(count)
        except OSError as error:
            raise UserError(f"{self._name} cannot be read: {error}") from None


def info(path: Path, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """What a file holds and what of it is damaged, for people; every block is read, none is decoded.

    Raises:
        UserError: As for `Reader`.
    """
    with Reader(path, max_pixels) as reader:
        header = reader.header
        return {
            "file": str(path),
            "format": VERSION,
            "width": header.width,
            "height": header.height,
            "bands": header.bands,
            "dtype": header.dtype,
            "values": header.values,
            "ranges": [list(ends) for ends in header.ranges],
            "nodata": header.nodata,
            "masks": reader.mask_planes,
            "step": header.step,
            "fingerprint": header.fingerprint.hex(),
            "block_px": header.block_px,
            "blocks": header.bands * header.grid[0] * header.grid[1],
            "file_bytes": reader.file_bytes,
            "mask_bytes": reader.bytes_of("mask"),
            "pixel_bytes": reader.bytes_of("pixels"),
            "bits_per_pixel": 8 * reader.file_bytes / header.pixels,
            "ratio": header.pixels * np.dtype(header.dtype).itemsize / reader.file_bytes,
            "extra_bytes": reader.extra_bytes,
            "damaged": [str(damage) for damage in reader.check()],
            "metadata": dict(header.metadata),
        }


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")


@contextmanager
def _stream_of(target: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(target, Path):
        yield target
        return
    # A short name of its own: that of the file may be as long as names can be.
    partial = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                yield stream
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from None
