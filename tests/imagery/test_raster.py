"""Rasters as they are read: what is refused, what is valid."""

from __future__ import annotations

import http.server
import json
import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.rpc import RPC
from rasterio.windows import Window

from imagery.image_bytes import RGB, U8, U16, as_pillow, as_tiff, peak_bytes, png_header, with_tag
from imagery.raster_files import F32, LIMIT, gdal_tiff, plain, read_all, run_python, strips_of
from millrace.errors import ImageError
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.imagery.raster_writer import write_raster

VRT = """<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


def huge_tiff() -> bytes:
    """Header of a grey TIFF that claims 40,000 x 40,000 pixels and holds none."""
    tags = [(256, 4, 1, 40_000), (257, 4, 1, 40_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 40_000), (279, 4, 1, 1_600_000_000)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def sparse_tiff(folder: Path, **profile) -> bytes:
    """64 rows of which the last 32 were never written."""
    path = folder / "sparse.tif"
    size = {"count": 1, "height": 64, "width": 32, "dtype": "uint16", "blockysize": 16}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, compress="deflate", **size, **profile) as dataset:
            dataset.write(np.ones((1, 32, 32), np.uint16), window=Window(0, 0, 32, 32))
    return path.read_bytes()


REFUSED = {
    "empty": (lambda _: b"", "the file is empty"),
    "text": (lambda _: b"<html>", "its content is neither TIFF nor PNG"),
    "jpeg": (lambda _: as_pillow(RGB, "JPEG"), "its content is neither TIFF nor PNG"),
    "virtual raster": (lambda folder: VRT.format(folder / "other.tif").encode(), "its content is neither TIFF nor PNG"),
    "claims pixels": (lambda _: huge_tiff(), "it has 40000 x 40000 pixels, more than the 1048576 that are allowed"),
    "claims png": (lambda _: png_header(40_000, 40_000), "it has 40000 x 40000 pixels, more than .*"),
    "claims tiles": (
        lambda _: with_tag(with_tag(as_tiff(U8, tile=(16, 16)), 322, 1 << 20), 323, 1 << 20),
        "(its strips or tiles claim 1048576 x 1048576 pixels; .*|damaged or not usable: .*)",
    ),
    "claims a long tile": (
        lambda _: with_tag(as_tiff(U8, tile=(16, 16)), 322, 1 << 16),
        "its strips or tiles claim 65536 x 16 pixels; save it with smaller ones",
    ),
    "complex": (
        lambda _: as_tiff(U16.astype(np.complex64)),
        "its values are complex64, not uint8, .*; save its magnitude",
    ),
    "wide": (lambda _: as_tiff(U16.astype(np.int32)), "its values are int32, not uint8, .*; save it as one of these"),
    "pages": (lambda _: as_tiff(np.stack([U8, U8]), photometric="minisblack"), "it holds 2 images; .*"),
    "palette": (lambda _: as_pillow(Image.fromarray(U8).convert("P"), "PNG"), "its values index a colour table.*"),
    "from white": (lambda _: as_tiff(U8, photometric="miniswhite"), "its values index a colour table.*"),
    "half written": (
        sparse_tiff,
        "truncated: the strip or tile at row 32, column 0 was never written, and it has no nodata",
    ),
    "short": (
        lambda folder: gdal_tiff(folder / "made.tif", U16[None]).read_bytes()[:-100],
        r"truncated: a strip or tile ends at byte \d+, the file at byte \d+",
    ),
    "other file": (
        lambda _: as_tiff(U8, description="", extratags=[(42112, 2, 0, overview_of("/etc/passwd"), True)]),
        "it names another file as its overviews",
    ),
}


def overview_of(address: str) -> str:
    return f'<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">{address}</Item></GDALMetadata>'


@pytest.mark.parametrize("case", REFUSED)
def test_bad_file_is_refused_with_its_reason_and_in_silence(case, tmp_path, capfd):
    make, reason = REFUSED[case]
    gdal_tiff(tmp_path / "other.tif", U8[None])
    path = tmp_path / "a.tif"
    path.write_bytes(make(tmp_path))

    def read() -> None:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            read_all(path)

    capfd.readouterr()
    assert peak_bytes(read) < 1_000_000
    assert capfd.readouterr() == ("", "")


def test_what_is_not_a_local_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    for path, reason in {
        tmp_path: "a folder or a device",
        tmp_path / "pipe.tif": "a folder or a device",
        tmp_path / "none.tif": "there is no such file",
        Path("/vsicurl/http://127.0.0.1:9/a.tif"): "it is an address, not a local file",
        Path("http://127.0.0.1:9/a.tif"): "there is no such file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            Raster(path, max_pixels=LIMIT)


def test_no_address_inside_a_file_is_visited(tmp_path):
    """GDAL itself asks for the overviews that a file names, at an address or in another file."""
    visits = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def parse_request(self):
            visits.append(self.raw_requestline.decode().split()[1])
            return False

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"/vsicurl/http://127.0.0.1:{server.server_port}/a.tif"
    path = tmp_path / "a.tif"
    path.write_bytes(as_tiff(U8, description="", extratags=[(42112, 2, 0, overview_of(address), True)]))
    with pytest.raises(ImageError, match="overviews"):
        read_all(path)
    assert visits == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as dataset:
            dataset.read(1, out_shape=(4, 4))
    server.shutdown()
    assert "/a.tif" in visits


def test_names_that_look_like_addresses_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = gdal_tiff(tmp_path / "made.tif", U8[None])
    for name in ("http:/a.tif", "GTIFF_DIR:1:é #?!zip.tif", "zip:/a.zip!/a.tif"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(path.read_bytes())
        assert read_all(Path(name))[1].shape == (1, 40, 50)
        write_raster(Path(name), plain(U16[None]), strips_of(U16[None]))
        np.testing.assert_array_equal(read_all(Path(name))[1], U16[None])


def test_files_beside_a_raster_are_neither_read_nor_written(tmp_path):
    path = gdal_tiff(tmp_path / "a.tif", U8[None])
    (tmp_path / "a.tif.aux.xml").write_text('<PAMDataset><Metadata><MDI key="A">B</MDI></Metadata></PAMDataset>')
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n5\n5\n")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.zeros_like(U8))
        dataset.build_overviews([2])
    assert {file.name for file in tmp_path.iterdir()} >= {"a.tif", "a.tif.msk", "a.tif.aux.xml", "a.tfw"}
    metadata, _, valid = read_all(path)
    assert metadata == plain(U8[None])
    assert valid.all()
    before = sorted(tmp_path.iterdir())
    write_raster(path, metadata, strips_of(U8[None]))
    assert sorted(tmp_path.iterdir()) == before


WHOLE = {
    "strips": as_tiff(U16, rowsperstrip=7),
    "deflate": as_tiff(U16, compression="zlib", tile=(16, 16)),
    "lzw big-endian": as_tiff(U16, compression="lzw", byteorder=">"),
    "packbits": as_tiff(U8, compression="packbits"),
    "float predictor": as_tiff(F32, compression="zlib", predictor=3),
    "big": as_tiff(U16, bigtiff=True, compression="zlib"),
    "planar": as_tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"),
    "png": as_pillow(U8, "PNG"),
    "png rgb": as_pillow(RGB, "PNG"),
    "png 16": as_pillow(Image.fromarray(U16), "PNG"),
    "png alpha": as_pillow(np.dstack([RGB, U8]), "PNG"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_refused_or_the_same(name, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(WHOLE[name])
    _, expected, _ = read_all(path)
    refused = 0
    for length in range(4, len(WHOLE[name]), max(1, len(WHOLE[name]) // 60)):
        path.write_bytes(WHOLE[name][:length])
        try:
            np.testing.assert_array_equal(read_all(path)[1], expected)
        except ImageError:
            refused += 1
    assert refused >= 50


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 20000), st.integers(0, 255)), max_size=6),
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path, whole, changes):
    damaged = bytearray(WHOLE[whole])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path / "damaged.tif"
    path.write_bytes(damaged)
    try:
        metadata, values, valid = read_all(path)
    except ImageError:
        return
    assert values.shape == valid.shape == (metadata.count, metadata.height, metadata.width)
    assert Metadata.from_dict(json.loads(json.dumps(metadata.as_dict()))) == metadata


READ = """
import logging, sys
from pathlib import Path
from millrace.errors import ImageError
from millrace.imagery.raster import Raster
logging.basicConfig(level=logging.INFO)
with Raster(Path(sys.argv[1]), max_pixels=9999) as raster:
    try:
        raster.read(1)
        print("read")
    except ImageError:
        print("refused")
"""


def test_a_damaged_jpeg_inside_a_tiff_is_refused_in_silence(tmp_path):
    """GDAL only warns of it, and makes up the pixels."""
    path = tmp_path / "a.tif"
    content = bytearray(as_tiff(U8[:32, :48], compression="jpeg", rowsperstrip=32))
    path.write_bytes(content)
    assert read_all(path)[1].shape == (1, 32, 48)
    with tifffile.TiffFile(path) as tif:
        start, size = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"^damaged: .*JPEG"):
        read_all(path)
    assert run_python(READ, path) == ("refused\n", "")


def test_damaged_texts_of_a_file_are_not_printed(tmp_path):
    """GDAL quotes them in a warning, which rasterio cannot decode."""
    path = tmp_path / "a.tif"
    text = b"<GDALMetadata><Item name=\x80\xff>a</Ite"
    path.write_bytes(as_tiff(U8, description="", extratags=[(42112, 2, 0, text, True)]))
    assert run_python(READ, path) == ("read\n", "")


@pytest.mark.parametrize(
    ("values", "profile", "invalid"),
    [
        (np.array([[0, 7, 9]], np.uint16), {"nodata": 0}, [0]),
        (np.array([[0, 7, 9]], np.uint16), {}, []),
        (np.array([[-99, 7, np.nan, np.inf, -np.inf]], np.float32), {"nodata": -99}, [0, 2, 3, 4]),
        (np.array([[np.nan, 7]], np.float64), {"nodata": np.nan}, [0]),
        (np.array([[0.1, 7]], np.float32), {"nodata": 0.1}, [0]),
        (np.array([[-3.4028235e38, 7]], np.float32), {"nodata": -3.40282e38}, [0]),
        (np.array([[3, 7]], np.uint8), {"nodata": 3.5}, []),
        (np.array([[-32768, 0]], np.int16), {"nodata": -32768}, [0]),
    ],
)
def test_nodata_nan_and_infinities_are_invalid(values, profile, invalid, tmp_path):
    metadata, found, valid = read_all(gdal_tiff(tmp_path / "a.tif", values[None], **profile))
    np.testing.assert_array_equal(found[0], values)
    assert np.flatnonzero(~valid).tolist() == invalid
    assert (metadata.nodata is None) == ("nodata" not in profile)


def test_masks_of_files_count(tmp_path):
    mask = U8 > 100
    path = gdal_tiff(tmp_path / "a.tif", F32[None], mask, nodata=F32[0, 0])
    metadata, _, valid = read_all(path)
    np.testing.assert_array_equal(valid[0], mask & (F32[0, 0] != F32))
    assert metadata.masked
    for name, pixels in {"grey": np.dstack([U8, U8 // 100]), "rgb": np.dstack([RGB, U8 // 100])}.items():
        (tmp_path / name).write_bytes(as_pillow(pixels, "PNG"))
        metadata, values, valid = read_all(tmp_path / name)
        assert metadata.image_bands == tuple(range(1, pixels.shape[2]))
        np.testing.assert_array_equal(valid[0], U8 // 100 > 0)
        np.testing.assert_array_equal(values[-1], U8 // 100)


def test_a_transparent_colour_is_one_colour_not_one_value_in_each_band(tmp_path):
    pixels = np.array([[[3, 3, 3], [3, 4, 5]]], np.uint8)
    (tmp_path / "a.png").write_bytes(as_pillow(pixels, "PNG", transparency=(3, 3, 3)))
    metadata, _, valid = read_all(tmp_path / "a.png")
    assert valid.tolist() == [[[False, True]]] * 3
    assert (metadata.nodata, metadata.masked, metadata.tags) == (None, True, {})


def test_blocks_that_were_never_written_are_nodata(tmp_path):
    (tmp_path / "a.tif").write_bytes(sparse_tiff(tmp_path, nodata=0))
    _, _, valid = read_all(tmp_path / "a.tif")
    assert (valid[0, :32].all(), valid[0, 32:].any()) == (True, False)


def test_windows_and_strips_are_parts_of_the_whole(tmp_path):
    path = gdal_tiff(tmp_path / "a.tif", U16[None], nodata=U16[5, 5], tiled=True, blockxsize=16, blockysize=16)
    with Raster(path, max_pixels=2000) as raster:
        values, valid = raster.read(1)
        parts = [raster.read(1, window) for window in raster.strips(7)]
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), values)
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), valid)
        part, mask = raster.read(1, Window(3, 5, 20, 10))
        np.testing.assert_array_equal(part, U16[5:15, 3:23])
        np.testing.assert_array_equal(mask, U16[5:15, 3:23] != U16[5, 5])
    with pytest.raises(ImageError, match="more than the 1999"):
        Raster(path, max_pixels=1999)


def test_what_cannot_be_kept_is_said(tmp_path):
    numbers = {f"{name}_{part}": 1.0 for name in ("height", "lat", "long", "line", "samp") for part in ("off", "scale")}
    numbers |= {f"{side}_{part}_coeff": [1.0] * 20 for side in ("line", "samp") for part in ("num", "den")}
    with Raster(gdal_tiff(tmp_path / "b.tif", U8[None], rpcs=RPC(**numbers)), max_pixels=LIMIT) as raster:
        assert raster.not_kept == ("rational polynomial coefficients (RPC)",)
    nodata = (42113, 2, 0, "-9999", True)
    domain = '<GDALMetadata><Item name="a" domain="mine">1</Item><Item name="ns">2</Item></GDALMetadata>'
    path = tmp_path / "a.tif"
    path.write_bytes(as_tiff(U16, extratags=[nodata, (42112, 2, 0, domain, True)]))
    with Raster(path, max_pixels=LIMIT) as raster:
        assert raster.metadata.nodata is None
        assert raster.not_kept == ("tags of the domain mine", "1 tag(s) that are empty, too long or oddly named")


def test_a_block_is_decoded_once_for_the_windows_that_it_holds(tmp_path):
    path = tmp_path / "strips.tif"
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16", compress="lzw", blockysize=32
    ) as dataset:
        dataset.write(values, 1)
    with Raster(path, max_pixels=4096) as raster:
        assert (raster.read(1, Window(0, 0, 64, 8))[0] == values[:8]).all()
        assert (raster.read(1, Window(0, 32, 64, 8))[0] == values[32:40]).all()
        with path.open("r+b") as stream:
            stream.write(bytes(path.stat().st_size))
        assert (raster.read(1, Window(0, 8, 64, 8))[0] == values[8:16]).all()


def test_a_file_that_cannot_list_its_strips_is_refused_at_once(tmp_path):
    """134 bytes that claim 400 million strips of a pixel: with nodata all of them could be left out."""
    fields = [(256, 4, 1), (257, 4, 400_000_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0), (278, 4, 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*fields, (279, 4, 0)])
    nodata = struct.pack("<HHI4s", 42113, 2, 2, b"0")
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(fields) + 2) + entries + nodata + b"\0\0\0\0")
    with pytest.raises(ImageError, match="cannot list its 400000000 strips or tiles"):
        Raster(path, max_pixels=500_000_000)
