"""Scores of whole files, image by image and over all."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from mrz_models import speckled_amplitude, write_tiff

from millrace.compression.evaluate import Result, score, write_details
from millrace.compression.evaluate_folder import evaluate_folder
from millrace.compression.params import Compression, Evaluate
from millrace.compression.rate_distortion import Case, Job, decode_case, encode_case, rows_of
from millrace.compression.targets import RatePoints
from millrace.errors import DataError, UserError
from millrace.settings import Runtime

RUNTIME = Runtime(progress=False, jobs=1)
SETTINGS = Evaluate(codecs=("jpeg2000", "webp"), rates=(0.3, 1.0, 3.0), compared=(0.4, 2.5), examples=1)


def case(name="a", seed=0, bits=8, side=96) -> Case:
    image = np.log(speckled_amplitude(side, side, seed).astype(np.float32))
    normalised = (image - image.min()) / np.ptp(image)
    return Case.of(name, normalised, np.ones(image.shape, bool), (30.0, 50.0), bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_file_gives_back_the_image_that_is_scored(bits, models):
    tried = case(bits=bits)
    point = RatePoints(models).points[-1]
    data = encode_case(tried, point, 1.0)
    decoded = decode_case(data, point)
    assert decoded.dtype == tried.image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(decoded.astype(float) - tried.image).mean() < 0.05 * tried.levels
    row = rows_of(Job(tried, models, None, SETTINGS))[-1]
    assert row["image"] == "a"


def test_rates_are_those_of_whole_files(models):
    rows = pd.DataFrame(rows_of(Job(case(), models, ("q1", "q3"), SETTINGS)))
    own = rows[rows["codec"] == "model"]
    assert own["point"].tolist() == ["q1", "q3"]
    for row, point in zip(own.itertuples(), RatePoints(models, ("q1", "q3")).points, strict=True):
        assert row.bits_per_pixel == 8 * len(encode_case(case(), point, 1.0)) / 96**2
    assert own["psnr_db"].is_monotonic_increasing
    assert rows[rows["codec"] == "webp"]["point"].tolist() == ["0.3", "1", "3"]


def test_codecs_of_8_bits_are_left_out_at_16(models):
    rows = pd.DataFrame(rows_of(Job(case(bits=16), models, ("q2",), SETTINGS)))
    assert set(rows["codec"]) == {"model", "jpeg2000"}


def test_multipliers_are_further_points_but_not_the_named_ones(models):
    settings = SETTINGS.model_copy(update={"multipliers": (0.8,), "codecs": ("jpeg2000",)})
    result = score([case()], models, ("q2", "q3"), settings, RUNTIME)
    assert result.points[result.points["codec"] == "model"]["multiplier"].tolist() == [1.0, 0.8, 1.0, 0.8]
    assert list(result.summary()["points"]["model"]) == ["q2", "q3"]


def test_the_summary_is_the_mean_of_the_images():
    differences = pd.DataFrame({
        "image": ["a", "b", "a", "b"],
        "codec": ["model", "model", "webp", "webp"],
        "bd_rate_percent": [-10.0, 4.0, 1.0, None],
        "bd_psnr_db": [1.0, -0.5, 0.0, None],
        "bd_rate_ms_ssim_percent": [-8.0, None, 0.0, 0.0],
    })  # fmt: skip
    points = pd.DataFrame({
        "image": ["a", "b"], "codec": "model", "point": "q1", "multiplier": 1.0,
        "bits_per_pixel": [0.5, 0.7], "psnr_db": [20.0, 22.0], "ms_ssim": [0.9, None],
    })  # fmt: skip
    summary = Result(points, differences).summary()
    assert summary["bd_rate_jpeg2000_percent"] == -3
    assert summary["bd_psnr_jpeg2000_db"] == 0.25
    assert summary["bd_rate_jpeg2000_ms_ssim_percent"] == -8
    assert (summary["images"], summary["images_smaller_than_jpeg2000"]) == (2, 1)
    assert summary["p_value"] is None
    assert summary["peers_bd_rate_jpeg2000_percent"] == {"webp": 1}
    assert summary["points"]["model"]["q1"] == pytest.approx({"bits_per_pixel": 0.6, "psnr_db": 21, "ms_ssim": 0.9})


def test_details_are_tables_curves_and_a_picture(models, tmp_path):
    cases = [case("a", 1), case("b", 2)]
    result = score(cases, models, None, SETTINGS, RUNTIME)
    write_details(result, cases, RatePoints(models), SETTINGS, tmp_path)
    assert len(pd.read_csv(tmp_path / "points.csv")) == 2 * (3 + 3 + 3)
    assert set(pd.read_csv(tmp_path / "images.csv")["codec"]) == {"model", "webp"}
    curve = pd.read_csv(tmp_path / "curves" / "model.csv")
    assert curve["bits_per_pixel"].is_monotonic_increasing
    assert (tmp_path / "examples.png").is_file()


def test_any_folder_can_be_scored(models, workspace):
    (workspace / "raw").mkdir()
    for name, seed in (("a", 3), ("b", 4)):
        image = speckled_amplitude(90, 80, seed)
        image[:20, :9] = 0
        write_tiff(workspace / "raw" / f"{name}.tif", image, nodata=0)
    params = Compression(evaluate=SETTINGS)
    result = evaluate_folder(workspace / "raw", workspace / "out", models, params, RUNTIME)
    assert set(result.points["image"]) == {"a.tif#1", "b.tif#1"}
    scores = json.loads((workspace / "out" / "evaluate.json").read_text())
    assert scores["images"] == 2
    assert scores["left_out"] == 0

    (workspace / "raw" / "c.tif").write_bytes(b"no raster")
    with pytest.raises(DataError, match=r"c\.tif"):
        evaluate_folder(workspace / "raw", workspace / "other", models, params, RUNTIME)
    (workspace / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        evaluate_folder(workspace / "raw", workspace / "file", models, params, RUNTIME)


def test_the_anchor_cannot_be_left_out():
    with pytest.raises(ValueError, match="must have jpeg2000"):
        Evaluate(codecs=("webp",))
