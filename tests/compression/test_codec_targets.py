"""Rate points by name and number, and files of the size or error that was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mrz_models import RATES, read_tiff, speckled_amplitude, write_models, write_tiff

from millrace.compression.codec_model import step_of
from millrace.compression.compress import Request, compress, decompress, describe
from millrace.compression.decibels import Scaling
from millrace.compression.params import Prepare
from millrace.compression.targets import MULTIPLIERS, RatePoints
from millrace.errors import UserError
from millrace.settings import Runtime

SETTINGS, RUNTIME = Prepare(), Runtime(threads=1)


@pytest.fixture(scope="module")
def points(models) -> RatePoints:
    return RatePoints(models)


def test_rate_points_are_ordered_by_lambda_whatever_their_names(tmp_path):
    models = write_models(tmp_path, {"a": 0.01, "b": 0.0005, "c": 0.002})
    assert [point.name for point in RatePoints(models).points] == ["b", "c", "a"]


@pytest.mark.parametrize(("quality", "name"), [("q1", "q1"), ("1", "q1"), ("2", "q2"), ("3.0", "q3"), ("q3", "q3")])
def test_names_and_whole_numbers_are_rate_points(quality, name, points):
    point, multiplier = points.of_quality(quality)
    assert (point.name, multiplier) == (name, pytest.approx(1, abs=1e-6))


def test_fractions_are_steps_between_in_equal_ratios(points):
    steps = []
    for quality in np.linspace(1, 3, 21):
        point, multiplier = points.of_quality(str(quality))
        steps.append(point.model.step * multiplier)
    assert steps == sorted(steps, reverse=True)
    assert steps[5] == pytest.approx(math.sqrt(step_of(RATES["q1"]) * step_of(RATES["q2"])))


@pytest.mark.parametrize("quality", ["0", "0.99", "3.01", "nan", "inf", "-1", "best", "", " "])
def test_other_qualities_are_refused_with_what_there_is(quality, points):
    with pytest.raises(UserError, match="q1, q2, q3 nor a number from 1 to 3"):
        points.of_quality(quality)


def test_a_step_beyond_all_is_that_of_the_nearest_as_far_as_it_goes(points):
    assert points.at_step(1e9) == (points.points[0], MULTIPLIERS[1])
    assert points.at_step(1e-9) == (points.points[-1], MULTIPLIERS[0])


@pytest.mark.parametrize("wanted", [-2.0, -0.7, 0.0, 1.1])
def test_a_search_finds_a_reachable_value(wanted, points):
    tried = []

    def measured(point, multiplier):
        tried.append((point, multiplier))
        return -1.7 * math.log(point.model.step * multiplier / 0.12) + 0.05 * math.sin(9 * multiplier)

    found = points.search(wanted, measured, -1.0)
    assert abs(measured(found.point, found.multiplier) - wanted) < 0.03
    assert len(tried) <= 8


def test_a_search_ends_at_the_nearest_where_models_do_not_agree(points):
    """From one model to the next the value may jump."""
    found = points.search(0.0, lambda point, multiplier: {"q1": -3.0, "q2": -1.0, "q3": 2.0}[point.name], -1.0)
    assert found[0].name == "q2"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_tiff(tmp_path_factory.mktemp("targets") / "a.tif", speckled_amplitude(200, 240))


def psnr_of(scene, models, **request) -> float:
    packed, back = scene.with_suffix(".mrz"), scene.with_name("back.tif")
    compress(scene, packed, models, Request(**request), SETTINGS, RUNTIME)
    decompress(packed, back, models, SETTINGS, RUNTIME)
    scaling = Scaling(*describe(packed, SETTINGS)["ranges"][0], "amplitude")
    error = scaling.normalise(read_tiff(scene)) - scaling.normalise(read_tiff(back))
    return float(-10 * np.log10(np.mean(np.square(error, dtype=np.float64))))


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 2.5])
def test_a_rate_is_met(rate, scene, models, tmp_path):
    done = compress(scene, tmp_path / "a.mrz", models, Request(rate=rate), SETTINGS, RUNTIME)
    assert done.bits_per_pixel == pytest.approx(8 * (tmp_path / "a.mrz").stat().st_size / (200 * 240))
    assert done.bits_per_pixel == pytest.approx(rate, rel=0.05)


def test_between_two_models_the_rate_is_missed_by_little(scene, models, tmp_path):
    """0.135 is the most of one, 0.155 the least of the next, and neither model is good beyond."""
    done = compress(scene, tmp_path / "a.mrz", models, Request(rate=0.15), SETTINGS, RUNTIME)
    assert done.bits_per_pixel == pytest.approx(0.15, rel=0.15)


@pytest.mark.parametrize("psnr", [20.0, 25.0, 32.0, 37.0])
def test_a_psnr_is_met(psnr, scene, models):
    assert psnr_of(scene, models, psnr=psnr) == pytest.approx(psnr, abs=0.3)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_the_mask_counts_as_part_of_the_rate(noise, models, tmp_path):
    image = speckled_amplitude(160, 160)
    image[np.random.default_rng(0).random(image.shape) < noise] = 0
    source = write_tiff(tmp_path / "a.tif", image, nodata=0)
    done = compress(source, tmp_path / "a.mrz", models, Request(rate=2.0), SETTINGS, RUNTIME)
    assert done.bits_per_pixel == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("request_of", "extreme"),
    [({"rate": 1e-6}, 2.5), ({"rate": 500.0}, 0.4), ({"psnr": -5.0}, 2.5), ({"psnr": 200.0}, 0.4)],
)
def test_what_cannot_be_met_gives_the_nearest(request_of, extreme, scene, models, tmp_path):
    done = compress(scene, tmp_path / "a.mrz", models, Request(**request_of), SETTINGS, RUNTIME)
    assert done.multiplier == pytest.approx(extreme)
    assert done.rate_point == ("q1" if extreme > 1 else "q3")


@pytest.mark.parametrize("name", ["rate", "psnr"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_target_that_is_no_number_is_refused(name, value, scene, models, tmp_path):
    with pytest.raises(UserError, match=name):
        compress(scene, tmp_path / "a.mrz", models, Request(**{name: value}), SETTINGS, RUNTIME)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_rate_of_nothing_is_refused(rate, scene, models, tmp_path):
    with pytest.raises(UserError, match="rate"):
        compress(scene, tmp_path / "a.mrz", models, Request(rate=rate), SETTINGS, RUNTIME)


def test_a_psnr_is_that_of_valid_pixels_wherever_they_are(models, tmp_path, monkeypatch):
    """Of a large scene squares are tried; here none of them has a valid pixel."""
    monkeypatch.setattr("millrace.compression.compress.PROBES", 4)
    monkeypatch.setattr("millrace.compression.compress.PROBE_PX", 32)
    image = np.zeros((160, 200), np.uint16)
    image[40:120, 40:160] = speckled_amplitude(80, 120)
    image[:32], image[-32:], image[:, :32], image[:, -32:] = 0, 0, 0, 0
    source = write_tiff(tmp_path / "a.tif", image, nodata=0)
    compress(source, tmp_path / "a.mrz", models, Request(psnr=30.0), SETTINGS, RUNTIME)
    decompress(tmp_path / "a.mrz", tmp_path / "b.tif", models, SETTINGS, RUNTIME)
    scaling = Scaling(*describe(tmp_path / "a.mrz", SETTINGS)["ranges"][0], "amplitude")
    error = (scaling.normalise(image) - scaling.normalise(read_tiff(tmp_path / "b.tif")[0]))[image > 0]
    assert -10 * np.log10(np.mean(error**2)) == pytest.approx(30, abs=1)
