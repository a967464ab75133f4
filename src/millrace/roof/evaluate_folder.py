"""The command `evaluate --raw`: an existing model scored on any labelled folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from millrace.errors import DataError, UserError
from millrace.files import write_json
from millrace.roof import model
from millrace.roof import raw as reader
from millrace.roof.class_counts import labelled_heads
from millrace.roof.evaluate import Tile, score, tile_name, vectorised, write_tables
from millrace.roof.evaluate_pictures import write_pictures
from millrace.roof.infer import Mapper
from millrace.roof.params import Generic, Roof, Roofline
from millrace.roof.scored import Scored
from millrace.roof.source_check import check_source, stopping
from millrace.roof.windows import tiles_of
from millrace.settings import Runtime
from millrace.splitting import Split

log = logging.getLogger(__name__)


def evaluate_folder(raw: Path, out: Path, folder: Path, params: Roof, runtime: Runtime) -> Scored:
    """Score an existing model on any labelled folder, for the heads that both know.

    Args:
        raw: A data set of any of the structures that `raw.detect` knows. All of its scenes are scored, on
            whichever side of a split they stand, in tiles of the model's resolution.
        out: Gets `evaluate.json`, tables and pictures; an existing folder keeps its other files.
        folder: The model.
        params: `prepare` says how the folder is read and checked, `evaluate` how it is scored. `predict.pixel_size_m`,
            or else that of the model, stands in where scenes do not say how large a pixel is.
        runtime: The machine.

    Raises:
        DataError: Files of the folder cannot be used; nothing is scored. With `bad_files: drop` they are left out.
        UserError: The folder is none of the known structures, or has no label of a head that the model was trained for.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out names a folder")
    network, config = model.load(folder)
    azimuths, heads, pixel_size_m = int(config["azimuths"]), list(config["heads"]), float(config["pixel_size_m"])
    settings = params.prepare.model_copy(update={"azimuths": azimuths, "pixel_size_m": pixel_size_m})
    source = reader.detect(raw)
    if isinstance(source, Generic | Roofline):
        # No side of a split must stay without a scene.
        source = source.model_copy(update={"split": Split(train=0, validation=0, test=1)})
    if any(scene.pixel_size_m is None for scene in reader.scan(source, settings).scenes):
        assumed = params.predict.pixel_size_m or pixel_size_m
        log.warning("%s: not all scenes say how large a pixel is; taken as %g m", raw, assumed)
        source = source.model_copy(update={"pixel_size_m": assumed})
    report = check_source(source.format, source, settings, runtime)
    if (reason := stopping(report, settings)) is not None:
        raise DataError(f"{raw}: {reason} Nothing was scored.", report.problems)
    for problem in report.problems:
        log.warning("Left out: %s", problem)
    labelled = labelled_heads(report.of_side("all"), azimuths)
    if not set(heads) & set(labelled):
        raise UserError(f"{raw} labels {', '.join(labelled)}; {folder} was trained for {', '.join(heads)}")

    def tiles() -> Iterator[Tile]:
        for scene in report.scenes:
            for tile in tiles_of(scene, source, settings):
                name = tile_name(scene.name, tile.top, tile.left)
                yield Tile(name, source.format, tile.labelled, pixel_size_m)

    predict = vectorised(Mapper(network, config, params.evaluate, runtime).maps, params.evaluate.vectorise)
    scored = score(
        tiles(),
        {"model": predict},
        azimuths,
        params.evaluate,
        heads=heads,
        total=len(report.tiles),
        progress=runtime.progress,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_tables(out, scored)
    write_pictures(out, tiles, predict, scored["model"], heads, params.evaluate.vectorise)
    write_json(out / "evaluate.json", {"model": scored["model"].summary()})
    return scored["model"]
