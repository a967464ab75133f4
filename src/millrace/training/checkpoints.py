"""Checkpoints: one written an epoch, whole or not at all."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO


class WholeFiles(TorchCheckpointIO):
    """A checkpoint takes its place only when it is whole, on any file system.

    Lightning's own way serialises into memory first, which takes the checkpoint's size again.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        torch.save(checkpoint, partial)
        partial.replace(target)


class BestAndLast(Checkpoint):
    """Keeps `best.ckpt` and `last.ckpt` in a folder; an epoch that is both is written once and linked.

    Two of Lightning's ModelCheckpoints would serialise it twice.
    A value that is not a number is worse than any other.

    Args:
        folder: Where the two files go.
        monitor: Validation metric that says which epoch is best; the earliest of equals.
        mode: Whether its least or greatest value is best.
    """

    def __init__(self, folder: Path, monitor: str, mode: Literal["min", "max"]) -> None:
        self.best, self.last = folder / "best.ckpt", folder / "last.ckpt"
        self._monitor, self._sign = monitor, 1 if mode == "max" else -1
        self._best_score: float | None = None

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        score = self._sign * float(trainer.callback_metrics[self._monitor])
        score = -math.inf if math.isnan(score) else score
        if self._best_score is not None and score <= self._best_score:
            trainer.save_checkpoint(self.last)
            return
        self._best_score = score
        # The best first: a run killed between the two goes on from the epoch before and writes this one again.
        trainer.save_checkpoint(self.best)
        if trainer.is_global_zero:
            _link(self.best, self.last)

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self._best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_score = state_dict["best_score"]


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, which may exist already; a copy where the file system has no links."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)
