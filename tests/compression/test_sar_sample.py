"""The synthetic SAR scenes: deterministic, in genuine formats, with speckle's physics and the spread of real data."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.compression import sample
from millrace.compression.params import Sample
from millrace.compression.sample_ground import OVERVIEW_THEMES, THEMES
from millrace.compression.sample_layers import OVERVIEW_M, Landscape
from millrace.compression.sample_scene import SceneArrays, scene
from millrace.compression.sample_speckle import COHERENT_LOOKS, Sensor, detect, look_weights, project
from millrace.compression.sample_texture import contour_distance, coverage, districts, fractal, grid, parcels
from millrace.settings import Runtime

SHAPE = (128, 160)
WHITE = Sensor(looks=1.0, bandwidth=(1.0, 1.0), taper=(1.0, 1.0))


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1, **changes: float) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    parameters = SimpleNamespace(sample=Sample(**{"size_px": 128, **changes}))
    sample.run(parameters, Runtime(jobs=jobs, progress=False))
    return folder / sample.FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return write(tmp_path_factory.mktemp("sample") / "default", patch)


@pytest.fixture(scope="module")
def many() -> list[SceneArrays]:
    return [scene(np.random.SeedSequence((5, number)), 128) for number in range(40)]


def test_equal_bytes_whichever_process_draws(default: Path, tmp_path, monkeypatch):
    again = write(tmp_path / "again", monkeypatch, jobs=2)
    assert contents(again) == contents(default)


def test_smaller_set_is_a_prefix(default: Path, tmp_path, monkeypatch):
    small = contents(write(tmp_path / "small", monkeypatch, scenes=4))
    whole = contents(default)
    assert sorted(small) == [f"scene_{number:03d}.tif" for number in range(4)]
    assert small == {name: whole[name] for name in small}


def test_seed_and_looks_change_every_scene(default: Path, tmp_path, monkeypatch):
    whole = contents(default)
    for number, change in enumerate(({"seed": 1}, {"looks": 3.0})):
        other = contents(write(tmp_path / str(number), monkeypatch, scenes=3, **change))
        assert all(other[name] != whole[name] for name in other)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(rasterio, "open", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "broken", monkeypatch, scenes=3)
    assert contents(tmp_path) == {}


def test_files_are_as_users_bring_them(default: Path):
    on_map = off_map = tagged = bordered = 0
    bands = []
    for path in sorted(default.iterdir()):
        with rasterio.open(path) as file:
            assert file.shape == (128, 128)
            assert set(file.dtypes) == {"uint16"}
            assert file.descriptions == ("VV", "VH")[: file.count]
            bands.append(file.count)
            points, system = file.gcps
            if points:
                off_map += 1
                assert file.crs is None
                assert system.to_epsg() == 4326
                assert len(points) == sample.GCPS**2
                assert {(point.row, point.col) for point in points} >= {(0, 0), (0, 128), (128, 0), (128, 128)}
                assert all(abs(point.x) <= 180 and abs(point.y) <= 90 for point in points)
            else:
                on_map += 1
                assert 32601 <= file.crs.to_epsg() <= 32660
                assert file.transform.a == -file.transform.e >= 10
            if file.nodata is not None:
                tagged += 1
                assert file.nodata == 0
            bordered += bool((file.read() == 0).any())
    assert len(bands) == Sample().scenes
    assert {1, 2} == set(bands)
    assert min(on_map, off_map, bordered, len(bands) - bordered, tagged, on_map - tagged) >= 1


def test_zero_means_no_data_in_every_band(default: Path):
    for path in sorted(default.iterdir()):
        with rasterio.open(path) as file:
            empty = file.read() == 0
            assert (empty == empty[0]).all()
            assert empty[0].mean() < 0.6


def test_levels_are_those_of_a_ground_range_product(many):
    vv = np.array([np.median(one.amplitude[0][one.valid]) for one in many])
    vh = np.array([np.median(one.amplitude[1][one.valid]) for one in many])
    assert 100 < np.median(vv) < 250
    assert (vh < vv).all()
    assert max(one.amplitude.max() for one in many) < 65535


def test_bands_share_structure_but_not_speckle(many):
    similar = []
    for drawn in many:
        if drawn.valid.all() and drawn.spacing_m < OVERVIEW_M:
            logarithm = np.log(drawn.amplitude)
            coarse = logarithm.reshape(2, 8, 16, 8, 16).mean(axis=(2, 4))
            fine = np.diff(logarithm, axis=2)
            similar.append([np.corrcoef(plane[0].ravel(), plane[1].ravel())[0, 1] for plane in (coarse, fine)])
    coarse, fine = np.median(similar, axis=0)
    assert coarse > 0.75  # 0.88 and 0.98 in two real tiles of 10 m
    assert 0.05 < fine < 0.3  # 0.10 and 0.19


@given(seed=st.integers(0, 2**63), size_px=st.integers(64, 130), bands=st.sampled_from((1, 2)), looks=st.floats(1, 100))
@settings(max_examples=25)
def test_scene_is_finite_and_empty_exactly_where_not_valid(seed, size_px, bands, looks):
    drawn = scene(np.random.SeedSequence(seed), size_px, looks, bands)
    assert drawn.amplitude.shape == (bands, size_px, size_px)
    assert drawn.amplitude.dtype == np.float32
    assert np.isfinite(drawn.amplitude).all()
    assert (drawn.amplitude >= 0).all()
    assert (drawn.amplitude[:, ~drawn.valid] == 0).all()
    assert (drawn.amplitude[:, drawn.valid] > 0).mean() > 0.999


def test_a_seed_is_a_scene_and_one_band_is_the_first_of_two():
    seed = np.random.SeedSequence(3)
    first, again = scene(seed, 96), scene(seed, 96)
    assert np.array_equal(first.amplitude, again.amplitude)
    assert np.array_equal(scene(seed, 96, bands=1).amplitude[0], first.amplitude[0])


def test_a_generator_draws_one_scene_after_the_other():
    generator = np.random.default_rng(3)
    first, second = scene(generator, 96), scene(generator, 96)
    assert np.array_equal(first.amplitude, scene(np.random.default_rng(3), 96).amplitude)
    assert not np.array_equal(first.amplitude, second.amplitude)


def test_three_bands_are_refused():
    with pytest.raises(ValueError, match="1 or 2 bands, not 3"):
        scene(np.random.SeedSequence(0), 96, bands=3)


def flat(sensor: Sensor, side: int = 512) -> np.ndarray:
    """Intensity of a surface of power 2."""
    nothing = np.zeros((side, side), np.complex64)
    return detect(np.random.default_rng(0), np.full((side, side), 2, np.float32), nothing, sensor)


@pytest.mark.parametrize("looks", [1.0, 1.7, 4.4, 8.0, 8.1, 60.0])
@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
def test_speckle_has_its_mean_and_its_looks(looks, bandwidth):
    intensity = flat(Sensor(looks, (bandwidth, bandwidth), (0.75, 0.75)))
    assert intensity.mean() == pytest.approx(2, rel=0.02)
    assert intensity.mean() ** 2 / intensity.var() == pytest.approx(looks, rel=0.06)


def lag(plane: np.ndarray, axis: int) -> float:
    centred = np.moveaxis(plane - plane.mean(), axis, 0)
    return float((centred[1:] * centred[:-1]).mean() / centred.var())


@pytest.mark.parametrize("looks", [COHERENT_LOOKS / 2, COHERENT_LOOKS * 2])
def test_speckle_is_correlated_as_its_bandwidth_says(looks):
    def expected(bandwidth: float, taper: float) -> float:
        """Squared magnitude of the Fourier transform of the squared window, at a lag of one pixel."""
        frequency = (np.arange(4001) / 4000 - 0.5) * bandwidth
        density = (taper + (1 - taper) * np.cos(2 * np.pi * frequency / bandwidth)) ** 2
        return float(np.abs((density * np.exp(2j * np.pi * frequency)).sum() / density.sum()) ** 2)

    intensity = flat(Sensor(looks, (0.45, 0.8), (0.75, 0.7)))
    assert lag(intensity, 0) == pytest.approx(expected(0.45, 0.75), abs=0.02)
    assert lag(intensity, 1) == pytest.approx(expected(0.8, 0.7), abs=0.02)
    assert expected(0.45, 0.75) > 2 * expected(0.8, 0.7)


def test_white_speckle_at_full_bandwidth():
    assert abs(lag(flat(WHITE), 0)) < 0.01


@given(looks=st.floats(1, 200))
def test_look_weights(looks):
    weights = look_weights(looks)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0
    assert 1 / (weights**2).sum() == pytest.approx(looks)


@pytest.mark.parametrize("looks", [2.0, 20.0])
def test_point_target_keeps_its_energy_and_has_side_lobes(looks):
    points = np.zeros((64, 64), np.complex64)
    points[32, 32] = 100j
    sensor = Sensor(looks, (0.6, 0.6), (1.0, 1.0))
    intensity = detect(np.random.default_rng(0), np.full((64, 64), 1e-6, np.float32), points, sensor)
    assert np.unravel_index(intensity.argmax(), intensity.shape) == (32, 32)
    if looks <= COHERENT_LOOKS:
        assert intensity.sum() == pytest.approx(100**2, rel=0.01)
    lobe = intensity[32, 34:40].max()
    assert 10 < 10 * np.log10(intensity.max() / lobe) < 20  # 13.3 dB for a rectangular window, sampled


def test_flat_ground_is_projected_onto_itself():
    power = np.random.default_rng(0).random((2, 40, 60)).astype(np.float32)
    seen = project(power, np.zeros((40, 60), np.float32))
    padded = np.pad(power, ((0, 0), (0, 0), (1, 1)))
    blurred = (
        padded[:, :, :-2] + 7 * padded[:, :, 1:-1] + padded[:, :, 2:]
    ) / 9  # pieces a third apart, shared linearly
    assert np.allclose(seen[:, :, 3:-3], blurred[:, :, 3:-3], atol=1e-5)


def test_mountain_brightens_towards_the_radar_and_keeps_its_power():
    columns = np.arange(200, dtype=np.float32)
    height = np.clip(1 - np.abs(columns - 100) / 40, 0, 1) * 20  # slope 0.5
    seen = project(np.ones((1, 8, 200), np.float32), np.tile(height, (8, 1)))[0, 4]
    assert seen[64:76].mean() == pytest.approx(2, rel=0.05)  # 1 / (1 - slope)
    assert seen[90:130].mean() == pytest.approx(1 / 1.5, rel=0.05)
    assert seen.sum() == pytest.approx(200, rel=1e-3)


def test_steep_mountain_lays_over_and_casts_a_void():
    columns = np.arange(200, dtype=np.float32)
    height = np.clip(1 - np.abs(columns - 100) / 10, 0, 1) * 30
    seen = project(np.ones((1, 4, 200), np.float32), np.tile(height, (4, 1)))[0, 2]
    assert seen[75:85].mean() > 1.4  # slope and ground before it, one on the other
    assert seen[:60].mean() == pytest.approx(1, rel=0.01)


@given(seed=st.integers(0, 2**32), exponent=st.floats(0, 5))
@settings(max_examples=20)
def test_fractal_is_normalised_and_has_its_spectrum(seed, exponent):
    field = fractal(np.random.default_rng(seed), (256, 256), exponent, 1e6)
    assert field.dtype == np.float32
    assert abs(field.mean()) < 1e-3
    assert field.std() == pytest.approx(1, abs=1e-3)
    density = np.abs(np.fft.fft2(field)) ** 2
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    low, high = (density[(radius > at / 1.1) & (radius < at * 1.1)].mean() for at in (0.05, 0.4))
    assert np.log(low / high) / np.log(8) == pytest.approx(exponent, abs=0.35)


@given(seed=st.integers(0, 2**32), width=st.floats(3, 40), aspect=st.floats(1, 4))
@settings(max_examples=20)
def test_parcels_have_borders_between_them(seed, width, aspect):
    generator = np.random.default_rng(seed)
    district = districts(generator, SHAPE, 3, 20)
    plot = parcels(generator, district, width, width * aspect)
    assert plot.edge_px.min() >= -1e-3
    inside = (district[:, 1:] == district[:, :-1]) & (plot.edge_px[:, 1:] > 1.01) & (plot.edge_px[:, :-1] > 1.01)
    assert (plot.number[:, 1:] == plot.number[:, :-1])[inside].all()


def test_contour_distance_and_coverage_of_a_straight_line():
    rows, columns = grid(SHAPE)
    field = (columns * np.float32(0.6) + rows * np.float32(0.8)).astype(np.float32)
    distance = contour_distance(field, 60.0)
    assert np.allclose(distance, np.abs(field - 60), atol=1e-3)
    for width in (0.3, 1.0, 4.0):
        share = coverage(distance, width)
        assert share.min() == 0
        assert share.max() <= 1
        assert share[20:60, 20:70].sum() == pytest.approx(width * 50, rel=0.3)  # the line is 50 px long there


@pytest.mark.parametrize("layer", ["fields", "open_land", "natural_texture", "valleys"])
def test_layers_are_finite_backscatter(layer):
    land = Landscape(np.random.default_rng(0), SHAPE, 10.0)
    getattr(land, layer)()
    assert np.isfinite(land.decibels).all()
    assert land.decibels.std() > 0


def test_sea_is_dark_level_and_without_houses():
    for seed in range(8):
        land = Landscape(np.random.default_rng(seed), (256, 256), 10.0)
        land.open_land()
        land.relief(0.5)
        land.city(0.5, 2000)
        before = np.abs(land.points).sum()
        land.sea(0.5)
        wet = land.texture < 0.11
        assert 0.35 < wet.mean() < 0.65
        assert land.decibels[0][wet].mean() < land.decibels[0][~wet].mean() - 3
        assert np.abs(land.displacement_px[wet]).max() < 0.1
        assert np.abs(land.points).sum() < 0.9 * before


def statistics(amplitude: np.ndarray) -> tuple[float, float, float]:
    """Range in dB, correlation at lag 1, and power above 0.35 cycles/px relative to the mean, in dB."""
    decibels = 20 * np.log10(np.maximum(amplitude, 1))
    low, high = np.percentile(decibels, (1, 99))
    scaled = np.clip((decibels - low) / (high - low), 0, 1)
    centred = scaled - scaled.mean()
    density = np.abs(np.fft.fft2(centred * np.outer(*(np.hanning(side) for side in centred.shape)))) ** 2
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in centred.shape), indexing="ij"))
    fine = 10 * np.log10(density[(radius > 0.35) & (radius < 0.5)].mean() / density.mean())
    return high - low, lag(scaled, 1), fine


@pytest.fixture(scope="module")
def spread(many) -> np.ndarray:
    return np.array([statistics(band) for one in many if one.valid.all() for band in one.amplitude])


def test_scenes_vary_in_what_decides_a_rate(spread):
    low, high = np.quantile(spread, (0.05, 0.95), axis=0)
    assert low[0] < 10
    assert high[0] > 14
    assert low[1] < 0.65
    assert high[1] > 0.9
    assert high[2] - low[2] > 8


def test_full_resolution_is_oversampled(many):
    fine = [statistics(one.amplitude[0])[2] for one in many if one.valid.all() and one.spacing_m < OVERVIEW_M]
    assert -18 < np.median(fine) < -9  # -13 to -18 in two real tiles of 10 m


def test_real_images_lie_inside_the_spread(spread):
    folder = os.environ.get("MILLRACE_SHARED_DATA")
    if not folder:
        pytest.skip("MILLRACE_SHARED_DATA does not name a folder with real files")
    paths = sorted((Path(folder) / "sar" / "terramind").glob("*.tif"))
    assert paths
    low, high = spread.min(axis=0), spread.max(axis=0)
    for path in paths:
        with rasterio.open(path) as file:
            for band in file.read():
                found = statistics(10 ** ((band + 60) / 20))
                assert (low <= found).all()
                assert (found <= high).all()


def test_every_theme_can_be_drawn_at_its_resolution(monkeypatch):
    import millrace.compression.sample_ground as ground

    for name, spacing in [*((one, 10.0) for one in THEMES), *((one, 100.0) for one in OVERVIEW_THEMES)]:
        monkeypatch.setattr(ground, "THEMES", {name: 1})
        monkeypatch.setattr(ground, "OVERVIEW_THEMES", {name: 1})
        drawn = ground.draw_ground(np.random.default_rng(0), SHAPE, spacing)
        assert np.isfinite(drawn.decibels).all()
        assert drawn.decibels.shape == drawn.points.shape == (2, *SHAPE)
        assert (drawn.decibels[1] < drawn.decibels[0]).mean() > 0.95


def test_does_not_import_torch():
    code = "import sys, millrace.compression.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
