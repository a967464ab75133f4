"""Rasters as they are written: what comes back, and that nothing is left half-written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from imagery.image_bytes import U8, U16, as_tiff
from imagery.raster_files import F32, LIMIT, UTM, gdal_tiff, plain, read_all, run_python, strips_of
from millrace.errors import ImageError
from millrace.imagery.metadata import MAX_GCPS, Metadata
from millrace.imagery.raster_writer import write_raster

SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def round_trip(folder: Path, metadata: Metadata, values: np.ndarray, **options) -> tuple[np.ndarray, np.ndarray]:
    write_raster(folder / "back.tif", metadata, strips_of(values, **options))
    back, found, valid = read_all(folder / "back.tif")
    assert back == metadata
    return found, valid


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_pixels_of_every_dtype_come_back(dtype, tmp_path):
    values = (np.stack([U16, U16.T.reshape(U16.shape)]) / 3).astype(dtype)
    found, valid = round_trip(tmp_path, plain(values), values)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == dtype
    assert valid.all()


@pytest.mark.parametrize("fields", [{"nodata": 7.0}, {"nodata": "nan"}, {"masked": True}, {}])
def test_invalid_pixels_come_back_as_such(fields, tmp_path):
    valid = U8 > 100
    _, found = round_trip(tmp_path, plain(F32[None] + 8, **fields), F32[None] + 8, valid=valid)
    np.testing.assert_array_equal(found[0], valid)
    write_raster(tmp_path / "a.tif", plain(U16[None]), strips_of(U16[None], valid))
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif")[1][0], np.where(valid, U16, 0))
    write_raster(tmp_path / "a.tif", plain(F32[None]), strips_of(F32[None], valid), fill=0.0)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif")[1][0], np.where(valid, F32, 0))


GCPS = ((0.0, 0.0, 39.0, 39.25), (0.0, 49.5, 0.0, 49.5), (1.1, 2.0, 1.2, 2.2), (50.3, 50.1, 49.0, 49.1), (0.0,) * 4)
KEPT = {
    "grid": {"crs": "EPSG:32631", "transform": UTM, "tags": {"AREA_OR_POINT": "Area"}},
    "points": {"crs": "EPSG:32631", "transform": UTM, "tags": {"AREA_OR_POINT": "Point"}},
    "ground control": {"gcps": GCPS, "gcp_crs": "EPSG:4326", "tags": {"AREA_OR_POINT": "Area"}},
    "ground control points": {"gcps": GCPS, "gcp_crs": "EPSG:4326", "tags": {"AREA_OR_POINT": "Point"}},
    "many points": {
        "gcps": tuple(tuple(float(i + k) for i in range(MAX_GCPS)) for k in range(5)),
        "gcp_crs": "EPSG:4326",
        "tags": {"AREA_OR_POINT": "Area"},
    },
    "texts": {
        "tags": {"TIFFTAG_SOFTWARE": "é \n", "mine": 'a <b> & "c"\n\td', "long": "x" * 100_000},
        "band_tags": ({"STATISTICS_MEAN": "3"}, {}, {"a": "b"}),
        "descriptions": ("VV", None, "多"),
        "units": (None, "dB", None),
    },
    "scaled": {"scales": (0.5, 1.0, 1.0), "offsets": (0.0, -3.25, 0.0)},
    "colours": {"colours": ("red", "green", "blue")},
    "alpha": {"colours": ("gray", "undefined", "alpha")},
}


@pytest.mark.parametrize("name", KEPT)
def test_metadata_come_back_exactly(name, tmp_path):
    values = np.stack([U16, U16, np.full_like(U16, 255)])
    metadata = plain(values, **KEPT[name])
    found, _ = round_trip(tmp_path, metadata, values)
    np.testing.assert_array_equal(found, values)
    with tifffile.TiffFile(tmp_path / "back.tif") as tif:
        assert tif.pages[0].photometric == (2 if name == "colours" else 1)
    text = json.dumps(metadata.as_dict(), allow_nan=False)
    assert Metadata.from_dict(json.loads(text)) == metadata


def test_control_points_of_point_pixels_are_those_that_others_read(tmp_path):
    """The half pixel that GDAL loses on writing: a file that GDAL did not write is the judge."""
    keys = (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 2, 1025, 0, 1, 2), True)
    points = [4.0, 2.0, 0.0, 10.0, 20.0, 0.0, 9.0, 2.0, 0.0, 11.0, 20.0, 0.0, 4.0, 8.0, 0.0, 10.0, 21.0, 0.0]
    path = tmp_path / "a.tif"
    path.write_bytes(as_tiff(U8, extratags=[keys, (33922, "d", 18, points, True)]))
    metadata, values, _ = read_all(path)
    assert metadata.gcps is not None
    assert metadata.gcps[:2] == ((2.5, 2.5, 8.5), (4.5, 9.5, 4.5))
    write_raster(path, metadata, strips_of(values))
    with tifffile.TiffFile(path) as tif:
        assert list(tif.pages[0].tags["ModelTiepointTag"].value) == points


@pytest.mark.parametrize(
    "text",
    [
        "+proj=laea +lat_0=51.25 +lon_0=9.5 +x_0=1000 +y_0=0 +ellps=GRS80 +units=m",
        "+proj=utm +zone=31 +ellps=intl +units=m",
    ],
)
def test_a_coordinate_system_without_a_number_or_like_one_comes_back(text, tmp_path):
    crs = CRS.from_proj4(text)
    path = gdal_tiff(tmp_path / "a.tif", U8[None], crs=crs, transform=rasterio.Affine(*UTM))
    metadata, values, _ = read_all(path)
    assert metadata.crs is not None
    assert metadata.crs.startswith("PROJCRS[")
    round_trip(tmp_path, metadata, values)
    with rasterio.open(tmp_path / "back.tif") as dataset:
        assert dataset.crs == crs


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() == text and "\ufffe" not in text and "\uffff" not in text
)
NUMBERS = st.floats(-1e9, 1e9)


@st.composite
def rasters(draw) -> tuple[Metadata, np.ndarray, np.ndarray]:
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(1, 100, (count, height, width)).astype(dtype)
    key = st.from_regex(r"\A[A-Za-z_]{1,12}\Z").filter(lambda key: key not in ("ns", "bidx", "self", "AREA_OR_POINT"))
    tags = draw(st.dictionaries(key, TEXT, max_size=3))
    fields: dict = {"tags": tags}
    if draw(st.booleans()):
        size = draw(st.integers(3, 6))
        fields["gcps"] = tuple(tuple(draw(NUMBERS) for _ in range(size)) for _ in range(5))
        fields["gcp_crs"] = draw(st.sampled_from([None, "EPSG:4326", "EPSG:32631"]))
    elif draw(st.booleans()):
        fields["transform"] = (draw(st.floats(0.1, 99)), 0.0, draw(NUMBERS), 0.0, -draw(st.floats(0.1, 99)), 5.0)
        fields["crs"] = draw(st.sampled_from([None, "EPSG:3857"]))
    if fields.get("crs") or fields.get("gcp_crs"):
        fields["tags"] = tags | {"AREA_OR_POINT": "Area"}
    if draw(st.booleans()):
        fields["nodata"] = draw(st.sampled_from([0.0, 100.0] + ["nan", -99.5] * dtype.startswith("f")))
    if draw(st.booleans()):
        texts = tuple(draw(st.none() | TEXT) for _ in range(count))
        fields["descriptions"] = texts if any(texts) else None
    return plain(values, **fields), values, np.array(draw(st.lists(st.booleans(), min_size=height, max_size=height)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=rasters(), rows=st.integers(1, 50))
def test_any_raster_comes_back(tmp_path, made, rows):
    metadata, values, valid_rows = made
    valid = np.broadcast_to(valid_rows[:, None], values.shape)
    marked = metadata.nodata is not None or metadata.dtype.startswith("f")
    found, mask = round_trip(tmp_path, metadata, values, valid=valid, rows=rows)
    np.testing.assert_array_equal(found[valid], values[valid])
    np.testing.assert_array_equal(mask, valid if marked else np.ones_like(valid))
    assert Metadata.from_dict(json.loads(json.dumps(metadata.as_dict()))) == metadata


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"width": 0}, "width"),
        ({"height": 1 << 40}, "height"),
        ({"count": "1"}, "count"),
        ({"dtype": "complex64"}, "dtype"),
        ({"nodata": "none"}, "nodata"),
        ({"nodata": -1}, "nodata -1.0 is no uint16"),
        ({"nodata": float("nan")}, "nodata"),
        ({"crs": "/vsicurl/http://127.0.0.1"}, "crs"),
        ({"crs": "GEOGCS[" + "x" * 200_000 + "]"}, "crs"),
        ({"transform": [1, 2, 3]}, "transform"),
        ({"transform": [1, 2, 3, 4, 5, float("inf")]}, "transform"),
        ({"transform": [1, 2, 3, 4, 5, "6"]}, "transform"),
        ({"gcps": [[1.0]] * 4}, "gcps"),
        ({"gcps": [[1.0]] * 4 + [[1.0, 2.0]]}, "gcps differ in length"),
        ({"gcps": [[1.0] * 10_923] * 5}, "gcps"),
        ({"gcps": [[1.0]] * 5, "transform": list(UTM)}, "both ground control points and"),
        ({"gcp_crs": "EPSG:4326"}, "gcp_crs without"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": {"a=b": "c"}}, "tags"),
        ({"tags": {"ns": "c"}}, "tags"),
        ({"tags": {"a": "\0"}}, "tags"),
        ({"tags": {"a": "\ud800"}}, "tags"),
        ({"tags": {str(number): "" for number in range(10_001)}}, "tags"),
        ({"descriptions": ["a", "b"]}, "descriptions has 2 entries for 1 bands"),
        ({"colours": ["octarine"]}, "colours"),
        ({"extra": 1}, "extra"),
        ({"masked": 1}, "masked"),
    ],
)
def test_metadata_of_another_origin_are_refused_where_they_are_wrong(change, place):
    content = {"width": 5, "height": 4, "count": 1, "dtype": "uint16"}
    assert Metadata.from_dict(content).as_dict() == content
    with pytest.raises(ImageError, match=f"^its metadata is damaged: .*{place}"):
        Metadata.from_dict(content | change)
    for other in (None, [], "text", 3):
        with pytest.raises(ImageError):
            Metadata.from_dict(other)


def test_a_coordinate_system_that_does_not_exist_is_refused_when_written(tmp_path, capfd):
    for crs in ("EPSG:9999999", "GEOGCS[]"):
        with pytest.raises(ImageError):
            write_raster(tmp_path / "a.tif", plain(U8[None], crs=crs, transform=UTM), strips_of(U8[None]))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_failed_writing_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("mine")

    def broken():
        yield next(strips_of(U16[None]))
        raise RuntimeError("stop")

    for strips, error in (
        (broken(), RuntimeError),
        (strips_of(U16[None, :30]), ValueError),
        (strips_of(U16[None].repeat(2, 1)), ValueError),
        (strips_of(U16[None, :, :9]), ValueError),
        (strips_of(np.stack([U16, U16])), ValueError),
    ):
        with pytest.raises(error):
            write_raster(path, plain(U16[None]), strips)
        assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
        assert path.read_text() == "mine"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from millrace.errors import ImageError
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster_writer import write_raster
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (20_000, 300_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for rows in (301, 320, 400, 1200):
        noise = np.random.default_rng(0).integers(0, 255, (1, rows, 1000), dtype=np.uint8)
        metadata = Metadata(width=1000, height=rows, count=1, dtype="uint8")
        try:
            write_raster(Path(sys.argv[1]), metadata, [(noise, np.ones_like(noise, bool))])
        except (ImageError, OSError) as error:
            print(type(error).__name__)
"""


def test_a_full_disk_is_told(tmp_path):
    """GDAL reports no error where only its last bytes did not fit."""
    printed, _ = run_python(FULL_DISK, tmp_path / "a.tif")
    assert printed.split() == ["ImageError"] * 8
    assert list(tmp_path.iterdir()) == []


def test_equal_rasters_are_equal_bytes_however_they_come(tmp_path):
    metadata = plain(U16[None], **KEPT["grid"])
    noise = np.random.default_rng(0).integers(0, 9999, (2, 700, 1000), dtype=np.uint16)
    for values, described in ((U16[None], metadata), (noise, plain(noise))):
        for name, rows in (("a", 3), ("b", 70), ("c", 700)):
            write_raster(tmp_path / name, described, strips_of(values, rows=rows))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_files_come_back(tmp_path):
    folder = Path(SHARED or "") / "sar"
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".tif", ".tiff"))
    assert len(paths) == 6
    for path in paths:
        metadata, values, valid = read_all(path, 2 * LIMIT)
        write_raster(tmp_path / "back.tif", metadata, strips_of(values, valid, rows=100))
        with rasterio.open(path) as original, rasterio.open(tmp_path / "back.tif") as back:
            np.testing.assert_array_equal(back.read(), original.read(), str(path))
            np.testing.assert_array_equal(back.read_masks(), original.read_masks(), str(path))
            for name in ("crs", "transform", "nodatavals", "descriptions", "colorinterp", "scales", "units"):
                assert getattr(back, name) == getattr(original, name), (path, name)
            assert back.tags() == original.tags()
            assert [back.tags(band) for band in back.indexes] == [original.tags(band) for band in original.indexes]
            points, crs = original.gcps
            assert back.gcps[1] == crs
            assert [point.asdict() for point in back.gcps[0]] == [point.asdict() for point in points]
            if "grdh" in path.name:
                assert (len(points), crs) == (210, CRS.from_epsg(4326))
            if "RGB" in path.name:
                assert back.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
