"""Stage `spheroid-folds@all`: mean and standard deviation of the scores over the folds of cross-validation."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from millrace.errors import UserError
from millrace.files import write_json
from millrace.settings import Runtime
from millrace.spheroid.params import Spheroid

METRICS = Path("metrics/spheroid/folds")
METHODS = ("model", "baseline")


def run(params: Spheroid, runtime: Runtime) -> None:
    """Write `metrics/spheroid/folds.json` from the `evaluate.json` of each fold in `crossvalidation.folds`.

    The standard deviation is that of the folds' scores (n - 1); with one fold it is null.

    Raises:
        UserError: A fold has no result.
    """
    files = [METRICS / str(fold) / "evaluate.json" for fold in params.crossvalidation.folds]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        raise UserError(
            f"No result of {', '.join(missing) or 'any fold'}: run `dvc repro` with the folds in params.yaml"
        )
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    summary: dict[str, object] = {"folds": len(files)}
    for method in METHODS:
        table = pd.DataFrame([result[method] for result in results])
        summary[method] = {"mean": table.mean().to_dict(), "standard_deviation": table.std().to_dict()}
    write_json(Path(f"{METRICS}.json"), summary)
