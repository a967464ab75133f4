from __future__ import annotations

import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagery.image_bytes import (
    LIMIT,
    RGB,
    RGB16,
    U8,
    U16,
    as_pillow,
    as_tiff,
    assert_refused,
    luma,
    oriented_jpeg,
    peak_bytes,
    png_header,
)
from millrace.errors import ImageError
from millrace.imagery.read import SUFFIXES, ImageInfo, probe, read_grey

BITS = U8 > 99
GREEN = np.zeros((3, 256), np.uint16)
GREEN[1] = np.arange(256) * 257

LOSSLESS = {
    "u8.png": (as_pillow(U8, "PNG"), U8),
    "u16.png": (as_pillow(U16, "PNG"), U16),
    "u8.BMP": (as_pillow(U8, "BMP"), U8),
    "rgb.bmp": (as_pillow(RGB, "BMP"), luma(RGB)),
    "rgb.png": (as_pillow(RGB, "PNG"), luma(RGB)),
    "rgba.png": (as_pillow(np.dstack([RGB, U8]), "PNG"), luma(RGB)),
    "grey-alpha.png": (as_pillow(np.dstack([U8, U8 // 2]), "PNG"), U8),
    "rgb16.png": (imagecodecs.png_encode(RGB16), luma(RGB16)),
    "rgba16.png": (imagecodecs.png_encode(np.dstack([RGB16, U16])), luma(RGB16)),
    "grey-alpha16.png": (imagecodecs.png_encode(np.dstack([U16, U16 // 2])), U16),
    "bit.png": (as_pillow(Image.fromarray(BITS), "PNG"), BITS * 255),
    "palette.png": (as_pillow(Image.fromarray(U8 // 128).convert("P"), "PNG"), U8 // 128),
    "u8.tif": (as_tiff(U8), U8),
    "bit.tif": (as_tiff(BITS, photometric="minisblack"), BITS * 255),
    "bit-from-white.tif": (as_tiff(BITS, photometric="miniswhite"), ~BITS * 255),
    "u16-from-white.tif": (as_tiff(U16, photometric="miniswhite", compression="zlib"), 65535 - U16),
    "12-bit-from-white.tif": (as_tiff(U16 // 16, photometric="miniswhite", bitspersample=12), 4095 - U16 // 16),
    "rgb.tiff": (as_tiff(RGB, compression="zlib", tile=(16, 32)), luma(RGB)),
    "rgb16-big-endian.tif": (as_tiff(RGB16, byteorder=">"), luma(RGB16)),
    "rgba.tif": (as_tiff(np.dstack([RGB, U8]), extrasamples=["unassalpha"]), luma(RGB)),
    "planar.tif": (as_tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"), luma(RGB)),
    "planar-tiles.tif": (
        as_tiff(
            np.moveaxis(RGB16, -1, 0), planarconfig="separate", photometric="rgb", tile=(16, 16), compression="lzw"
        ),
        luma(RGB16),
    ),
    "grey-alpha.tif": (as_tiff(np.dstack([U8, U8]), photometric="minisblack", extrasamples=["unassalpha"]), U8),
    "look-up-table.tif": (as_tiff(U8, photometric="palette", colormap=GREEN), U8),
    "i16.tif": (as_tiff(U16.astype(np.int16)), U16.astype(np.int16)),
    "i32.tif": (as_tiff(U16.astype(np.int32) - 9), U16.astype(np.int32) - 9),
    "f64.tif": (as_tiff(U16 / 7), (U16 / 7).astype(np.float32)),
    "f16.tif": (as_tiff(U8.astype(np.float16)), U8),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_kind_of_sample_becomes_the_expected_grey(name, tmp_path):
    content, expected = LOSSLESS[name]
    path = tmp_path / name
    path.write_bytes(content)
    grey = read_grey(path, max_pixels=LIMIT)
    np.testing.assert_array_equal(grey, expected)
    info = probe(path, max_pixels=LIMIT)
    assert (info.height, info.width, info.pages) == (40, 50, 1)
    assert grey.dtype == {"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}.get(info.dtype, "float32")
    spooled = read_grey(path, max_pixels=LIMIT, spool=tmp_path)
    assert isinstance(spooled, np.memmap)
    assert Path(spooled.filename).parent == tmp_path
    assert spooled.dtype == grey.dtype
    np.testing.assert_array_equal(spooled, grey)


def test_probe_tells_what_is_stored(tmp_path):
    for name, expected in {
        "rgba16.png": ImageInfo(50, 40, 4, "uint16", 1),
        "grey-alpha16.png": ImageInfo(50, 40, 2, "uint16", 1),
        "palette.png": ImageInfo(50, 40, 3, "uint8", 1),
        "bit.png": ImageInfo(50, 40, 1, "bool", 1),
        "planar.tif": ImageInfo(50, 40, 3, "uint8", 1),
    }.items():
        (tmp_path / name).write_bytes(LOSSLESS[name][0])
        assert probe(tmp_path / name, max_pixels=LIMIT) == expected


def test_luma_is_that_of_pillow_up_to_rounding(tmp_path):
    (tmp_path / "a.png").write_bytes(as_pillow(RGB, "PNG"))
    ours = read_grey(tmp_path / "a.png", max_pixels=LIMIT)
    assert np.abs(ours.astype(int) - np.asarray(Image.fromarray(RGB).convert("L"))).max() <= 1


def test_jpeg_is_the_decoded_picture_alone_and_inside_a_tiff(tmp_path):
    smooth = np.asarray(Image.fromarray(RGB).resize((80, 64)))
    alone, inside = tmp_path / "a.jpg", tmp_path / "a.tif"
    alone.write_bytes(as_pillow(smooth, "JPEG", quality=95))
    np.testing.assert_array_equal(read_grey(alone, max_pixels=LIMIT), luma(np.asarray(Image.open(alone))))
    inside.write_bytes(as_tiff(smooth, compression="jpeg", tile=(32, 32)))
    np.testing.assert_array_equal(read_grey(inside, max_pixels=LIMIT), luma(tifffile.imread(inside)))


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_of_a_jpeg_is_applied(orientation, quarter_turns, tmp_path):
    upright, turned = tmp_path / "upright.jpg", tmp_path / "turned.jpg"
    upright.write_bytes(oriented_jpeg(1))
    turned.write_bytes(oriented_jpeg(orientation))
    grey = read_grey(turned, max_pixels=LIMIT)
    np.testing.assert_array_equal(grey, np.rot90(read_grey(upright, max_pixels=LIMIT), quarter_turns))
    info = probe(turned, max_pixels=LIMIT)
    assert (info.height, info.width) == grey.shape


def rotten_png() -> bytes:
    """One byte of the checksum of the pixels is wrong."""
    content = bytearray(imagecodecs.png_encode(RGB16))
    content[-18] ^= 1
    return bytes(content)


JPEG, PNG, BMP = as_pillow(RGB, "JPEG"), as_pillow(RGB, "PNG"), as_pillow(RGB, "BMP")
BY_HEADER = {
    "empty": ("a.png", b"", "the file is empty"),
    "suffix": ("a.gif", b"GIF89a", "the suffix '.gif' is not one of .bmp, .jpeg, .jpg, .png, .tif, .tiff"),
    "no image": ("a.png", b"<html>", "its content is not an image of a supported format"),
    "wrong suffix": ("a.tif", PNG, "its name says TIFF, its content is PNG: rename it"),
    "no pixels": ("a.png", png_header(0, 5), "damaged PNG, or one without pixels: not identified .*"),
    "bomb": ("a.png", png_header(100000, 100000), "it has 100000 x 100000 pixels, more than the 1048576 .*"),
    "CMYK": ("a.jpg", as_pillow(Image.new("CMYK", (9, 9)), "JPEG"), "its colours are CMYK; save it as grey or RGB"),
}
BY_PIXELS = {
    "PNG cut": ("a.png", PNG[: len(PNG) // 2], "damaged PNG: image file is truncated"),
    "16-bit PNG cut": ("a.png", imagecodecs.png_encode(RGB16)[:-400], "damaged PNG: .*"),
    "16-bit PNG rotten": ("a.png", rotten_png(), "damaged PNG, .*checksum.*"),
    "JPEG cut": ("a.jpg", JPEG[: len(JPEG) // 2], r"damaged JPEG: image file is truncated \(.*"),
    "BMP cut": ("a.bmp", BMP[:2000], r"damaged BMP: image file is truncated \(.*"),
}


@pytest.mark.parametrize("case", [*BY_HEADER, *BY_PIXELS])
def test_bad_file_is_refused_with_its_reason_and_leaves_nothing_behind(case, tmp_path):
    name, content, reason = (BY_HEADER | BY_PIXELS)[case]
    assert_refused(tmp_path / name, content, reason, by_header=case in BY_HEADER)


def test_a_chunk_that_claims_gigabytes_takes_no_memory(tmp_path):
    """Its pixels are whole, and Pillow's decoder has them before it misses the rest."""
    (tmp_path / "a.png").write_bytes(PNG[:33] + b"\x7f" + PNG[34:])
    assert peak_bytes(lambda: read_grey(tmp_path / "a.png", max_pixels=LIMIT)) < 500_000


def test_what_is_not_a_file_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"^it is a folder or a device, not a file$"):
        read_grey(tmp_path / "folder.png", max_pixels=LIMIT)
    with pytest.raises(ImageError, match=r"^there is no such file$"):
        read_grey(tmp_path / "none.png", max_pixels=LIMIT)


def test_only_tiff_has_further_pages(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(ImageError, match=r"^there is no page 1: a PNG file has one \(counted from 0\)$"):
        read_grey(tmp_path / "a.png", page=1, max_pixels=LIMIT)


def test_only_our_limit_counts_and_it_is_inclusive(tmp_path):
    above_pillows_limit = tmp_path / "a.png"
    above_pillows_limit.write_bytes(png_header(20000, 20000))
    assert probe(above_pillows_limit, max_pixels=20000**2).width == 20000
    with pytest.raises(ImageError, match="more than the 399999999 that are allowed"):
        probe(above_pillows_limit, max_pixels=20000**2 - 1)


def test_too_little_memory_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr("millrace.imagery.read._luma", lambda _: np.empty(1 << 60, np.uint8))
    with pytest.raises(ImageError, match=r"^it does not fit into the memory of this machine$"):
        read_grey(tmp_path / "a.png", max_pixels=LIMIT)


def test_full_disk_is_told_before_writing(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(as_pillow(U8, "PNG"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1999}))
    with pytest.raises(ImageError, match=f"^its grey values need 2000 bytes, and {tmp_path} has 1999 left$"):
        read_grey(tmp_path / "a.png", max_pixels=LIMIT, spool=tmp_path)


WHOLE = [(Path(name).suffix, content) for name, (content, _) in LOSSLESS.items()]
WHOLE += [(".jpg", JPEG), (".jpg", oriented_jpeg(6)), (".tif", as_tiff(RGB, compression="jpeg", tile=(16, 16)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 20000), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(1, 20000),
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path, whole, changes, cut):
    suffix, content = whole
    damaged = bytearray(content[:cut])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damaged)

    def read() -> None:
        try:
            grey = read_grey(path, max_pixels=LIMIT)
        except ImageError:
            return
        assert grey.ndim == 2

    assert peak_bytes(read) < 40 * LIMIT


SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_microscopy_files_are_read():
    folder = Path(SHARED or "") / "spheroid"
    nuclei = sorted((folder / "dsb2018_nuclei" / "images").iterdir())[:20]
    organoids = sorted(path for path in (folder / "orgaquant_brightfield").iterdir() if path.suffix in SUFFIXES)
    assert [path.name for path in organoids] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "8.tif"]
    for path in nuclei + organoids:
        grey = read_grey(path, max_pixels=10**7)
        theirs = np.asarray(Image.open(path).convert("L"))
        assert grey.dtype == np.uint8
        assert np.abs(grey.astype(int) - theirs).max() <= 1, path
