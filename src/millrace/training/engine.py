"""The training engine: runs a `TrainingModule` on Lightning and leaves a model folder."""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from millrace.errors import UserError
from millrace.settings import Runtime
from millrace.training import model_folder
from millrace.training.checkpoints import BestAndLast, WholeFiles
from millrace.training.module import TrainingModule
from millrace.training.params import Training
from millrace.training.sampling import EpochSampler, Samples, ShareSampler
from millrace.training.scratch import Scratch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """Where a training writes.

    Attributes:
        model: Folder of the finished model.
        metrics: dvclive folder.
        runs: Git-ignored folder for checkpoints and TensorBoard.
    """

    model: Path
    metrics: Path
    runs: Path


class Data(lightning.LightningDataModule):
    """Loaders whose batches depend on seed, epoch and position alone. Datasets are indexed by (epoch, index)."""

    def __init__(self, train: Samples, validation: Samples, settings: Training, runtime: Runtime) -> None:
        super().__init__()
        self._train, self._validation, self._settings, self._runtime = train, validation, settings, runtime

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        assert self.trainer is not None
        settings = self._settings
        sampler = EpochSampler(
            len(self._train),
            settings.batch_size,
            settings.accumulate,
            settings.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
            self._train.groups,
        )
        return self._loader(self._train, sampler, sampler.micro_batch)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        assert self.trainer is not None
        sampler = ShareSampler(len(self._validation), self.trainer.global_rank, self.trainer.world_size)
        micro_batch = max(1, self._settings.batch_size // (self._settings.accumulate * self.trainer.world_size))
        return self._loader(self._validation, sampler, micro_batch)

    def _loader(
        self, dataset: Samples, sampler: EpochSampler | ShareSampler, batch_size: int
    ) -> DataLoader[dict[str, Any]]:
        workers = self._runtime.workers
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=dataset.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class _EarlyStopping(EarlyStopping):
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # A run killed between its last checkpoint and its end has nothing left to train.
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class _OpenHistory(Callback):
    """Opens dvclive once the checkpoint, and the history in it, is loaded; in the first process only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.is_global_zero:
            pl_module.history.open(self._folder)


def fit(
    module: TrainingModule,
    train: Samples,
    validation: Samples,
    settings: Training,
    runtime: Runtime,
    outputs: Outputs,
    config: dict[str, Any],
    fingerprint: dict[str, str],
) -> bool:
    """Train, keep the best or last epoch's weights, and write the model folder.

    An interrupted training with the same fingerprint is continued from its last finished epoch; with another one it
    starts afresh and says what changed.

    Args:
        module: Model, loss and metrics.
        train: Training samples, indexed by (epoch, index).
        validation: Validation samples, indexed by (0, index).
        settings: The engine's parameters.
        runtime: Devices, processes, threads.
        outputs: Where to write.
        config: What a user of the model needs to know beside the weights; stored as config.json.
        fingerprint: Hashes of all that decides the result.

    Returns:
        Whether this is the first process: the only one that has a finished model to go on with.

    Raises:
        UserError: `monitor` is no metric of this module, the batch does not fit the processes, or too many steps
            were skipped.
    """
    _check(module, train, settings, runtime)
    module.steps_per_epoch = len(train) // settings.batch_size
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    scratch = Scratch(outputs.runs / "checkpoints")
    checkpoint = _checkpoint_to_resume(scratch, fingerprint)
    # Deterministic algorithms would fill each new tensor with NaN first, which only code that reads it unwritten needs.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    trainer = _trainer(settings, runtime, outputs, scratch)
    if checkpoint is None and trainer.is_global_zero:
        shutil.rmtree(outputs.runs / "tensorboard", ignore_errors=True)
        scratch.start(fingerprint)
    with warnings.catch_warnings():
        # Loading in the training process is the default here on purpose.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        trainer.fit(module, Data(train, validation, settings, runtime), ckpt_path=checkpoint, weights_only=True)
    if not trainer.is_global_zero:
        return False
    module.history.open(outputs.metrics)  # not yet open where a run was killed after its last epoch
    kept = torch.load(scratch.resume / f"{settings.keep}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(kept["state_dict"])
    epoch = kept["epoch"]
    training = {"fingerprint": fingerprint, "kept_epoch": epoch, "epochs": len(module.history.epochs)}
    record = module.history.epochs[epoch]
    model_folder.save(outputs.model, module.finished(), config | module.learnt(record) | {"training": training})
    summary = {"kept": record, "kept_epoch": epoch, "skipped": module.skipped_steps}
    module.history.close(summary)
    scratch.finish()
    return True


def _check(module: TrainingModule, train: Samples, settings: Training, runtime: Runtime) -> None:
    if settings.monitor not in module.metric_names:
        raise UserError(f"train.monitor is '{settings.monitor}'; this task has {', '.join(module.metric_names)}")
    # torchmetrics says whether higher is better; its mean, which the loss is, says nothing.
    higher = module.metric(settings.monitor.removeprefix("val_")).higher_is_better
    if higher is None and settings.monitor == "val_loss":
        higher = False
    if higher is not None and higher != (settings.monitor_mode == "max"):
        right = "max" if higher else "min"
        raise UserError(
            f"train.monitor_mode is '{settings.monitor_mode}', but for {settings.monitor} it must be '{right}'"
        )
    processes = runtime.devices * runtime.nodes
    try:
        EpochSampler(len(train), settings.batch_size, settings.accumulate, settings.seed, 0, processes)
    except ValueError as error:
        raise UserError(f"train.batch_size does not fit: {error}") from None


def _checkpoint_to_resume(scratch: Scratch, fingerprint: dict[str, str]) -> str | None:
    changed = scratch.changed_since_interruption(fingerprint)
    if changed is None:
        return None
    if changed:
        log.warning("An interrupted training is not continued: its %s changed. Starting afresh.", " and ".join(changed))
        return None
    try:
        torch.load(scratch.resume / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # whatever a file that was cut short makes of itself
        log.warning("The interrupted training's checkpoint is damaged (%s). Starting afresh.", type(error).__name__)
        return None
    log.warning("Continuing the interrupted training in %s.", scratch.folder)
    return str(scratch.resume / "last.ckpt")


def _trainer(settings: Training, runtime: Runtime, outputs: Outputs, scratch: Scratch) -> lightning.Trainer:
    distributed = runtime.devices * runtime.nodes > 1
    return lightning.Trainer(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=runtime.nodes,
        strategy=DDPStrategy(broadcast_buffers=False) if distributed else "auto",
        sync_batchnorm=distributed and torch.cuda.is_available() and runtime.accelerator != "cpu",
        precision=settings.precision,
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate,
        deterministic=settings.deterministic,
        benchmark=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[WholeFiles()],
        log_every_n_steps=1,
        logger=TensorBoardLogger(outputs.runs, name="tensorboard", version=""),
        enable_progress_bar=runtime.progress,
        enable_model_summary=False,
        callbacks=_callbacks(settings, runtime, outputs, scratch),
    )


def _callbacks(settings: Training, runtime: Runtime, outputs: Outputs, scratch: Scratch) -> list[Callback]:
    callbacks: list[Callback] = [_OpenHistory(outputs.metrics)]
    if runtime.progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1, leave=False))
    if settings.patience is not None:
        callbacks.append(
            _EarlyStopping(
                settings.monitor,
                mode=settings.monitor_mode,
                patience=settings.patience,
                min_delta=settings.min_delta,
                check_on_train_epoch_end=True,
            )
        )
    if settings.checkpoint_every is not None:
        callbacks.append(
            ModelCheckpoint(
                scratch.periodic,
                "epoch-{epoch:04d}",
                auto_insert_metric_name=False,
                save_top_k=-1,
                every_n_epochs=settings.checkpoint_every,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    # Last of all: the other callbacks' state of this epoch has to be in it.
    return [*callbacks, BestAndLast(scratch.resume, settings.monitor, settings.monitor_mode)]
