"""One model for partly labelled data sets, against one for each, and against training one after the other unmasked.

    PYTHONPATH=src python benchmarks/roof_joint.py --out runs/roof_joint [--epochs 12] [--seeds 0 1 2]

Trains on the prepared sources of params.yaml (`dvc repro roof-prepare` first), and scores on the test tiles of one that
has the whole truth (`--held-out`, by default `full`):

- `joint`: one model, batches mixed from all sources, losses masked;
- `apart NAME`: a model for each source, scored on the heads that it is taught; the three together take as many steps as
  the joint one, and each sees its source as often as that one does;
- `long NAME`: the same with as many steps each, so three times the budget, and its source three times as often;
- `after NAME`: as the system before this one did: a third of the steps on each source in turn, at learning rates of 1,
  0.1 and 0.05, what is not labelled taken for background. Scored after each turn, so that forgetting shows.

Prints the mean over the seeds, and the least and the largest, as a table in Markdown.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millrace import params as parameters
from millrace.files import write_json
from millrace.roof import model
from millrace.roof.evaluate import held_out_tiles, score, vectorised
from millrace.roof.infer import Mapper
from millrace.roof.params import Roof, Train
from millrace.roof.store import Store, stores
from millrace.roof.train import train_on
from millrace.settings import Runtime
from millrace.training.engine import Outputs

IN_TURN = {"rid": 1.0, "roofline": 0.1, "airs": 0.05}
"""Learning rates of the earlier system, in its order."""
Scores = dict[str, float | None]


def trained(sources: Sequence[Store], settings: Train, out: Path, runtime: Runtime) -> Path:
    """Model folder of a training."""
    train_on(sources, settings, runtime, Outputs(out / "model", out / "metrics", out / "runs"))
    return out / "model"


def scores(folder: Path, held_out: Store, task: Roof, runtime: Runtime) -> Scores:
    """Of the heads that a model was taught."""
    network, config = model.load(folder)
    mapper = Mapper(network, config, task.evaluate, runtime)
    predict = vectorised(mapper.maps, task.evaluate.vectorise)
    tiles = held_out_tiles([held_out])
    azimuths, heads = int(config["azimuths"]), list(config["heads"])
    summary = score(tiles, {"model": predict}, azimuths, task.evaluate, heads=heads)["model"].summary()
    lines: dict[str, Any] = summary["line_f1"]
    names = ("azimuth_miou", "azimuth_error_deg", "superstructure_miou", "roof_iou", "roof_boundary_f1", "depth_rmse_m")
    return {**{name: summary[name] for name in names}, **{f"line_f1 {kind}": value for kind, value in lines.items()}}


def compared(
    sources: Sequence[Store], held_out: Store, task: Roof, seed: int, out: Path, runtime: Runtime
) -> dict[str, Scores]:
    """Scores of all ways of training, with one seed."""
    settings = task.train.model_copy(update={"seed": seed, "pictures_every": 0})
    found = {"joint": scores(trained(sources, settings, out / "joint", runtime), held_out, task, runtime)}
    part = {"epochs": max(1, settings.epochs // len(IN_TURN))}
    for way, own_settings in (("apart", settings.model_copy(update=part)), ("long", settings)):
        for store in sources:
            folder = trained([store], own_settings, out / f"{way}_{store.name}", runtime)
            found[f"{way} {store.name}"] = scores(folder, held_out, task, runtime)
    loss = settings.loss.model_copy(update={"masked": False})
    network = settings.model
    for name, rate in IN_TURN.items():
        turn = settings.model_copy(
            update=part
            | {
                "learning_rate": settings.learning_rate * rate,
                "loss": loss,
                "model": network,
            }
        )
        own = [store for store in sources if store.name == name]
        folder = trained(own, turn, out / f"after_{name}", runtime)
        found[f"after {name}"] = scores(folder, held_out, task, runtime)
        weights = str(folder / "model.safetensors")
        network = network.model_copy(update={"encoder_weights": None, "weights": weights})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for models and scores; trainings go on in it")
    parser.add_argument("--held-out", default="full", help="source with the whole truth")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    loaded = parameters.load()
    task = loaded.roof.model_copy(update={"train": loaded.roof.train.model_copy(update={"epochs": options.epochs})})
    found = {store.name: store for store in stores(list(task.raw))}
    sources = [found[name] for name in IN_TURN]
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in options.seeds:
        of_seed = compared(sources, found[options.held_out], task, seed, options.out / str(seed), loaded.runtime)
        write_json(options.out / str(seed) / "scores.json", of_seed)
        for way, own in of_seed.items():
            for name, value in own.items():
                if value is not None and not math.isnan(value):
                    values[name][way].append(value)
    ways = ["joint", *(f"{way} {name}" for way in ("apart", "long", "after") for name in IN_TURN)]
    print(f"| | {' | '.join(ways)} |\n|{' --- |' * (1 + len(ways))}")
    for name, by_way in values.items():
        print(f"| {name} | {' | '.join(_told(by_way.get(way, [])) for way in ways)} |")


def _told(of_seeds: list[float]) -> str:
    if not of_seeds:
        return "-"
    return f"{statistics.fmean(of_seeds):.3f} ({min(of_seeds):.3f} to {max(of_seeds):.3f})"


if __name__ == "__main__":
    main()
