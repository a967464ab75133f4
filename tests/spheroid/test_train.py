"""The network and its training."""

from __future__ import annotations

import json

import pytest
import torch
from spheroid_files import QUIET

from millrace.errors import UserError
from millrace.spheroid import model, train
from millrace.spheroid.params import Model
from millrace.spheroid.store import Store
from millrace.training import model_folder


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_seed_systems_network_is_reproduced():
    assert abs(parameters(model.build(Model(encoder="resnet18", decoder_channels=None))) - 14_321_937) < 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "Unett"}, "'Unett' is none of .*Unet"),
        ({"encoder": "resnet1"}, "cannot be built from"),
        ({"architecture": "FPN"}, "FPN has no spheroid.train.model.decoder_channels"),
        ({"decoder_channels": (8, 8)}, "cannot be built from"),
    ],
)
def test_networks_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        model.build(Model(**settings))


def test_another_architecture_can_be_named():
    network = model.build(Model(architecture="FPN", decoder_channels=None)).eval()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_a_magnified_network_keeps_the_images_size():
    network = model.build(Model(magnification=2)).eval()
    plain = model.build(Model())
    assert parameters(network) == parameters(plain)
    assert network(torch.zeros(1, 1, 32, 64)).shape == (1, 2, 32, 64)


def test_training_leaves_a_model_that_knows_its_preprocessing(trained):
    network, config = model.load(trained.model)
    assert config["channels"] == ["foreground", "distance"]
    assert config["preprocessing"]["high_percentile"] == 99.5
    with torch.inference_mode():
        output = network(torch.rand(1, 1, 64, 96))
    assert output.shape == (1, 2, 64, 96)
    assert 0 <= float(output.min()) <= float(output.max()) <= 1
    metrics = json.loads((trained.folder / "metrics/spheroid/train/metrics.json").read_text())
    assert metrics["kept"]["val_dice"] > 0.8


def test_training_can_start_from_a_models_weights(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    weights = trained.model / model_folder.WEIGHTS
    settings = trained.params.train.model_copy(
        update={"epochs": 1, "model": trained.params.train.model.model_copy(update={"weights": str(weights)})}
    )
    outputs = train.Outputs(*(trained.folder / "again" / name for name in ("model", "metrics", "runs")))
    store = Store()
    train.train_on(store, store.positions("train"), store.positions("validation"), settings, QUIET, outputs)
    metrics = json.loads((trained.folder / "again/metrics/metrics.json").read_text())
    assert metrics["kept"]["val_dice"] > 0.7
    missing = settings.model_copy(update={"model": settings.model.model_copy(update={"weights": "no.safetensors"})})
    with pytest.raises(UserError, match=r"no\.safetensors cannot be read"):
        train.train_on(store, [0], [1], missing, QUIET, outputs)


def test_both_sides_of_the_split_are_needed(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    with pytest.raises(UserError, match="3 training and 0 validation images"):
        train.train_on(Store(), [0, 1, 2], [], trained.params.train, QUIET, train.STAGE_OUTPUTS)
