"""Stage `spheroid-prepare`: checked raw images to arrays that training can map into memory."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from millrace.errors import DataError
from millrace.files import whole_folder, write_json
from millrace.settings import Runtime
from millrace.spheroid.check import Report, check_folder, summary, write_report
from millrace.spheroid.params import Prepare, Spheroid
from millrace.spheroid.reading import read_pair
from millrace.spheroid.split import assign, read_groups
from millrace.spheroid.store import META, PREPARED, StoreWriter
from millrace.splitting import SIDES

log = logging.getLogger(__name__)
METRICS = Path("metrics/spheroid")


def run(params: Spheroid, runtime: Runtime) -> None:
    """Check the raw folder, split it, and write `data/prepared/spheroid` and `metrics/spheroid/data.json`, `data/`.

    Raises:
        DataError: Files were refused and `bad_files` is `stop`, or nothing usable is left.
    """
    raw = Path(params.raw)
    settings = params.prepare
    report = check_folder(raw, settings, runtime)
    if report.problems and (settings.bad_files == "stop" or not report.pairs):
        raise DataError(
            f"{raw}: {len(report.problems)} problem(s); nothing was written. Mend them, or set "
            f"spheroid.prepare.bad_files to drop to leave these files out.",
            report.problems,
        )
    for problem in report.problems:
        log.warning("Left out: %s", problem)
    table = report.table()
    groups = read_groups(raw, settings.split, list(table["name"]))
    table = table.join(assign(table, groups, settings.split))
    _write_store(report, table, settings)
    with whole_folder(METRICS / "data") as folder:
        write_report(report, settings, folder)
    write_json(METRICS / "data.json", summary(report) | _split_summary(table))


def _write_store(report: Report, table: pd.DataFrame, settings: Prepare) -> None:
    with whole_folder(PREPARED) as folder:
        pixels = int((table["width"] * table["height"]).sum())
        with StoreWriter(folder, pixels) as store:
            for pair in report.pairs:
                image, scale, labels = read_pair(pair, settings)
                store.add(scale.apply(image), labels)
        shapes = table[["name", "height", "width", "split", "fold"]]
        shapes.to_parquet(folder / "index.parquet", index=False)
        write_json(folder / META, {"preprocessing": settings.preprocessing.model_dump()})


def _split_summary(table: pd.DataFrame) -> dict[str, object]:
    return {"split": {side: int((table["split"] == side).sum()) for side in SIDES}}
