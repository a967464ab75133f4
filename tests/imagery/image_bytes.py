"""Small image files, whole and damaged, as bytes."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from millrace.errors import ImageError
from millrace.imagery.read import probe, read_grey

RNG = np.random.default_rng(0)
U8 = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
U16 = RNG.integers(0, 65536, (40, 50), dtype=np.uint16)
RGB = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
LIMIT = 1 << 20


def as_tiff(image: np.ndarray, **options) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, image, **options)
    return buffer.getvalue()


def as_pillow(image: np.ndarray | Image.Image, form: str, **options) -> bytes:
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its content does not have."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def oriented_jpeg(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.tile(np.arange(64, dtype=np.uint8), (32, 1))
    return as_pillow(ramp + 4 * np.arange(32, dtype=np.uint8)[:, None], "JPEG", exif=exif)


def with_tag(content: bytes, code: int, value: int) -> bytes:
    """A classic little-endian TIFF with the value of one tag of its first page replaced."""
    changed = bytearray(content)
    (ifd,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, ifd)
    for entry in range(ifd + 2, ifd + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry)[0] == code:
            struct.pack_into("<HII", changed, entry + 2, 4, 1, value)
            return bytes(changed)
    raise KeyError(code)


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.floor(rgb[..., :3] @ np.array([299, 587, 114]) / 1000 + 0.5)


def peak_bytes(call: Callable[[], object]) -> int:
    """Memory that Python and NumPy allocate at most during a call; memory maps do not count."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_refused(path: Path, content: bytes, reason: str, *, by_header: bool) -> None:
    """A file alone in its folder is refused with exactly this reason, in little memory, and leaves nothing beside it.

    Args:
        path: Where it is written.
        content: The file.
        reason: Regular expression of the whole message.
        by_header: Whether `probe`, which reads no pixels, refuses it too.
    """
    path.write_bytes(content)

    def read() -> None:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            read_grey(path, max_pixels=LIMIT, spool=path.parent)

    assert peak_bytes(read) < 500_000
    assert list(path.parent.iterdir()) == [path]
    if by_header:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            probe(path, max_pixels=LIMIT)
