"""What a raster file says beside its pixels: size, kind of values, georeferencing, tags. Storable in other files."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from millrace.errors import ImageError
from millrace.settings import Section

DType = Literal["uint8", "uint16", "int16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
"""Types of pixels that can be read and written."""

MAX_BANDS = 1000
MAX_GCPS = 10_922
"""What the tags of a GeoTIFF hold: GDAL leaves out all of a longer list when it writes."""
MAX_TAGS = 10_000
MAX_TEXT = 1_000_000
_MAX_SIDE = 2**31 - 1
_MAX_WKT = 100_000
_TEXT = re.compile(
    r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*"
)  # what XML 1.0 can hold, as GDAL writes it
_KEY = re.compile(r"[^\x00-\x20=:\ud800-\udfff]([^\x00-\x1f=:\ud800-\udfff]*[^\x00-\x20=:\ud800-\udfff])?")
_TAKEN = {"self", "bidx", "ns"}  # rasterio has parameters of these names where it takes tags
_CRS = re.compile(r"EPSG:\d{1,7}|[A-Z_]{5,30}\[.*\]", re.DOTALL)


def _checked_text(text: str) -> str:
    if len(text) > MAX_TEXT or not _TEXT.fullmatch(text):
        raise ValueError("is too long, or holds characters that are no text")
    return text


def _usable_key(key: str) -> bool:
    return len(key) <= MAX_TEXT and key not in _TAKEN and _KEY.fullmatch(key) is not None


def _checked_key(key: str) -> str:
    if not _usable_key(key):
        raise ValueError("cannot be the name of a tag")
    return key


def _checked_crs(crs: str) -> str:
    if len(crs) > _MAX_WKT or not _CRS.fullmatch(crs):
        raise ValueError("is neither EPSG:<number> nor a coordinate system in WKT")
    return crs


Text = Annotated[str, AfterValidator(_checked_text)]
Crs = Annotated[str, AfterValidator(_checked_crs)]
Tags = Annotated[dict[Annotated[str, AfterValidator(_checked_key)], Text], Field(max_length=MAX_TAGS)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]
Column = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=MAX_GCPS)]


class Metadata(Section):
    """All of a raster that is not pixels, checked, and the same after a round trip through JSON or a GeoTIFF.

    Fields that a file does not have are None and take no room in `as_dict`.
    """

    width: Side
    height: Side
    count: int = Field(ge=1, le=MAX_BANDS)
    """Bands, an alpha band among them."""
    dtype: DType
    nodata: float | Literal["nan", "inf", "-inf"] | None = None
    """Of all bands; in JSON, which has no such numbers, NaN and the infinities are words."""
    crs: Crs | None = None
    """`EPSG:<number>` where that says the same, else WKT 2."""
    transform: tuple[float, float, float, float, float, float] | None = Field(default=None, strict=False)
    """Affine a, b, c, d, e, f: x = a column + b row + c, y = d column + e row + f; a pixel's corner is (0, 0)."""
    gcps: tuple[Column, Column, Column, Column, Column] | None = Field(default=None, strict=False)
    """Ground control points as lists of rows, columns, x, y and z, which compress better than a list of points."""
    gcp_crs: Crs | None = None
    tags: Tags = Field(default_factory=dict)
    band_tags: tuple[Tags, ...] | None = Field(default=None, strict=False)
    descriptions: tuple[Text | None, ...] | None = Field(default=None, strict=False)
    units: tuple[Text | None, ...] | None = Field(default=None, strict=False)
    scales: tuple[float, ...] | None = Field(default=None, strict=False)
    """With `offsets`: a measured value is scale x pixel + offset. They are kept, and applied to nothing."""
    offsets: tuple[float, ...] | None = Field(default=None, strict=False)
    colours: tuple[Literal["gray", "undefined", "alpha", "red", "green", "blue"], ...] | None = Field(
        default=None, strict=False
    )
    masked: bool = False
    """The file marks invalid pixels in a mask of its own."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("band_tags", "descriptions", "units", "scales", "offsets", "colours"):
            entries = getattr(self, name)
            if entries is not None and len(entries) != self.count:
                raise ValueError(f"{name} has {len(entries)} entries for {self.count} bands")
        if self.gcps is not None and len({len(column) for column in self.gcps}) != 1:
            raise ValueError("the columns of gcps differ in length")
        if self.gcps is not None and (self.transform is not None or self.crs is not None):
            raise ValueError("it has both ground control points and a transform or crs")
        if self.gcp_crs is not None and self.gcps is None:
            raise ValueError("it has a gcp_crs without ground control points")
        if self.nodata is not None and not _fits(float(self.nodata), self.dtype):
            raise ValueError(f"nodata {self.nodata} is no {self.dtype}")
        return self

    @property
    def nodata_value(self) -> float | None:
        """`nodata` as a number."""
        return None if self.nodata is None else float(self.nodata)

    @property
    def image_bands(self) -> tuple[int, ...]:
        """Numbers of the bands, 1 the first, that hold an image: all but alpha."""
        colours = self.colours or ("gray",) * self.count
        return tuple(band for band, colour in enumerate(colours, start=1) if colour != "alpha")

    def as_dict(self) -> dict[str, Any]:
        """Content for JSON, without the fields that are absent."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_dict(cls, content: object) -> Metadata:
        """Back from decoded JSON of any origin.

        Raises:
            ImageError: Something in it is missing, unknown, of a wrong type or size, or does not belong together.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))[:80]
            raise ImageError(f"its metadata is damaged: {place}{': ' if place else ''}{first['msg'][:200]}") from None


def _fits(number: float, dtype: str) -> bool:
    """Whether `number` is within the range of a dtype; NaN and infinities are within that of floats."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return not math.isfinite(number) or abs(number) <= float(np.finfo(kind).max)
    limits = np.iinfo(kind)
    return math.isfinite(number) and limits.min <= number <= limits.max


def usable_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that `Metadata` takes and a GeoTIFF gives back; blanks around a value go, as XML does not keep them."""
    stripped = {key: value if key.startswith("TIFFTAG_") else value.strip() for key, value in tags.items()}
    found = [
        (key, value)
        for key, value in stripped.items()
        if _usable_key(key) and value and len(value) <= MAX_TEXT and _TEXT.fullmatch(value)
    ]
    return dict(found[:MAX_TAGS])


def usable_text(text: str | None) -> str | None:
    """A description or unit that `Metadata` takes, or None."""
    stripped = (text or "").strip()
    return stripped if stripped and len(stripped) <= MAX_TEXT and _TEXT.fullmatch(stripped) else None
