"""The command `evaluate --raw`: existing rate points scored on any folder of rasters."""

from __future__ import annotations

from pathlib import Path

from millrace.compression.check import check_folder, max_pixels
from millrace.compression.decibels import Scaling
from millrace.compression.evaluate import Result, score, write_details
from millrace.compression.fill import fill
from millrace.compression.params import Compression
from millrace.compression.prepare import ranges_of
from millrace.compression.rate_distortion import Case
from millrace.compression.raw import read_normalised
from millrace.compression.targets import RatePoints
from millrace.errors import DataError, UserError
from millrace.files import write_json
from millrace.imagery.raster import Raster
from millrace.settings import Runtime


def evaluate_folder(raw: Path, out: Path, folder: Path, params: Compression, runtime: Runtime) -> Result:
    """Score rate points on all bands of all rasters of a folder; write `evaluate.json`, tables and pictures to `out`.

    Args:
        raw: Folder of rasters.
        out: Folder for the results.
        folder: Folder of rate points.
        params: `prepare` says what pixels are and what is clipped, `evaluate` what is compared.
        runtime: The machine.

    Raises:
        DataError: Files are refused, and `prepare.bad_files` is `stop` or nothing is left.
        UserError: The folder or a model cannot be used.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out names a folder")
    settings = params.prepare
    report = check_folder(raw, settings, runtime)
    if report.problems and (settings.bad_files == "stop" or not report.records):
        raise DataError(f"{raw}: {len(report.problems)} problem(s)", report.problems)
    table = report.table()
    table["side"] = "train"  # a range of its own for each band, or the medians over all
    table["low"], table["high"] = ranges_of(table, settings)
    cases = []
    for row in table.to_dict("records"):
        scaling = Scaling(row["low"], row["high"], settings.values)
        with Raster(raw / row["scene"], max_pixels=max_pixels(settings)) as raster:
            values, valid = read_normalised(raster, row["band"], scaling)
        decibels = None if settings.values == "linear" else (row["low"], row["high"])
        name = f"{row['scene']}#{row['band']}"
        cases.append(Case.of(name, fill(values, valid), valid, decibels, params.evaluate.bits))
    result = score(cases, folder, None, params.evaluate, runtime)
    write_details(result, cases, RatePoints(folder), params.evaluate, out)
    write_json(out / "evaluate.json", result.summary() | {"left_out": len(report.problems)})
    return result
