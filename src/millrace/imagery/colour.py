"""Colour pictures, 8 bits a channel, from files that may be anything."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from tifffile import PHOTOMETRIC, TiffPage

from millrace.errors import ImageError
from millrace.imagery import tiff
from millrace.imagery.read import _CUT_TO_8_BITS, _PILLOW, _SIGNATURES, _Clamped, _layout

Rgb = NDArray[np.uint8]
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_START = max(len(signature) for signature in _SIGNATURES)
_TURNS: dict[int, Callable[[Rgb], Rgb]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""How the stored picture is turned and mirrored to be shown, by EXIF's orientation (CIPA DC-008, 4.6.5)."""


class RgbInfo(NamedTuple):
    """What a file's header says.

    Attributes:
        width: As stored, in pixels: the `orientation` is not applied.
        height: Likewise.
        orientation: EXIF's, 1 to 8, of a JPEG or PNG; 1 where it says nothing. From 5 on, a viewer shows a picture
            that is `height` wide and `width` high.
    """

    width: int
    height: int
    orientation: int


@dataclass(frozen=True)
class _Opened:
    info: RgbInfo
    pixels: Callable[[], Rgb]


def probe_rgb(path: Path, max_pixels: int) -> RgbInfo:
    """Read an image's headers, and allocate nothing of the image's size.

    Args:
        path: The file.
        max_pixels: Largest width x height that is accepted.

    Raises:
        ImageError: `read_rgb` would refuse the file, as far as headers tell. The message does not name the file.
    """
    with _open_file(path, max_pixels) as opened:
        return opened.info


def read_rgb(path: Path, max_pixels: int, orientation: Literal["apply", "ignore"] = "apply") -> Rgb:
    """Read a JPEG, PNG, BMP, or the first page of a TIFF, of 8 bits or 1 bit a channel, as RGB.

    The content tells the format, whatever the file's name ends in: annotations refer to images by name, so that
    nobody can rename them. Grey is repeated, a palette resolved, alpha left out.

    Args:
        path: The file.
        max_pixels: Largest width x height that is accepted.
        orientation: What to do with EXIF's orientation.

    Returns:
        (H, W, 3).

    Raises:
        ImageError: The file cannot be used; the message says why and does not name the file.
    """
    with _open_file(path, max_pixels) as opened:
        return _turned(opened.pixels(), opened.info.orientation if orientation == "apply" else 1)


def decode_rgb(data: bytes | memoryview, orientation: int = 1) -> Rgb:
    """Decode the bytes of a file that `read_rgb` accepted, at once: nothing limits its size here, and pixels that a
    JPEG lacks become grey.

    Args:
        data: The whole file.
        orientation: EXIF's number, applied to what is stored; the tag in the file is not read.

    Returns:
        (H, W, 3), equal to that of `read_rgb`.

    Raises:
        ImageError: The bytes cannot be decoded.
    """
    if bytes(data[:3]) == b"\xff\xd8\xff":
        try:  # takes three quarters of Pillow's time
            pixels = imagecodecs.jpeg8_decode(data, outcolorspace="RGB")  # type: ignore[arg-type]  # any buffer does
            return _turned(pixels, orientation)
        except imagecodecs.Jpeg8Error:
            pass  # Pillow knows more kinds, and says what is wrong
    with _open(BytesIO(data), sys.maxsize) as opened:
        return _turned(opened.pixels(), orientation)


def _turned(pixels: Rgb, orientation: int) -> Rgb:
    return np.ascontiguousarray(_TURNS[orientation](pixels))


@contextmanager
def _open_file(path: Path, max_pixels: int) -> Iterator[_Opened]:
    try:
        if not path.exists():
            raise ImageError("there is no such file")
        if not path.is_file():
            raise ImageError("it is a folder or a device, not a file")
        file = _Clamped(path)
    except OSError as error:
        raise ImageError(f"it cannot be opened: {error.strerror}") from error
    with file, _open(file, max_pixels) as opened:
        yield opened


@contextmanager
def _open(file: BinaryIO, max_pixels: int) -> Iterator[_Opened]:
    start = file.read(_START)
    file.seek(0)
    if not start:
        raise ImageError("the file is empty")
    form = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if form is None:
        raise ImageError("its content is not an image of a supported format (JPEG, PNG, BMP, TIFF)")
    try:
        if form == "TIFF":
            # A stream, or tifffile would look for the format in the file's name.
            with tiff.open_page(cast(Path, file), 0, max_pixels) as (page, _):
                _check_tiff(page)
                info = RgbInfo(page.imagewidth, page.imagelength, 1)
                yield _Opened(info, lambda: _tiff_pixels(page))
        else:
            with warnings.catch_warnings(action="ignore"), _PILLOW[form](cast(_Clamped, file)) as image:
                tiff.check_size(image.width, image.height, max_pixels)
                _check_pillow(image)
                yield _Opened(RgbInfo(*image.size, _orientation(image)), lambda: _pillow_pixels(image))
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("it does not fit into the memory of this machine") from error
    except SyntaxError as error:  # Pillow's for a broken header, and for one of no width or height
        raise ImageError(f"damaged {form}, or one without pixels: {error}") from error
    except (TypeError, LookupError, ArithmeticError) as error:  # their messages are not about the file
        raise ImageError(f"damaged {form}: its header makes no sense") from error
    except Exception as error:  # decoders raise exceptions of any type on damaged data
        raise ImageError(f"damaged {form}: {error}") from error


def _check_pillow(image: ImageFile) -> None:
    if _layout(image) in _CUT_TO_8_BITS or image.mode.startswith("I"):
        raise _deep("uint16")
    if image.mode not in _MODES:
        raise ImageError(f"its colours are {image.mode}; save it as grey or RGB")


def _check_tiff(page: TiffPage) -> None:
    if str(page.dtype) not in ("bool", "uint8"):
        raise _deep(str(page.dtype))
    if page.bitspersample not in (1, 8) and page.photometric != PHOTOMETRIC.PALETTE:
        raise ImageError(f"it has {page.bitspersample} bits a channel; save it with 8")


def _deep(dtype: str) -> ImageError:
    return ImageError(f"its values are {dtype}: scale them as they are to be seen, and save it with 8 bits a channel")


def _orientation(image: ImageFile) -> int:
    # Asking a PNG without EXIF data in front of its pixels would decode them.
    if not isinstance(image, JpegImageFile) and "exif" not in image.info:
        return 1
    number = image.getexif().get(Base.Orientation)
    return number if number in _TURNS else 1


def _pillow_pixels(image: ImageFile) -> Rgb:
    return np.array(image.convert("RGB"))  # a copy, because Pillow's own array cannot be written to


def _tiff_pixels(page: TiffPage) -> Rgb:
    pixels = np.empty((page.imagelength, page.imagewidth, 3), np.uint8)
    for row, column, block in tiff.blocks(page):
        part = pixels[row : row + block.shape[0], column : column + block.shape[1]]
        part[...] = _tiff_colours(block, page)
    return pixels


def _tiff_colours(samples: NDArray[Any], page: TiffPage) -> Rgb:
    """RGB (H, W, 3), or grey (H, W, 1), of stored samples (H, W, channels)."""
    if page.photometric == PHOTOMETRIC.PALETTE:
        if page.colormap is None:
            raise ImageError("damaged TIFF: its colour table is missing")
        return (page.colormap.T >> 8).astype(np.uint8)[samples[..., 0].astype(np.intp)]
    pixels: Rgb = samples.astype(np.uint8) * 255 if samples.dtype == np.bool_ else samples
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = 255 - pixels
    return pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
