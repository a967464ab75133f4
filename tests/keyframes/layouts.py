"""Small layouts for tests: arrays of cells, and prepared windows of them on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from millrace.keyframes import windows
from millrace.keyframes.normalisation import empty_cell
from millrace.keyframes.params import Keyframes
from millrace.keyframes.parse import TABLE, TIMELINES, VIDEOS
from millrace.keyframes.table import TRACKS, columns
from millrace.settings import Runtime

NAMES = ("scale", "x", "y", "crop_l", "crop_r", "crop_t", "crop_b")
QUIET = Runtime(progress=False, jobs=1, threads=1, accelerator="cpu")


def nothing(rows: int) -> np.ndarray:
    """Cells (rows, TRACKS, 9) in which nothing is shown."""
    return np.tile(empty_cell(NAMES), (rows, TRACKS, 1))


def rhythm(rows: int, period: int, *, offset: int = 0, scale: float = 150.0) -> np.ndarray:
    """A steady V1, a V2 that comes in the first half of each period, a V3 that zooms in the second half."""
    cells = nothing(rows)
    phase = (np.arange(rows) + offset) % period
    cells[:, 0, :3] = 1, 0, scale
    second = phase < period // 2
    cells[second, 1, :5] = 1, 1, 60, 0.3, -0.2
    third = ~second
    cells[third, 2, 0:2] = 1, 2
    cells[third, 2, 2] = scale + phase[third]
    return cells.astype(np.float32)


def write_table(videos: dict[str, np.ndarray], files: dict[str, str] | None = None) -> None:
    """What the parse stage would write for these videos, into the working folder."""
    tables = []
    for name, cells in videos.items():
        table = pd.DataFrame(cells.reshape(len(cells), -1), columns=columns(rotation_and_opacity=False))
        tables.append(table.assign(video_id=name, source_video_name="unknown", time=np.arange(len(cells)) / 10))
    TIMELINES.mkdir(parents=True)
    pd.concat(tables, ignore_index=True).to_parquet(TIMELINES / TABLE, index=False)
    report = [
        {"video_id": name, "file": (files or {}).get(name, name), "rows": len(cells), "width": 1000, "height": 500}
        for name, cells in videos.items()
    ]
    pd.DataFrame(report).to_parquet(TIMELINES / VIDEOS, index=False)


def prepare(count: int = 12, **settings) -> None:
    """Windows of videos that each repeat themselves, with periods of their own, in the working folder."""
    Path("metrics/keyframes").mkdir(parents=True, exist_ok=True)
    videos = {
        f"v{number:02d}": rhythm(60 + 7 * number, 12 + number, offset=3 * number, scale=120.0 + 10 * number)
        for number in range(count)
    }
    write_table(videos)
    windows.run(Keyframes.model_validate({"windows": {"length": 40, "overlap": 8, **settings}}), QUIET)
