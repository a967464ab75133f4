"""What a task tells the engine: its model, its loss and its validation metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only
from torchmetrics import MeanMetric, Metric

from millrace.training.guard import StepGuard
from millrace.training.history import History
from millrace.training.optimisation import make_optimiser, plateau_schedule, step_schedules
from millrace.training.params import Training

Batch = dict[str, Any]


class TrainingModule(lightning.LightningModule, ABC):
    """Base of every model that trains by gradient steps.

    A batch is a dict; `input` goes to the model and `name` lists the samples' names. Everything that decides a weight
    is a function of seed, epoch and position, so that a run resumed at an epoch's end repeats an undisturbed one.

    Args:
        model: The network to train.
        settings: The engine's parameters.
        metrics: Validation metrics by name; each is updated by `update_metrics` and computed over the whole set.
    """

    def __init__(self, model: nn.Module, settings: Training, metrics: dict[str, Metric]) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.history = History()
        self._restored: dict[str, Any] = {}
        self.steps_per_epoch = 0  # optimiser steps; the engine sets it before it fits
        self._metrics = nn.ModuleDict({"loss": MeanMetric(), **metrics})
        self._train_loss = MeanMetric(nan_strategy="ignore")
        self._gradient_norm = MeanMetric(nan_strategy="ignore")

    @abstractmethod
    def losses(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Scalar float32 losses, each a mean over the batch's samples; `loss` is the one that is minimised."""

    @abstractmethod
    def update_metrics(self, outputs: Any, batch: Batch) -> None:
        """Add a validation batch to `self.metric(name)` of each metric."""

    def sample_pictures(self, outputs: Any, batch: Batch) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Name and RGB picture (H, W, 3) of some samples of a validation batch: input, truth and prediction."""
        yield from ()

    def finished(self) -> nn.Module:
        """The network to save, once the weights to keep are loaded. A task may make another of what was trained."""
        return self.model

    def learnt(self, record: dict[str, float]) -> dict[str, Any]:
        """What a user of the model needs to know that training found out, for config.json.

        Args:
            record: Metrics of the epoch that is kept.
        """
        return {}

    @property
    def validated(self) -> nn.Module:
        """The network that validation runs. A task may keep another than the one that takes the steps."""
        return self.model

    def metric(self, name: str) -> Metric:
        metric = self._metrics[name]
        assert isinstance(metric, Metric)
        return metric

    @property
    def metric_names(self) -> list[str]:
        """Names that `monitor` may take."""
        return [f"val_{name}" for name in self._metrics]

    # Training -------------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        settings = self.settings
        self._guard = StepGuard(
            self.model,
            settings.max_gradient_norm,
            settings.max_skipped_share,
            self.steps_per_epoch,
            overflow_expected=settings.precision == "16-mixed",
        )
        self._guard.skipped_in_all = self._restored.get("skipped_in_all", 0)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Not in on_train_epoch_start, which Lightning passes over in the first epoch of a resumed run.
        if batch_idx == 0:
            self._guard.begin_epoch()
        # Dropout and the like: no generator's state has to survive a crash, because each batch starts its own.
        position = (self.settings.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._float32_losses(self.model(batch["input"]), batch)["loss"]
        self._guard.observe(batch["name"], loss)
        # NaN instead of infinity: through the averaged gradients the guard sees it on every process.
        loss = loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)
        self._train_loss.update(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if not self._guard.accept(float(norm), self.current_epoch):
            for parameter in parameters:
                parameter.grad = None  # an optimiser passes over parameters without a gradient
            return
        self._gradient_norm.update(norm)
        if self.settings.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)

    def on_train_epoch_end(self) -> None:
        validated = {name: float(self.trainer.callback_metrics[name]) for name in self.metric_names}
        optimiser = self.trainer.optimizers[0]
        record = {
            **validated,
            "train_loss": float(self._train_loss.compute()),
            "gradient_norm": float(self._gradient_norm.compute()),
            "skipped_steps": float(self._guard.skipped_in_epoch),
            "learning_rate": float(optimiser.param_groups[0]["lr"]),
        }
        self._train_loss.reset()
        self._gradient_norm.reset()
        # Before the checkpoint callbacks: Lightning steps its own plateau schedules after them, and a resumed run
        # would miss one reduction.
        if self._plateau is not None:
            self._plateau.step(validated[self.settings.monitor])
        if self.trainer.is_global_zero:
            self._log_scalars(record)
        self.history.record(record)

    # Validation -----------------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        # Processes keep batch-norm statistics of their own while they train; what is validated, and saved, is the
        # first one's. DDP's own broadcast in every forward would wait for a process that has fewer batches.
        if self.trainer.world_size > 1:
            kept = [] if self.validated is self.model else self.validated.buffers()
            for buffer in (*self.model.buffers(), *kept):
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        outputs = tree_map_only(Tensor, Tensor.float, self.validated(batch["input"]))
        self.metric("loss").update(self._float32_losses(outputs, batch)["loss"], len(batch["name"]))
        self.update_metrics(outputs, batch)
        every = self.settings.pictures_every
        if batch_idx == 0 and every and self.current_epoch % every == 0 and self.trainer.is_global_zero:
            for name, picture in self.sample_pictures(outputs, batch):
                self._writer.add_image(name, picture, self.current_epoch, dataformats="HWC")

    def on_validation_epoch_end(self) -> None:
        for name in self._metrics:
            self.log(f"val_{name}", self.metric(name).compute(), prog_bar=True, logger=False)
        for name in self._metrics:  # after all of them: several may be values of one metric
            self.metric(name).reset()

    # Optimisation and state -----------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        optimiser = make_optimiser(self.model.parameters(), self.settings)
        schedules = step_schedules(optimiser, self.settings, self.steps_per_epoch)
        self._plateau = plateau_schedule(optimiser, self.settings)
        if self._plateau is not None and "plateau" in self._restored:
            self._plateau.load_state_dict(self._restored["plateau"])
        return [optimiser], [{"scheduler": schedule, "interval": "step"} for schedule in schedules]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history.epochs
        checkpoint["skipped_in_all"] = self._guard.skipped_in_all
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history.epochs = checkpoint["history"]
        # Guard and plateau schedule take theirs when they are made, which is after this.
        self._restored = {key: checkpoint[key] for key in ("skipped_in_all", "plateau") if key in checkpoint}

    @property
    def skipped_steps(self) -> int:
        return self._guard.skipped_in_all

    @property
    def _writer(self) -> Any:
        return self.logger.experiment  # type: ignore[union-attr]  # the engine always sets a TensorBoard logger

    def _float32_losses(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            return self.losses(tree_map_only(Tensor, Tensor.float, outputs), batch)

    def _log_scalars(self, record: dict[str, float]) -> None:
        for name, value in record.items():
            self._writer.add_scalar(name, value, self.current_epoch)
