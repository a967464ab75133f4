"""Stage `detection-train`: prepared images and boxes to a model folder, with either backend on the same engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from millrace.detection import model
from millrace.detection.anchors import fit_anchors
from millrace.detection.box_pictures import draw_boxes
from millrace.detection.data import TrainingImages, ValidationImages, training_boxes
from millrace.detection.found import NAMES, Found, FoundValue
from millrace.detection.params import Detection, Evaluate, Train
from millrace.detection.store import PREPARED, Store
from millrace.errors import UserError
from millrace.settings import Runtime
from millrace.training.engine import Outputs, fit
from millrace.training.fingerprint import fingerprint
from millrace.training.module import Batch, TrainingModule

PICTURES, PICTURE_SCORE = 4, 0.3
LIBRARIES: dict[str, tuple[str, ...]] = {"torchvision": (), "detectron2": ("detectron2", "fvcore")}
"""Distributions that make the network of a backend, beside those of every training."""
STAGE_OUTPUTS = Outputs(Path("models/detection"), Path("metrics/detection/train"), Path("runs/detection/train"))


class DetectionTraining(TrainingModule):
    """Losses that the network computes itself, and what it finds in the validation images.

    Args:
        network: Of either backend.
        settings: The `detection.train` section.
        names: Of the classes.
    """

    def __init__(self, network: model.Detector, settings: Train, names: list[str]) -> None:
        found = Found(len(names))
        super().__init__(network, settings, {name: FoundValue(found, name) for name in NAMES})
        self._found, self._names = found, names
        self.average: nn.Module | None = None
        if settings.average_decay is not None:
            self.average = AveragedModel(network, avg_fn=partial(_average, settings.average_decay), use_buffers=True)
            self.average.requires_grad_(False)
        self._averaged_step = 0

    def losses(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = outputs["losses"]
        return losses | {"loss": torch.stack(list(losses.values())).sum()}

    def update_metrics(self, outputs: Any, batch: Batch) -> None:
        for position, found, truth in zip(batch["position"], outputs["detections"], batch["truth"], strict=True):
            self._found.update(position, found, truth)

    @property
    def validated(self) -> nn.Module:
        return self.model if self.average is None else self.average

    def on_train_start(self) -> None:
        self._averaged_step = self.global_step

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if isinstance(self.average, AveragedModel) and self.global_step > self._averaged_step:
            self.average.update_parameters(self.model)
            self._averaged_step = self.global_step

    def finished(self) -> nn.Module:
        return self.average.module if isinstance(self.average, AveragedModel) else self.model

    def learnt(self, record: dict[str, float]) -> dict[str, Any]:
        return {"score_threshold": record["val_score_threshold"]}

    def sample_pictures(self, outputs: Any, batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """True boxes beside found ones."""
        images, targets = (batch["input"][name][:PICTURES] for name in ("images", "targets"))
        for name, image, truth, found in zip(batch["name"], images, targets, outputs["detections"], strict=False):
            picture = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            boxes, labels, scores = model.as_tensors(found)
            shown = scores >= PICTURE_SCORE
            yield (
                name,
                np.concatenate(
                    [
                        draw_boxes(picture, truth["boxes"].cpu().numpy(), truth["labels"].cpu().numpy(), self._names),
                        draw_boxes(
                            picture, boxes[shown].numpy(), labels[shown].numpy(), self._names, scores[shown].numpy()
                        ),
                    ],
                    axis=1,
                ),
            )


def run(params: Detection, runtime: Runtime) -> None:
    """Train on the split's training images, validate on its validation images."""
    store = Store()
    train, validation = store.positions("train"), store.positions("validation")
    if not train or not validation:
        raise UserError(f"{len(train)} training and {len(validation)} validation images: both are needed to train")
    settings = params.train
    anchors = settings.model.anchors_px or fit_anchors(
        *training_boxes(store, train, settings.resize), settings.model.levels
    )
    architecture = settings.model.model_copy(update={"anchors_px": anchors})
    torch.manual_seed(settings.seed)
    network = model.build(architecture, len(store.categories))
    weights = model.initialise(network, architecture)
    kept = Evaluate()  # not the section's: what is evaluated later is no reason to train again
    network.configure(kept.score_floor, kept.nms_iou, kept.max_detections)
    fit(
        DetectionTraining(network, settings, store.names),
        TrainingImages(store, train, settings),
        ValidationImages(store, validation, settings.resize),
        settings,
        runtime,
        STAGE_OUTPUTS,
        model.config_of(architecture, settings.resize, store.categories),
        fingerprint(
            PREPARED,
            {"train": settings.model_dump()},
            "millrace.detection.train",
            weights,
            LIBRARIES[settings.model.backend],
        ),
    )


def _average(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """Exponential moving average that follows fast at first, when the weights are still far from where they go."""
    share = min(decay, float((1 + steps) / (10 + steps)))
    return average + (current - average) * (1 - share)
