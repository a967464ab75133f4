"""Checks of a raw folder: every block of every scene read, every problem found, before anything is written."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.compression.decibels import Scaling, with_logarithm
from millrace.compression.measure import measure_band
from millrace.compression.raw import STRIP_PIXELS, Scene, find_scenes, product_of
from millrace.errors import ImageError, Problem
from millrace.files import write_csv, write_json
from millrace.imagery.pictures import sheet, write_png
from millrace.imagery.raster import Raster
from millrace.parallel import parallel_map
from millrace.settings import Runtime

if TYPE_CHECKING:
    from millrace.compression.params import Compression, Prepare

SHEET_CELLS, SHEET_COLUMNS, SHEET_PX = 24, 6, 200
INVALID_COLOUR = (40, 60, 120)
_SHOWN = ["scene", "band", "dtype", "width", "height", "valid_share", "minimum", "maximum", "low", "high", "enl"]


@dataclass(frozen=True)
class Record:
    """One usable band of a scene, as a row of the table; `low` and `high` are its own percentiles in decibels."""

    scene: str
    band: int
    description: str
    dtype: str
    width: int
    height: int
    valid_share: float
    minimum: float
    maximum: float
    low: float
    high: float
    enl: float
    fill: float
    content: str
    product: str
    warnings: str


@dataclass
class Report:
    """What a check found. `records` has one row for each band to be used of each of `scenes`; others are refused."""

    scenes: list[Scene] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([asdict(record) for record in self.records], columns=list(Record.__dataclass_fields__))

    def duplicates(self) -> list[list[str]]:
        """Names of scenes that have a band in common."""
        by_content: dict[str, dict[str, None]] = defaultdict(dict)
        for record in self.records:
            by_content[record.content][record.scene] = None
        return [list(names) for names in by_content.values() if len(names) > 1]


def max_pixels(settings: Prepare) -> int:
    return int(settings.max_megapixels * 1e6)


def check_folder(raw: Path, settings: Prepare, runtime: Runtime) -> Report:
    """Read all scenes of a raw folder and report on them; writes nothing.

    Raises:
        UserError: The folder itself is not usable.
    """
    scenes, problems = find_scenes(raw)
    results = parallel_map(partial(_inspect, settings=settings), scenes, runtime, "compression check")
    report = Report(problems=problems)
    for scene, (records, problem) in zip(scenes, results, strict=True):
        if problem is not None:
            report.problems.append(problem)
        else:
            report.scenes.append(scene)
            report.records += records
    report.problems.sort()
    return report


def summary(table: pd.DataFrame, problems: int, duplicates: int) -> dict[str, Any]:
    """Counts and medians for data.json; `table` has a row a band."""
    return {
        "scenes": int(table["scene"].nunique()),
        "bands": len(table),
        "megapixels": float((table["width"] * table["height"]).sum() / 1e6),
        "problems": problems,
        "duplicate_groups": duplicates,
        "bands_with_warnings": int((table["warnings"] != "").sum()),
        "valid_share": float(np.average(table["valid_share"], weights=table["width"] * table["height"])),
        "median_low": float(table["low"].median()),
        "median_high": float(table["high"].median()),
        "median_enl": float(table["enl"].median()),
    }


def print_check(raw: Path, out: Path, params: Compression, runtime: Runtime) -> bool:
    """The command `check compression`: print what was found; write `scenes.csv`, `data.json` and `sheet.png`.

    Args:
        raw: Folder of scenes.
        out: Gets the table, the counts and the pictures.
        params: The `compression` section.
        runtime: The machine.

    Returns:
        Whether nothing was refused.
    """
    settings = params.prepare
    report = check_folder(raw, settings, runtime)
    table = report.table()
    if len(table):
        print(table[_SHOWN].to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        write_csv(out / "scenes.csv", table)
        write_json(out / "data.json", summary(table, len(report.problems), len(report.duplicates())))
        write_sheet(out / "sheet.png", raw, table, settings)
        print(f"\nTable and pictures: {out}")
    for names in report.duplicates():
        print(f"same content: {', '.join(names)}")
    for record in report.records:
        if record.warnings:
            print(f"warning: {record.scene}, band {record.band}: {record.warnings}")
    for problem in report.problems:
        print(f"problem: {problem}")
    return not report.problems


def write_sheet(path: Path, raw: Path, table: pd.DataFrame, settings: Prepare) -> None:
    """Write small pictures of evenly picked bands, scaled from their `low` to their `high`."""
    rows = table.iloc[:: max(1, math.ceil(len(table) / SHEET_CELLS))]
    pictures, captions = [], []
    for row in rows.to_dict("records"):
        with Raster(raw / row["scene"], max_pixels=max_pixels(settings)) as raster:
            pictures.append(preview(raster, row["band"], Scaling(row["low"], row["high"], settings.values), SHEET_PX))
        captions.append(f"{row['scene']}#{row['band']}")
    write_png(path, sheet(pictures, captions, columns=SHEET_COLUMNS, cell_px=SHEET_PX))


def preview(raster: Raster, band: int, scaling: Scaling, side_px: int) -> NDArray[np.uint8]:
    """RGB picture of a band no larger than `side_px`: box means in grey, and a colour where most pixels are invalid."""
    height, width = raster.metadata.height, raster.metadata.width
    factor = math.ceil(max(height, width) / side_px)
    strips, colour = [], np.array(INVALID_COLOUR, np.uint8)
    for window in raster.strips(max(1, STRIP_PIXELS // width // factor) * factor):
        values, readable = raster.read(band, window)
        valid = with_logarithm(values, readable, scaling.values)
        sums, counts = (
            np.add.reduceat(np.add.reduceat(part, range(0, len(part), factor), axis=0), range(0, width, factor), axis=1)
            for part in (np.where(valid, scaling.normalise(values), 0), valid.astype(np.float32))
        )
        areas = np.add.reduceat(np.ones(len(values)), range(0, len(values), factor))[:, None]
        areas = areas * np.add.reduceat(np.ones(width), range(0, width, factor))
        grey = np.rint(255 * sums / np.maximum(counts, 1)).astype(np.uint8)
        strips.append(np.where((counts < areas / 2)[..., None], colour, grey[..., None]))
    return np.concatenate(strips)


def _inspect(scene: Scene, settings: Prepare) -> tuple[list[Record], Problem | None]:
    """A row for each band of a scene, or what is wrong with it."""
    try:
        with Raster(scene.path, max_pixels=max_pixels(settings)) as raster:
            return [_record(scene, raster, band, settings) for band in _bands(raster, settings)], None
    except ImageError as error:
        reason = str(error)
    except (OSError, MemoryError) as error:  # such as a file without permission to read
        reason = f"it cannot be read: {error or type(error).__name__}"
    return [], Problem(scene.path, reason)


def _bands(raster: Raster, settings: Prepare) -> tuple[int, ...]:
    if settings.bands is None:
        return raster.metadata.image_bands
    if missing := set(settings.bands) - set(raster.metadata.image_bands):
        raise ImageError(f"it has no band {min(missing)} of an image, which prepare.bands asks for")
    return tuple(sorted(set(settings.bands)))


def _record(scene: Scene, raster: Raster, band: int, settings: Prepare) -> Record:
    metadata, clip = raster.metadata, settings.clip
    measured = measure_band(raster, band, settings.values, clip.low_percentile, clip.high_percentile)
    found = [f"{text} would not be kept" for text in raster.not_kept]
    if measured.minimum == measured.maximum:
        found.append("all valid pixels have one value")
    if measured.valid_share < 0.5:
        found.append("most pixels are invalid")
    return Record(
        scene=scene.name,
        band=band,
        description=(metadata.descriptions or [None] * band)[band - 1] or "",
        dtype=metadata.dtype,
        width=metadata.width,
        height=metadata.height,
        valid_share=measured.valid_share,
        minimum=measured.minimum,
        maximum=measured.maximum,
        low=measured.low,
        high=measured.high,
        enl=measured.enl,
        fill=measured.fill,
        content=measured.content,
        product=product_of(scene.name),
        warnings="; ".join(found),
    )
