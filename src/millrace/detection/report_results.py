"""What prepare, train and evaluate wrote about a model, read for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import UserError
from millrace.splitting import SIDES

Row = Mapping[str, float]
_TEXT = frozenset({"category", "file_name", "actual", "predicted", "kind", "size", "split", "file", "what", "done"})


@dataclass(frozen=True)
class Results:
    """All of it. Scores are from 0 to 1, and None or nan where there was nothing to count.

    Attributes:
        folder: Where the files are, `metrics/detection`.
        data: data.json.
        findings: data/findings.csv.
        balance: Boxes of each class (row) on each side of the split (column).
        box_sizes: data/box_sizes.csv.
        config: The model folder's config.json.
        curves: A row an epoch, counted from 1, and a column a metric.
        kept_epoch: The one that became the model, counted from 1.
        skipped_steps: Training steps without a usable gradient.
        model: Block of evaluate.json: the model on the test images.
        baseline: Likewise.
        validation: The model on the validation images.
        per_class: Table of evaluate/, as the following.
        precision_recall: pr_curve.csv.
        f1: f1_curve.csv.
        confusion: Boxes of each class (row) that were reported as each class (column), (C + 1, C + 1), with background
            last.
        errors: Row of each kind.
        sizes: Row of each size.
        per_image: The lowest score first.
    """

    folder: Path
    data: Mapping[str, Any]
    findings: pd.DataFrame
    balance: pd.DataFrame
    box_sizes: pd.DataFrame
    config: Mapping[str, Any]
    curves: pd.DataFrame
    kept_epoch: int
    skipped_steps: int
    model: Mapping[str, Any]
    baseline: Mapping[str, Any]
    validation: Mapping[str, Any]
    per_class: pd.DataFrame
    precision_recall: pd.DataFrame
    f1: pd.DataFrame
    confusion: NDArray[np.float64]
    errors: Mapping[str, Row]
    sizes: Mapping[str, Row]
    per_image: pd.DataFrame

    @property
    def classes(self) -> list[str]:
        return [str(each["name"]) for each in self.config["classes"]]

    @property
    def test_images(self) -> int:
        return len(self.per_image)

    @property
    def test_boxes(self) -> int:
        return int(self.per_class["boxes"].sum())


def read_results(folder: Path, model: Path) -> Results:
    """Read them.

    Args:
        folder: `metrics/detection`, or another with the same files.
        model: The model folder.

    Raises:
        UserError: A file is missing or cannot be read.
    """
    config = _read_json(model / "config.json", "train")
    training = _read_json(folder / "train" / "metrics.json", "train")
    scores = _read_json(folder / "evaluate.json", "evaluate")
    parts = folder / "evaluate"
    try:
        return Results(
            folder=folder,
            data=_read_json(folder / "data.json", "prepare"),
            findings=_read_table(folder / "data" / "findings.csv", "prepare"),
            balance=_read_balance(folder / "data" / "class_balance.csv"),
            box_sizes=_read_table(folder / "data" / "box_sizes.csv", "prepare"),
            config=config,
            curves=_read_curves(folder / "train" / "plots" / "metrics"),
            kept_epoch=int(training["kept_epoch"]) + 1,
            skipped_steps=int(training["skipped"]),
            model=scores["model"],
            baseline=scores["baseline"],
            validation=scores["validation"],
            per_class=_read_table(parts / "per_class.csv", "evaluate"),
            precision_recall=_read_table(parts / "pr_curve.csv", "evaluate"),
            f1=_read_table(parts / "f1_curve.csv", "evaluate"),
            confusion=_read_confusion(parts / "confusion.csv", len(config["classes"])),
            errors=_read_rows(parts / "errors.csv", "kind"),
            sizes=_read_rows(parts / "sizes.csv", "size"),
            per_image=_read_table(parts / "per_image.csv", "evaluate"),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder}: {error} is missing in what the stages wrote. Run `dvc repro -f`.") from None


def _read_json(path: Path, stage: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, stage, error) from None
    return content


def _read_table(path: Path, stage: str, separator: str = ",") -> pd.DataFrame:
    """Names stay as they are, also those that look like a number or a missing value."""
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
        numbers = {str(name): pd.to_numeric(table[name]) for name in table if name not in _TEXT}
        return table.assign(**numbers)
    except (OSError, ValueError) as error:
        raise _unreadable(path, stage, error) from None


def _read_rows(path: Path, column: str) -> dict[str, Row]:
    """A small table by one of its columns."""
    rows = _read_table(path, "evaluate").to_dict("records")
    return {str(row.pop(column)): {str(name): float(value) for name, value in row.items()} for row in rows}


def _read_curves(folder: Path) -> pd.DataFrame:
    """Table of each metric that dvclive wrote, side by side; its steps are counted from 0."""
    files = sorted(folder.glob("*.tsv"))
    if not files:
        raise _unreadable(folder, "train", "no table in it")
    table = pd.concat([_read_table(file, "train", "\t").set_index("step") for file in files], axis=1).sort_index()
    table.index = (table.index + 1).rename("epoch")
    return table


def _read_balance(path: Path) -> pd.DataFrame:
    """A side without a box has no rows in the file."""
    table = _read_table(path, "prepare")
    square = table.pivot_table(index="category", columns="split", values="boxes", aggfunc="sum", fill_value=0)
    return square.reindex(index=table["category"].unique(), columns=SIDES, fill_value=0)


def _read_confusion(path: Path, classes: int) -> NDArray[np.float64]:
    """By place in the file, not by name: a class may be called background too."""
    counts = _read_table(path, "evaluate")["count"].to_numpy(np.float64)
    if len(counts) != (classes + 1) ** 2 - 1:
        raise _unreadable(path, "evaluate", f"{len(counts)} rows do not fit {classes} classes")
    return np.append(counts, 0).reshape(classes + 1, classes + 1)


def _unreadable(path: Path, stage: str, error: object) -> UserError:
    return UserError(f"{path} cannot be read ({error}). Run `dvc repro detection-{stage}`.")
