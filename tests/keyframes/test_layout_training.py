"""The training and evaluation stages on a small set of layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from keyframes.layouts import QUIET, prepare, rhythm
from millrace.errors import UserError
from millrace.keyframes import evaluate, model, train
from millrace.keyframes.data import Windows, normalised
from millrace.keyframes.decoding import in_units
from millrace.keyframes.forecast import Forecaster
from millrace.keyframes.params import Keyframes
from millrace.keyframes.window_store import WindowStore


@pytest.fixture
def inside(trained_layouts, monkeypatch) -> Path:
    monkeypatch.chdir(trained_layouts)
    return trained_layouts


def test_a_model_folder_says_all_that_prediction_needs(inside):
    trained = model.load(Path("models/keyframes"))
    assert (trained.objective, trained.horizon, trained.length, trained.rate) == ("forecast", 8, 40, 10)
    assert trained.typical_row.shape == (20, 9)
    metrics = json.loads(Path("metrics/keyframes/train/metrics.json").read_text())
    assert {"val_loss", "val_error", "val_active_f1"} <= set(metrics["kept"])


def test_evaluation_scores_the_model_beside_three_baselines(inside, small):
    evaluate.run(small, QUIET)
    scores = json.loads(Path("metrics/keyframes/evaluate.json").read_text())
    for method in ("model", "copy_last", "mean", "linear"):
        for scope in ("all", "changing"):
            assert scores[method][scope]["error"] >= 0
            assert 0 <= scores[method][scope]["active_f1"] <= 1
    assert scores["model"]["all"]["cells"] == scores["copy_last"]["all"]["cells"] == scores["cases"] * 8 * 20
    assert set(scores["validation"]) == {"all", "changing"}
    shown = json.loads(Path("metrics/keyframes/scores.json").read_text())
    assert shown["model"]["changing_error"] == scores["model"]["changing"]["error"]
    assert "error" not in shown["model"]
    steps = pd.read_csv("metrics/keyframes/evaluate/error_by_step.csv")
    assert (Path("metrics/keyframes/evaluate") / "active_f1_by_step.csv").is_file()
    assert steps["seconds"].to_list() == pytest.approx([0.1 * step for step in range(1, 9)])
    assert Path("metrics/keyframes/evaluate/attention.png").is_file()


def test_a_cell_is_right_when_all_of_it_is(inside):
    store = WindowStore()
    truth = rhythm(12, 6)
    assert evaluate._right(truth, truth, store.normalisation).all()
    other = truth.copy()
    other[0, 0, 0] = 0  # missed
    other[1, 5, 0] = 1  # invented
    other[2, 0, 1] = 7  # of another class
    other[3, 0, 2] += 0.2 * store.normalisation.spread[0]
    other[4, 0, 2] += 0.05 * store.normalisation.spread[0]
    other[5, 9, 2] += 100  # nothing is shown there, and nobody says so
    wrong = np.argwhere(~evaluate._right(truth, other, store.normalisation)).tolist()
    assert wrong == [[0, 0], [1, 5], [2, 0], [3, 0]]


def test_a_model_that_is_no_use_is_called_so(caplog):
    scores = {"error": 1.0, "active_f1": 0.5, "active_cells": 5000}
    evaluate.warn_if_useless({"model": {"changing": scores}, "copy_last": {"changing": scores}})
    assert "no better than repeating" in caplog.text
    caplog.clear()
    better = scores | {"error": 0.9, "active_cells": 10}
    evaluate.warn_if_useless({"model": {"changing": better}, "copy_last": {"changing": scores}})
    assert "no better" not in caplog.text
    assert "Only 10 active cells" in caplog.text


def test_a_little_training_beats_repeating_the_last_row(inside, small):
    """With recall the rhythm of these layouts is found within a few steps: the point of the whole task."""
    evaluate.run(small, QUIET)
    scores = json.loads(Path("metrics/keyframes/evaluate.json").read_text())
    assert scores["model"]["changing"]["active_f1"] > scores["copy_last"]["changing"]["active_f1"]


def test_a_filled_window_is_a_whole_layout(inside):
    forecaster = Forecaster(model.load(Path("models/keyframes")), QUIET, 4)
    window, target = rhythm(40, 13), np.zeros((40, 20), bool)
    target[32:] = True
    (filled,) = forecaster.fill([(window, target)])
    assert (filled[:32] == window[:32]).all()
    asked = filled[32:]
    assert set(np.unique(asked[..., 0])) <= {0, 1}
    assert (asked[asked[..., 0] == 0] == [0, 0, 100, 0, 0, 0, 0, 0, 0]).all()
    assert (asked[..., 2] >= 0).all()
    assert ((asked[..., 5:] >= 0) & (asked[..., 5:] <= 100)).all()


def test_windows_of_different_lengths_are_filled_together(inside):
    forecaster = Forecaster(model.load(Path("models/keyframes")), QUIET, 4)
    windows = []
    for rows in (40, 20, 33):
        target = np.zeros((rows, 20), bool)
        target[-8:] = True
        windows.append((rhythm(rows, 13), target))
    together = forecaster.fill(windows)
    for pair, filled in zip(windows, together, strict=True):
        (alone,) = forecaster.fill([pair])
        np.testing.assert_allclose(filled, alone, atol=1e-3)


def test_a_continuation_may_reach_beyond_the_horizon_and_begin_short(inside):
    forecaster = Forecaster(model.load(Path("models/keyframes")), QUIET, 4)
    assert forecaster.continue_(rhythm(60, 13), 21).shape == (21, 20, 9)
    assert forecaster.continue_(rhythm(1, 13), 5).shape == (5, 20, 9)
    once, twice = forecaster.continue_(rhythm(60, 13), 8), forecaster.continue_(rhythm(60, 13), 16)
    assert (twice[:8] == once).all()


def test_layouts_come_back_in_their_units(inside):
    store = WindowStore()
    cells = rhythm(20, 7)
    found = in_units(torch.from_numpy(normalised(cells, store.normalisation)), store.normalisation)
    np.testing.assert_allclose(found.numpy(), cells, atol=1e-4)


def test_sample_pictures_show_truth_and_prediction(inside, small):
    store = WindowStore()
    windows = Windows(store, "validation", small.train, training=False)
    batch = default_collate([windows[0, index] for index in range(2)])
    trained = model.load(Path("models/keyframes"))
    training = train.LayoutTraining(trained.network, small.train, store)
    with torch.inference_mode():
        pictures = dict(training.sample_pictures(trained.network(batch["input"]), batch))
    assert list(pictures) == batch["name"]
    assert all(picture.dtype == np.uint8 and picture.shape[1:] == (900, 3) for picture in pictures.values())


@pytest.mark.parametrize("objective", ["infill", "reconstruct"])
def test_the_other_objectives_train_and_are_scored(workspace, small, objective):
    prepare()
    settings = small.model_dump()
    settings["train"] |= {"epochs": 1, "objective": objective}
    params = Keyframes.model_validate(settings)
    train.run(params, QUIET)
    evaluate.run(params, QUIET)
    assert json.loads(Path("metrics/keyframes/evaluate.json").read_text())["model"]["all"]["error"] >= 0
    config = json.loads(Path("models/keyframes/config.json").read_text())
    assert config["model"]["recall"] == (objective == "infill")


def test_training_twice_gives_the_same_model(workspace, small):
    prepare()
    settings = small.model_dump()
    settings["train"] |= {"epochs": 2, "per_window": 1}
    params, found = Keyframes.model_validate(settings), []
    for _ in range(2):
        train.run(params, QUIET)
        found.append(Path("models/keyframes/model.safetensors").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 21}, "horizon 21 must be at most half of keyframes.windows.length 40"),
        ({"monitor": "val_dice"}, "this task has val_loss, val_active_f1, val_error"),
        ({"monitor_mode": "max"}, "must be 'min'"),
        ({"batch_size": 512}, "do not fill a batch"),
    ],
)
def test_settings_that_do_not_fit_are_refused(inside, small, changes, message):
    settings = small.model_dump()
    settings["train"] |= changes
    with pytest.raises(UserError, match=message):
        train.run(Keyframes.model_validate(settings), QUIET)


def test_videos_that_are_all_too_short_are_refused(inside, small):
    settings = small.model_dump()
    settings["evaluate"] |= {"min_history": 5000}
    with pytest.raises(UserError, match=r"None of .* videos has the 5008 rows"):
        evaluate.run(Keyframes.model_validate(settings), QUIET)


BAD_CONFIGS = (
    {"horizon": "x"},
    {"horizon": 0},
    {"horizon": 21},
    {"horizon": float("inf")},
    {"length": 1},
    {"length": 10**9},
    {"rate": 0},
    {"rate": float("nan")},
    {"objective": "xyz"},
    {"normalisation": {}},
    {"normalisation": {"parameters": ["x"] * 7, "mean": [0.0] * 7, "spread": [1.0] * 7}},
    {"typical_row": None},
    {"typical_row": [[0.0] * 9] * 3},
    {"model": {"width": -1}},
    {"model": {"width": 10**9}},
)


@pytest.mark.parametrize("change", BAD_CONFIGS, ids=str)
def test_a_damaged_configuration_is_refused(inside, tmp_path, change):
    config = json.loads(Path("models/keyframes/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match="does not describe a model") as error:
        model.load(tmp_path)
    assert "\n" not in str(error.value)


def test_normalisation_by_no_numbers_is_refused(inside, tmp_path):
    config = json.loads(Path("models/keyframes/config.json").read_text())
    for name, value in (("mean", float("nan")), ("spread", float("inf")), ("mean", 1e300)):
        changed = json.loads(json.dumps(config))
        changed["normalisation"][name][2] = value
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="is no number"):
            model.load(tmp_path)


def test_no_model_is_no_model(tmp_path):
    with pytest.raises(UserError, match=r"dvc repro keyframes-train"):
        model.load(tmp_path)


def test_a_model_is_not_scored_on_windows_of_another_rate(inside, small):
    path = Path("models/keyframes/config.json")
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"rate": 25.0}))
    try:
        with pytest.raises(UserError, match="at another rate"):
            evaluate.run(small, QUIET)
    finally:
        path.write_text(text)
