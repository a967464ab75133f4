"""Checks of a raw folder: every problem of every file, found before anything is written."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import ImageError, Problem
from millrace.files import write_csv, write_json
from millrace.imagery.masks import read_mask
from millrace.imagery.pictures import outlines, sheet, write_png
from millrace.imagery.read import probe, read_grey
from millrace.parallel import parallel_map
from millrace.settings import Runtime
from millrace.spheroid.params import Prepare, Spheroid
from millrace.spheroid.raw import Pair, find_pairs
from millrace.spheroid.reading import max_pixels, read_pair, scale_of

SHEET_CELLS = 48
SHEET_COLUMNS, SHEET_PX = 8, 120
OUTLINE = (0, 220, 0)
PATCH_DIAMETERS = 2.5
PATCH_MULTIPLE = 32


@dataclass(frozen=True)
class Record:
    """One usable pair, as a row of the QC table. Coverage is a share, the diameter in pixels."""

    name: str
    width: int
    height: int
    channels: int
    dtype: str
    pages: int
    low: float
    high: float
    inverted: bool
    coverage: float
    objects: int
    mean_diameter_px: float
    content: str
    warnings: str


@dataclass
class Report:
    """What a check found. `pairs` and `records` belong together; a refused pair is in neither."""

    pairs: list[Pair] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([asdict(record) for record in self.records], columns=list(Record.__dataclass_fields__))

    def mean_diameter_px(self) -> float:
        """Mean equivalent diameter over all objects; 0 without any."""
        objects = sum(record.objects for record in self.records)
        return sum(record.objects * record.mean_diameter_px for record in self.records) / objects if objects else 0.0

    def suggested_patch_px(self) -> int:
        """2.5 mean diameters, rounded up to a multiple of 32."""
        return max(1, math.ceil(self.mean_diameter_px() * PATCH_DIAMETERS / PATCH_MULTIPLE)) * PATCH_MULTIPLE

    def duplicates(self) -> list[list[str]]:
        """Names of images with equal content, turned and flipped copies included."""
        by_content: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            by_content[record.content].append(record.name)
        return [names for names in by_content.values() if len(names) > 1]


def check_folder(raw: Path, settings: Prepare, runtime: Runtime) -> Report:
    """Read every pair of a raw folder and report on it; writes nothing.

    Raises:
        UserError: The folder itself is not usable.
    """
    pairs, problems = find_pairs(raw)
    results = parallel_map(partial(_inspect, settings=settings), pairs, runtime, "check")
    report = Report(problems=list(problems))
    for pair, (record, found) in zip(pairs, results, strict=True):
        report.problems += found
        if record is not None and not found:
            report.pairs.append(pair)
            report.records.append(record)
    return report


def write_report(report: Report, settings: Prepare, folder: Path) -> None:
    """Write `qc.csv` (a row a pair) and `sheet.png` (pictures with the masks' outlines, evenly picked)."""
    write_csv(folder / "qc.csv", report.table())
    if not report.pairs:
        return
    step = max(1, math.ceil(len(report.pairs) / SHEET_CELLS))
    pictures, captions = [], []
    for pair, record in list(zip(report.pairs, report.records, strict=True))[::step]:
        image, scale, labels = read_pair(pair, settings)
        line_px = max(1, -(-max(image.shape) // SHEET_PX))
        pictures.append(outlines(scale.apply(image), [(labels, OUTLINE)], line_px))
        captions.append(f"{record.name}: {record.objects}")
    write_png(folder / "sheet.png", sheet(pictures, captions, columns=SHEET_COLUMNS, cell_px=SHEET_PX))


def summary(report: Report) -> dict[str, object]:
    """Counts for data.json."""
    table = report.table()
    return {
        "images": len(table),
        "problems": len(report.problems),
        "objects": int(table["objects"].sum()),
        "empty_images": int((table["objects"] == 0).sum()),
        "mean_coverage": float(table["coverage"].mean()),
        "mean_diameter_px": report.mean_diameter_px(),
        "suggested_patch_px": report.suggested_patch_px(),
        "duplicate_groups": len(report.duplicates()),
        "images_with_warnings": int((table["warnings"] != "").sum()),
        "megapixels": float((table["width"] * table["height"]).sum() / 1e6),
    }


def print_check(raw: Path, out: Path, params: Spheroid, runtime: Runtime) -> bool:
    """The command `check`: print what was found, write table, pictures and counts; whether there is no problem."""
    report = check_folder(raw, params.prepare, runtime)
    out.mkdir(parents=True, exist_ok=True)
    write_report(report, params.prepare, out)
    write_json(out / "problems.json", {"problems": [str(problem) for problem in sorted(report.problems)]})
    write_json(out / "data.json", summary(report))
    for name, value in summary(report).items():
        tqdm.write(f"{name:22} {value:.4g}" if isinstance(value, float) else f"{name:22} {value}")
    for names in report.duplicates():
        tqdm.write(f"same content: {', '.join(names)}")
    for record in report.records:
        if record.warnings:
            tqdm.write(f"warning: {record.name}: {record.warnings}")
    for problem in sorted(report.problems):
        tqdm.write(f"problem: {problem}")
    tqdm.write(f"Table and pictures: {out}")
    return not report.problems


def _inspect(pair: Pair, settings: Prepare) -> tuple[Record | None, list[Problem]]:
    """All that is wrong with one pair, and its row where nothing is."""
    problems: list[Problem] = []
    image = scale = labels = None
    try:
        info = probe(pair.image, page=settings.preprocessing.page, max_pixels=max_pixels(settings))
        if min(info.width, info.height) < settings.min_size_px:
            raise ImageError(f"is {info.width}x{info.height} pixels, smaller than min_size_px {settings.min_size_px}")
        image = read_grey(pair.image, page=settings.preprocessing.page, max_pixels=max_pixels(settings))
        scale = scale_of(image, settings.preprocessing)
    except ImageError as error:
        problems.append(Problem(pair.image, str(error)))
    try:
        labels = read_mask(pair.mask, max_pixels=max_pixels(settings))
        if settings.empty_masks == "refuse" and not labels.any():
            raise ImageError("has no object (prepare.empty_masks is refuse)")
        if image is not None and labels.shape != image.shape:
            raise ImageError(
                f"is {labels.shape[1]}x{labels.shape[0]} pixels, its image {image.shape[1]}x{image.shape[0]}"
            )
    except ImageError as error:
        problems.append(Problem(pair.mask, str(error)))
    if problems or image is None or scale is None or labels is None:
        return None, problems
    areas = np.bincount(labels.ravel())[1:]
    coverage = float(areas.sum() / labels.size)
    return Record(
        name=pair.name,
        width=info.width,
        height=info.height,
        channels=info.channels,
        dtype=info.dtype,
        pages=info.pages,
        low=scale.low,
        high=scale.high,
        inverted=scale.inverted,
        coverage=coverage,
        objects=len(areas),
        mean_diameter_px=float(np.sqrt(4 * areas / np.pi).mean()) if len(areas) else 0.0,
        content=_content(image),
        warnings="; ".join(_warnings(coverage, info.pages, settings.preprocessing.page)),
    ), []


def _warnings(coverage: float, pages: int, page: int) -> list[str]:
    found = []
    if coverage == 0:
        found.append("no object")
    elif coverage < 0.01:
        found.append("objects cover less than 1 %")
    elif coverage > 0.8:
        found.append("objects cover more than 80 %")
    if pages > 1:
        found.append(f"page {page} of {pages} is used")
    return found


def _content(image: NDArray[np.generic]) -> str:
    """Hash of the pixels that is the same for all eight turned and flipped copies."""
    copies = [np.rot90(base, turns) for base in (image, image.T) for turns in range(4)]
    return min(hashlib.sha256(f"{copy.shape}".encode() + copy.tobytes()).hexdigest() for copy in copies)[:16]
