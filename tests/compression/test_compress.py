"""Rasters come back from `.mrz` files: pixels, what is invalid, all that is said of them; damage stays in its place."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from mrz_models import read_tiff, smooth, speckled_amplitude, write_models, write_tiff
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from millrace.compression import container
from millrace.compression.codec_model import load
from millrace.compression.compress import Request, compress, decompress, describe
from millrace.compression.container import Reader
from millrace.compression.decibels import Scaling, with_logarithm
from millrace.compression.header import Header
from millrace.compression.params import Prepare
from millrace.errors import UserError
from millrace.imagery.raster import Raster
from millrace.settings import Runtime
from repository import REPOSITORY

SETTINGS, RUNTIME = Prepare(), Runtime(threads=1)
WHOLE_RANGE = (0.0, 100.0)
MOST_ERROR, USUAL_ERROR = 0.4, 0.06
"""Of normalised values of smooth images at q3, whose step is 0.05: of any pixel, and root mean square."""
PLACE = {"crs": "EPSG:32630", "transform": [10, 0, 399960, 0, -10, 4500000]}
FEW_PIXELS = Prepare(max_megapixels=0.1)


def there_and_back(source: Path, models: Path, **request: Any) -> Path:
    """The raster after compression, with everything said of it compared."""
    packed, unpacked = source.with_suffix(".mrz"), source.with_name("back.tif")
    usual = {"quality": "q3", "percentiles": WHOLE_RANGE}
    compress(source, packed, models, Request(**(usual | request)), SETTINGS, RUNTIME)
    assert decompress(packed, unpacked, models, SETTINGS, RUNTIME) == []
    with Raster(source, max_pixels=10**6) as before, Raster(unpacked, max_pixels=10**6) as after:
        assert after.metadata == before.metadata
    return unpacked


def valid_of(path: Path, values: str) -> np.ndarray:
    with Raster(path, max_pixels=10**6) as raster:
        bands = [raster.read(band) for band in raster.metadata.image_bands]
    return np.stack([with_logarithm(*band, values) for band in bands])


def assert_near(source: Path, unpacked: Path, values: str) -> None:
    """The same pixels are valid, invalid ones are the same, and valid ones differ by little."""
    before, after = read_tiff(source), read_tiff(unpacked)
    valid = valid_of(source, values)
    assert np.array_equal(valid_of(unpacked, values), valid)
    assert np.array_equal(after[: len(valid)][~valid], before[: len(valid)][~valid], equal_nan=before.dtype.kind == "f")
    for ends, known, one, other in zip(describe_ranges(source), valid, before, after, strict=False):
        scaling = Scaling(*ends, values)
        error = np.abs(scaling.normalise(one) - scaling.normalise(other))[known]
        # Integers are rounded, which is much where the range is narrow.
        rounded = np.abs(scaling.normalise(one + 1.0) - scaling.normalise(one))[known] if one.dtype.kind != "f" else 0
        assert (error <= MOST_ERROR + rounded).all()
        assert np.sqrt(np.mean(np.maximum(error - rounded, 0) ** 2)) <= USUAL_ERROR


def describe_ranges(source: Path) -> list[list[float]]:
    ranges: list[list[float]] = describe(source.with_suffix(".mrz"), SETTINGS)["ranges"]
    return ranges


@st.composite
def masks(draw, height: int, width: int) -> np.ndarray:
    """Valid pixels, at least one."""
    kind = draw(st.sampled_from(["all", "border", "noise", "one", "stripe"]))
    valid = np.ones((height, width), bool)
    if kind == "border":
        valid &= np.arange(width) >= draw(st.floats(0, 2)) * np.arange(height)[:, None]
    elif kind == "noise":
        valid &= np.random.default_rng(draw(st.integers(0, 9))).random((height, width)) < draw(st.floats(0.1, 0.9))
    elif kind == "one":
        valid[:] = False
    elif kind == "stripe":
        valid[draw(st.integers(0, height - 1)) :: 3] = False
    valid[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return valid


@st.composite
def rasters(draw) -> tuple[np.ndarray, str, float | None]:
    """Bands (B, H, W), what they are, and their nodata."""
    dtype = draw(st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"]))
    kinds = ["amplitude", "power", "linear"] + (["decibel"] if "u" not in dtype else [])
    values = draw(st.sampled_from(kinds))
    height, width, count = draw(st.integers(1, 70)), draw(st.integers(1, 70)), draw(st.integers(1, 3))
    bands = np.stack([smooth(height, width, seed) for seed in range(count)])
    if values == "decibel":
        bands = bands / 5 - 40
    bands = np.rint(bands).astype(dtype) if "int" in dtype else bands.astype(dtype)
    nodata = draw(st.sampled_from([None, 0.0, 255.0, -9999.0, math.nan]))
    if "int" in dtype and (nodata is not None and not np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max):
        nodata = 0.0
    if nodata is None and ("int" in dtype and values in ("decibel", "linear")):
        return bands, values, None
    empty = nodata if nodata is not None else math.nan if "float" in dtype else 0
    bands[bands == empty] += 1
    shared = draw(st.booleans())
    mask = draw(masks(height, width))
    for band in bands:
        band[~(mask if shared else draw(masks(height, width)))] = empty
    return bands, values, nodata


@settings(max_examples=30)
@given(raster=rasters(), block_px=st.sampled_from([16, 48, 512]))
def test_any_raster_comes_back(raster, block_px, models, tmp_path_factory):
    bands, values, nodata = raster
    source = write_tiff(tmp_path_factory.mktemp("any") / "a.tif", bands, nodata=nodata)
    unpacked = there_and_back(source, models, values=values, block_px=block_px)
    assert_near(source, unpacked, values)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (200, 1), (3, 5), (15, 17), (16, 16), (33, 31)])
def test_images_of_any_size_come_back(height, width, models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", smooth(height, width).astype(np.uint16))
    assert_near(source, there_and_back(source, models), "amplitude")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_constant_image_stays_near(dtype, models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", np.full((20, 30), 100, dtype))
    back = read_tiff(there_and_back(source, models)).astype(float)
    assert np.abs(back - 100).max() <= 2


def test_georeferencing_tags_and_descriptions_come_back(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", np.stack([smooth(20, 30)] * 2).astype(np.uint16), nodata=0)
    with rasterio.open(source, "r+") as dataset:
        dataset.update_tags(ACQUIRED="2018-07-16", AREA_OR_POINT="Point")
        dataset.update_tags(1, POLARISATION="VH")
        dataset.descriptions = ("VH", "Größe")
        dataset.units = ("DN", "DN")
        dataset.scales, dataset.offsets = (0.1, 2), (0, -3)
    unpacked = there_and_back(source, models)
    with rasterio.open(unpacked) as dataset:
        assert dataset.crs == CRS.from_epsg(32630)
        assert dataset.transform == rasterio.Affine(10, 0, 399960, 0, -10, 4500000)
        assert dataset.tags()["ACQUIRED"] == "2018-07-16"
        assert dataset.tags(1)["POLARISATION"] == "VH"
        assert dataset.descriptions == ("VH", "Größe")
        assert (dataset.units, dataset.scales, dataset.offsets) == (("DN", "DN"), (0.1, 2.0), (0.0, -3.0))


def test_ground_control_points_come_back(models, tmp_path):
    source = tmp_path / "a.tif"
    points = [GroundControlPoint(r, c, 12 + c / 7, 47 - r / 3, 100.5) for r, c in itertools.product((0, 9.5), (0, 20))]
    with rasterio.open(source, "w", driver="GTiff", width=20, height=10, count=1, dtype="uint16") as dataset:
        dataset.gcps = points, CRS.from_epsg(4326)
        dataset.write(smooth(10, 20).astype(np.uint16), 1)
    with rasterio.open(there_and_back(source, models)) as dataset:
        found, crs = dataset.gcps
    assert crs == CRS.from_epsg(4326)
    assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in points]


def test_alpha_is_kept_as_validity(models, tmp_path):
    bands = np.stack([smooth(40, 30, seed) for seed in range(4)]).astype(np.uint8)
    bands[3] = np.where(np.arange(30) < 11, 0, 255)
    source = write_tiff(tmp_path / "a.tif", bands, photometric="RGB")
    with rasterio.open(source, "r+") as dataset:
        dataset.colorinterp = [ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
    unpacked = there_and_back(source, models, values="linear")
    after = read_tiff(unpacked)
    assert np.array_equal(after[3], bands[3])
    assert np.abs(after[:3, :, 11:].astype(int) - bands[:3, :, 11:]).max() < 40


def test_a_mask_of_its_own_is_kept(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", smooth(40, 30).astype(np.uint16))
    mask = np.arange(40)[:, None] > np.arange(30)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(source, "r+") as dataset:
        dataset.write_mask(mask)
    with rasterio.open(there_and_back(source, models)) as dataset:
        assert np.array_equal(dataset.read_masks(1) > 0, mask)


def test_without_saturation_only_what_lies_outside_the_percentiles_is_lost(models, tmp_path):
    image = smooth(64, 64).astype(np.float32)
    image[7, 9], image[50, 50] = 1e-3, 1e6
    source = write_tiff(tmp_path / "a.tif", image)
    back = read_tiff(there_and_back(source, models, percentiles=(1.0, 99.0)))[0]
    low, high = np.percentile(image, (1, 99))
    assert back.min() > 0.9 * low
    assert back.max() < 1.1 * high


@pytest.mark.parametrize("percentiles", [(99.0, 1.0), (50.0, 50.0), (-1.0, 99.0), (1.0, 150.0), (math.nan, 99.0)])
def test_percentiles_that_are_none_are_refused(percentiles, models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(20, 20))
    with pytest.raises(UserError, match="percentiles"):
        compress(source, tmp_path / "a.mrz", models, Request(percentiles=percentiles), SETTINGS, RUNTIME)


def test_a_fixed_range_of_the_model_is_that_of_its_files(tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(40, 40))
    models = write_models(tmp_path / "models", {"q1": 0.003})
    path = models / "q1" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"clip": config["clip"] | {"fixed": [29.5, 49.0]}}))
    ranges = {}
    for name, request in {"fixed": Request(), "own": Request(percentiles=(0.0, 100.0))}.items():
        compress(source, tmp_path / "a.mrz", models, request, SETTINGS, RUNTIME)
        ranges[name] = describe(tmp_path / "a.mrz", SETTINGS)["ranges"]
    assert ranges["fixed"] == [[29.5, 49.0]]
    assert ranges["own"] != ranges["fixed"]


def test_an_image_without_a_valid_pixel_is_refused(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", np.zeros((20, 20), np.uint16), nodata=0)
    with pytest.raises(UserError, match=r"a\.tif: band 1 has no valid pixel"):
        compress(source, tmp_path / "a.mrz", models, Request(), SETTINGS, RUNTIME)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_what_can_be_compressed_can_be_decompressed(models, tmp_path):
    """The limit counts all bands on both ways."""
    source = write_tiff(tmp_path / "a.tif", np.stack([speckled_amplitude(200, 200)] * 3))
    with pytest.raises(UserError, match=r"limit|allowed"):
        compress(source, tmp_path / "a.mrz", models, Request(), FEW_PIXELS, RUNTIME)


def test_files_and_pixels_do_not_depend_on_threads_or_process(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(150, 170))
    for threads in (1, 2, 4):
        runtime = Runtime(threads=threads)
        compress(source, tmp_path / f"{threads}.mrz", models, Request(block_px=48), SETTINGS, runtime)
        decompress(tmp_path / "1.mrz", tmp_path / f"{threads}.tif", models, SETTINGS, runtime)
    code = (
        "import sys; from pathlib import Path; from millrace.compression.compress import *; here = Path(sys.argv[1]);"
        "decompress(here / '1.mrz', here / 'p.tif', Path(sys.argv[2]), Prepare(), Runtime())"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path, models], check=True, env={"PYTHONPATH": REPOSITORY / "src"})
    for other in ("2", "4"):
        assert (tmp_path / f"{other}.mrz").read_bytes() == (tmp_path / "1.mrz").read_bytes()
    for other in ("2", "4", "p"):
        assert (tmp_path / f"{other}.tif").read_bytes() == (tmp_path / "1.tif").read_bytes()


def test_a_file_of_another_model_is_refused_by_name(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(20, 20))
    others = write_models(tmp_path / "others", seed=7)
    compress(source, tmp_path / "a.mrz", others, Request("q2"), SETTINGS, RUNTIME)
    theirs, ours = load(others / "q2")[1].hex(), load(models / "q2")[1].hex()
    with pytest.raises(UserError, match=f"{theirs}.*q2 {ours}") as error:
        decompress(tmp_path / "a.mrz", tmp_path / "b.tif", models, SETTINGS, RUNTIME)
    assert "a.mrz" in str(error.value)
    assert not (tmp_path / "b.tif").exists()


def test_the_fingerprint_tells_all_that_decoding_depends_on(models, tmp_path):
    """The same weights with another step are another model."""
    copy = write_models(tmp_path / "models", {"q2": 0.003})
    before = load(copy / "q2")[1]
    config = json.loads((copy / "q2" / "config.json").read_text())
    (copy / "q2" / "config.json").write_text(json.dumps(config | {"lambda": 0.001}))
    assert load(copy / "q2")[1] != before


def test_a_damaged_model_does_not_keep_files_of_others_from_decoding(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(20, 20))
    copy = write_models(tmp_path / "models")
    compress(source, tmp_path / "a.mrz", copy, Request("q3"), SETTINGS, RUNTIME)
    (copy / "q1" / "model.safetensors").write_bytes(b"broken")
    assert decompress(tmp_path / "a.mrz", tmp_path / "b.tif", copy, SETTINGS, RUNTIME) == []


@pytest.mark.parametrize(
    "change",
    [
        {"lambda": None}, {"lambda": "x"}, {"lambda": -1}, {"lambda": 0}, {"lambda": [1]}, {"width": None},
        {"width": 10**12}, {"width": -3}, {"values": None}, {"values": "dB"}, {"clip": None}, {"clip": 3},
        {"clip": {"low_percentile": "a", "high_percentile": 99}},
        {"clip": {"low_percentile": 0, "high_percentile": 500}},
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_the_users_to_mend(change, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(20, 20))
    copy = write_models(tmp_path / "models", {"q1": 0.003})
    config = json.loads((copy / "q1" / "config.json").read_text()) | change
    (copy / "q1" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(UserError, match=r"q1|models"):
        compress(source, tmp_path / "a.mrz", copy, Request(), SETTINGS, RUNTIME)


@pytest.fixture(scope="module")
def one_model(tmp_path_factory) -> Path:
    return write_models(tmp_path_factory.mktemp("one"), {"q1": 0.0004})


@pytest.fixture(scope="module")
def small(one_model, tmp_path_factory) -> Path:
    """A file of two blocks in two bands, with a mask."""
    image = np.stack([speckled_amplitude(16, 25, seed) for seed in (1, 2)])
    image[:, np.arange(16)[:, None] > 2 * np.arange(25)] = 0
    source = write_tiff(tmp_path_factory.mktemp("small") / "a.tif", image, nodata=0)
    compress(source, source.with_suffix(".mrz"), one_model, Request("q1", block_px=16), SETTINGS, RUNTIME)
    decompress(source.with_suffix(".mrz"), source.with_name("good.tif"), one_model, SETTINGS, RUNTIME)
    return source.with_suffix(".mrz")


def assert_survives(data: bytes, small: Path, models: Path, folder: Path) -> None:
    """An error without anything written, or a raster in which all that is not listed as damaged is right."""
    file, out = folder / "damaged.mrz", folder / "damaged.tif"
    file.write_bytes(data)
    out.unlink(missing_ok=True)
    try:
        damaged = decompress(file, out, models, SETTINGS, RUNTIME)
    except UserError:
        assert [path.name for path in folder.iterdir()] == ["damaged.mrz"]
        return
    assert sorted(path.name for path in folder.iterdir()) == ["damaged.mrz", "damaged.tif"]
    assert damaged or data[: small.stat().st_size] == small.read_bytes()
    good, found = read_tiff(small.with_name("good.tif")), read_tiff(out)
    with Reader(file) as reader:
        wrong = {(each.band, each.row, each.column) for each in reader.check()}
    for band, column in itertools.product(range(2), range(2)):
        if {(band, 0, column), (None, 0, column)} & wrong:
            assert not found[band, :, 16 * column : 16 * column + 16].any()
    assert np.array_equal(found[found > 0] > 0, good[found > 0] > 0)


def test_a_file_cut_off_anywhere_is_refused_or_partly_read(small, one_model, tmp_path):
    data = small.read_bytes()
    for end in range(len(data)):
        assert_survives(data[:end], small, one_model, tmp_path)


@settings(max_examples=40)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bytes_are_refused_or_partly_read(flips, small, one_model, tmp_path_factory):
    data = bytearray(small.read_bytes())
    for place, change in flips:
        data[int(place * len(data))] ^= change
    if data != small.read_bytes():
        assert_survives(bytes(data), small, one_model, tmp_path_factory.mktemp("flip"))


@settings(max_examples=20)
@given(
    payload=st.binary(max_size=300),
    multiplier=st.sampled_from([1.0, 1e-38, 3e38]),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"]),
)
@pytest.mark.filterwarnings("error")
def test_blocks_that_no_encoder_wrote_do_no_harm(payload, multiplier, dtype, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    nodata = math.nan if "float" in dtype else 0.0
    header = header_of(models, width=20, height=18, dtype=dtype, step=multiplier, nodata=nodata, metadata=PLACE)
    container.write(folder / "a.mrz", header, [[payload]])
    damaged = decompress(folder / "a.mrz", folder / "a.tif", models, SETTINGS, RUNTIME)
    found = read_tiff(folder / "a.tif")
    invalid = np.isnan(found) if "float" in dtype else found == 0
    assert invalid.all() if damaged else not invalid.any()


def header_of(models: Path, **fields: Any) -> Header:
    usual = {
        "width": 32,
        "height": 32,
        "dtype": "uint16",
        "values": "amplitude",
        "ranges": ((30.0, 50.0),),
        "step": 1.0,
    }
    return Header(**(usual | {"fingerprint": load(models / "q2")[1]} | fields))


def test_damage_leaves_nothing_wrong_around_it(models, tmp_path):
    """Basis functions of a lost block reach 8 pixels into those around: they are lost too, or right."""
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(96, 96), nodata=0)
    compress(source, tmp_path / "a.mrz", models, Request("q3", block_px=32), SETTINGS, RUNTIME)
    decompress(tmp_path / "a.mrz", tmp_path / "good.tif", models, SETTINGS, RUNTIME)
    data = bytearray((tmp_path / "a.mrz").read_bytes())
    with Reader(tmp_path / "a.mrz") as reader:
        middle = bytes(reader.payload(0, 1, 1))
    data[data.index(middle) + 5] ^= 1
    (tmp_path / "a.mrz").write_bytes(data)
    assert len(decompress(tmp_path / "a.mrz", tmp_path / "bad.tif", models, SETTINGS, RUNTIME)) == 1
    good, bad = (read_tiff(tmp_path / name)[0].astype(float) for name in ("good.tif", "bad.tif"))
    assert not bad[32:64, 32:64].any()
    known = bad > 0
    assert known.mean() > 0.5
    assert np.abs(20 * np.log10(bad[known] / good[known])).max() < 0.3


def test_a_claim_of_a_million_megapixels_is_refused(models, tmp_path):
    head = bytes([2]) + bytes([128 & 0x7F | 0x80, 1]) + 2 * bytes([0xC0, 0x84, 0x3D]) + bytes([1]) + bytes(30)
    start = container.MAGIC + bytes([container.VERSION, len(head)]) + head
    (tmp_path / "a.mrz").write_bytes(start + zlib.crc32(start).to_bytes(4, "little"))
    for run in (
        lambda: decompress(tmp_path / "a.mrz", tmp_path / "a.tif", models, SETTINGS, RUNTIME),
        lambda: describe(tmp_path / "a.mrz", SETTINGS),
    ):
        with pytest.raises(UserError, match="1000000 x 1000000 pixels"):
            run()


@pytest.mark.parametrize(("width", "height", "bands"), [(900_000_000, 1, 1), (400_000, 2048, 1), (300, 300, 1000)])
def test_an_image_too_wide_for_memory_is_refused(width, height, bands, models, tmp_path):
    """In a process that may take 4 GiB: one that takes more fails, and the machine does not."""
    header = header_of(models, width=width, height=height, ranges=((30.0, 50.0),) * bands, block_px=2048)
    container.write(tmp_path / "a.mrz", header, [[b""] * (header.grid[0] * header.grid[1])] * bands)
    code = (
        "import resource, sys; from pathlib import Path; from millrace.compression.compress import *;"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); here = Path(sys.argv[1]);"
        "decompress(here / 'a.mrz', here / 'a.tif', Path(sys.argv[2]), Prepare(), Runtime(threads=1))"
    )
    arguments = [sys.executable, "-c", code, tmp_path, models]
    result = subprocess.run(arguments, capture_output=True, text=True, env={"PYTHONPATH": REPOSITORY / "src"})
    assert "UserError" in result.stderr
    assert "memory" in result.stderr


def test_bands_that_the_header_does_not_count_are_refused(models, tmp_path):
    """A thousand alpha bands would multiply pixels beyond the limit."""
    colours = {"count": 1000, "colours": ["gray"] + ["alpha"] * 999}
    container.write(tmp_path / "a.mrz", header_of(models, metadata=colours), [[b""]])
    with pytest.raises(UserError, match="bands"):
        decompress(tmp_path / "a.mrz", tmp_path / "a.tif", models, SETTINGS, RUNTIME)


@pytest.mark.parametrize(
    "metadata",
    [
        {"unknown": 1}, {"count": 0}, {"crs": "EPSG:9999999"}, {"crs": "GEOGCS[" + "A[" * 20_000 + "]" * 20_001},
        {"transform": [10**4000, 0, 0, 0, 1, 0]}, {"tags": {"A": "\ud800"}}, {"scales": [1.0, 2.0]}, {"gcps": [[1]]},
    ],
)  # fmt: skip
def test_metadata_that_no_raster_has_is_refused(metadata, models, tmp_path):
    container.write(tmp_path / "a.mrz", header_of(models, metadata=metadata), [[b""]])
    with pytest.raises(UserError, match=r"a\.mrz"):
        decompress(tmp_path / "a.mrz", tmp_path / "a.tif", models, SETTINGS, RUNTIME)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrz"]


def test_the_source_is_never_overwritten(models, tmp_path):
    source = write_tiff(tmp_path / "a.tif", speckled_amplitude(20, 20))
    before = source.read_bytes()
    (tmp_path / "link.tif").symlink_to(source)
    for target in (source, tmp_path / "." / "a.tif", tmp_path / "link.tif"):
        with pytest.raises(UserError, match=r"itself|same file"):
            compress(source, target, models, Request(), SETTINGS, RUNTIME)
        assert source.read_bytes() == before
    compress(source, tmp_path / "a.mrz", models, Request(), SETTINGS, RUNTIME)
    with pytest.raises(UserError, match=r"itself|same file"):
        decompress(tmp_path / "a.mrz", tmp_path / "a.mrz", models, SETTINGS, RUNTIME)
