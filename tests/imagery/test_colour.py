from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imagery.image_bytes import LIMIT, RGB, RGB16, U8, U16, as_pillow, as_tiff, peak_bytes, png_header, with_tag
from millrace.errors import ImageError
from millrace.imagery.colour import RgbInfo, decode_rgb, probe_rgb, read_rgb

BITS = U8 > 99
GREY = np.dstack([U8] * 3)
PALETTE = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE)
TRANSPARENT = as_pillow(PALETTE, "PNG", transparency=bytes(range(256)))
COLOURS = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
RESOLVED = (COLOURS >> 8).T[U8].astype(np.uint8)

LOSSLESS = {
    "grey png": (as_pillow(U8, "PNG"), GREY),
    "rgb png": (as_pillow(RGB, "PNG"), RGB),
    "rgba png": (as_pillow(np.dstack([RGB, U8]), "PNG"), RGB),
    "grey-alpha png": (as_pillow(np.dstack([U8, U8 // 2]), "PNG"), GREY),
    "bit png": (as_pillow(Image.fromarray(BITS), "PNG"), np.dstack([BITS] * 3) * np.uint8(255)),
    "palette png": (as_pillow(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "transparent palette png": (TRANSPARENT, np.asarray(PALETTE.convert("RGB"))),
    "grey bmp": (as_pillow(U8, "BMP"), GREY),
    "rgb bmp": (as_pillow(RGB, "BMP"), RGB),
    "grey tiff": (as_tiff(U8), GREY),
    "rgb tiff": (as_tiff(RGB, compression="zlib", tile=(16, 32)), RGB),
    "rgba tiff": (as_tiff(np.dstack([RGB, U8]), extrasamples=["unassalpha"]), RGB),
    "planar tiff": (as_tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"), RGB),
    "grey-alpha tiff": (as_tiff(np.dstack([U8, U8]), photometric="minisblack", extrasamples=["unassalpha"]), GREY),
    "from-white tiff": (as_tiff(U8, photometric="miniswhite", compression="zlib"), 255 - GREY),
    "bit tiff": (as_tiff(BITS, photometric="minisblack"), np.dstack([BITS] * 3) * np.uint8(255)),
    "bit-from-white tiff": (as_tiff(BITS, photometric="miniswhite"), np.dstack([~BITS] * 3) * np.uint8(255)),
    "palette tiff": (as_tiff(U8, photometric="palette", colormap=COLOURS), RESOLVED),
}


def with_orientation(form: str, orientation: int, image: np.ndarray = RGB) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_pillow(image, form, exif=exif)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_kind_of_sample_becomes_rgb(name, tmp_path):
    content, expected = LOSSLESS[name]
    path = tmp_path / "image.jpg"  # what it is called does not count
    path.write_bytes(content)
    for pixels in (read_rgb(path, LIMIT), decode_rgb(content), decode_rgb(memoryview(content))):
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, expected)
    assert probe_rgb(path, LIMIT) == RgbInfo(50, 40, 1)


@pytest.mark.parametrize(
    "content",
    [
        as_pillow(RGB, "JPEG"),
        as_pillow(U8, "JPEG"),
        as_pillow(RGB, "JPEG", progressive=True, subsampling=0),
        as_pillow(RGB, "JPEG", keep_rgb=True),
    ],
)
def test_both_ways_to_decode_a_jpeg_are_pillows_picture(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    theirs = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.jpg", LIMIT), theirs)
    np.testing.assert_array_equal(decode_rgb(content), theirs)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_is_that_of_pillow(orientation, form, tmp_path):
    content = with_orientation(form, orientation)
    path = tmp_path / "a"
    path.write_bytes(content)
    known = orientation if 1 <= orientation <= 8 else 1
    assert probe_rgb(path, LIMIT) == RgbInfo(50, 40, known)
    stored = Image.open(BytesIO(content))
    upright = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_rgb(path, LIMIT), upright)
    np.testing.assert_array_equal(decode_rgb(content, known), upright)
    np.testing.assert_array_equal(read_rgb(path, LIMIT, "ignore"), np.asarray(stored))
    np.testing.assert_array_equal(decode_rgb(content), np.asarray(stored))


def test_a_tiff_that_is_turned_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(as_tiff(RGB, extratags=[(274, 3, 1, 6, True)]))
    with pytest.raises(ImageError, match="Orientation tag"):
        read_rgb(tmp_path / "a.tif", LIMIT)


JPEG, PNG, BMP = as_pillow(RGB, "JPEG"), as_pillow(RGB, "PNG"), as_pillow(RGB, "BMP")
CMYK = as_pillow(Image.new("CMYK", (9, 9)), "JPEG")
DEEP = "scale them as they are to be seen, and save it with 8 bits a channel"
BY_HEADER = {
    "empty": (b"", "the file is empty"),
    "no image": (b"<html>", r"its content is not an image of a supported format \(JPEG, PNG, BMP, TIFF\)"),
    "no pixels": (png_header(0, 5), "damaged PNG, or one without pixels: not identified .*"),
    "bomb": (png_header(100000, 100000), "it has 100000 x 100000 pixels, more than the 1048576 that are allowed"),
    "JPEG bomb": (
        imagecodecs.jpeg8_encode(np.zeros((40000, 30), np.uint8)),
        "it has 30 x 40000 pixels, more than the 1048576 that are allowed",
    ),
    "TIFF bomb": (with_tag(as_tiff(U8), 256, 1 << 20), "it has 1048576 x 40 pixels, more than .*"),
    "CMYK": (CMYK, "its colours are CMYK; save it as grey or RGB"),
    "16 bit PNG": (as_pillow(U16, "PNG"), f"its values are uint16: {DEEP}"),
    "16 bit RGB PNG": (imagecodecs.png_encode(RGB16), f"its values are uint16: {DEEP}"),
    "16 bit TIFF": (as_tiff(RGB16), f"its values are uint16: {DEEP}"),
    "float TIFF": (as_tiff(U8 / np.float32(7)), f"its values are float32: {DEEP}"),
    "4 bit TIFF": (as_tiff(U8 // 16, bitspersample=4, photometric="minisblack"), "it has 4 bits a channel; .*"),
    "5 channel TIFF": (as_tiff(np.dstack([RGB, RGB[..., :2]]), photometric="rgb"), "it has 5 channels a pixel .*"),
}
BY_PIXELS = {
    "PNG cut": (PNG[: len(PNG) // 2], "damaged PNG: image file is truncated"),
    "JPEG cut": (JPEG[: len(JPEG) // 2], r"damaged JPEG: image file is truncated \(.*"),
    "JPEG without its last byte": (JPEG[:-1], r"damaged JPEG: image file is truncated \(.*"),
    "BMP cut": (BMP[:2000], r"damaged BMP: image file is truncated \(.*"),
}


@pytest.mark.parametrize("case", [*BY_HEADER, *BY_PIXELS])
def test_bad_file_is_refused_with_its_reason_in_little_memory(case, tmp_path):
    content, reason = (BY_HEADER | BY_PIXELS)[case]
    path = tmp_path / "a.png"
    path.write_bytes(content)

    def refused() -> None:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            read_rgb(path, LIMIT)

    assert peak_bytes(refused) < 500_000
    if case in BY_HEADER:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            probe_rgb(path, LIMIT)


def test_what_decode_rgb_cannot_take_is_refused_too():
    for content in (b"", b"<html>", JPEG[:300], PNG[:300], CMYK, as_pillow(U16, "PNG")):
        with pytest.raises(ImageError):
            decode_rgb(content)


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"^it is a folder or a device, not a file$"):
        read_rgb(tmp_path, LIMIT)
    with pytest.raises(ImageError, match=r"^there is no such file$"):
        read_rgb(tmp_path / "none.png", LIMIT)
    with pytest.raises(ImageError, match=r"^it cannot be opened: File name too long$"):
        probe_rgb(tmp_path / ("n" * 300), LIMIT)


WHOLE = [content for content, _ in LOSSLESS.values()]
WHOLE += [
    JPEG,
    with_orientation("JPEG", 6),
    with_orientation("PNG", 3),
    as_tiff(RGB, compression="jpeg", tile=(16, 16)),
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 20000), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(1, 20000),
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path, content, changes, cut):
    damaged = bytearray(content[:cut])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path / "damaged"
    path.write_bytes(damaged)

    def read() -> None:
        try:
            pixels = read_rgb(path, LIMIT)
            info = probe_rgb(path, LIMIT)
        except ImageError:
            return
        sides = (info.height, info.width) if info.orientation < 5 else (info.width, info.height)
        assert pixels.shape == (*sides, 3)
        assert decode_rgb(bytes(damaged), info.orientation).shape == pixels.shape

    assert peak_bytes(read) < 40 * LIMIT


@pytest.mark.skipif("MILLRACE_SHARED_DATA" not in os.environ, reason="MILLRACE_SHARED_DATA names no real data")
def test_real_photographs_are_read():
    for path in sorted((Path(os.environ["MILLRACE_SHARED_DATA"]) / "detection/bccd/JPEGImages").iterdir())[:10]:
        assert probe_rgb(path, 10**6) == RgbInfo(640, 480, 1)
        np.testing.assert_array_equal(read_rgb(path, 10**6), np.asarray(Image.open(path)))
        np.testing.assert_array_equal(decode_rgb(path.read_bytes()), np.asarray(Image.open(path)))
