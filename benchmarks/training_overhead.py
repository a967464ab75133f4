"""What the training engine costs beside a bare PyTorch loop on the same network, data and threads.

    python benchmarks/training_overhead.py [--steps 60] [--rounds 3]

Both train the sample's network with its default settings on the prepared sample (`dvc repro spheroid-prepare` first).
Turns alternate, and the ratio of the medians of CPU times is the result: wall time depends on what else runs.
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
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(loader))
    assert settings.clip_norm is not None
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
        for batch in DataLoader(validation, settings.batch_size, sampler=[(0, i) for i in range(len(validation))]):
            spheroid_losses(trained(batch["input"]), batch["target"], settings.loss)


def engine(train: TrainingPatches, validation: ValidationPatches, settings: Train, folder: Path) -> None:
    outputs = Outputs(folder / "model", folder / "metrics", folder / "runs")
    module = SpheroidTraining(network(settings), settings)
    fit(module, train, validation, settings, Runtime(progress=False, accelerator="cpu"), outputs, {"task": "x"}, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    defaults = parameters.load().spheroid.train
    store = Store()
    images = store.positions("train")
    per_image = -(-options.steps * defaults.batch_size // len(images))
    settings = defaults.model_copy(
        update={"epochs": 1, "patches": defaults.patches.model_copy(update={"per_image": per_image})}
    )
    train = TrainingPatches(store, images, settings)
    validation = ValidationPatches(store, store.positions("validation")[:1], settings)
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
    steps = len(train) // settings.batch_size
    print(f"{steps} steps of {settings.batch_size}, {options.rounds} rounds, {torch.get_num_threads()} threads")
    print(f"bare loop {bare:.2f} s CPU, engine {ours:.2f} s CPU, overhead {100 * (ours / bare - 1):+.1f} %")


if __name__ == "__main__":
    main()
