"""TIFF pages: all that a header claims is checked before a pixel is decoded; then strips and tiles come one by one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from millrace.errors import ImageError

Block = tuple[int, int, NDArray[Any]]
"""First row, first column, and stored samples (height, width, channels) of a rectangle of an image."""

JPEG = COMPRESSION.JPEG
# Only codecs whose output size is fixed by the TIFF header: others let a few bytes ask for any amount of memory.
_CODECS = frozenset(
    {
        COMPRESSION.NONE,
        COMPRESSION.LZW,
        JPEG,
        COMPRESSION.ADOBE_DEFLATE,
        COMPRESSION.DEFLATE,
        COMPRESSION.PACKBITS,
        COMPRESSION.ZSTD,
    }
)
# A tag with several values where one belongs would repeat tuples instead of multiplying.
_NUMBERS = (
    "compression",
    "imagedepth",
    "imagelength",
    "imagewidth",
    "photometric",
    "planarconfig",
    "rowsperstrip",
    "samplesperpixel",
    "tiledepth",
    "tilelength",
    "tilewidth",
)
_ALPHA = ((1,), (2,))  # ExtraSamples: one channel, associated or unassociated alpha

# tifffile logs what it also raises, and logs guesses about damaged files that the checks below refuse.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image, of any format, without pixels or with more than `max_pixels`.

    Raises:
        ImageError: The size is not usable.
    """
    if width < 1 or height < 1:
        raise ImageError(f"its header claims {width} x {height} pixels: there is no image")
    if width * height > max_pixels:
        raise ImageError(f"it has {width} x {height} pixels, more than the {max_pixels} that are allowed")


@contextmanager
def open_page(path: Path, index: int, max_pixels: int) -> Iterator[tuple[TiffPage, int]]:
    """Open page `index` of a TIFF and check that it is a complete grey or RGB image.

    Yields:
        The page, and the number of pages in the file.

    Raises:
        ImageError: The page cannot be used. Damaged structure may raise any other exception.
    """
    # Vendors' own page layouts make tifffile follow every page offset at once, without an end in a circular file.
    with TiffFile(path, is_lsm=False, is_ndpi=False, is_scanimage=False) as tif:
        page, pages = _select(tif, index)
        for name in _NUMBERS:
            if not isinstance(getattr(page, name), int):
                raise ImageError(f"damaged TIFF: its {name} is {str(getattr(page, name))[:40]}, not a whole number")
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_samples(page)
        _check_codec(page, max_pixels)
        _check_extent(page, tif.filehandle.size)
        yield page, pages


def blocks(page: TiffPage) -> Iterator[Block]:
    """Yield the stored samples of an opened page strip by strip or tile by tile; if uncompressed, as one memory map."""
    if page.is_memmappable:
        pixels = page.asarray(out="memmap")
        yield 0, 0, np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels.reshape(*pixels.shape[:2], -1)
        return
    planes = page.shaped[0]
    segments = math.prod(page.chunked) // planes
    for segment in range(segments):
        parts = [_decode(page, segment + plane * segments) for plane in range(planes)]
        row, column, _ = parts[0]
        yield row, column, np.concatenate([samples for _, _, samples in parts], axis=-1)


def check_shown(path: Path) -> None:
    """Refuse a TIFF whose first page asks to be shown turned, mirrored, or with its values counted down from white.

    GDAL gives what is stored: pixels would have other places or brightnesses than in other readers.

    Raises:
        ImageError: It does, or its first page cannot be read.
    """
    try:
        with TiffFile(path, is_lsm=False, is_ndpi=False, is_scanimage=False) as tif:
            tags = tif.pages.first.tags
            _check_orientation(tags.valueof("Orientation"))
            if tags.valueof("PhotometricInterpretation") == PHOTOMETRIC.MINISWHITE:
                raise ImageError(
                    "its values count down from white (PhotometricInterpretation 0); save it from black on"
                )
    except ImageError:
        raise
    except Exception as error:  # whatever the library makes of damage
        raise ImageError(f"damaged TIFF: {str(error)[:200]}") from None


def _check_orientation(orientation: object) -> None:
    if orientation not in (None, 1):
        raise ImageError("its Orientation tag asks for a turned or mirrored display; save it upright")


def white_value(page: TiffPage) -> int | None:
    """Stored value that is shown black where the page counts down from white, else None.

    Raises:
        ImageError: Its values do not rise with brightness and cannot be made to.
    """
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        if page.dtype not in (np.uint8, np.uint16, np.bool_):
            raise ImageError(f"its {page.dtype} values count down from white (PhotometricInterpretation 0)")
        return 255 if page.dtype == np.bool_ else 2**page.bitspersample - 1
    if page.photometric == PHOTOMETRIC.PALETTE:
        colours = page.colormap
        if colours is None or (np.diff(np.array([299, 587, 114]) @ colours.astype(np.int64)) < 0).any():
            raise ImageError("its values are indices of a colour table; save it as grey or RGB")
    return None


def _select(tif: TiffFile, index: int) -> tuple[TiffPage, int]:
    seen: set[int] = set()
    selected: TiffPage | None = None
    for number, page in enumerate(tif.pages):
        assert isinstance(page, TiffPage)
        if page.offset in seen:
            raise ImageError("damaged TIFF: its list of pages runs in a circle")
        seen.add(page.offset)
        if number == index:
            selected = page
    # ImageJ may write a stack above 4 GB as one page followed by raw pixels.
    pages = max(len(seen), int((tif.imagej_metadata or {}).get("images", 1)))
    if selected is None:
        if index < pages and seen:
            raise ImageError(f"page {index} is inside an ImageJ stack of {pages} images that is stored as one page")
        raise ImageError(f"there is no page {index}: the file has {pages if seen else 0} (counted from 0)")
    return selected, pages


def _check_samples(page: TiffPage) -> None:
    """Refuse what is not one grey or RGB image, with or without alpha."""
    samples, photometric = page.samplesperpixel, page.photometric
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise ImageError(f"it is a volume of {page.imagedepth} slices; save each slice as an image")
    _check_orientation(page.tags.valueof("Orientation"))
    if "PhotometricInterpretation" not in page.tags or page.planarconfig not in (1, 2):
        raise ImageError("damaged TIFF: the tag PhotometricInterpretation is missing or PlanarConfiguration is invalid")
    if photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and page.compression == JPEG):
        usable = samples in (3, 4)
    elif photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.PALETTE):
        usable = samples == 1 or (samples == 2 and tuple(page.extrasamples) in _ALPHA)
    else:
        raise ImageError(f"its colours are {getattr(photometric, 'name', photometric)}; save it as grey or RGB")
    if not usable:
        raise ImageError(f"it has {samples} channels a pixel that are not grey or RGB; save the one to use as an image")
    if page.dtype is not None and page.dtype.kind == "c":
        raise ImageError("its values are complex numbers; save their magnitude")
    if page.dtype is None or page.dtype.kind not in "buif" or not isinstance(page.bitspersample, int):
        raise ImageError(f"values of {page.bitspersample} bits in SampleFormat {page.sampleformat} are not supported")


def _check_codec(page: TiffPage, max_pixels: int) -> None:
    if page.compression not in _CODECS:
        name = getattr(page.compression, "name", page.compression)
        raise ImageError(f"TIFF compression {name} is not supported; save it uncompressed or with LZW or Deflate")
    if page.is_tiled and not 0 < page.tilewidth * page.tilelength <= max_pixels:
        raise ImageError(
            f"damaged TIFF: its tiles claim {page.tilewidth} x {page.tilelength} pixels, of {max_pixels} allowed"
        )


def _check_extent(page: TiffPage, file_size: int) -> None:
    """Refuse a page whose strips or tiles are missing, empty, outside the file, or too small for raw pixels."""
    name = "tiles" if page.is_tiled else "strips"
    count = math.prod(page.chunked)
    offsets, sizes = page.dataoffsets[:count], page.databytecounts[:count]
    if min(len(offsets), len(sizes)) < count:
        raise ImageError(f"truncated TIFF: it lists {min(len(offsets), len(sizes))} of {count} {name}")
    empty = sum(offset <= 0 or size <= 0 for offset, size in zip(offsets, sizes, strict=True))
    if empty:
        raise ImageError(f"truncated TIFF: {empty} of {count} {name} were never written")
    end = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
    if end > file_size:
        raise ImageError(f"truncated TIFF: its {name} end at byte {end}, the file at byte {file_size}")
    planes, _, height, width, samples = page.shaped
    needed = planes * height * math.ceil(width * samples * page.bitspersample / 8)
    if page.compression == COMPRESSION.NONE and sum(sizes) < needed:
        raise ImageError(f"truncated TIFF: its {name} hold {sum(sizes)} of {needed} bytes")


def _decode(page: TiffPage, segment: int) -> Block:
    """Decode one strip or tile, and cut a tile at the image's edge."""
    file = page.parent.filehandle
    file.seek(page.dataoffsets[segment])
    encoded = file.read(page.databytecounts[segment])
    if page.compression == JPEG:
        # The decoder takes its memory from the JPEG header, which may claim more than the strip or tile is.
        with JpegImageFile(BytesIO(encoded)) as header:
            if header.width > page.chunks[1] or header.height > page.chunks[0]:
                raise ImageError("damaged TIFF: a JPEG inside is larger than its strip or tile")
    samples, (_, _, row, column, _), _ = page.decode(encoded, segment, jpegtables=page.jpegtables)
    assert samples is not None
    return row, column, samples[0, : page.imagelength - row, : page.imagewidth - column]
