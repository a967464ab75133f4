"""Training on sources that each label some heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from analytic_roofs import partial_source

from millrace.errors import UserError
from millrace.roof import model, train, validation
from millrace.roof.classes import HEADS, LINES
from millrace.roof.data import ValidationPatches
from millrace.roof.losses import Balanced
from millrace.roof.params import Augmentation, HeadWeights, Loss, Model, Patches, Rid, Roof, Train
from millrace.roof.store import Store
from millrace.settings import Runtime
from millrace.training import model_folder

QUIET = Runtime(accelerator="cpu", progress=False, threads=1)
CLASSES = {"segments": 10, "superstructures": 9, "lines": 5}
"""Outputs of the heads whose classes are weighted."""
SMALL = Train(
    epochs=7,
    batch_size=8,
    learning_rate=4e-3,
    monitor="val_score",
    monitor_mode="max",
    patches=Patches(size_px=64, per_epoch=48, validation_per_source=4),
    augmentation=Augmentation(flip=0, turn=False),  # the planes' colours say where they face
    model=Model(encoder="resnet10t", decoder_channels=(32, 24, 16), head_channels=8),
    pictures_every=4,
)


@dataclass(frozen=True)
class Trained:
    root: Path
    sources: list[Store]
    outputs: train.Outputs


def outputs_in(folder: Path) -> train.Outputs:
    return train.Outputs(folder / "model", folder / "metrics", folder / "runs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("training")
    root = folder / "prepared"
    sources = [partial_source(root, name, 8, 2) for name in ("planes", "heights", "masks")]
    outputs = outputs_in(folder)
    assert train.train_on(sources, SMALL, QUIET, outputs, root)
    return Trained(root, sources, outputs)


def kept(outputs: train.Outputs) -> dict[str, float]:
    return json.loads((outputs.metrics / "metrics.json").read_text())["kept"]


def history(outputs: train.Outputs, name: str) -> list[float]:
    rows = (outputs.metrics / f"plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(row.split("\t")[-1]) for row in rows]


def test_one_model_learns_every_head_from_sources_that_label_some(trained):
    record = kept(trained.outputs)
    assert record["val_roof_iou"] > 0.7
    assert record["val_height_rmse"] < 1.8
    assert record["val_line_f1"] > 0.1
    for name in ("azimuth_miou", "roof_iou", "line_f1", "height_delta"):
        scores = history(trained.outputs, f"val_{name}")
        assert scores[-1] > scores[0], name
    losses = history(trained.outputs, "train_loss")
    assert losses[-1] < 0.8 * losses[0]
    names = ("azimuth_miou", "superstructure_miou", "roof_iou", "line_f1", "height_delta")
    assert record["val_score"] == pytest.approx(np.mean([record[f"val_{name}"] for name in names]), abs=1e-5)


def test_the_model_says_what_it_was_trained_for(trained):
    _, config = model.load(trained.outputs.model)
    assert config["heads"] == list(HEADS)
    assert config["azimuths"] == 8
    assert config["pixel_size_m"] == 0.2
    assert config["training"]["epochs"] == 7


def test_some_sources_teach_some_heads_and_the_earlier_ones_are_remembered(trained, tmp_path):
    """One data set after another, as the source system trained."""
    start = Model.model_validate(
        SMALL.model.model_dump() | {"weights": str(trained.outputs.model / model_folder.WEIGHTS)}
    )
    settings = SMALL.model_copy(update={"epochs": 1, "patches": Patches(size_px=64, per_epoch=8)})
    apart, after = outputs_in(tmp_path / "apart"), outputs_in(tmp_path / "after")
    train.train_on(trained.sources[2:], settings, QUIET, apart, trained.root)
    train.train_on(trained.sources[2:], settings.model_copy(update={"model": start}), QUIET, after, trained.root)
    assert model.load(apart.model)[1]["heads"] == ["roof", "lines"]
    assert set(kept(apart)) >= {"val_roof_iou", "val_line_f1"}
    assert not any("height" in name or "azimuth" in name for name in kept(apart))
    network, config = model.load(after.model)
    assert config["heads"] == list(HEADS)
    before, _ = model.load(trained.outputs.model)
    same = {name: torch.equal(one, before.state_dict()[name]) for name, one in network.named_parameters()}
    assert all(same[name] for name in same if name.startswith("heads.height"))
    assert not same["heads.roof.1.weight"]
    assert not same["encoder.model.conv1.0.weight"]


def test_learned_uncertainties_are_trained_and_not_kept(trained, tmp_path):
    settings = SMALL.model_copy(
        update={"epochs": 1, "loss": Loss(balance="learned"), "patches": Patches(size_px=64, per_epoch=16)}
    )
    outputs = outputs_in(tmp_path)
    train.train_on(trained.sources, settings, QUIET, outputs, trained.root)
    model.load(outputs.model)  # refuses tensors that the network does not have
    network = model.build(SMALL.model, 8)
    weights = {name: np.ones(count, np.float32) for name, count in CLASSES.items()}
    module = train.RoofTraining(network, settings, 8, ["roof", "lines"], ["roof"], weights)
    assert isinstance(module.model, Balanced)
    assert sorted(module.model.log_variances) == ["lines", "roof"]
    assert module.finished() is network
    assert sum(name.startswith("model.") for name in module.state_dict()) == len(network.state_dict()) + 2


def test_a_head_may_be_left_out(trained):
    weights = HeadWeights(superstructures=0, height=0)
    settings = SMALL.model_copy(update={"epochs": 1, "loss": Loss(weights=weights)})
    module = train.RoofTraining(model.build(SMALL.model, 8), settings, 8, ["roof"], ["roof"], {})
    trainable = {name for name, each in module.model.named_parameters() if each.requires_grad}
    assert any(name.startswith("heads.roof") for name in trainable)
    assert not any(name.startswith("heads.height") for name in trainable)


def test_every_trained_weight_has_a_gradient_whatever_a_batch_labels(trained):
    """DDP waits for the gradients of all processes."""
    weights = {name: np.ones(count, np.float32) for name, count in CLASSES.items()}
    settings = SMALL.model_copy(update={"loss": Loss(balance="learned")})
    patches = ValidationPatches(trained.sources, SMALL)
    batch = patches.collate([patches[0, 0], patches[0, 1]])
    assert set(batch["source"]) == {"planes"}
    heads = ["segments", "lines", "height"]
    module = train.RoofTraining(model.build(SMALL.model, 8), settings, 8, heads, heads, weights)
    module.losses(module.model(batch["input"]), batch)["loss"].backward()
    for name, parameter in module.model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is not None and name.startswith(("network.heads", "log_variances")):
            assert bool(parameter.grad.any()) == ("segments" in name), name


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"mix": {"planes": 0.0, "heights": 0.0, "masks": 0.0}}, "no tile to train on"),
        ({"loss": Loss(weights=HeadWeights(**dict.fromkeys(HEADS, 0.0)))}, "weights is 0 for all that .* label"),
        ({"monitor": "val_dice"}, "train.monitor is 'val_dice'; this task has .*val_score.*val_azimuth_miou"),
        ({"monitor": "val_height_rmse"}, "for val_height_rmse it must be 'min'"),
    ],
)
def test_what_cannot_be_trained_is_refused(trained, tmp_path, update, message):
    with pytest.raises(UserError, match=message):
        train.train_on(trained.sources, SMALL.model_copy(update=update), QUIET, outputs_in(tmp_path), trained.root)


def test_the_stage_refuses_a_mix_of_sources_that_there_are_not(workspace):
    params = Roof(raw={"rid": Rid(format="rid", path="x")}, train=Train(mix={"ridd": 1.0}))
    with pytest.raises(UserError, match=r"roof\.train\.mix names ridd; roof\.raw has rid"):
        train.run(params, QUIET)
    with pytest.raises(UserError, match="holds no prepared data"):
        train.run(params.model_copy(update={"train": Train()}), QUIET)


def perfect(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs that say what is true, and something else where nobody knows."""

    def logits(classes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(classes.long() % count, count).movedim(-1, 1).float()

    bits = torch.stack([batch["lines"] >> kind & 1 for kind in range(len(LINES))], dim=1)
    return {
        "segments": logits(batch["segments"], 10),
        "superstructures": logits(batch["superstructures"], 9),
        "roof": batch["roof"][:, None].float() - 0.5,
        "lines": bits.float() - 0.5,
        "height": batch["height"][:, None].nan_to_num(5.0),
    }


def test_validation_scores_are_1_for_the_truth_and_ignore_the_unknown(trained):
    patches = ValidationPatches(trained.sources, SMALL)
    batch = patches.collate([patches[0, index] for index in range(len(patches))])
    metrics = validation.metrics(HEADS, 8)
    outputs = perfect(batch)
    validation.update(metrics.__getitem__, HEADS, outputs, batch)
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert found.pop("height_rmse") == 0
    assert found == dict.fromkeys(found, 1.0)
    outputs["segments"] = outputs["segments"].roll(1, dims=1)
    validation.update(metrics.__getitem__, HEADS, outputs, batch)
    assert float(metrics["azimuth_miou"].compute()) < 0.7
    assert float(metrics["score"].compute()) < 1


def test_lines_may_be_two_pixels_off():
    lines = torch.zeros(1, 9, 9, dtype=torch.uint8)
    lines[0, 4] = 1
    known = torch.full_like(lines, 1)
    known[0, :, 8] = 0
    for shift, right in ((2, 8), (3, 0)):
        logits = torch.full((1, 5, 9, 9), -1.0)
        logits[0, 0, 4 + shift] = 1
        counts = validation.line_counts(logits, lines, known)
        assert counts[0].tolist() == [8, right, 8, right]
        assert not counts[1:].any()


def test_pictures_show_truth_above_prediction(trained):
    network, _ = model.load(trained.outputs.model)
    weights = {name: np.ones(count, np.float32) for name, count in CLASSES.items()}
    module = train.RoofTraining(network, SMALL, 8, HEADS, HEADS, weights)
    patches = ValidationPatches(trained.sources, SMALL)
    batch = patches.collate([patches[0, index] for index in (0, 3, 6)])
    with torch.no_grad():
        pictures = dict(module.sample_pictures(network(batch["input"]), batch))
    assert list(pictures) == batch["name"]
    for picture in pictures.values():
        assert picture.shape == (128, 64 * 6, 3)
        assert picture.dtype == np.uint8


def test_a_source_without_training_tiles_only_validates(trained, tmp_path):
    index = trained.sources[0].index
    only = Store(trained.root / "planes")
    only.index = index.assign(side=index["side"].replace("train", "test"))
    settings = SMALL.model_copy(update={"epochs": 1, "patches": Patches(size_px=64, per_epoch=8)})
    outputs = outputs_in(tmp_path)
    train.train_on([only, *trained.sources[1:]], settings, QUIET, outputs, trained.root)
    assert model.load(outputs.model)[1]["heads"] == ["roof", "lines", "height"]
    with pytest.raises(UserError, match="no tile to train on"):
        train.train_on([only], settings, QUIET, outputs, trained.root)
