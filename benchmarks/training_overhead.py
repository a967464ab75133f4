"""What the training engine costs beside a bare PyTorch loop on the same network, data and threads.

    python benchmarks/training_overhead.py [--epochs 4] [--rounds 3]

Both train the sample's network with its default settings on the prepared sample (`dvc repro spheroid-prepare` first),
validation after each epoch included. The engine's time holds all it does beside: start-up, checkpoints, logs, the model
folder. Turns alternate, and the medians of CPU times are compared: wall time depends on what else runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from millrace import params as parameters
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.data import TrainingPatches, ValidationPatches
from millrace.spheroid.losses import spheroid_losses
from millrace.spheroid.params import Train
from millrace.spheroid.store import Store
from millrace.spheroid.train import SpheroidTraining
from millrace.training.engine import Outputs, fit
from millrace.training.sampling import EpochSampler


def network(settings: Train) -> torch.nn.Module:
    torch.manual_seed(settings.seed)
    return model.build(settings.model).to(memory_format=torch.channels_last)


def bare_loop(train: TrainingPatches, validation: ValidationPatches, settings: Train) -> None:
    """What one would write by hand: shuffled batches, loss, clipping, AdamW, cosine, and a validation pass."""
    trained = network(settings)
    optimiser = torch.optim.AdamW(trained.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    sampler = EpochSampler(len(train), settings.batch_size, 1, settings.seed)
    loader = DataLoader(train, settings.batch_size, sampler=sampler)
    validation_loader = DataLoader(validation, settings.batch_size, sampler=[(0, i) for i in range(len(validation))])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * len(loader))
    assert settings.clip_norm is not None
    for epoch in range(settings.epochs):
        sampler.set_epoch(epoch)
        trained.train()
        for batch in loader:
            loss = spheroid_losses(trained(batch["input"]), batch["target"], settings.loss)["loss"]
            optimiser.zero_grad()
            loss.backward()
            clip_grad_norm_(trained.parameters(), settings.clip_norm)
            optimiser.step()
            schedule.step()
        trained.eval()
        with torch.inference_mode():
            for batch in validation_loader:
                spheroid_losses(trained(batch["input"]), batch["target"], settings.loss)


def engine(train: TrainingPatches, validation: ValidationPatches, settings: Train, folder: Path) -> None:
    outputs = Outputs(folder / "model", folder / "metrics", folder / "runs")
    module = SpheroidTraining(network(settings), settings)
    fit(module, train, validation, settings, Runtime(progress=False, accelerator="cpu"), outputs, {"task": "x"}, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    defaults = parameters.load().spheroid.train
    store = Store()
    settings = defaults.model_copy(update={"epochs": options.epochs})
    train = TrainingPatches(store, store.positions("train"), settings)
    validation = ValidationPatches(store, store.positions("validation"), settings)
    times: dict[str, list[float]] = {"bare": [], "engine": []}
    for turn in range(options.rounds + 1):
        for name in ("bare", "engine") if turn % 2 else ("engine", "bare"):
            with tempfile.TemporaryDirectory() as folder:
                start = time.process_time()
                if name == "bare":
                    bare_loop(train, validation, settings)
                else:
                    engine(train, validation, settings, Path(folder))
                if turn:  # the first turn warms up
                    times[name].append(time.process_time() - start)
    bare, ours = (statistics.median(times[name]) for name in ("bare", "engine"))
    steps = settings.epochs * (len(train) // settings.batch_size)
    print(f"{settings.epochs} epochs, {steps} steps, {options.rounds} rounds, {torch.get_num_threads()} threads")
    for name, seconds in (("bare loop", bare), ("engine", ours)):
        print(f"{name}: {seconds:.2f} s of CPU time, {steps / seconds:.3f} steps per CPU second")
    print(f"overhead {100 * (ours / bare - 1):+.1f} %")


if __name__ == "__main__":
    main()
