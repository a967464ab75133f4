"""The codecs that a compressed SAR image is compared with, each asked for a rate and each with its best settings.

Every encoder takes an image of shape (H, W), uint8 or uint16, and a target rate in bits per pixel of that image, and
answers with the complete codestream or file: its length is the rate that counts. It may miss the target where its
quality has coarse steps or where its headers alone are larger.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

RESOLUTIONS = 5
"""Of the wavelet pyramid; on sides of 200 to 1300 px it costs 0 to 2 % of rate against the best number."""
TRIED_RESOLUTIONS = (3, 4, 5, 6)
EXCESS = 1.02
"""A JPEG 2000 codestream may be that much longer than was asked for: its rate control ends at whole coding passes."""

# Both encoders write 37 bytes of advertisement where no comment is given: 4 % of a 224 x 224 image at 0.15 bpp.
SHORTEST_COMMENT = " "
SMALLEST_GDAL_BLOCK = 32

JPEG_QUALITIES = range(1, 101)
WEBP_QUALITIES = np.linspace(0, 100, 401)
JPEGXL_DISTANCES = np.geomspace(25, 0.01, 400)


@dataclass(frozen=True)
class Codec:
    """One way to compress an image to a rate; decoding gives the image's shape and dtype back."""

    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    depths: tuple[int, ...]
    """Bits of the images that it takes."""
    max_side_px: int

    def takes(self, image: Pixels) -> bool:
        return 8 * image.itemsize in self.depths and max(image.shape) <= self.max_side_px


def jpeg2000(image: Pixels, bits_per_pixel: float) -> bytes:
    """JPEG 2000 at its best: of both encoders and several depths of the pyramid the codestream with the highest PSNR.

    Only codestreams that exceed the target by at most 2 % compete; where there is none, the shortest is taken. Each
    level of the pyramid costs headers and each that lacks costs bits, so the best depth depends on image and rate.
    """
    streams = [jpeg2000_pillow(image, bits_per_pixel, resolutions) for resolutions in TRIED_RESOLUTIONS]
    streams.append(jpeg2000_gdal(image, bits_per_pixel))
    allowed = EXCESS * bits_per_pixel * image.size / 8
    fitting = [stream for stream in streams if len(stream) <= allowed]
    if not fitting:
        return min(streams, key=len)
    return min(fitting, key=lambda stream: _squared_error(image, decode_jpeg2000(stream)))


def jpeg2000_pillow(image: Pixels, bits_per_pixel: float, resolutions: int = RESOLUTIONS) -> bytes:
    """JPEG 2000 codestream (9/7 wavelet, one tile, one layer) by Pillow's OpenJPEG.

    Args:
        image: Shape (H, W), uint8 or uint16.
        bits_per_pixel: Target.
        resolutions: Of the pyramid, one more than its halvings; less where the image is smaller.

    Raises:
        ValueError: The image has another shape or dtype, or the rate is not positive.
    """
    depth = _depth(image, bits_per_pixel)
    return _saved(
        Image.fromarray(image),
        "JPEG2000",
        irreversible=True,
        quality_mode="rates",
        quality_layers=[depth / bits_per_pixel],
        num_resolutions=_possible(resolutions, image),
        comment=SHORTEST_COMMENT,
        no_jp2=True,
    )


def jpeg2000_gdal(image: Pixels, bits_per_pixel: float, resolutions: int = RESOLUTIONS) -> bytes:
    """JPEG 2000 codestream (9/7 wavelet, one tile, one layer) by GDAL's OpenJPEG; see `jpeg2000_pillow`."""
    depth = _depth(image, bits_per_pixel)
    height, width = image.shape
    options = {
        "CODEC": "J2K",
        "QUALITY": min(100.0, 100 * bits_per_pixel / depth),
        "REVERSIBLE": "NO",
        "COMMENT": SHORTEST_COMMENT,
        # GDAL halves only until a side is 128 px, once in an image of 224, where 0.1 bpp then is 13 dB instead of 20.
        "RESOLUTIONS": _possible(resolutions, image),
        # The rate is spent tile by tile, and the default of 1024 px leaves narrow tiles at the edge: up to 0.6 dB less.
        "BLOCKXSIZE": max(SMALLEST_GDAL_BLOCK, width),
        "BLOCKYSIZE": max(SMALLEST_GDAL_BLOCK, height),
    }
    with (
        warnings.catch_warnings(),
        rasterio.MemoryFile(ext=".tif") as raw,
        rasterio.MemoryFile(ext=".j2k") as coded,
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with raw.open(driver="GTiff", height=height, width=width, count=1, dtype=image.dtype) as dataset:
            dataset.write(image, 1)
        # Opened for writing, rasterio would withhold the size of blocks from this driver.
        rasterio.shutil.copy(raw.name, coded.name, driver="JP2OpenJPEG", **options)
        return bytes(coded.getbuffer())


def decode_jpeg2000(stream: bytes) -> Pixels:
    pixels: Pixels = imagecodecs.jpeg2k_decode(stream)
    return pixels


def jpegxl(image: Pixels, bits_per_pixel: float) -> bytes:
    """JPEG XL codestream by libjxl at its default effort, the Butteraugli distance searched."""
    depth = _depth(image, bits_per_pixel)
    # imagecodecs declares 16-bit values to be linear light, as `cjxl` does not: the errors then crowd where the image
    # is dark, for 1 to 2 dB. Mapped to linear light before, they are coded as 8-bit values are.
    light = _SRGB_TO_LINEAR[image] if depth == 16 else np.ascontiguousarray(image)
    return _nearest(
        lambda distance: bytes(imagecodecs.jpegxl_encode(light, distance=distance)),
        JPEGXL_DISTANCES.tolist(),
        bits_per_pixel * image.size / 8,
    )


def decode_jpegxl(stream: bytes) -> Pixels:
    """Image of a stream that `jpegxl` made."""
    pixels: Pixels = imagecodecs.jpegxl_decode(stream)
    return _LINEAR_TO_SRGB[pixels] if pixels.itemsize == 2 else pixels


def webp(image: Pixels, bits_per_pixel: float) -> bytes:
    """WebP file (lossy, slowest method), the quality searched; a grey image is three equal channels, as WebP has none.

    Raises:
        ValueError: The image is not of 8 bits, or as `jpeg2000_pillow`.
    """
    _only_8_bit(image, bits_per_pixel, "WebP")
    colour = Image.fromarray(image).convert("RGB")
    return _nearest(
        lambda quality: _saved(colour, "WEBP", quality=quality, method=6),
        WEBP_QUALITIES.tolist(),
        bits_per_pixel * image.size / 8,
    )


def decode_webp(stream: bytes) -> NDArray[np.uint8]:
    """Luminance of a WebP file."""
    return np.asarray(Image.fromarray(imagecodecs.webp_decode(stream)).convert("L"))


def jpeg(image: Pixels, bits_per_pixel: float) -> bytes:
    """JPEG file with optimised Huffman tables, sequential or progressive (the shorter), the quality searched.

    Raises:
        ValueError: The image is not of 8 bits, or as `jpeg2000_pillow`.
    """
    _only_8_bit(image, bits_per_pixel, "JPEG")
    grey = Image.fromarray(image)

    def encode(quality: float) -> bytes:
        # The coefficients are the same; progressive scans need fewer bits for them, but more headers.
        options = {"quality": int(quality), "optimize": True}
        return min((_saved(grey, "JPEG", progressive=scans, **options) for scans in (False, True)), key=len)

    return _nearest(encode, JPEG_QUALITIES, bits_per_pixel * image.size / 8)


def decode_jpeg(stream: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(stream)
    return pixels


CODECS = {
    "jpeg2000": Codec(jpeg2000, decode_jpeg2000, (8, 16), 2**31 - 1),
    "jpeg2000_pillow": Codec(jpeg2000_pillow, decode_jpeg2000, (8, 16), 2**31 - 1),
    "jpeg2000_gdal": Codec(jpeg2000_gdal, decode_jpeg2000, (8, 16), 2**31 - 1),
    "jpegxl": Codec(jpegxl, decode_jpegxl, (8, 16), 2**30),
    "webp": Codec(webp, decode_webp, (8,), 16_383),
    "jpeg": Codec(jpeg, decode_jpeg, (8,), 65_500),
}
"""`jpeg2000` is the anchor of all comparisons; the two that it consists of stand beside it to be timed."""


def _depth(image: Pixels, bits_per_pixel: float) -> int:
    """Bits of a sample."""
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or not image.size:
        raise ValueError(f"a codec takes images (H, W) of uint8 or uint16, not {image.shape} of {image.dtype}")
    if not bits_per_pixel > 0:
        raise ValueError(f"{bits_per_pixel} bits per pixel is no rate")
    return 8 * image.itemsize


def _only_8_bit(image: Pixels, bits_per_pixel: float, name: str) -> None:
    if _depth(image, bits_per_pixel) != 8:
        raise ValueError(f"{name} holds 8 bits a sample")


def _possible(resolutions: int, image: Pixels) -> int:
    """OpenJPEG refuses a pyramid whose top would be smaller than a pixel."""
    side = int(min(image.shape))
    return min(resolutions, side.bit_length())


def _saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def _nearest(encode: Callable[[float], bytes], parameters: Sequence[float], target_bytes: float) -> bytes:
    """By bisection, the file with the length nearest to the target.

    Args:
        encode: Of a parameter.
        parameters: In the order of ascending length.
        target_bytes: Length that is looked for.
    """
    low, high = 0, len(parameters) - 1
    found: list[bytes] = []
    while low <= high:
        middle = (low + high) // 2
        found.append(encode(parameters[middle]))
        if len(found[-1]) < target_bytes:
            low = middle + 1
        else:
            high = middle - 1
    # Lengths do not ascend strictly, so that the last is not always the nearest.
    return min(found, key=lambda file: abs(len(file) - target_bytes))


def _squared_error(first: Pixels, second: Pixels) -> float:
    return float(np.square(np.subtract(first, second, dtype=np.float32)).mean(dtype=np.float64))


def _srgb_tables() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Transfer function of IEC 61966-2-1 for 16-bit values, and its inverse."""
    values = np.arange(2**16) / (2**16 - 1)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    inverse = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    to_linear, to_srgb = (np.rint(table * (2**16 - 1)).astype(np.uint16) for table in (linear, inverse))
    return to_linear, to_srgb


_SRGB_TO_LINEAR, _LINEAR_TO_SRGB = _srgb_tables()
