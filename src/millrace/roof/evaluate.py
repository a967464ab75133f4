"""Stage `roof-evaluate`: the model and a classical baseline, scored on the test tiles of all sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.roof import model
from millrace.roof.baseline import Baseline
from millrace.roof.calibration import reliability
from millrace.roof.classes import HEADS
from millrace.roof.evaluate_pictures import write_pictures
from millrace.roof.infer import Mapper, Maps
from millrace.roof.params import Evaluate, Roof, Vectorise
from millrace.roof.scene import Labelled
from millrace.roof.scored import Scored, TileCounts
from millrace.roof.store import Store, stores
from millrace.roof.vector_lines import VectorLines, vectorise_lines
from millrace.settings import Runtime

MODEL = Path("models/roof")
METRICS = Path("metrics/roof")

Predict = Callable[[NDArray[np.uint8], float], tuple[Maps, VectorLines]]
"""Maps and lines of an RGB image (H, W, 3), whose pixels have a given side in metres."""


class Tile(NamedTuple):
    """What is scored: the pixels of a tile and their labels, as prepared."""

    name: str
    source: str
    labels: Labelled
    pixel_size_m: float


def run(params: Roof, runtime: Runtime) -> None:
    """Score `models/roof` on the test tiles and write `metrics/roof/evaluate.json` and `evaluate/`.

    Heads that the model was not trained for are not scored.

    Raises:
        UserError: No source has a test tile, or the model has other azimuth classes than the data.
    """
    sources = stores(list(params.raw))
    network, config = model.load(MODEL)
    azimuths, heads = int(config["azimuths"]), list(config["heads"])
    if azimuths != sources[0].meta["azimuths"]:
        raise UserError(f"{MODEL} was trained with other azimuth classes than the data. Run `dvc repro roof-train`.")
    count = sum(len(store.positions("test")) for store in sources)
    if not count:
        raise UserError(f"No source of roof.raw ({', '.join(params.raw)}) has a test tile")

    def tiles() -> Iterator[Tile]:
        return held_out_tiles(sources)

    settings = params.evaluate
    predicts: dict[str, Predict] = {
        "model": vectorised(Mapper(network, config, settings, runtime).maps, settings.vectorise),
        "baseline": Baseline.fit(sources).predict,
    }
    scored = score(tiles(), predicts, azimuths, settings, heads=heads, total=count, progress=runtime.progress)
    write_json(METRICS / "evaluate.json", {name: each.summary() for name, each in scored.items()})
    with whole_folder(METRICS / "evaluate") as folder:
        write_tables(folder, scored)
        write_pictures(folder, tiles, predicts["model"], scored["model"], heads, settings.vectorise)


def vectorised(maps: Callable[[NDArray[np.uint8]], Maps], settings: Vectorise) -> Predict:
    """Anything that gives maps of an image, with the lines of these maps as vectors."""

    def predict(image: NDArray[np.uint8], pixel_size_m: float) -> tuple[Maps, VectorLines]:
        found = maps(image)
        return found, vectorise_lines(found.lines, settings, pixel_size_m)

    return predict


def held_out_tiles(sources: Iterable[Store]) -> Iterator[Tile]:
    """The test tiles of prepared sources, named by their scenes and places in them."""
    for store in sources:
        for position in store.positions("test"):
            row = store.index.iloc[position]
            name = tile_name(row["scene"], row["top"], row["left"])
            yield Tile(name, store.name, store.tile(position), float(row["pixel_size_m"]))


def tile_name(scene: str, top: int, left: int) -> str:
    """The scene's where the tile begins with it, and else with the tile's first row and column."""
    return scene if top == left == 0 else f"{scene}+{top}+{left}"


def score(
    tiles: Iterable[Tile],
    predicts: Mapping[str, Predict],
    azimuths: int,
    settings: Evaluate,
    *,
    heads: Sequence[str] = HEADS,
    total: int | None = None,
    progress: bool = False,
) -> dict[str, Scored]:
    """Score methods side by side on labelled tiles, which are read once.

    Args:
        tiles: With `azimuths` azimuth classes where they have any; what they do not label counts nowhere.
        predicts: The methods by name; `vectorised` makes one of what gives maps.
        azimuths: How many azimuth classes the methods predict.
        settings: Thresholds and tolerances.
        heads: Those of `classes.HEADS` that are scored.
        total: How many tiles there are, for the progress bar.
        progress: Show it.

    Returns:
        The scores of each method.

    Raises:
        ValueError: A tile has another number of azimuth classes.
    """
    scored = {name: Scored(azimuths) for name in predicts}
    for tile in tqdm(tiles, desc="evaluate", total=total, disable=not progress):
        for name, predict in predicts.items():
            maps, lines = predict(tile.labels.image, tile.pixel_size_m)
            scored[name].add(tile.source, tile.name, TileCounts.of(tile.labels, azimuths, maps, lines, settings, heads))
    return scored


def write_tables(folder: Path, scored: Mapping[str, Scored]) -> None:
    """Write confusion tables, scores by class, kind, source and tile, and the reliability of confidences.

    Args:
        folder: To write to.
        scored: The `model`, whose confusions, tiles and calibration are shown, and others beside it.
    """
    ours = scored["model"]
    write_csv(folder / "azimuth_confusion.csv", ours.segment_confusion())
    write_csv(folder / "superstructure_confusion.csv", ours.superstructure_confusion())
    write_csv(folder / "per_tile.csv", ours.per_tile())
    write_csv(folder / "calibration.csv", reliability(ours.total.calibration))
    lines = {name: each.lines() for name, each in scored.items()}
    in_columns = {
        "azimuth_iou": ("class", "iou", {name: each.segment_iou() for name, each in scored.items()}),
        "superstructure_iou": ("class", "iou", {name: each.superstructure_iou() for name, each in scored.items()}),
        "line_f1": ("kind", "f1", lines),
    }
    for file, (key, score_name, parts) in in_columns.items():
        shown = parts["model"][[key, "true_pixels"]].assign(**{name: part[score_name] for name, part in parts.items()})
        write_csv(folder / f"{file}.csv", shown)
    in_rows = {"line_scores": lines, "per_source": {name: each.per_source() for name, each in scored.items()}}
    for file, parts in in_rows.items():
        methods = [part.assign(method=name)[["method", *part.columns]] for name, part in parts.items()]
        write_csv(folder / f"{file}.csv", pd.concat(methods, ignore_index=True))
