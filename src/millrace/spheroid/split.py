"""Which image is for training, validation and test, and in which fold: whole images, groups and duplicates kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from millrace.errors import UserError
from millrace.spheroid.params import Split
from millrace.splitting import connected, deal

NEIGHBOURS = 5
NO_FOLD = -1


def read_groups(raw: Path, settings: Split, names: list[str]) -> dict[str, str]:
    """Group of each image from the CSV file that `split.groups` names, or no group at all.

    Raises:
        UserError: The file is missing, outside the raw folder, lacks a column, or an image has no group or two.
    """
    if settings.groups is None:
        return {}
    path = raw / settings.groups
    if not path.resolve().is_relative_to(raw.resolve()):
        raise UserError(f"split.groups {settings.groups} leaves the raw folder {raw}")
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from None
    missing = {"image", "group"} - set(table.columns)
    if missing:
        raise UserError(f"{path} lacks the column(s) {', '.join(sorted(missing))}; it has {', '.join(table.columns)}")
    table = table.dropna(subset=["image", "group"])
    counts = table.groupby("image")["group"].nunique()
    wrong = [name for name in names if counts.get(name, 0) != 1]
    if wrong:
        raise UserError(f"{path}: {len(wrong)} image(s) with no group or several: {', '.join(wrong[:10])}")
    return dict(zip(table["image"], table["group"], strict=True))


def assign(table: pd.DataFrame, groups: dict[str, str], settings: Split) -> pd.DataFrame:
    """Side and fold of each image.

    Images that share a group or their content form one unit. Units are ordered by their mean coverage, so that a side
    gets sparse and dense ones alike, and dealt out in that order: each goes to the side that is furthest below its
    share, ties and neighbours in coverage drawn from the seed.

    Args:
        table: One row an image with columns `name`, `coverage` and `content`.
        groups: Group by image name; images that are not in it stand alone.
        settings: Shares, folds and seed.

    Returns:
        Columns `split` (train, validation or test) and `fold` (0 to folds - 1; -1 with fewer units than folds).

    Raises:
        UserError: There are fewer independent images than sides.
    """
    units = _units(table, groups)
    sizes = units.value_counts()
    counts = dict(zip(map(int, sizes.index), map(int, sizes), strict=True))
    shares = settings.shares
    if len(sizes) < len(shares):
        raise UserError(
            f"{len(table)} images form {len(sizes)} independent units (groups and duplicates stay together): too few "
            f"for {' + '.join(shares)}"
        )
    coverage = table["coverage"].groupby(units).mean()
    order = _stratified_order(coverage, settings.seed)
    split = deal(order, counts, shares)
    fold = dict.fromkeys(order, NO_FOLD)
    if len(sizes) >= settings.folds:
        fold = deal(order, counts, dict.fromkeys(range(settings.folds), 1 / settings.folds))
    return pd.DataFrame({"split": units.map(split), "fold": units.map(fold)})


def _units(table: pd.DataFrame, groups: dict[str, str]) -> pd.Series[int]:
    """Number of each image's unit: connected through a shared group or shared content."""
    keys = [
        [("content", content)] + ([("group", groups[name])] if name in groups else [])
        for name, content in zip(table["name"], table["content"], strict=True)
    ]
    return pd.Series(connected(keys), index=table.index)


def _stratified_order(coverage: pd.Series[float], seed: int) -> list[int]:
    """Units by coverage, shuffled within runs of neighbours."""
    rng = np.random.default_rng(seed)
    by_coverage = coverage.sort_values(kind="stable").index.to_numpy()
    chunks = [
        rng.permutation(by_coverage[start : start + NEIGHBOURS]) for start in range(0, len(by_coverage), NEIGHBOURS)
    ]
    return [int(unit) for chunk in chunks for unit in chunk]
