from __future__ import annotations

import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagery.image_bytes import LIMIT, RNG, U8, U16, as_tiff, assert_refused, peak_bytes, with_tag
from millrace.errors import ImageError
from millrace.imagery.read import ImageInfo, probe, read_grey

SRC = str(Path(__file__).parents[2] / "src")
GREY = {"photometric": "minisblack"}
STACK = as_tiff(np.stack([U8, 255 - U8]), **GREY)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_layout_gives_back_the_pixels(tmp_path, data, seed):
    shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "float32"]))
    compression = data.draw(st.sampled_from([None, "lzw", "zlib", "packbits", "zstd"]))
    tile = data.draw(st.none() | st.tuples(st.sampled_from([16, 48]), st.sampled_from([16, 32])))
    pages = np.random.default_rng(seed).integers(0, 256, (data.draw(st.integers(1, 3)), *shape)).astype(dtype)
    path = tmp_path / "x.tif"
    options = {
        "compression": compression,
        "predictor": data.draw(st.booleans()) if compression in ("lzw", "zlib", "zstd") else None,
        "tile": tile,
        "rowsperstrip": None if tile else data.draw(st.none() | st.integers(1, 70)),
    }
    with tifffile.TiffWriter(
        path, bigtiff=data.draw(st.booleans()), byteorder=data.draw(st.sampled_from("<>"))
    ) as writer:
        for pixels in pages:
            writer.write(pixels, contiguous=False, **GREY, **options)
    page = data.draw(st.integers(0, len(pages) - 1))
    assert probe(path, page=page, max_pixels=LIMIT) == ImageInfo(shape[1], shape[0], 1, dtype, len(pages))
    np.testing.assert_array_equal(read_grey(path, page=page, max_pixels=LIMIT), pages[page])


def circular() -> bytes:
    content = bytearray(STACK)
    with tifffile.TiffFile(BytesIO(content)) as tif:
        first, second = (page.offset for page in tif.pages)
    (count,) = struct.unpack_from("<H", content, second)
    struct.pack_into("<I", content, second + 2 + 12 * count, first)
    return bytes(content)


def jpeg_bomb() -> bytes:
    """A tile of 16 x 16 pixels whose JPEG header claims 60000 x 60000."""
    content = bytearray(as_tiff(U8[:16, :16], compression="jpeg", tile=(16, 16)))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, 60000, 60000)
    return bytes(content)


def channels(count: int, photometric: str) -> bytes:
    return as_tiff(np.zeros((9, 9, count), np.uint8), photometric=photometric, planarconfig="contig")


COLOURS = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
BY_HEADER = {
    "cut": (as_tiff(U16)[:-9], r"truncated TIFF: its strips end at byte \d+, the file at byte \d+"),
    "tiles cut": (as_tiff(U16, tile=(16, 16))[:-999], "truncated TIFF: its tiles end .*"),
    "list cut": (with_tag(as_tiff(U8), 278, 10), "truncated TIFF: it lists 1 of 4 strips"),
    "unwritten": (with_tag(as_tiff(U8), 279, 0), "truncated TIFF: 1 of 1 strips were never written"),
    "too short": (with_tag(as_tiff(U8), 279, 99), "truncated TIFF: its strips hold 99 of 2000 bytes"),
    "bomb": (with_tag(with_tag(as_tiff(U8), 256, 40000), 257, 40000), "it has 40000 x 40000 pixels, more than .*"),
    "no pixels": (with_tag(as_tiff(U8), 256, 0), "its header claims 0 x 40 pixels: there is no image"),
    "tile bomb": (with_tag(as_tiff(U8, tile=(16, 16)), 322, 2**31), "damaged TIFF: its tiles claim 2147483648 x 16 .*"),
    "circle": (circular(), "damaged TIFF: its list of pages runs in a circle"),
    "no page": (b"II*\0\0\0\0\0", r"there is no page 0: the file has 0 \(counted from 0\)"),
    "5 channels": (channels(5, "rgb"), "it has 5 channels a pixel that are not grey or RGB; save .*"),
    "2 channels": (channels(2, "minisblack"), "it has 2 channels a pixel that are not grey or RGB; save .*"),
    "CMYK": (channels(4, "separated"), "its colours are SEPARATED; save it as grey or RGB"),
    "complex": (as_tiff(U8.astype(complex)), "its values are complex numbers; save their magnitude"),
    "volume": (
        as_tiff(np.zeros((3, 9, 9), np.uint8), volumetric=True, photometric="minisblack"),
        "it is a volume of 3 slices; .*",
    ),
    "codec": (as_tiff(U8, compression="jpeg2000"), "TIFF compression JPEG2000 is not supported; .*"),
    "turned": (as_tiff(U8, extratags=[(274, 3, 1, 6, True)]), "its Orientation tag .*"),
    "colours": (as_tiff(U8, photometric="palette", colormap=COLOURS), "its values are indices of a colour table; .*"),
    "from white": (as_tiff(U8 / 9, photometric="miniswhite"), "its float64 values count down from white .*"),
    "absurd bits": (with_tag(as_tiff(U8), 258, 77), "values of 77 bits in SampleFormat .* are not supported"),
    "no photometry": (as_tiff(U8).replace(b"\x06\x01\x03\0", b"\xff\xff\x03\0"), "damaged TIFF: the tag Photometric.*"),
}
BY_PIXELS = {
    "JPEG tile bomb": (jpeg_bomb(), "damaged TIFF: a JPEG inside is larger than its strip or tile"),
    "NaN": (as_tiff(np.where(U8 == 7, np.nan, U8).astype(np.float32)), "it holds NaN, infinite values, .*"),
    "infinity": (as_tiff(np.where(U8 == 7, -np.inf, U8), tile=(16, 16)), "it holds NaN, infinite values, .*"),
    "beyond float32": (as_tiff(U8 * 1e300), "it holds NaN, infinite values, or larger ones than float32 can hold"),
    "rotten": (as_tiff(U8, compression="zlib")[:-20] + bytes(20), "damaged TIFF: .*deflate.*"),
}


@pytest.mark.parametrize("case", [*BY_HEADER, *BY_PIXELS])
def test_bad_file_is_refused_with_its_reason_and_leaves_nothing_behind(case, tmp_path):
    content, reason = (BY_HEADER | BY_PIXELS)[case]
    assert_refused(tmp_path / "a.tif", content, reason, by_header=case in BY_HEADER)


def test_missing_page_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(STACK)
    np.testing.assert_array_equal(read_grey(path, page=1, max_pixels=LIMIT), 255 - U8)
    with pytest.raises(ImageError, match=r"^there is no page 2: the file has 2 \(counted from 0\)$"):
        read_grey(path, page=2, max_pixels=LIMIT)


def test_imagej_stack_in_one_page_gives_its_first_image_only(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(as_tiff(U8, description="ImageJ=1.54f\nimages=3\nslices=3\n", metadata=None))
    assert probe(path, max_pixels=LIMIT).pages == 3
    np.testing.assert_array_equal(read_grey(path, max_pixels=LIMIT), U8)
    with pytest.raises(ImageError, match=r"^page 1 is inside an ImageJ stack of 3 images that is stored as one page"):
        read_grey(path, page=1, max_pixels=LIMIT)


@pytest.mark.parametrize("layout", [{"compression": "zlib", "tile": (256, 256)}, {"tile": (256, 256)}, {}])
def test_spooled_image_is_never_in_memory_as_a_whole(layout, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(as_tiff(np.zeros((3000, 3000), np.float32), **layout))
    assert peak_bytes(lambda: read_grey(path, max_pixels=10**7, spool=tmp_path)) < 8_000_000


def test_console_stays_clean_of_tifffile(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(with_tag(as_tiff(U8), 278, 10))
    code = f"""
import logging, pathlib
from millrace.errors import ImageError
from millrace.imagery.read import probe
logging.basicConfig(filename={str(tmp_path / "log")!r})
logging.getLogger("tifffile").addHandler(logging.FileHandler({str(tmp_path / "tifffile")!r}))
try:
    probe(pathlib.Path({str(path)!r}), max_pixels=10000)
except ImageError:
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SRC}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "log").read_text() == ""
    assert "incorrect StripOffsets" in (tmp_path / "tifffile").read_text()
