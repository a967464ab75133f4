"""Stage `spheroid-train`: prepared images to a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.errors import UserError
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.data import TrainingPatches, ValidationPatches
from millrace.spheroid.losses import DiceFromCounts, spheroid_losses
from millrace.spheroid.params import Spheroid, Train
from millrace.spheroid.store import PREPARED, Store
from millrace.training.engine import Outputs, fit
from millrace.training.fingerprint import fingerprint
from millrace.training.module import Batch, TrainingModule

PICTURES = 4
STAGE_OUTPUTS = Outputs(Path("models/spheroid"), Path("metrics/spheroid/train"), Path("runs/spheroid/train"))


class SpheroidTraining(TrainingModule):
    """Foreground and distance from normalised grey."""

    def __init__(self, network: nn.Module, settings: Train) -> None:
        super().__init__(network, settings, {"dice": DiceFromCounts()})
        self._weights = settings.loss

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return spheroid_losses(outputs, batch["target"], self._weights)

    def update_metrics(self, outputs: Tensor, batch: Batch) -> None:
        self.metric("dice").update(outputs[:, 0] > 0, batch["target"][:, 0] > 0)

    def sample_pictures(self, outputs: Tensor, batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Image, true foreground and distance, predicted foreground and distance, side by side."""
        rows = torch.cat([batch["input"], batch["target"], outputs.sigmoid()], dim=1)[:PICTURES].clamp(0, 1)
        for name, row in zip(batch["name"], rows, strict=False):
            grey = (torch.cat(list(row), dim=1) * 255).round().to(torch.uint8).cpu().numpy()
            yield name, np.repeat(grey[..., None], 3, axis=2)


def run(params: Spheroid, runtime: Runtime) -> None:
    """Train on the split's training images, validate on its validation images."""
    store = Store()
    train_on(store, store.positions("train"), store.positions("validation"), params.train, runtime, STAGE_OUTPUTS)


def train_on(
    store: Store, train: list[int], validation: list[int], settings: Train, runtime: Runtime, outputs: Outputs
) -> bool:
    """Train on some of the prepared images.

    Args:
        store: Prepared images.
        train: Positions to train on.
        validation: Positions to validate on.
        settings: The `spheroid.train` section.
        runtime: The machine.
        outputs: Where to write.

    Returns:
        Whether this process has the finished model, see `fit`.

    Raises:
        UserError: There is no image on one of the sides, or a setting does not fit.
    """
    if not train or not validation:
        raise UserError(f"{len(train)} training and {len(validation)} validation images: both are needed to train")
    torch.manual_seed(settings.seed)
    # A quarter faster on CPUs than the default order of dimensions.
    network = model.build(settings.model).to(memory_format=torch.channels_last)
    weights = model.initialise(network, settings.model)
    what = {"train": settings.model_dump(), "positions": [train, validation]}
    return fit(
        SpheroidTraining(network, settings),
        TrainingPatches(store, train, settings),
        ValidationPatches(store, validation, settings),
        settings,
        runtime,
        outputs,
        model.config_of(settings.model, store.meta["preprocessing"]),
        fingerprint(PREPARED, what, "millrace.spheroid.train", weights),
    )
