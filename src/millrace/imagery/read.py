"""Image files as arrays: grey values for models, stored samples for masks. A file that is not sound is refused."""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from millrace.errors import ImageError
from millrace.imagery import tiff

_FORMATS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
SUFFIXES = frozenset(_FORMATS)
"""File name suffixes, in lower case, of the formats that can be read."""

_SIGNATURES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
}
# Image.open would also apply its own limit to large images, by a warning or an error.
_PILLOW: dict[str, Callable[[_Clamped], ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile, "BMP": BmpImageFile}
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4}
_CUT_TO_8_BITS = {"LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}  # PNG layouts that Pillow reads with half of their bits
_CHUNK_PIXELS = 1 << 20  # converted at once, so that temporary arrays stay small beside the image


@dataclass(frozen=True)
class ImageInfo:
    """What a file's header says; `channels` and `dtype` are the stored ones, a PNG or BMP palette counts as its RGB."""

    width: int
    height: int
    channels: int
    dtype: str
    pages: int


@dataclass(frozen=True)
class Stored:
    """Samples as the file stores them: no grey conversion, no inversion, the indices of a TIFF's colour table."""

    samples: NDArray[Any]
    """(H, W, channels)."""
    pages: int
    lossy: bool


@dataclass(frozen=True)
class _Opened:
    info: ImageInfo
    blocks: Iterator[tiff.Block]
    lossy: bool
    white: int | None = None


def probe(path: Path, *, page: int = 0, max_pixels: int) -> ImageInfo:
    """Read an image's headers, and allocate nothing of the image's size.

    Args:
        path: File with one of `SUFFIXES`.
        page: Page of a TIFF, counted from 0.
        max_pixels: Largest width x height that is accepted.

    Raises:
        ImageError: `read_grey` would refuse the file, as far as headers tell. The message does not name the file.
    """
    with _open(path, page, max_pixels) as opened:
        return opened.info


def read_grey(path: Path, *, page: int = 0, max_pixels: int, spool: Path | None = None) -> NDArray[Any]:
    """Read an image of any size as grey values.

    RGB becomes luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded for integers; alpha is ignored; one bit a
    pixel becomes 0 and 255; a TIFF that counts down from white is inverted; a JPEG's EXIF orientation is applied.

    Args:
        path: File with one of `SUFFIXES`.
        page: Page of a TIFF, counted from 0.
        max_pixels: Largest width x height that is accepted.
        spool: Existing folder. The result is then a memory map of a new file there, which the caller removes, and no
            more than one strip or tile of a TIFF is decoded at a time.

    Returns:
        (H, W) grey values: uint8 and uint16 as stored, any other type as float32, all finite.

    Raises:
        ImageError: The file cannot be used; the message says why and does not name the file.
    """
    with _open(path, page, max_pixels) as opened:
        info = opened.info
        dtype = np.dtype({"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}.get(info.dtype, "float32"))
        with _new_array((info.height, info.width), dtype, spool) as grey:
            for row, column, samples in opened.blocks:
                height, width = samples.shape[:2]
                step = max(1, _CHUNK_PIXELS // width)
                for top in range(0, height, step):
                    part = _grey(samples[top : top + step], dtype, opened.white)
                    grey[row + top : row + top + len(part), column : column + width] = part
            return grey


def read_stored(path: Path, *, max_pixels: int) -> Stored:
    """Read the samples of a file's first page without any conversion.

    Raises:
        ImageError: The file cannot be used; the message says why and does not name the file.
    """
    with _open(path, 0, max_pixels, stored=True) as opened:
        info = opened.info
        samples = np.empty((info.height, info.width, info.channels), info.dtype)
        for row, column, block in opened.blocks:
            samples[row : row + block.shape[0], column : column + block.shape[1]] = block
        return Stored(samples, info.pages, opened.lossy)


@contextmanager
def _open(path: Path, page: int, max_pixels: int, *, stored: bool = False) -> Iterator[_Opened]:
    form = _format(path)
    try:
        if form == "TIFF":
            with tiff.open_page(path, page, max_pixels) as (ifd, pages):
                info = ImageInfo(ifd.imagewidth, ifd.imagelength, ifd.samplesperpixel, str(ifd.dtype), pages)
                white = None if stored else tiff.white_value(ifd)
                yield _Opened(info, tiff.blocks(ifd), ifd.compression == tiff.JPEG, white)
        else:
            if page != 0:
                raise ImageError(f"there is no page {page}: a {form} file has one (counted from 0)")
            with (
                warnings.catch_warnings(action="ignore"),  # of damaged EXIF data
                _Clamped(path) as file,
                _PILLOW[form](file) as image,
            ):
                tiff.check_size(image.width, image.height, max_pixels)
                yield _Opened(_pillow_info(image), _pillow_blocks(image, path), form == "JPEG")
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


class _Clamped(io.BufferedReader):
    """A file that prepares no memory for bytes that it does not have: a damaged length would ask for gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _format(path: Path) -> str:
    """Format of a file by its suffix, after the content was found to agree."""
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(f"the suffix {path.suffix!r} is not one of {', '.join(sorted(SUFFIXES))}")
    try:
        if not path.exists():
            raise ImageError("there is no such file")
        if not path.is_file():
            raise ImageError("it is a folder or a device, not a file")
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ImageError(f"it cannot be opened: {error.strerror}") from error
    if not start:
        raise ImageError("the file is empty")
    content = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if content is None:
        raise ImageError("its content is not an image of a supported format")
    if content != form:
        raise ImageError(f"its name says {form}, its content is {content}: rename it")
    return form


def _layout(image: ImageFile) -> str:
    """How pixels are packed in the file (Pillow's raw mode), for a PNG."""
    return str(image.tile[0].args) if isinstance(image, PngImageFile) else ""


def _pillow_info(image: ImageFile) -> ImageInfo:
    if image.mode not in _CHANNELS:
        raise ImageError(f"its colours are {image.mode}; save it as grey or RGB")
    width, height = image.size
    if isinstance(image, JpegImageFile) and image.getexif().get(Base.Orientation) in (5, 6, 7, 8):
        width, height = height, width
    layout = _layout(image)
    dtype = "uint16" if layout in _CUT_TO_8_BITS else {"1": "bool", "I;16": "uint16"}.get(image.mode, "uint8")
    return ImageInfo(width, height, _CUT_TO_8_BITS.get(layout, _CHANNELS[image.mode]), dtype, pages=1)


def _pillow_blocks(image: ImageFile, path: Path) -> Iterator[tiff.Block]:
    if _layout(image) in _CUT_TO_8_BITS:
        with _Clamped(path) as file, PngImageFile(file) as checked:
            checked.verify()  # the checksums: the decoder below only prints a warning about some damage
        samples = imagecodecs.png_decode(path.read_bytes())
    elif image.mode == "P":
        samples = np.asarray(image.convert("RGBA"))[..., :3]
    elif isinstance(image, JpegImageFile):
        samples = np.asarray(ImageOps.exif_transpose(image))
    else:
        samples = np.asarray(image)
    yield 0, 0, samples.reshape(*samples.shape[:2], -1)


@contextmanager
def _new_array(shape: tuple[int, int], dtype: np.dtype[Any], spool: Path | None) -> Iterator[NDArray[Any]]:
    """An array to fill, in memory or in a file that is removed again when filling it fails."""
    if spool is None:
        yield np.empty(shape, dtype)
        return
    needed, free = shape[0] * shape[1] * dtype.itemsize, shutil.disk_usage(spool).free
    if needed > free:  # writing to a memory map on a full disk would kill the process
        raise ImageError(f"its grey values need {needed} bytes, and {spool} has {free} left")
    with tempfile.NamedTemporaryFile(dir=spool, suffix=".grey", delete=False) as file:
        name = Path(file.name)
    try:
        yield np.memmap(name, dtype, "w+", shape=shape)
    except BaseException:
        name.unlink()
        raise


def _grey(samples: NDArray[Any], dtype: np.dtype[Any], white: int | None) -> NDArray[Any]:
    """Grey values (H, W) of samples (H, W, channels)."""
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * 255
    with np.errstate(over="ignore", invalid="ignore"):
        grey = _luma(samples) if samples.shape[2] > 2 else samples[..., 0]
        if white is not None:
            grey = white - grey
        grey = grey.astype(dtype, copy=False)
    if dtype.kind == "f" and not np.isfinite(grey).all():
        raise ImageError("it holds NaN, infinite values, or larger ones than float32 can hold")
    return grey


def _luma(rgb: NDArray[Any]) -> NDArray[Any]:
    """ITU-R BT.601 luma (H, W) of (H, W, 3 or 4)."""
    integers = rgb.dtype.kind == "u" and rgb.dtype.itemsize <= 2
    wide: type[Any] = np.uint32 if integers else np.float64
    red, green, blue = (rgb[..., channel].astype(wide) for channel in range(3))
    thousandfold: NDArray[Any] = 299 * red + 587 * green + 114 * blue
    return (thousandfold + 500) // 1000 if integers else thousandfold / 1000
