"""Which files of a folder are scenes, and what is measured of their bands."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from millrace.compression import measure, raw
from millrace.compression.decibels import Scaling
from millrace.compression.measure import looks_of_windows, measure_band
from millrace.compression.raw import find_scenes, product_of, read_normalised
from millrace.errors import ImageError, UserError
from millrace.imagery.raster import Raster

pytestmark = pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning")
RNG = np.random.default_rng(0)
DN = np.rint(200 * np.sqrt(RNG.gamma(4.4, 1 / 4.4, (200, 170)))).astype(np.uint16)


def write_tiff(path: Path, *bands: np.ndarray, **profile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = bands[0].shape
    shape = {"count": len(bands), "height": height, "width": width, "dtype": bands[0].dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as dataset:
        dataset.write(np.stack(bands))
    return path


def measured(path: Path, kind: str, **percentiles) -> measure.Measured:
    with Raster(path, max_pixels=10**7) as raster:
        return measure_band(raster, 1, kind, **percentiles)


def test_rasters_of_all_folders_are_scenes_by_name(tmp_path):
    names = ["b/c.TIFF", "b/a.tif", "a.png", "x.SAFE/measurement/vv.tiff"]
    others = [".hidden.tif", ".git/a.tif", "notes.md", "a.tif.aux.xml", "a.jp2", "x.SAFE/preview/quick-look.png"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    scenes, problems = find_scenes(tmp_path)
    assert [scene.name for scene in scenes] == sorted(names)
    assert all(scene.path == tmp_path / scene.name for scene in scenes)
    assert problems == []


def test_links_that_leave_the_folder_are_problems(tmp_path):
    folder, outside = tmp_path / "raw", tmp_path / "outside"
    for place in (folder / "inner", outside):
        place.mkdir(parents=True)
        (place / "a.tif").touch()
    (folder / "in.tif").symlink_to("inner/a.tif")
    (folder / "out.tif").symlink_to(outside / "a.tif")
    (folder / "loop").symlink_to(folder)
    scenes, problems = find_scenes(folder)
    assert [scene.name for scene in scenes] == ["in.tif", "inner/a.tif"]
    assert [(problem.path.name, problem.reason) for problem in problems] == [
        ("loop", "is a link to a folder, which is not followed"),
        ("out.tif", f"is a link that leaves the raw folder {folder}"),
    ]
    (tmp_path / "linked").symlink_to(folder)
    assert [scene.name for scene in find_scenes(tmp_path / "linked")[0]] == ["in.tif", "inner/a.tif"]


def test_a_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"does not exist. Set compression\.raw"):
        find_scenes(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no scene \(\.png, \.tif, \.tiff\)"):
        find_scenes(tmp_path)


def test_polarisations_of_one_acquisition_are_one_product():
    safe = "S1A_IW_GRDH_1SDV_20180716T004042.SAFE/measurement/s1a-iw-grd-{}-20180716t004042-0279-00{}.tiff"
    same = [
        ("s1a_iw_grdh_20180716_vv.tiff", "s1a_iw_grdh_20180716_vh.tiff"),
        ("a/VV.tif", "a/VH.tif"),
        ("a/X.SAFE/first.tif", "a/X.SAFE/b/second.tif"),
        (safe.format("vv", 1), safe.format("vh", 2)),
        (Path(safe).name.format("vv", 1), Path(safe).name.format("vh", 2)),
        ("20150309T1730_HH_grd_db.tif", "20150309T1730_HV_grd_db.tif"),
    ]
    for first, second in same:
        assert product_of(first) == product_of(second)
    for first, second in [("a/VV.tif", "b/VH.tif"), ("a_vv.tif", "b_vv.tif"), ("levvy.tif", "levhy.tif")]:
        assert product_of(first) != product_of(second)
    assert product_of("a-001.tif") != product_of("a-002.tif")


def test_a_band_is_measured_in_decibels_over_its_valid_pixels(tmp_path):
    pixels = DN.copy()
    pixels[:, :17] = 0
    pixels[0, 100] = 60_000
    found = measured(write_tiff(tmp_path / "a.tif", pixels), "amplitude", low_percentile=2.0, high_percentile=98.0)
    coded = pixels[pixels > 0]
    assert found.valid_share == pytest.approx(0.9)
    assert (found.minimum, found.maximum) == (coded.min(), 60_000)
    expected = 20 * np.log10(np.percentile(coded, [2, 98], method="inverted_cdf").astype(float))
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-6)
    assert found.fill == 0
    tagged = measured(write_tiff(tmp_path / "b.tif", pixels, nodata=pixels[3, 100]), "linear")
    assert tagged.valid_share == (pixels != pixels[3, 100]).mean()
    assert (tagged.minimum, np.isnan(tagged.enl)) == (0, True)


def test_floats_are_measured_on_an_even_subsample(tmp_path, monkeypatch):
    values = (RNG.normal(-12, 4, (200, 170)) + np.linspace(0, 9, 170)).astype(np.float32)
    values[5:9, 5:9] = np.nan
    path = write_tiff(tmp_path / "a.tif", values)
    expected = np.nanpercentile(values, [1, 99])
    full = measured(path, "decibel")
    np.testing.assert_allclose([full.low, full.high], expected, atol=0.02)
    assert np.isnan(full.fill)
    monkeypatch.setattr(measure, "MAX_SAMPLES", 200)  # every 170th pixel would be those of one column
    part = measured(path, "decibel")
    assert (part.minimum, part.maximum) == (np.nanmin(values), np.nanmax(values))
    np.testing.assert_allclose([part.low, part.high], expected, atol=4)
    assert part != full
    assert part == measured(path, "decibel")


def test_a_single_valid_pixel_that_no_subsample_meets_is_measured(tmp_path, monkeypatch):
    values = np.full((200, 170), np.nan, np.float32)
    values[77, 33] = 0.25
    monkeypatch.setattr(measure, "MAX_SAMPLES", 200)
    path = write_tiff(tmp_path / "a.tif", values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measured(path, "power")
    assert (found.minimum, found.maximum, found.valid_share) == (0.25, 0.25, 1 / values.size)
    assert found.low < 10 * np.log10(0.25) < found.high


def test_strips_make_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "MAX_SAMPLES", 3000)
    for name, pixels, kind in (("a", DN, "amplitude"), ("b", np.log10(DN + 0.5).astype(np.float32), "power")):
        path = write_tiff(tmp_path / f"{name}.tif", pixels)
        scaling = Scaling(0.0, 60.0, kind)
        whole = measured(path, kind)
        with Raster(path, max_pixels=10**7) as raster:
            normalised, valid = read_normalised(raster, 1, scaling)
        with monkeypatch.context() as patch:
            patch.setattr(raw, "STRIP_PIXELS", 20 * 170)
            assert measured(path, kind) == whole
            with Raster(path, max_pixels=10**7) as raster:
                again, mask = read_normalised(raster, 1, scaling)
        np.testing.assert_array_equal(again, normalised)
        np.testing.assert_array_equal(mask, valid)
        np.testing.assert_allclose(normalised, np.clip(scaling.normalise(pixels), 0, 1))


@pytest.mark.parametrize("looks", [1.0, 4.4, 20.0])
def test_looks_of_pure_speckle_are_found(looks):
    power = RNG.gamma(looks, 3 / looks, (600, 600))
    found = looks_of_windows(power, np.ones(power.shape, bool))
    assert len(found) == 1600
    assert np.median(found) == pytest.approx(looks, rel=0.05)
    assert np.quantile(found, measure.ENL_QUANTILE) == pytest.approx(1.2 * looks, rel=0.08)


def test_looks_are_those_of_power_whatever_is_stored(tmp_path):
    power = RNG.gamma(4.4, 50 / 4.4, (300, 300))
    stored = {"amplitude": np.sqrt(power), "power": power, "decibel": 10 * np.log10(power)}
    found = [measured(write_tiff(tmp_path / f"{kind}.tif", stored[kind]), kind).enl for kind in stored]
    assert found == pytest.approx([found[0]] * 3)
    assert found[0] == pytest.approx(5.3, rel=0.1)


def test_windows_with_invalid_pixels_or_one_value_have_no_looks():
    power, valid = RNG.gamma(4.4, 1, (31, 46)), np.ones((31, 46), bool)
    assert len(looks_of_windows(power, valid)) == 6
    valid[3, 3], power[15:30, 30:45] = False, 7.0
    assert len(looks_of_windows(power, valid)) == 4
    assert len(looks_of_windows(power[:14], valid[:14])) == 0


def test_content_is_that_of_the_pixels(tmp_path):
    first = measured(write_tiff(tmp_path / "a.tif", DN), "amplitude").content
    assert measured(write_tiff(tmp_path / "b.tif", DN, compress="lzw", tiled=True), "amplitude").content == first
    for number, other in enumerate((DN[:-1], DN.T, DN.astype(np.float32), DN + np.uint16(1), DN.reshape(170, 200))):
        assert (
            measured(write_tiff(tmp_path / f"{number}.tif", np.ascontiguousarray(other)), "amplitude").content != first
        )


def test_a_band_that_cannot_be_coded_is_refused(tmp_path):
    for pixels, kind, reason in [
        (np.zeros_like(DN), "amplitude", "band 1 has no valid pixel: none is above 0, and values is amplitude"),
        (np.full(DN.shape, np.nan), "decibel", "band 1 has no valid pixel: all are nodata or NaN"),
        (DN, "decibel", "its values are uint16, .*: set values to amplitude"),
    ]:
        with pytest.raises(ImageError, match=f"^{reason}$"):
            measured(write_tiff(tmp_path / "a.tif", pixels), kind)
    path = write_tiff(tmp_path / "a.tif", DN, compress="deflate")
    content = bytearray(path.read_bytes())
    content[600:700] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"^damaged or not usable: .*IReadBlock failed"):
        measured(path, "amplitude")


@pytest.mark.skipif(not os.environ.get("MILLRACE_SHARED_DATA"), reason="MILLRACE_SHARED_DATA does not name real data")
def test_real_scenes_are_what_their_description_says():
    folder = Path(os.environ["MILLRACE_SHARED_DATA"]) / "sar"
    vv = measured(folder / "s1a_iw_grdh_20180716_vv.tiff", "amplitude")
    assert vv.maximum == 2759
    np.testing.assert_allclose([10 ** (vv.low / 20), 10 ** (vv.high / 20)], [103, 432], atol=0.01)
    assert vv.valid_share == pytest.approx(0.98, abs=0.001)
    assert vv.enl > 40
    tile = measured(folder / "terramind/S1RTC_38D_378R_2_3.tif", "decibel")
    assert 4 < tile.enl < 9
    with pytest.raises(ImageError, match="set values to decibel"):
        measured(folder / "pyrosar_s1a_20150309_vv_gamma0_db.tif", "power")
