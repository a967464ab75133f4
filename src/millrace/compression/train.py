"""Stage `compression-train`: one rate point's codec from patches of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from millrace.compression.calibration import calibrated
from millrace.compression.codec_model import MODELS, config_of, step_of
from millrace.compression.data import Crops
from millrace.compression.losses import distortion
from millrace.compression.model import Coded, SarNetwork
from millrace.compression.params import Compression
from millrace.compression.store import PREPARED, Store
from millrace.errors import UserError
from millrace.imagery.pictures import outlines, sheet
from millrace.settings import Runtime
from millrace.training.engine import Outputs, fit
from millrace.training.fingerprint import fingerprint
from millrace.training.module import Batch, TrainingModule

PICTURES, PICTURE_PX = 4, 256
GREY_LEVELS = 255


class CodecTraining(TrainingModule):
    """Bits per pixel + lambda * 255^2 * distortion."""

    def __init__(self, network: SarNetwork, params: Compression, rate: str, store: Store) -> None:
        metrics: dict[str, Metric] = {"bits_per_pixel": LowerMean(), "mse": LowerMean()}
        super().__init__(network, params.train, metrics)
        self._network, self._store, self._train = network, store, params.train
        self._weight = params.rates[rate] * GREY_LEVELS**2

    def losses(self, outputs: Coded, batch: Batch) -> dict[str, Tensor]:
        bits = outputs.bits.mean() / batch["input"][0].numel()
        error = distortion(outputs.images, batch["input"], batch["valid"], self._train.loss)
        return {"loss": bits + self._weight * error}

    def update_metrics(self, outputs: Coded, batch: Batch) -> None:
        count = len(batch["name"])
        self.metric("bits_per_pixel").update(outputs.bits.mean() / batch["input"][0].numel(), count)
        if batch["valid"].any():
            error = (outputs.images.clamp(0, 1) - batch["input"])[batch["valid"]].square().mean()
            self.metric("mse").update(error, count)

    def sample_pictures(self, outputs: Coded, batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """The first crops and what became of them."""
        for name, before, after in zip(batch["name"][:PICTURES], batch["input"], outputs.images, strict=False):
            pair = [outlines(each[0].clamp(0, 1).cpu().numpy(), []) for each in (before, after)]
            yield name, sheet(pair, ["original", "decoded"], columns=2, cell_px=PICTURE_PX)

    def finished(self) -> nn.Module:
        """The codec: contexts in whole numbers, and frequency tables counted on training patches."""
        return calibrated(self._network, self._store, self._train.calibration_patches)


class LowerMean(MeanMetric):
    """A mean of which less is better."""

    higher_is_better = False  # type: ignore[assignment]  # torchmetrics types it by its None


def run(params: Compression, runtime: Runtime, rate: str) -> None:
    """Train the codec of a rate point.

    Args:
        params: The `compression` section.
        runtime: The machine.
        rate: One of `params.rates`.

    Raises:
        UserError: There is no such rate point, or a side has no patch.
    """
    if rate not in params.rates:
        raise UserError(f"compression.rates has no '{rate}'; there: {', '.join(params.rates)}")
    store, settings = Store(), params.train
    train = Crops(store, "train", settings, training=True)
    validation = Crops(store, "validation", settings, training=False)
    if not len(train) or not len(validation):
        raise UserError(f"{len(train)} training and {len(validation)} validation patches: both are needed to train")
    torch.manual_seed(settings.seed)
    network = SarNetwork(settings.model.width, step_of(params.rates[rate]))
    outputs = Outputs(MODELS / rate, Path("metrics/compression/train") / rate, Path("runs/compression/train") / rate)
    settled = {"train": settings.model_dump(), "lambda": params.rates[rate]}
    fit(
        CodecTraining(network, params, rate, store),
        train,
        validation,
        settings,
        runtime,
        outputs,
        config_of(params, rate, store),
        fingerprint(PREPARED, settled, "millrace.compression.train"),
    )
