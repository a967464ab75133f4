"""Stage `keyframes-train`: windows of timelines to a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryF1Score

from millrace.errors import UserError
from millrace.keyframes.data import Windows
from millrace.keyframes.decoding import in_units, layout_of
from millrace.keyframes.losses import layout_losses
from millrace.keyframes.model import Heads, MultiTrackTransformer, config_of
from millrace.keyframes.normalisation import ACTIVE, NUMBERS
from millrace.keyframes.params import Keyframes, Train
from millrace.keyframes.picture import tracks_picture
from millrace.keyframes.window_store import WINDOWS, WindowStore
from millrace.settings import Runtime
from millrace.training.engine import Outputs, fit
from millrace.training.fingerprint import fingerprint
from millrace.training.module import Batch, TrainingModule

PICTURES, PICTURE_PX = 3, 900
STAGE_OUTPUTS = Outputs(Path("models/keyframes"), Path("metrics/keyframes/train"), Path("runs/keyframes/train"))


class LayoutTraining(TrainingModule):
    """Unknown cells of a window from the known ones."""

    def __init__(self, network: MultiTrackTransformer, settings: Train, store: WindowStore) -> None:
        super().__init__(network, settings, {"active_f1": BinaryF1Score(), "error": LowerMean()})
        self._weights, self._normalisation, self._rate = settings.loss, store.normalisation, float(store.meta["rate"])

    def losses(self, outputs: Heads, batch: Batch) -> dict[str, Tensor]:
        names = self._normalisation.parameters
        return layout_losses(outputs, batch["input"]["cells"], batch["target"], names, self._weights)

    def update_metrics(self, outputs: Heads, batch: Batch) -> None:
        target, cells = batch["target"], batch["input"]["cells"]
        truth = cells[..., ACTIVE] > 0
        self.metric("active_f1").update(outputs.active.argmax(-1)[target], truth[target])
        errors = (outputs.numbers - cells[..., NUMBERS:]).abs()[target & truth]
        if len(errors):
            self.metric("error").update(errors)

    def sample_pictures(self, outputs: Heads, batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """True and predicted layouts of the first windows."""
        true = in_units(batch["input"]["cells"].cpu(), self._normalisation)
        said = layout_of(outputs, self._normalisation)
        asked, rows = batch["target"].cpu(), batch["input"]["valid"].sum(1).tolist()
        for name, truth, layout, target, count in zip(batch["name"][:PICTURES], true, said, asked, rows, strict=False):
            filled = torch.where(target[..., None], layout, truth)
            pair = [("true", truth[:count].numpy()), ("predicted", filled[:count].numpy())]
            yield name, tracks_picture(pair, self._rate, marked=target[:count].numpy(), width_px=PICTURE_PX)


class LowerMean(MeanMetric):
    """A mean of which less is better; here of absolute errors in spreads of the training data."""

    higher_is_better = False  # type: ignore[assignment]  # torchmetrics types it by its None


def run(params: Keyframes, runtime: Runtime) -> None:
    """Train on the training videos' windows, validate on those of the validation videos.

    Raises:
        UserError: There is no window on one of the sides, or a setting does not fit.
    """
    store, settings = WindowStore(), params.train
    train, validation = (
        Windows(store, "train", settings, training=True),
        Windows(store, "validation", settings, training=False),
    )
    if not len(train) or not len(validation):
        raise UserError(f"{len(train)} training and {len(validation)} validation windows: both are needed to train")
    if settings.horizon > store.length // 2:
        raise UserError(
            f"keyframes.train.horizon {settings.horizon} must be at most half of keyframes.windows.length "
            f"{store.length}: the other half is what it is predicted from"
        )
    torch.manual_seed(settings.seed)
    network = MultiTrackTransformer(settings.network, len(store.normalisation.parameters), store.length)
    fit(
        LayoutTraining(network, settings, store),
        train,
        validation,
        settings,
        runtime,
        STAGE_OUTPUTS,
        config_of(settings, store),
        fingerprint(WINDOWS, {"train": settings.model_dump()}, "millrace.keyframes.train"),
    )
