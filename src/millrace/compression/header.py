"""What an `.mrz` file says of its image: fields, limits, and their bytes (docs/mrz.md)."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from millrace.compression.packing import deflate, inflate, pack_varints, unpack_varints
from millrace.errors import UserError

Dtype = Literal["uint8", "int16", "uint16", "float32", "float64"]
Values = Literal["amplitude", "power", "decibel", "linear"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
VALUES: tuple[Values, ...] = get_args(Values)
NODATA_FORMATS: dict[Dtype, str] = {"uint8": "B", "int16": "h", "uint16": "H", "float32": "f", "float64": "d"}
HAS_NODATA = 1 << 5
VALUES_SHIFT, MASK_SHIFT = 3, 6

FINGERPRINT_BYTES = 8
BLOCK_MULTIPLE = 16
MAX_BLOCK_PX = 2048
MAX_BANDS = 65_535
MAX_BLOCKS = 1 << 21
MAX_METADATA_BYTES = 4 << 20


@dataclass(frozen=True)
class Header:
    """An image and how it was coded.

    Numbers are rounded to what the file holds when a header is made, so that the encoder computes with the same as the
    decoder.

    Attributes:
        width: Columns of the image.
        height: Rows of the image.
        dtype: Of the pixels that were coded and that decoding returns.
        values: What the pixels are.
        ranges: What of each band became 0 and 1, low below high, float32. Its length is the number of bands.
        step: Multiplier of the model's quantisation step, above 0, float32.
        fingerprint: Of the model, 8 bytes. Whether it is the right one is the caller's to check.
        block_px: Side of a block, a multiple of 16 up to 2048. Blocks at the right and lower edges may be smaller.
        nodata: Value of invalid pixels, of `dtype`; NaN may be one. None where the image declares none.
        metadata: Georeferencing, tags and the like: anything that JSON holds, at most 4 MiB of it.

    Raises:
        UserError: A field is out of its limits.
    """

    width: int
    height: int
    dtype: Dtype
    values: Values
    ranges: tuple[tuple[float, float], ...]
    step: float
    fingerprint: bytes
    block_px: int = 512
    nodata: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.values not in VALUES:
            raise UserError(f"{self.values} as {self.dtype} is not one of {', '.join(VALUES)} as {', '.join(DTYPES)}")
        if min(self.width, self.height) < 1:
            raise UserError(f"{self.width} x {self.height} pixels are no image")
        if not 1 <= self.bands <= MAX_BANDS:
            raise UserError(f"{self.bands} bands; there may be 1 to {MAX_BANDS}")
        if self.block_px % BLOCK_MULTIPLE or not BLOCK_MULTIPLE <= self.block_px <= MAX_BLOCK_PX:
            raise UserError(f"block_px {self.block_px} is no multiple of {BLOCK_MULTIPLE} up to {MAX_BLOCK_PX}")
        blocks = self.bands * math.prod(self.grid)
        if blocks > MAX_BLOCKS:
            raise UserError(f"{blocks} blocks of {self.block_px} pixels, at most {MAX_BLOCKS}. Make block_px larger")
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise UserError(f"a fingerprint of {len(self.fingerprint)} bytes; it has {FINGERPRINT_BYTES}")
        ranges = tuple((_rounded(low, "float32"), _rounded(high, "float32")) for low, high in self.ranges)
        for number, (low, high) in enumerate(ranges, start=1):
            if not -math.inf < low < high < math.inf:
                raise UserError(f"band {number} has the range {low:g} to {high:g}; both must be finite and ascend")
        step = _rounded(self.step, "float32")
        if not 0 < step < math.inf:
            raise UserError(f"step {step:g} is not above 0 and finite")
        object.__setattr__(self, "ranges", ranges)
        object.__setattr__(self, "step", step)
        if self.nodata is not None:
            object.__setattr__(self, "nodata", _rounded(self.nodata, self.dtype))

    @property
    def bands(self) -> int:
        return len(self.ranges)

    @property
    def pixels(self) -> int:
        """Of all bands."""
        return self.width * self.height * self.bands

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks in a band."""
        return -(-self.height // self.block_px), -(-self.width // self.block_px)

    def block_shape(self, row: int, column: int) -> tuple[int, int]:
        """Height and width in pixels of a block."""
        side = self.block_px
        return min(side, self.height - row * side), min(side, self.width - column * side)


def pack_head(header: Header, mask_planes: int, lengths: NDArray[np.int64]) -> bytes:
    """Header and block table as bytes.

    Args:
        header: The fields.
        mask_planes: 0 (all pixels are valid), 1 (all bands share a mask) or the number of bands.
        lengths: Bytes of each chunk, shape (mask_planes + bands, rows * columns).

    Raises:
        UserError: The metadata are too large, or hold what JSON does not.
    """
    codes = DTYPES.index(header.dtype) | VALUES.index(header.values) << VALUES_SHIFT | min(mask_planes, 2) << MASK_SHIFT
    sizes = np.array([header.block_px // BLOCK_MULTIPLE, header.width, header.height, header.bands])
    numbers = [header.step, *np.ravel(header.ranges).tolist()]
    if header.nodata is not None:
        codes |= HAS_NODATA
        numbers.append(header.nodata if "float" in header.dtype else int(header.nodata))
    fixed = _fixed_fields(header.dtype, header.bands, header.nodata is not None).pack(header.fingerprint, *numbers)
    return b"".join([
        bytes([codes]),
        pack_varints(sizes),
        fixed,
        pack_varints(lengths.ravel()),
        _pack_metadata(header.metadata),
    ])  # fmt: skip


def unpack_head(data: bytes, max_pixels: int) -> tuple[Header, int, NDArray[np.int64]]:
    """What `pack_head` was given; nothing is allocated that `data` does not back.

    Raises:
        UserError, ValueError: The bytes are no valid header, or that of more than `max_pixels` pixels.
    """
    if not data:
        raise ValueError("it is empty")
    codes, data = data[0], data[1:]
    dtype_code, values_code, mask_code = codes & 7, codes >> VALUES_SHIFT & 3, codes >> MASK_SHIFT
    if dtype_code >= len(DTYPES) or mask_code > 2:
        raise ValueError(f"unknown codes {codes:#04x}")
    dtype = DTYPES[dtype_code]
    sizes, used = unpack_varints(data, 4)
    side, width, height, bands = sizes.tolist()
    if width * height * bands > max_pixels:
        raise ValueError(f"it claims {width} x {height} pixels in {bands} band(s), the limit is {max_pixels} in all")
    data = data[used:]
    if bands > min(MAX_BANDS, len(data)):
        raise ValueError(f"it claims {bands} bands")
    fixed = _fixed_fields(dtype, bands, bool(codes & HAS_NODATA))
    if fixed.size > len(data):
        raise ValueError("it is cut off")
    fingerprint, step, *numbers = fixed.unpack_from(data)
    ends = iter(numbers[: 2 * bands])
    header = Header(
        width=width,
        height=height,
        dtype=dtype,
        values=VALUES[values_code],
        ranges=tuple(zip(ends, ends, strict=True)),
        step=step,
        fingerprint=fingerprint,
        block_px=side * BLOCK_MULTIPLE,
        nodata=float(numbers[-1]) if codes & HAS_NODATA else None,
    )
    data = data[fixed.size :]
    mask_planes = (0, 1, bands)[mask_code]
    planes, blocks = mask_planes + bands, math.prod(header.grid)
    if planes * blocks > len(data):
        raise ValueError("its table of blocks is cut off")
    lengths, used = unpack_varints(data, planes * blocks)
    header = replace(header, metadata=_unpack_metadata(data[used:]))
    return header, mask_planes, lengths.reshape(planes, blocks)


def _fixed_fields(dtype: Dtype, bands: int, has_nodata: bool) -> struct.Struct:
    """Fingerprint, step, low and high of each band, nodata."""
    return struct.Struct(f"<{FINGERPRINT_BYTES}s{1 + 2 * bands}f{NODATA_FORMATS[dtype] if has_nodata else ''}")


def _rounded(value: float, dtype: Dtype) -> float:
    """The number as the file holds it; there is one NaN only."""
    if "float" not in dtype:
        info = np.iinfo(dtype)
        if not (math.isfinite(value) and value == int(value) and info.min <= value <= info.max):
            raise UserError(f"{value:g} is no value of {dtype}")
        return float(value)
    if math.isnan(value):
        return math.nan
    try:
        rounded: float = struct.unpack(f"<{NODATA_FORMATS[dtype]}", struct.pack(f"<{NODATA_FORMATS[dtype]}", value))[0]
    except OverflowError:
        raise UserError(f"{value:g} is no value of {dtype}") from None
    return rounded


def _pack_metadata(metadata: dict[str, Any]) -> bytes:
    if not metadata:
        return b""
    try:
        text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"the metadata cannot be stored as JSON: {error}") from None
    if len(text) > MAX_METADATA_BYTES:
        raise UserError(f"the metadata take {len(text)} bytes as JSON, at most {MAX_METADATA_BYTES} can be stored")
    return deflate(text)


def _unpack_metadata(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        metadata = json.loads(inflate(data, MAX_METADATA_BYTES), parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("its metadata are nested too deeply") from None
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no JSON object")
    return metadata


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"its metadata hold {text}, which is no number")
    return value
