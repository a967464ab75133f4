"""A small training for the engine's tests, as a module and as a process: `python toy_training.py '{...}'`."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from millrace.settings import Runtime
from millrace.training.engine import Outputs, fit
from millrace.training.module import Batch, TrainingModule
from millrace.training.params import Training
from millrace.training.sampling import Samples

SAMPLES = 32


class Waves(Samples):
    """Four random numbers and the sum of the first two; what is drawn depends on epoch and index."""

    def __init__(self, length: int, bad: frozenset[int] = frozenset(), scale: float = 1.0) -> None:
        self.length, self.bad, self.scale = length, bad, scale

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        values = torch.randn(4, generator=generator) * (self.scale if index in self.bad else 1)
        if index in self.bad and self.scale == 1:
            values[0] = torch.nan
        return {"input": values, "target": values[:2].sum()[None], "name": f"wave-{index}"}


class UndirectedError(MeanSquaredError):
    """Of which nothing says whether more is better."""

    higher_is_better = None


class Toy(TrainingModule):
    """Least squares; remembers what the engine fed it."""

    def __init__(self, network: nn.Module, settings: Training, kill_at: tuple[int, int] | None = None) -> None:
        super().__init__(network, settings, {"mse": MeanSquaredError(), "error": UndirectedError()})
        self.kill_at = kill_at
        self.loss_dtypes: set[torch.dtype] = set()
        self.network_dtypes: set[torch.dtype] = set()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.kill_at == (self.current_epoch, batch_idx):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        self.loss_dtypes.add(outputs.dtype)
        return {"loss": (outputs - batch["target"]).square().mean()}

    def update_metrics(self, outputs: Tensor, batch: Batch) -> None:
        for name in ("mse", "error"):
            self.metric(name).update(outputs, batch["target"])

    def sample_pictures(self, outputs: Any, batch: Batch) -> Any:
        yield batch["name"][0], torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()


def network(normalisation: str = "batch", dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(16) if normalisation == "batch" else nn.LayerNorm(16)
    return nn.Sequential(nn.Linear(4, 16), norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))


def train(folder: Path, options: dict[str, Any]) -> Toy:
    """Run the toy training into `folder`; options are `training`, `runtime` and keywords of the pieces above."""
    base = {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "monitor": "val_mse", "schedule": "none"}
    settings = Training.model_validate(base | options.get("training", {}))
    runtime = Runtime.model_validate(
        {"progress": False, "accelerator": "cpu", "threads": 1} | options.get("runtime", {})
    )
    kill_at = options.get("kill_at")
    module = Toy(network(**options.get("network", {})), settings, tuple(kill_at) if kill_at else None)
    bad = frozenset(options.get("bad", ()))
    fit(
        module,
        Waves(SAMPLES, bad, options.get("scale", 1.0)),
        Waves(11),
        settings,
        runtime,
        Outputs(folder / "model", folder / "metrics", folder / "runs"),
        {"task": "toy"},
        options.get("fingerprint", {"data": "1", "code": "1"}),
    )
    return module


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    train(Path(sys.argv[1]), json.loads(sys.argv[2]))
