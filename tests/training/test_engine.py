"""The training engine in one process."""

from __future__ import annotations

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import SAMPLES, network, train

from millrace.errors import UserError


def losses(module) -> list[float]:
    return [epoch["train_loss"] for epoch in module.history.epochs]


def test_a_training_leaves_model_metrics_and_pictures_and_no_checkpoints(tmp_path):
    module = train(tmp_path, {"training": {"pictures_every": 2, "epochs": 8}})
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["task"] == "toy"
    assert (tmp_path / "model/model.safetensors").is_file()
    metrics = json.loads((tmp_path / "metrics/metrics.json").read_text())
    best = min(range(8), key=lambda epoch: module.history.epochs[epoch]["val_mse"])
    assert metrics["kept_epoch"] == config["training"]["kept_epoch"] == best
    assert metrics["kept"]["val_mse"] == pytest.approx(module.history.epochs[best]["val_mse"], abs=1e-6)
    rows = (tmp_path / "metrics/plots/metrics/train_loss.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["step", "train_loss"]
    assert len(rows) == 9
    assert losses(module)[-1] < 0.5 * losses(module)[0]
    assert not (tmp_path / "runs/checkpoints/resume").exists()
    events = EventAccumulator(str(tmp_path / "runs/tensorboard")).Reload()
    assert {"train_loss", "learning_rate", "val_mse"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Images("wave-0")] == [0, 2, 4, 6]


def test_the_best_epoch_is_kept_not_the_last(tmp_path):
    """Where a larger error is called better, the first epoch is the best one."""
    module = train(tmp_path, {"training": {"monitor": "val_error", "monitor_mode": "max"}})
    best = max(range(4), key=lambda epoch: module.history.epochs[epoch]["val_mse"])
    assert best < 3
    values = torch.stack([module.trainer.datamodule._validation[0, index]["input"] for index in range(11)])
    targets = torch.stack([module.trainer.datamodule._validation[0, index]["target"] for index in range(11)])
    with torch.inference_mode():
        mse = (module.model.eval()(values) - targets).square().mean()
    assert float(mse) == pytest.approx(module.history.epochs[best]["val_mse"], rel=1e-4)


def test_the_last_epoch_is_kept_on_request(tmp_path):
    train(tmp_path, {"training": {"monitor": "val_error", "monitor_mode": "max", "keep": "last"}})
    assert json.loads((tmp_path / "model/config.json").read_text())["training"]["kept_epoch"] == 3


def test_accumulation_gives_the_same_training_as_one_large_batch(tmp_path):
    plain = {"network": {"normalisation": "layer", "dropout": 0.0}}
    whole = train(tmp_path / "a", plain)
    parts = train(tmp_path / "b", plain | {"training": {"accumulate": 4}})
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-4)


def test_early_stopping_counts_epochs_without_improvement(tmp_path):
    module = train(tmp_path, {"training": {"epochs": 30, "patience": 2, "min_delta": 100.0}})
    assert len(module.history.epochs) == 3


@pytest.mark.parametrize(("every", "epochs"), [(2, [1, 3]), (1, [0, 1, 2, 3, 4])])
def test_checkpoints_are_kept_at_the_stated_interval(tmp_path, every, epochs):
    train(tmp_path, {"training": {"epochs": 5, "checkpoint_every": every}})
    kept = sorted(path.name for path in (tmp_path / "runs/checkpoints/periodic").iterdir())
    assert kept == [f"epoch-{epoch:04d}.ckpt" for epoch in epochs]


def test_losses_are_float32_under_mixed_precision(tmp_path):
    module = train(tmp_path, {"training": {"precision": "bf16-mixed", "epochs": 1}})
    assert module.loss_dtypes == {torch.float32}
    assert module.trainer.precision == "bf16-mixed"


def test_clipping_bounds_the_step(tmp_path):
    plain_descent = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1.0}
    options = {"training": plain_descent | {"epochs": 1, "clip_norm": 1e-3, "batch_size": SAMPLES}}
    before = torch.cat([parameter.detach().flatten() for parameter in network().parameters()])
    module = train(tmp_path, options)
    after = torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=0.01)


def test_a_step_with_a_sample_that_is_not_finite_is_skipped_and_named(tmp_path, caplog):
    module = train(tmp_path, {"bad": [5], "training": {"max_skipped_share": 0.25}})
    assert [epoch["skipped_steps"] for epoch in module.history.epochs] == [1, 1, 1, 1]
    assert module.skipped_steps == 4
    assert "wave-5" in caplog.text
    assert "not finite" in caplog.text
    assert all(torch.isfinite(tensor).all() for tensor in module.model.state_dict().values())
    assert losses(module)[-1] < losses(module)[0]


def test_an_exploding_gradient_is_skipped(tmp_path, caplog):
    options = {"bad": [3], "scale": 1e6, "training": {"max_gradient_norm": 1000.0, "max_skipped_share": 0.25}}
    module = train(tmp_path, options)
    assert [epoch["skipped_steps"] for epoch in module.history.epochs] == [1, 1, 1, 1]
    assert "above 1000" in caplog.text
    assert "wave-3" in caplog.text


def test_a_model_whose_every_step_is_skipped_stays_as_it_was(tmp_path):
    module = train(tmp_path, {"training": {"max_gradient_norm": 1e-6, "max_skipped_share": 1.0, "epochs": 1}})
    assert module.skipped_steps == SAMPLES // 8
    for name, tensor in network().state_dict().items():
        assert torch.equal(module.model.state_dict()[name], tensor), name


def test_too_many_skipped_steps_stop_the_run(tmp_path):
    with pytest.raises(UserError, match=r"2 of 4 steps were skipped.*wave-\d+.*max_skipped_share"):
        train(tmp_path, {"bad": list(range(SAMPLES)), "training": {"max_skipped_share": 0.25}})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"monitor": "val_dice"}, "train.monitor is 'val_dice'; this task has val_loss, val_mse, val_error"),
        ({"monitor": "val_loss", "monitor_mode": "max"}, "for val_loss it must be 'min'"),
        ({"monitor": "val_mse", "monitor_mode": "max"}, "for val_mse it must be 'min'"),
        ({"batch_size": 64}, "32 samples do not fill a batch of 64"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(tmp_path, training, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path, {"training": training})
    assert not (tmp_path / "runs").exists()
