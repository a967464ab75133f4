"""A trained model that finds objects in pictures, whichever backend it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.detection import model
from millrace.detection.augment import network_size, to_tensor, with_size
from millrace.detection.boxes import Detections
from millrace.detection.params import Evaluate, Resize
from millrace.errors import UserError
from millrace.settings import Runtime


class Finder:
    """Finds objects in pictures of any size.

    Args:
        folder: Model folder.
        settings: Score floor, non-maximum suppression, number of boxes, batch size.
        runtime: The machine.

    Attributes:
        categories: `id` and `name` of the classes, by class number.
        score_threshold: The score that was best by F1 on validation.

    Raises:
        UserError: The folder holds no model of this task, or its backend is not installed.
    """

    def __init__(self, folder: Path, settings: Evaluate, runtime: Runtime) -> None:
        network, config = model.load(folder)
        try:
            self._resize = Resize.model_validate(config["resize"])
            self.categories: list[dict[str, Any]] = config["classes"]
            self.score_threshold = float(config["score_threshold"])
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{folder}/config.json is damaged: {error}") from None
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        on_gpu = runtime.accelerator != "cpu" and torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._network = network.to(self._device)
        self._network.configure(settings.score_floor, settings.nms_iou, settings.max_detections)
        self._batch_size = settings.batch_size

    def find(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Boxes in each picture.

        Args:
            pictures: RGB (H, W, 3), uint8, of any sizes; they are resized as in training, in batches.

        Returns:
            Boxes in pixels of the pictures, with scores of at least `score_floor`, at most `max_detections` each, the
            highest score first.
        """
        found: list[Detections] = []
        for start in range(0, len(pictures), self._batch_size):
            found += self._batch(pictures[start : start + self._batch_size])
        return found

    def _batch(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        images, factors = [], []
        for picture in pictures:
            height, width = picture.shape[:2]
            size = network_size(height, width, self._resize)
            images.append(with_size(to_tensor(picture), size).to(self._device).float().div_(255))
            factors.append(np.array([width / size[1], height / size[0]] * 2, np.float32))
        with torch.inference_mode():
            results = self._network({"images": images})["detections"]
        return [
            _detections(each, factor, picture) for each, factor, picture in zip(results, factors, pictures, strict=True)
        ]


def _detections(found: dict[str, torch.Tensor], factor: NDArray[np.float32], picture: NDArray[np.uint8]) -> Detections:
    boxes, labels, scores = (part.numpy() for part in model.as_tensors(found))
    height, width = picture.shape[:2]
    order = np.argsort(-scores, kind="stable")
    limits = np.array([width, height, width, height], np.float32)
    return Detections(np.clip(boxes * factor, 0, limits)[order], labels[order], scores[order])
