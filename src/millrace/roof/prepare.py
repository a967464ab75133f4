"""Stage `roof-prepare`: one checked source to tiles that training can map into memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from millrace.errors import DataError, UserError
from millrace.files import whole_folder, write_json
from millrace.parallel import parallel_map
from millrace.roof.check import write_report
from millrace.roof.class_counts import by_head, labelled_heads
from millrace.roof.classes import UNKNOWN
from millrace.roof.scene import Labelled, Lines
from millrace.roof.source_check import Report, check_source, stopping
from millrace.roof.store import FIELDS, INDEX, META, PREPARED, StoreWriter
from millrace.roof.windows import Band, read_band
from millrace.settings import Runtime

if TYPE_CHECKING:
    from millrace.roof.params import Prepare, Roof, Source

log = logging.getLogger(__name__)
METRICS = Path("metrics/roof/data")
PIXELS_AT_ONCE = 24_000_000
"""Of the bands that are in memory together, at about 15 bytes a pixel; one band is always read."""
OF_TILES = ["scene", "side", "top", "left", "height", "width", "pixel_size_m"]


def run(params: Roof, runtime: Runtime, name: str) -> None:
    """Check a source, split it, and write `data/prepared/roof/<name>` and `metrics/roof/data/<name>`.

    Args:
        params: The `roof` section.
        runtime: The machine.
        name: The source's key in `params.raw`.

    Raises:
        DataError: Samples were refused and `bad_files` is `stop`, or more than `max_bad_share` of them; nothing is
            written.
        UserError: There is no such data set, or no scene in it; or scenes are too few for its split, or do not say how
            large a pixel is where that must be known.
    """
    source, settings = params.raw[name], params.prepare
    report = check_source(name, source, settings, runtime)
    if (reason := stopping(report, settings)) is not None:
        message = f"{source.path}: {reason} Nothing was written."
        raise DataError(message, report.problems) if report.problems else UserError(message)
    for problem in report.problems:
        log.warning("Left out: %s", problem)
    for note in report.notes:
        log.warning("%s: %s", name, note)
    with whole_folder(PREPARED / name) as folder:
        _write_store(folder, report, settings, runtime)
    with whole_folder(METRICS / name) as folder:
        write_report(report, settings, folder)


def _write_store(folder: Path, report: Report, settings: Prepare, runtime: Runtime) -> None:
    index = report.tiles[report.tiles["labelled"]]
    kept = {(band, place) for band, place in zip(index["band"], index["place"], strict=True)}
    counts = report.of_side("train")
    with StoreWriter(folder, int((index["height"] * index["width"]).sum()), list(report.fields)) as store:
        for number, tiles in enumerate(_read_in_order(report, settings, runtime)):
            for place, tile in enumerate(tiles):
                if (number, place) in kept:
                    store.add(_with_fields(tile, report.fields, report.vector_kinds))
    index[OF_TILES].to_parquet(folder / INDEX, index=False)
    write_json(
        folder / META,
        {
            "format": report.source.format,
            "azimuths": report.azimuths,
            "heads": labelled_heads(report.of_side("all"), report.azimuths),
            "fields": list(report.fields),
            "vector_kinds": report.vector_kinds,
            "class_counts": by_head(counts, report.azimuths),
        },
    )


def _read_in_order(report: Report, settings: Prepare, runtime: Runtime) -> Iterator[list[Labelled]]:
    """The tiles of each band, in the order of bands; only some bands are in memory at a time."""
    read = partial(_read, source=report.source, settings=settings)
    quiet = runtime.model_copy(update={"progress": False})
    with tqdm(total=len(report.bands), desc=f"write {report.name}", disable=not runtime.progress) as progress:
        for some in _portions(report.bands):
            for tiles in parallel_map(read, some, quiet, report.name):
                yield tiles
                progress.update()


def _portions(bands: Sequence[Band]) -> Iterator[list[Band]]:
    """Bands in order, in portions of at most `PIXELS_AT_ONCE` prepared pixels or of one band."""
    portion: list[Band] = []
    pixels = 0.0
    for band in bands:
        own = sum(window.height * window.width for window in band.windows) * max(1.0, band.factor**2)
        if portion and pixels + own > PIXELS_AT_ONCE:
            yield portion
            portion, pixels = [], 0.0
        portion.append(band)
        pixels += own
    if portion:
        yield portion


def _read(band: Band, source: Source, settings: Prepare) -> list[Labelled]:
    return [tile.labelled for tile in read_band(band, source, settings)[0]]


def _with_fields(tile: Labelled, fields: Sequence[str], vector_kinds: int) -> Labelled:
    """A tile that has all fields: what its scene does not label is unknown."""
    shape = tile.image.shape[:2]
    unknown = {"lines": 0, "lines_known": 0, "height": np.nan}
    missing: dict[str, Any] = {
        field: np.full(shape, unknown.get(field, UNKNOWN), FIELDS[field])
        for field in fields
        if getattr(tile, field) is None
    }
    vectors = tile.vectors
    if vectors is not None:
        own = (vector_kinds >> vectors.kinds & 1) != 0
        vectors = Lines(vectors.kinds[own], vectors.ends[own]) if own.any() else None
    return replace(tile, **missing, vectors=vectors)
