"""The training stage on a dozen pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from raw_folders import QUIET
from stores import CATEGORIES, TINY, Scene, scenes, write_store
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from millrace.detection import model, train
from millrace.detection.anchors import fit_anchors
from millrace.detection.data import TrainingImages, ValidationImages, training_boxes
from millrace.detection.finder import Finder
from millrace.detection.found import NAMES
from millrace.detection.matching import best_threshold
from millrace.detection.params import Detection, Evaluate
from millrace.detection.store import PREPARED, Store
from millrace.errors import UserError
from millrace.training import model_folder

SHORT = {
    "epochs": 3,
    "batch_size": 2,
    "learning_rate": 3e-3,
    "monitor": "val_ap",
    "monitor_mode": "max",
    "keep": "last",
    "pictures_every": 0,
    "resize": {"short_side_px": 48, "long_side_px": 64},
    "model": TINY,
}
WEIGHTS = Path("models/detection") / model_folder.WEIGHTS


class Killed(BaseException):
    """Ends a training as suddenly as it can be within its own process."""


def section(**changes) -> Detection:
    changes["model"] = TINY | changes.get("model", {})
    return Detection.model_validate({"train": SHORT | changes})


def prepared(folder: Path, monkeypatch, of: list[Scene] | None = None) -> Path:
    """A folder of its own to train in, entered."""
    write_store(folder / PREPARED, of)
    monkeypatch.chdir(folder)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("models", "metrics")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def test_training_leaves_a_model_its_threshold_metrics_and_pictures(tmp_path, monkeypatch):
    prepared(tmp_path, monkeypatch)
    train.run(section(pictures_every=1, epochs=2, keep="best", model={"anchors_px": None}), QUIET)
    config = json.loads(Path("models/detection/config.json").read_text())
    metrics = json.loads(Path("metrics/detection/train/metrics.json").read_text())
    kept = metrics["kept"]
    assert kept.keys() >= {"val_loss", "train_loss", *(f"val_{name}" for name in NAMES)}
    assert config["task"] == "detection"
    assert config["classes"] == CATEGORIES
    assert config["score_threshold"] == kept["val_score_threshold"]
    assert config["training"]["kept_epoch"] == metrics["kept_epoch"]
    assert config["training"]["epochs"] == 2
    store = Store()
    fitted = fit_anchors(*training_boxes(store, store.positions("train"), section().train.resize), (3, 4))
    assert config["architecture"]["anchors_px"] == list(fitted)
    for name in ("val_ap", "val_loss", "train_loss"):
        assert len(Path(f"metrics/detection/train/plots/metrics/{name}.tsv").read_text().splitlines()) == 3
    assert not Path("runs/detection/train/checkpoints/resume").exists()
    events = EventAccumulator("runs/detection/train/tensorboard").Reload()
    assert {"scene-8.png", "scene-9.png"} <= set(events.Tags()["images"])
    assert [(image.width, image.height) for image in events.Images("scene-8.png")] == [(128, 48)] * 2
    found = Finder(Path("models/detection"), Evaluate(), QUIET).find([store.pixels(0)])
    assert len(found) == 1


@pytest.mark.parametrize("decay", [None, 0.9])
def test_what_was_validated_is_what_is_saved_and_what_a_finder_finds(tmp_path, monkeypatch, decay):
    prepared(tmp_path, monkeypatch, [scene._replace(ignored=[False] * len(scene.labels)) for scene in scenes()])
    kept = Evaluate()
    train.run(section(average_decay=decay, epochs=4, model={"norm": "group"}), QUIET)
    record = json.loads(Path("metrics/detection/train/metrics.json").read_text())["kept"]
    network, _ = model.load(Path("models/detection"))
    network.configure(kept.score_floor, kept.nms_iou, kept.max_detections)
    store, positions = Store(), [8, 9]
    dataset = ValidationImages(store, positions, section().train.resize)
    with torch.no_grad():
        results = network(dataset.collate([dataset[0, 0], dataset[0, 1]])["input"])
    loss = float(torch.stack(list(results["losses"].values())).sum())
    assert loss == pytest.approx(record["val_loss"], rel=1e-4)
    found = Finder(Path("models/detection"), kept, QUIET).find([store.pixels(position) for position in positions])
    for each, result in zip(found, results["detections"], strict=True):  # pictures are of the network's size
        np.testing.assert_allclose(each.boxes, result["boxes"], atol=1e-3)
    best = best_threshold([store.truth(position) for position in positions], found)
    assert best.f1 == pytest.approx(record["val_f1"], abs=1e-5)
    assert best.score == pytest.approx(record["val_score_threshold"], abs=1e-5)


def test_ignored_boxes_of_validation_images_are_neither_missed_nor_wrong_to_find(tmp_path, monkeypatch):
    """As in evaluation; the score threshold depends on it."""
    prepared(tmp_path, monkeypatch)
    store = Store()
    positions = [8, 9]

    class Perfect(model.Detector):
        """Finds all boxes, the ignored ones first."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def configure(self, *settings): ...

        def forward(self, batch):
            if self.training:
                return {"losses": {name: self.weight.sum() for name in model.LOSSES}}
            truths = [store.truth(position) for position in positions]
            found = [
                {
                    "boxes": torch.tensor(truth.boxes),
                    "labels": torch.tensor(truth.labels),
                    "scores": torch.tensor(np.where(truth.ignored, 0.9, 0.8)),
                }
                for truth in truths
            ]
            return {"losses": {name: torch.zeros(()) for name in model.LOSSES}, "detections": found}

    monkeypatch.setattr(model, "build", lambda settings, classes: Perfect())
    train.run(section(epochs=1), QUIET)
    record = json.loads(Path("metrics/detection/train/metrics.json").read_text())["kept"]
    assert any(store.truth(position).ignored.any() for position in positions)
    assert record["val_f1"] == pytest.approx(1.0)
    assert record["val_ap"] == pytest.approx(1.0)


def test_the_average_follows_the_weights_as_stated(tmp_path, monkeypatch):
    """After step n its share of the average is at least 1 - (1 + n) / (10 + n), and never less than 1 - decay."""
    prepared(tmp_path, monkeypatch)
    steps: list[dict[str, torch.Tensor]] = []
    original = train.DetectionTraining.on_train_batch_end

    def noted(self, outputs, batch, batch_idx):
        original(self, outputs, batch, batch_idx)
        if self.global_step > len(steps):
            steps.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})

    monkeypatch.setattr(train.DetectionTraining, "on_train_batch_end", noted)
    train.run(section(average_decay=0.3, batch_size=4, accumulate=2, epochs=3), QUIET)
    assert len(steps) == 6
    saved = safetensors.torch.load_file(WEIGHTS)
    names = [name for name, tensor in saved.items() if tensor.is_floating_point()]
    assert any("running_mean" in name for name in names)
    for name in names:
        average = steps[0][name].double()
        for number, step in enumerate(steps[1:], start=1):
            share = min(0.3, (1 + number) / (10 + number))
            average = share * average + (1 - share) * step[name].double()
        torch.testing.assert_close(saved[name].double(), average, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(saved[name], steps[-1][name]) for name in names)


@pytest.mark.parametrize(
    "changes",
    [
        {"average_decay": 0.9, "batch_size": 4, "accumulate": 2, "warmup_steps": 3},
        {"keep": "best", "augmentation": {"mosaic": 0.5, "crop": 0.5}, "repeat": 0.5, "schedule": "plateau"},
    ],
)
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch, changes):
    undisturbed = prepared(tmp_path / "undisturbed", monkeypatch)
    train.run(section(**changes), QUIET)
    killed = prepared(tmp_path / "killed", monkeypatch)
    original = train.DetectionTraining.training_step

    def deadly(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (2, 1):
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(train.DetectionTraining, "training_step", deadly)
        with pytest.raises(Killed):
            train.run(section(**changes), QUIET)
    assert not (killed / "models").exists()
    assert (killed / "runs/detection/train/checkpoints/resume/last.ckpt").is_file()
    started = []

    def noted(self, batch, batch_idx):
        started.append((self.current_epoch, batch_idx))
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(train.DetectionTraining, "training_step", noted)
        train.run(section(**changes), QUIET)
    assert started[0] == (2, 0)  # it went on, and did not start afresh
    first, second = outputs(undisturbed), outputs(killed)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_batches_are_of_upright_or_of_wide_pictures(tmp_path, monkeypatch):
    prepared(tmp_path, monkeypatch)
    original, batches = train.DetectionTraining.training_step, []

    def noted(self, batch, batch_idx):
        batches.append({image.shape[1] > image.shape[2] for image in batch["input"]["images"]})
        return original(self, batch, batch_idx)

    monkeypatch.setattr(train.DetectionTraining, "training_step", noted)
    train.run(section(epochs=2), QUIET)
    assert sorted(map(sum, batches)) == [0, 0, 0, 0, 0, 0, 1, 1]
    assert all(len(shapes) == 1 for shapes in batches)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_frozen_stages_leave_a_training_as_they_came(tmp_path, monkeypatch, decay):
    """Their statistics too, which the weights behind them were learnt for."""
    prepared(tmp_path, monkeypatch)
    torch.manual_seed(3)
    given = timm.create_model("test_efficientnet").state_dict()
    safetensors.torch.save_file(given, "encoder.safetensors")
    settings = {"encoder_weights": "encoder.safetensors", "frozen_stages": 2}
    train.run(section(epochs=2, average_decay=decay, model=settings), QUIET)
    trained = safetensors.torch.load_file(WEIGHTS)
    changed = {
        name
        for name, tensor in given.items()
        if tensor.is_floating_point()
        and not torch.equal(tensor, trained.get(f"network.backbone.encoder.{name}", tensor))
    }
    assert any(name.startswith("blocks.2.") and "running" in name for name in changed)
    assert not {name for name in changed if name.startswith(("conv_stem", "bn1", "blocks.0.", "blocks.1."))}


def test_two_trainings_are_equal_and_another_seed_is_not(tmp_path, monkeypatch):
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        prepared(tmp_path / str(number), monkeypatch)
        torch.rand(number + 1)  # what came before does not matter
        train.run(section(epochs=1, seed=seed), QUIET)
        weights.append(WEIGHTS.read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_training_in_half_precision_keeps_boxes_and_losses_whole(tmp_path, monkeypatch):
    prepared(tmp_path, monkeypatch)
    train.run(section(precision="bf16-mixed", epochs=1, average_decay=0.9), QUIET)
    kept = json.loads(Path("metrics/detection/train/metrics.json").read_text())["kept"]
    assert 0 < kept["val_loss"] < 10
    assert kept["skipped_steps"] == 0
    assert {tensor.dtype for tensor in safetensors.torch.load_file(WEIGHTS).values()} <= {torch.float32, torch.int64}


def test_training_lowers_the_loss_and_can_start_from_a_model(tmp_path, monkeypatch):
    prepared(tmp_path, monkeypatch)
    train.run(section(epochs=8, average_decay=0.8, model={"norm": "group"}), QUIET)
    history = Path("metrics/detection/train/plots/metrics/val_loss.tsv").read_text().split()[3::2]
    assert float(history[-1]) < 0.7 * float(history[0])
    initial = tmp_path / "initial.safetensors"
    initial.write_bytes(WEIGHTS.read_bytes())
    train.run(section(epochs=1, learning_rate=1e-9, model={"norm": "group", "weights": str(initial)}), QUIET)
    again = json.loads(Path("metrics/detection/train/metrics.json").read_text())["kept"]["val_loss"]
    assert again == pytest.approx(float(history[-1]), rel=1e-3)


@pytest.mark.parametrize("side", ["train", "validation"])
def test_both_sides_are_needed(tmp_path, monkeypatch, side):
    without = [scene._replace(side="test") if scene.side == side else scene for scene in scenes()]
    prepared(tmp_path, monkeypatch, without)
    message = {"train": "0 training and 2 validation images", "validation": "8 training and 0 validation images"}
    with pytest.raises(UserError, match=message[side]):
        train.run(section(), QUIET)
    assert not Path("models").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 16}, "8 samples do not fill a batch of 16"),
        ({"monitor": "val_map"}, "this task has val_loss, val_ap, val_ap50, val_f1, val_score_threshold"),
        ({"monitor": "val_ap", "monitor_mode": "min"}, "for val_ap it must be 'max'"),
        ({"model": {"weights": "nowhere.pth"}}, "nowhere.pth"),
        ({"model": {"encoder": "resnet1"}}, "'resnet1'"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(tmp_path, monkeypatch, changes, message):
    prepared(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=message):
        train.run(section(**changes), QUIET)
    assert not Path("models").exists()


@pytest.mark.parametrize(("backend", "libraries"), [("torchvision", ()), ("detectron2", ("detectron2", "fvcore"))])
def test_an_interrupted_training_is_continued_only_with_the_libraries_of_its_backend(
    tmp_path, monkeypatch, backend, libraries
):
    prepared(tmp_path, monkeypatch)
    network, noted = model.build(section().train.model, 2), []
    monkeypatch.setattr(model, "build", lambda *of: network)
    monkeypatch.setattr(train, "fit", lambda *of: None)
    monkeypatch.setattr(train, "fingerprint", lambda *of: noted.append(of[-1]))
    train.run(section(model={"backend": backend, "encoder": "resnet18"}), QUIET)
    assert noted == [libraries]


def test_without_prepared_data_it_is_said_what_to_run(workspace):
    with pytest.raises(UserError, match="dvc repro detection-prepare"):
        train.run(section(), QUIET)


def test_pictures_are_drawn_with_the_names_of_their_classes(tmp_path, monkeypatch):
    """True boxes on the left, found ones with a score of .3 or more on the right."""
    prepared(tmp_path, monkeypatch)
    settings, store = section().train, Store()
    module = train.DetectionTraining(model.build(settings.model, 2), settings, store.names)
    dataset = TrainingImages(store, [1], settings)
    batch = dataset.collate([dataset[0, 0]])
    found = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0]] * 2), "labels": torch.tensor([1.0, 0.0])}

    def picture(*scores: float) -> np.ndarray:
        outputs = {"detections": [found | {"scores": torch.tensor(scores)}]}
        ((name, drawn),) = module.sample_pictures(outputs, batch)
        assert name == "scene-1.png"
        height, width = batch["input"]["images"][0].shape[-2:]
        assert drawn.shape == (height, 2 * width, 3)
        assert drawn.dtype == np.uint8
        return drawn

    low, high = picture(0.29, 0.1), picture(0.31, 0.1)
    width = low.shape[1] // 2
    np.testing.assert_array_equal(low[:, :width], high[:, :width])
    assert (low[:, width:] != high[:, width:]).any()
