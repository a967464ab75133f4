"""Stage `roof-train`: prepared tiles of several data sets to one model folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.errors import UserError
from millrace.roof import model, validation
from millrace.roof.class_counts import LINES_KNOWN
from millrace.roof.classes import ALL_LINES, HEADS, LINES
from millrace.roof.data import TrainingPatches, ValidationPatches, mix_shares
from millrace.roof.data_pictures import head_picture
from millrace.roof.losses import Balanced, augmented_shares, class_weights, line_shares, line_weights, roof_losses
from millrace.roof.params import Roof, Train
from millrace.roof.scene import Labelled
from millrace.roof.store import FIELDS, PREPARED, Store, stores
from millrace.settings import Runtime
from millrace.training import model_folder
from millrace.training.engine import Outputs, fit
from millrace.training.fingerprint import fingerprint
from millrace.training.module import Batch, TrainingModule

PICTURES = 6
WEIGHTED = ("segments", "superstructures", "lines")
"""Heads whose classes are weighted by how rare they are."""
STAGE_OUTPUTS = Outputs(Path("models/roof"), Path("metrics/roof/train"), Path("runs/roof/train"))


class RoofTraining(TrainingModule):
    """Five heads from RGB, each taught by the data sets that label it.

    Args:
        network: Of `model.build`.
        settings: The `roof.train` section.
        azimuths: Number of azimuth classes.
        heads: Those that are trained.
        scored: Those of them that the validation data label.
        class_weights: Of `segments`, `superstructures` and the kinds of `lines`.
    """

    def __init__(
        self,
        network: model.RoofNetwork,
        settings: Train,
        azimuths: int,
        heads: Sequence[str],
        scored: Sequence[str],
        class_weights: dict[str, NDArray[np.float32]],
    ) -> None:
        learned = settings.loss.balance == "learned"
        trained = Balanced(network, heads) if learned else network
        super().__init__(trained, settings, validation.metrics(scored, azimuths))
        self._settings, self._azimuths, self._heads, self._scored = settings, azimuths, heads, scored
        for name, weights in class_weights.items():
            self.register_buffer(f"{name}_weights", torch.from_numpy(weights), persistent=False)
        for name, head in network.heads.items():
            # What no data set labels has no gradient, which DDP would wait for.
            head.requires_grad_(name in heads)

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        weights = {name: self.get_buffer(f"{name}_weights") for name in WEIGHTED}
        uncertainties = self.model.log_variances if isinstance(self.model, Balanced) else None
        return roof_losses(outputs, batch, self._settings.loss, self._heads, weights, uncertainties)

    def update_metrics(self, outputs: dict[str, Tensor], batch: Batch) -> None:
        validation.update(self.metric, self._scored, outputs, batch)

    def finished(self) -> nn.Module:
        return self.model.network if isinstance(self.model, Balanced) else self.model

    def sample_pictures(self, outputs: dict[str, Tensor], batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Image and true heads above predicted ones, unlabelled pixels hatched."""
        for place, name in enumerate(batch["name"][:PICTURES]):
            truth, found = self._true(batch, place), self._predicted(outputs, batch, place)
            rows = [[tile.image, *(head_picture(tile, head) for head in self._heads)] for tile in (truth, found)]
            yield name, np.concatenate([np.concatenate(row, axis=1) for row in rows])

    def _true(self, batch: Batch, place: int) -> Labelled:
        image = (batch["input"][place] * 255).round().to(torch.uint8).permute(1, 2, 0)
        rasters: dict[str, Any] = {name: batch[name][place].cpu().numpy() for name in FIELDS}
        return Labelled(image.cpu().numpy(), azimuths=self._azimuths, **rasters)

    def _predicted(self, outputs: dict[str, Tensor], batch: Batch, place: int) -> Labelled:
        bits = (outputs["lines"][place] >= 0) * 2 ** torch.arange(len(LINES), device=self.device)[:, None, None]
        rasters = {
            "segments": outputs["segments"][place].argmax(0),
            "superstructures": outputs["superstructures"][place].argmax(0),
            "roof": outputs["roof"][place, 0] >= 0,
            "lines": bits.sum(0),
            "lines_known": torch.full_like(batch["lines"][place], ALL_LINES),
        }
        classes: dict[str, Any] = {name: raster.to(torch.uint8).cpu().numpy() for name, raster in rasters.items()}
        height = outputs["height"][place, 0].cpu().numpy()
        return replace(self._true(batch, place), height=height, **classes)


def run(params: Roof, runtime: Runtime) -> None:
    """Train on the training tiles of all sources, validate on their validation tiles.

    Raises:
        UserError: A source is not prepared, or see `train_on`.
    """
    if unknown := sorted(params.train.mix.keys() - params.raw.keys()):
        raise UserError(f"roof.train.mix names {', '.join(unknown)}; roof.raw has {', '.join(params.raw)}")
    train_on(stores(list(params.raw)), params.train, runtime, STAGE_OUTPUTS)


def train_on(
    sources: Sequence[Store], settings: Train, runtime: Runtime, outputs: Outputs, data: Path = PREPARED
) -> bool:
    """Train on some of the prepared sources, from random weights or those that `settings.model.weights` names.

    A source whose weight in `settings.mix` is 0 is left out; one without training tiles only validates.

    Args:
        sources: Prepared sources with the same azimuth classes.
        settings: The `roof.train` section.
        runtime: The machine.
        outputs: Where to write.
        data: Folder that the sources are in; an interrupted training goes on only if nothing in it changed.

    Returns:
        Whether this process has the finished model, see `fit`.

    Raises:
        UserError: There is no tile on one of the sides, no head has a label, or a setting does not fit.
    """
    used = [store for store in sources if settings.mix.get(store.name, 1.0) > 0]
    teaching = [store for store in used if store.positions("train")]
    names = ", ".join(store.name for store in used)
    validation_patches = ValidationPatches(used, settings)
    if not teaching or not len(validation_patches):
        raise UserError(f"The sources {names} have no tile to train on, or none to validate on: both are needed")
    training_patches = TrainingPatches(teaching, settings)
    heads = [head for head in training_patches.heads if getattr(settings.loss.weights, head) > 0]
    if not heads:
        raise UserError(f"roof.train.loss.weights is 0 for all that {names} label: {', '.join(training_patches.heads)}")
    scored = [head for head in heads if head in validation_patches.heads]
    azimuths = int(used[0].meta["azimuths"])

    torch.manual_seed(settings.seed)
    # Faster on CPUs than the default order of dimensions.
    network = model.build(settings.model, azimuths).to(memory_format=torch.channels_last)
    shares = _class_shares(teaching, settings, azimuths)
    balance = {head: class_weights(own, settings.loss.class_weight_power) for head, own in shares.items()}
    model.start_from_priors(network, {head: own * balance[head] for head, own in shares.items() if head in heads})
    balance["lines"] = line_weights(_line_shares(teaching, settings), settings.loss.class_weight_power)
    weights = model.initialise(network, settings.model)
    what = {"train": settings.model_dump(), "sources": [store.name for store in used]}
    return fit(
        RoofTraining(network, settings, azimuths, heads, scored, balance),
        training_patches,
        validation_patches,
        settings,
        runtime,
        outputs,
        model.config_of(settings.model, azimuths, _pixel_size(teaching), _meaningful(heads, settings.model.weights)),
        fingerprint(data, what, "millrace.roof.train", weights),
    )


def _class_shares(teaching: Sequence[Store], settings: Train, azimuths: int) -> dict[str, NDArray[np.float64]]:
    """Of the labelled pixels of an augmented mix of the sources."""
    found = {}
    for head in ("segments", "superstructures"):
        counts = _counts(teaching, head)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        mixed = (shares * mix_shares(teaching, settings.mix)[:, None]).sum(axis=0)
        found[head] = mixed / max(mixed.sum(), np.finfo(np.float64).tiny)
    found["segments"] = augmented_shares(found["segments"], azimuths, settings.augmentation)
    return found


def _line_shares(teaching: Sequence[Store], settings: Train) -> NDArray[np.float64]:
    """Of the pixels that are labelled for a kind of line in a mix of the sources."""
    shares = mix_shares(teaching, settings.mix)
    return line_shares(_counts(teaching, "lines"), _counts(teaching, LINES_KNOWN), shares)


def _counts(teaching: Sequence[Store], head: str) -> NDArray[np.float64]:
    return np.array([store.meta["class_counts"][head] for store in teaching], np.float64)


def _pixel_size(teaching: Sequence[Store]) -> float:
    """Median of the training tiles'."""
    sizes = [store.index["pixel_size_m"].to_numpy()[store.positions("train")] for store in teaching]
    return float(np.median(np.concatenate(sizes)))


def _meaningful(heads: Sequence[str], weights: str | None) -> list[str]:
    """Heads that were trained, now or in the model that the initial weights are of."""
    folder = Path(weights).parent if weights else None
    earlier = []
    if folder is not None and (folder / model_folder.CONFIG).is_file():
        earlier = model_folder.load_config(folder, model.TASK)["heads"]
    return [head for head in HEADS if head in heads or head in earlier]
