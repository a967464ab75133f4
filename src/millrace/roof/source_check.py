"""Checks of a source: every scene read and everything that is wrong found, before anything is written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import DataError, Problem, UserError
from millrace.parallel import parallel_map
from millrace.roof import raw as reader
from millrace.roof.class_counts import columns, counted
from millrace.roof.classes import ALL_LINES
from millrace.roof.implausible import implausible
from millrace.roof.raw_files import some
from millrace.roof.scene import Scene
from millrace.roof.split import dealt, leaks, place, settings_of
from millrace.roof.store import FIELDS
from millrace.roof.windows import Band, bands, read_band, unfit
from millrace.settings import Runtime

if TYPE_CHECKING:
    from millrace.roof.params import Prepare, Source


@dataclass(frozen=True)
class BandReport:
    """What was found in the windows of a band.

    Attributes:
        tiles: `top`, `left`, `height`, `width` of each in prepared pixels, (N, 4).
        counts: Pixels of each of `class_counts.columns`, (N, K).
        fields: Those of `store.FIELDS` that a tile has.
        vector_kinds: Bits of the kinds of lines that are given as vectors.
        content: Hash of the image.
        heights_outside: Heights that were taken as unknown.
        lowest_m: The lowest of the others; NaN where there is none.
        problems: Why it cannot be used.
    """

    tiles: NDArray[np.int64]
    counts: NDArray[np.int64]
    fields: frozenset[str] = frozenset()
    vector_kinds: int = ALL_LINES
    content: str = ""
    heights_outside: int = 0
    lowest_m: float = math.nan
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: The source's key in params.yaml.
        source: Where and what it is.
        azimuths: Azimuth classes of `counts`.
        scenes: Those that can be used.
        bands: Their windows.
        tiles: One row a window, in the order of `bands`: `band`, and of `Store.index` what a tile has; `side` is empty
            where scenes could not be dealt, `labelled` tells whether anything is labelled on it.
        counts: Pixels of each of `class_counts.columns`, one row a window.
        fields: Those of `store.FIELDS` that a tile has.
        vector_kinds: Bits of the kinds of lines that all scenes give as vectors.
        problems: Of scenes that cannot be used.
        bad: How many samples those are: a problem that is not of a scene counts as one.
        blocking: What leaving scenes out does not help against.
        notes: What need not be mended.
        copies: Scenes with the image of another.
        heights_outside: Heights that were taken as unknown.
    """

    name: str
    source: Source
    azimuths: int
    scenes: tuple[Scene, ...]
    bands: tuple[Band, ...]
    tiles: pd.DataFrame
    counts: NDArray[np.int64]
    fields: tuple[str, ...]
    vector_kinds: int
    problems: tuple[Problem, ...]
    bad: int
    blocking: tuple[str, ...]
    notes: tuple[str, ...]
    copies: int
    heights_outside: int

    @property
    def bad_share(self) -> float:
        """Share of the samples that cannot be used."""
        return self.bad / max(1, self.bad + len(self.scenes))

    def of_side(self, side: str) -> NDArray[np.int64]:
        """Pixels of each class on a side, or on `all`."""
        own = self.tiles["labelled"] & ((side == "all") | (self.tiles["side"] == side))
        total: NDArray[np.int64] = self.counts[own.to_numpy(bool)].sum(axis=0)
        return total


def check_source(name: str, source: Source, settings: Prepare, runtime: Runtime) -> Report:
    """Read every scene of a source and report on it; writes nothing.

    Raises:
        UserError: There is no such data set.
    """
    scan = reader.scan(source, settings)
    unsized = [scene for scene in scan.scenes if scene.pixel_size_m is None]
    blocking = []
    if unsized:
        blocking.append(
            f"{len(unsized)} scene(s) do not say how large a pixel is on the ground, which areas, slopes and lengths "
            f"need: {some(scene.name for scene in unsized)}. Set pixel_size_m of this data set in roof.raw."
        )
    failed: dict[str, tuple[Problem, ...]] = {
        scene.name: (Problem(place(scene), what),) for scene in scan.scenes if (what := unfit(scene, settings))
    }
    fitting = [scene for scene in scan.scenes if scene.name not in failed]
    windows = [band for scene in fitting for band in bands(scene, settings)]
    found = parallel_map(partial(_inspect, source=source, settings=settings), windows, runtime, f"check {name}")
    reports: dict[str, list[tuple[Band, BandReport]]] = {scene.name: [] for scene in fitting}
    for band, report in zip(windows, found, strict=True):
        reports[band.scene.name].append((band, report))
    failed |= _failed(fitting, reports)
    contents = {key: _joined(own.content for _, own in pairs) for key, pairs in reports.items()}
    scenes = [scene for scene in scan.scenes if scene.name not in failed]
    split = settings_of(source)
    sides = {scene.name: scene.side or "" for scene in scenes}
    if split is None:
        leaking = leaks(scenes, contents)
        failed |= {key: (problem,) for key, problem in leaking.items()}
        scenes = [scene for scene in scenes if scene.name not in leaking]
    elif scenes:
        try:
            sides = dealt(scenes, contents, split)
        except UserError as error:
            sides = {}
            blocking.append(str(error))
    kept = [pair for scene in scenes for pair in reports[scene.name]]
    counts = np.concatenate(
        [np.zeros((0, len(columns(settings.azimuths))), np.int64), *(own.counts for _, own in kept)]
    )
    pixels = sum(int(own.tiles[:, 2:].prod(axis=1).sum()) for _, own in kept)
    lowest_m = float(np.fmin.reduce([own.lowest_m for _, own in kept], initial=math.nan))
    blocking += implausible(counts.sum(axis=0), settings.azimuths, pixels, lowest_m)
    return Report(
        name=name,
        source=source,
        azimuths=settings.azimuths,
        scenes=tuple(scenes),
        bands=tuple(band for band, _ in kept),
        tiles=_tiles(kept, sides, settings),
        counts=counts,
        fields=tuple(field for field in FIELDS if any(field in own.fields for _, own in kept)),
        vector_kinds=int(np.bitwise_and.reduce([own.vector_kinds for _, own in kept] or [0])),
        problems=tuple(sorted({*scan.problems, *(problem for own in failed.values() for problem in own)})),
        bad=len(scan.problems) + len(failed),
        blocking=tuple(blocking),
        notes=scan.notes,
        copies=len(scenes) - len({contents[scene.name] for scene in scenes}),
        heights_outside=sum(own.heights_outside for _, own in kept),
    )


def stopping(report: Report, settings: Prepare) -> str | None:
    """Why nothing may be written with what was found; None where it may.

    Args:
        report: What was found.
        settings: `bad_files` and `max_bad_share`.
    """
    bad = f"{report.bad} of {report.bad + len(report.scenes)} samples cannot be used"
    if report.problems and settings.bad_files == "stop":
        return f"{bad}. Mend them, or set roof.prepare.bad_files to drop to leave them out."
    if report.problems and (report.bad_share > settings.max_bad_share or not report.scenes):
        return f"{bad}, more than roof.prepare.max_bad_share {settings.max_bad_share:g} lets be left out. Mend them."
    if not report.scenes:
        return "there is no scene."
    return " ".join(report.blocking) or None


def _inspect(band: Band, source: Source, settings: Prepare) -> BandReport:
    """Everything about a band that a report needs."""
    try:
        tiles, outside = read_band(band, source, settings)
    except UserError as error:
        problems = error.problems if isinstance(error, DataError) else (Problem(place(band.scene), str(error)),)
        return BandReport(
            np.zeros((0, 4), np.int64), np.zeros((0, len(columns(settings.azimuths))), np.int64), problems=problems
        )
    shapes = [tile.labelled.image.shape for tile in tiles]
    labelled = [tile.labelled for tile in tiles]
    return BandReport(
        tiles=np.array([[tile.top, tile.left, *shape[:2]] for tile, shape in zip(tiles, shapes, strict=True)]),
        counts=np.stack([counted(tile) for tile in labelled]),
        fields=frozenset(field for field in FIELDS for tile in labelled if getattr(tile, field) is not None),
        vector_kinds=int(np.bitwise_and.reduce([tile.vector_kinds for tile in labelled])),
        content=_joined(f"{tile.image.shape}" + hashlib.sha256(tile.image.tobytes()).hexdigest() for tile in labelled),
        heights_outside=outside,
        lowest_m=float(np.fmin.reduce([_lowest(tile.height) for tile in labelled])),
    )


def _lowest(height: NDArray[np.float32] | None) -> float:
    return math.nan if height is None else float(np.fmin.reduce(height, axis=None))


def _failed(
    scenes: Iterable[Scene], reports: Mapping[str, Sequence[tuple[Band, BandReport]]]
) -> dict[str, tuple[Problem, ...]]:
    """Problems of the scenes, by name, that cannot be read or say nothing."""
    failed = {}
    for scene in scenes:
        own = [report for _, report in reports[scene.name]]
        if problems := tuple(problem for report in own for problem in report.problems):
            failed[scene.name] = problems
        elif not any(report.counts.any() for report in own):
            failed[scene.name] = (Problem(place(scene), "has no labelled pixel"),)
    return failed


def _tiles(kept: list[tuple[Band, BandReport]], sides: dict[str, str], settings: Prepare) -> pd.DataFrame:
    rows = []
    for number, (band, report) in enumerate(kept):
        scene = band.scene
        size = settings.pixel_size_m if settings.pixel_size_m is not None else scene.pixel_size_m
        for position, (box, counts) in enumerate(zip(report.tiles.tolist(), report.counts, strict=True)):
            rows.append([number, position, scene.name, sides.get(scene.name, ""), *box, size, bool(counts.any())])
    names = ["band", "place", "scene", "side", "top", "left", "height", "width", "pixel_size_m", "labelled"]
    return pd.DataFrame(rows, columns=names).astype({"pixel_size_m": float, "labelled": bool})


def _joined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
