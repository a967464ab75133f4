"""The network, whichever backend makes it: built, filled with weights, saved, loaded."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from millrace.detection.params import Model, Resize
from millrace.errors import UserError
from millrace.training import model_folder

log = logging.getLogger(__name__)
TASK = "detection"
LOSSES = ("loss_classifier", "loss_box", "loss_objectness", "loss_rpn_box")


class Detector(nn.Module, ABC):
    """A Faster R-CNN of either backend."""

    @abstractmethod
    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Losses while training; detections, and losses where targets are given, otherwise.

        Args:
            batch: `images`, a list of RGB (3, H, W), float32 from 0 to 1, at the size that the network sees; and maybe
                `targets`, for each a dict of `boxes` (N, 4, left top right bottom in its pixels) and `labels` (N,)
                from 0.

        Returns:
            `losses`: scalars named as in `LOSSES`. `detections`: for each image a dict of `boxes`, `labels` and
            `scores`, the highest score first.
        """

    @abstractmethod
    def configure(self, score_floor: float, nms_iou: float, max_detections: int) -> None:
        """Set what of the found boxes is kept."""


def build(settings: Model, classes: int) -> Detector:
    """Network with random weights; nothing is downloaded.

    Args:
        settings: `anchors_px` must not be null.
        classes: Number of classes, background not among them.

    Raises:
        UserError: The settings do not go together, or the backend is not installed.
    """
    if settings.backend == "detectron2":
        from millrace.detection import detectron2_network

        return detectron2_network.build(settings, classes)
    from millrace.detection import torchvision_network

    return torchvision_network.build(settings, classes)


def initialise(network: Detector, settings: Model) -> list[Path]:
    """Fill a network with the initial weights that are asked for; returns the files that they come from.

    Raises:
        UserError: A file is missing, cannot be read, or does not fit.
    """
    files = []
    if settings.encoder_weights is not None:
        if settings.backend != "torchvision" or settings.architecture != "fpn":
            raise UserError("detection.train.model.encoder_weights goes with backend torchvision, architecture fpn")
        from millrace.detection import torchvision_network

        files.append(torchvision_network.load_encoder(network, settings))
    if settings.weights is not None:
        from millrace.detection import weights

        path = Path(settings.weights)
        for message in weights.load(network, weights.read_weights(path), path):
            log.warning("%s", message)
        files.append(path)
    return files


def config_of(settings: Model, resize: Resize, categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Content of the model folder's config.json."""
    return {
        "task": TASK,
        "architecture": settings.model_dump(exclude={"encoder_weights", "weights"}),
        "resize": resize.model_dump(),
        "classes": list(categories),
    }


def load(folder: Path) -> tuple[Detector, dict[str, Any]]:
    """Network in evaluation mode and configuration of a model folder.

    Raises:
        UserError: The folder holds no model of this task, or its backend is not installed.
    """
    config = model_folder.load_config(folder, TASK)
    try:
        settings = Model.model_validate(config["architecture"])
        network = build(settings, len(config["classes"]))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{folder / model_folder.CONFIG} is damaged: {error}") from None
    model_folder.load_weights(network, folder)
    return network.eval(), config


def as_tensors(found: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and scores of one image, on the CPU."""
    return found["boxes"].float().cpu(), found["labels"].long().cpu(), found["scores"].float().cpu()
