"""Scores of model and baseline on whole images."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from spheroid_files import QUIET, section, write_raw

from millrace.errors import DataError, UserError
from millrace.spheroid import evaluate, fold, folds
from millrace.spheroid.evaluate_folder import evaluate_folder
from millrace.spheroid.segment import Segmenter
from millrace.spheroid.store import Store

KEYS = {
    "dice",
    "iou",
    "instance_precision",
    "instance_recall",
    "instance_f1",
    "instance_ap50",
    "mean_matched_iou",
    "images",
}


def test_the_stage_scores_model_and_baseline_alike(trained):
    metrics = trained.folder / "metrics/spheroid"
    result = json.loads((metrics / "evaluate.json").read_text())
    assert result.keys() == {"model", "baseline", "validation"}
    assert result["model"].keys() == result["baseline"].keys() >= KEYS
    index = pd.read_parquet(trained.folder / "data/prepared/spheroid/index.parquet")
    assert result["model"]["images"] == (index["split"] == "test").sum()
    assert result["validation"]["images"] == (index["split"] == "validation").sum()
    assert result["model"]["dice"] > 0.85
    curve = pd.read_csv(metrics / "evaluate/ap_curve.csv")
    assert curve["model"].iloc[0] == pytest.approx(result["model"]["instance_ap50"], abs=1e-6)
    assert set(pd.read_csv(metrics / "evaluate/per_image.csv")["image"]) == set(index["name"][index["split"] == "test"])
    with Image.open(metrics / "evaluate/examples.png") as examples:
        assert examples.width > 500


def test_a_folder_of_the_users_gets_the_same_file(trained, tmp_path):
    raw = write_raw(tmp_path / "raw", 3, size=70)
    evaluate_folder(raw, tmp_path / "out", trained.model, trained.params, QUIET)
    result = json.loads((tmp_path / "out/evaluate.json").read_text())
    assert result["model"].keys() == result["baseline"].keys() >= KEYS
    assert result["model"]["images"] == 3
    assert result["model"]["dice"] > 0.8
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluate.json",
        "ap_curve.csv",
        "per_image.csv",
        "examples.png",
    }


def test_a_folder_with_a_bad_file_is_refused_whole_or_scored_without_it(trained, tmp_path):
    raw = write_raw(tmp_path / "raw", 3, size=70)
    (raw / "masks/i1_mask.png").unlink()
    with pytest.raises(DataError, match=r"i1\.png: has no mask"):
        evaluate_folder(raw, tmp_path / "out", trained.model, trained.params, QUIET)
    assert not (tmp_path / "out").exists()
    dropping = section(raw, prepare={"bad_files": "drop"}, evaluate={"tile_px": 64})
    evaluate_folder(raw, tmp_path / "out", trained.model, dropping, QUIET)
    assert json.loads((tmp_path / "out/evaluate.json").read_text())["model"]["images"] == 2


def test_without_test_images_the_stage_says_so(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    network, _ = evaluate.model.load(trained.model)
    segmenter = Segmenter(network, trained.params.evaluate, QUIET)
    with pytest.raises(UserError, match="test split holds no image"):
        evaluate.evaluate_split(Store(), [], [0], segmenter, trained.params.evaluate, trained.folder / "x")


def test_flips_average_four_predictions(trained):
    network, _ = evaluate.model.load(trained.model)
    image = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    plain, flipped = (
        Segmenter(network, trained.params.evaluate.model_copy(update={"flips": flips}), QUIET)
        for flips in (False, True)
    )
    views = [(slice(None), slice(None)), (slice(None, None, -1), slice(None)), (slice(None), slice(None, None, -1))]
    views.append((slice(None, None, -1), slice(None, None, -1)))
    expected = np.mean([plain.probabilities(image[view])[(slice(None), *view)] for view in views], axis=0)
    np.testing.assert_allclose(flipped.probabilities(image), expected, atol=1e-5)


def test_folds_are_trained_scored_and_averaged(trained, tmp_path, monkeypatch):
    shutil.copytree(trained.folder / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    params = section(
        trained.folder / "raw",
        train=trained.params.train.model_dump() | {"epochs": 1},
        evaluate={"tile_px": 64},
        crossvalidation={"folds": [0, 3], "summary": ["all"]},
    )
    tested = []
    for number in (0, 3):
        fold.run(params, QUIET, number)
        tested += list(pd.read_csv(f"metrics/spheroid/folds/{number}/evaluate/per_image.csv")["image"])
    assert len(tested) == len(set(tested))
    folds.run(params, QUIET)
    summary = json.loads((tmp_path / "metrics/spheroid/folds.json").read_text())
    scores = [
        json.loads((tmp_path / f"metrics/spheroid/folds/{number}/evaluate.json").read_text())["baseline"]["dice"]
        for number in (0, 3)
    ]
    assert summary["folds"] == 2
    assert summary["baseline"]["mean"]["dice"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert summary["baseline"]["standard_deviation"]["dice"] == pytest.approx(np.std(scores, ddof=1), abs=1e-5)
    with pytest.raises(UserError, match="There is no fold 5"):
        fold.run(params, QUIET, 5)
