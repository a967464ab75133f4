"""Stage `compression-prepare`: checked scenes to patches and whole bands, normalised and split by scene."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.compression.check import check_folder, max_pixels, summary, write_sheet
from millrace.compression.decibels import Scaling
from millrace.compression.fill import fill
from millrace.compression.raw import read_normalised
from millrace.compression.store import META, PREPARED, StoreWriter
from millrace.errors import DataError, UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.imagery.raster import Raster
from millrace.settings import Runtime
from millrace.splitting import SIDES, Split, connected, deal

if TYPE_CHECKING:
    from millrace.compression.params import Compression, Prepare

log = logging.getLogger(__name__)
METRICS = Path("metrics/compression")
_OF_SCENES = ["scene", "band", "description", "side", "dtype", "height", "width", "low", "high", "valid_share", "enl"]


def run(params: Compression, runtime: Runtime) -> None:
    """Check and split the raw folder; write `data/prepared/compression` and `metrics/compression/data.json`, `data/`.

    One band at a time is in memory, at about 15 bytes a pixel.

    Raises:
        DataError: Files were refused and `bad_files` is `stop`, or nothing usable is left.
        UserError: There are too few scenes for the split, or a side has no patch.
    """
    raw, settings = Path(params.raw), params.prepare
    report = check_folder(raw, settings, runtime)
    if report.problems and (settings.bad_files == "stop" or not report.records):
        raise DataError(
            f"{raw}: {len(report.problems)} problem(s); nothing was written. Mend them, or set "
            f"compression.prepare.bad_files to drop to leave these files out.",
            report.problems,
        )
    for problem in report.problems:
        log.warning("Left out: %s", problem)
    table = report.table()
    table["side"] = sides_of(table, settings.split)
    table["low"], table["high"] = ranges_of(table, settings)
    with whole_folder(PREPARED) as folder:
        with StoreWriter(folder, settings.patch_px) as store:
            _write_bands(store, raw, table, settings)
        counts = pd.Series([row["side"] for row in store.patches], dtype=str).value_counts()
        _check_patches(counts, settings)
        write_json(folder / META, settings.model_dump(include={"values", "clip", "patch_px"}))
    with whole_folder(METRICS / "data") as folder:
        write_csv(folder / "scenes.csv", table.drop(columns=["content", "fill"]))
        write_sheet(folder / "sheet.png", raw, table, settings)
    sides = {
        side: {"scenes": int(own["scene"].nunique()), "bands": len(own), "patches": int(counts.get(side, 0))}
        for side, own in ((side, table[table["side"] == side]) for side in SIDES)
    }
    write_json(METRICS / "data.json", summary(table, len(report.problems), len(report.duplicates())) | sides)


def sides_of(table: pd.DataFrame, split: Split) -> pd.Series[str]:
    """Side of each band: those of one file, of one acquisition, and of files with a band in common stay together.

    Units are dealt in an order drawn from the seed, each to the side that is furthest below its share of pixels.

    Args:
        table: One row a band with `scene`, `product`, `content`, `height` and `width`.
        split: Shares and seed.

    Raises:
        UserError: There are fewer units than sides.
    """
    rows = table[["scene", "product", "content"]].itertuples(index=False)
    keys: list[list[Hashable]] = [[*zip(("scene", "product", "content"), row, strict=True)] for row in rows]
    units = pd.Series(connected(keys), index=table.index)
    pixels = (table["height"] * table["width"]).groupby(units).sum()
    sizes = dict(zip(map(int, pixels.index), map(int, pixels), strict=True))
    if len(sizes) < len(split.shares):
        raise UserError(
            f"{table['scene'].nunique()} scenes form {len(sizes)} independent units (polarisations of one acquisition "
            f"and duplicates stay together): too few for {' + '.join(split.shares)}. Add scenes, or set a share of "
            f"compression.prepare.split to 0"
        )
    order = np.random.default_rng(split.seed).permutation(list(sizes))
    return units.map(deal(order.tolist(), sizes, split.shares))


def ranges_of(table: pd.DataFrame, settings: Prepare) -> tuple[pd.Series[float], pd.Series[float]]:
    """What becomes 0 and 1 in each band, in decibels.

    Raises:
        UserError: Next to no pixel of a band is within the fixed range.
    """
    if settings.clip.fixed is not None:
        low, high = settings.clip.fixed
        outside = table[(table["high"] <= low) | (table["low"] >= high)]
        if len(outside):
            first = outside.iloc[0]
            raise UserError(
                f"compression.prepare.clip.fixed [{low:g}, {high:g}] leaves nothing of {len(outside)} band(s); "
                f"{first['scene']} lies at {first['low']:.4g} to {first['high']:.4g}. Is prepare.values right?"
            )
    elif settings.clip.per == "dataset":
        low, high = (float(table.loc[table["side"] == "train", name].median()) for name in ("low", "high"))
    else:
        return table["low"], table["high"]
    return pd.Series(low, index=table.index), pd.Series(high, index=table.index)


def windows(
    filled: NDArray[np.float32], valid: NDArray[np.bool_], side: int, stride: int
) -> Iterator[tuple[int, int, float, NDArray[np.float32], NDArray[np.bool_]]]:
    """Patches (side, side) of an image; one flush with the far edge where more than a quarter of it is new there.

    A smaller image is continued by reflection at its far edges, in pixels that count as invalid.

    Yields:
        First row and column, share of valid pixels among those that are the image's own, values, valid pixels.
    """
    height, width = valid.shape
    padding = (0, max(0, side - height)), (0, max(0, side - width))
    if height < side or width < side:
        filled, valid = np.pad(filled, padding, mode="symmetric"), np.pad(valid, padding)
    own = min(height, side) * min(width, side)
    for y, x in product(_starts(height, side, stride), _starts(width, side, stride)):
        part = slice(y, y + side), slice(x, x + side)
        yield y, x, float(valid[part].sum() / own), filled[part], valid[part]


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = max(0, length - side)
    starts = list(range(0, last + 1, stride))
    return [*starts, last] if last - starts[-1] > side // 4 else starts


def _write_bands(store: StoreWriter, raw: Path, table: pd.DataFrame, settings: Prepare) -> None:
    for row in table[_OF_SCENES].to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        with Raster(raw / row["scene"], max_pixels=max_pixels(settings)) as raster:
            scaling = Scaling(row["low"], row["high"], settings.values)
            normalised, valid = read_normalised(raster, row["band"], scaling)
        filled = fill(normalised, valid)
        if row["side"] == "train":
            store.add_row(named)
        else:
            store.add_scene(filled, valid, named)
        if row["side"] != "test":
            _write_patches(store, filled, valid, named, settings)


def _write_patches(
    store: StoreWriter, filled: NDArray[np.float32], valid: NDArray[np.bool_], row: dict[str, Any], settings: Prepare
) -> None:
    of_scene = {name: row[name] for name in ("scene", "band", "side")}
    for y, x, share, values, mask in windows(filled, valid, settings.patch_px, settings.stride_px):
        if share >= settings.min_valid_share:
            store.add_patch(values, mask, of_scene | {"y": y, "x": x, "valid_share": share})


def _check_patches(counts: pd.Series[int], settings: Prepare) -> None:
    for side in ("train", "validation"):
        if not counts.get(side, 0):
            raise UserError(
                f"No patch of {settings.patch_px} x {settings.patch_px} pixels for {side} has a share of "
                f"{settings.min_valid_share:g} valid pixels. Lower compression.prepare.min_valid_share, or give "
                f"{side} a larger share in compression.prepare.split"
            )
