"""Prepared windows on disk: the rows of all videos in one array that is mapped into memory, and where windows lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import UserError
from millrace.keyframes.normalisation import NUMBERS, Cells, Normalisation
from millrace.keyframes.table import TRACKS

WINDOWS = Path("data/prepared/keyframes/windows")
ROWS, VIDEOS, INDEX, META = "rows.npy", "videos.parquet", "windows.parquet", "meta.json"


class WindowStore:
    """Prepared videos and windows.

    Attributes:
        videos: One row a video: `video_id`, `split`, `start` (of its rows in the array), `rows`, `width`, `height`.
        index: One row a window: `video` (position in `videos`), `first` (row in the video), `rows` (without padding).
        meta: `rate` (rows a second), `length`, `overlap`, `normalisation`.

    Raises:
        UserError: The folder is not there, or something in it is damaged.
    """

    def __init__(self, folder: Path = WINDOWS) -> None:
        if not (folder / META).is_file():
            raise UserError(f"{folder} holds no prepared windows. Run `dvc repro keyframes-windows`.")
        try:
            self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
            self.videos = pd.read_parquet(folder / VIDEOS)
            self.index = pd.read_parquet(folder / INDEX)
            self.normalisation = Normalisation.from_dict(self.meta["normalisation"])
            self._rows: Cells = np.load(folder / ROWS, mmap_mode="r", allow_pickle=False)
            self._check()
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise UserError(f"{folder} is damaged ({error}). Run `dvc repro --force keyframes-windows`.") from None
        self._starts = self.videos["start"].to_numpy()
        self._counts = self.videos["rows"].to_numpy()

    def _check(self) -> None:
        """Whether the parts belong together.

        Raises:
            ValueError: They do not.
            KeyError: Something is missing.
        """
        shape = int(self.videos["rows"].sum()), TRACKS, NUMBERS + len(self.normalisation.parameters)
        if self._rows.shape != shape or self._rows.dtype != np.float32:
            raise ValueError(f"{ROWS} is {self._rows.dtype} {self._rows.shape}, not float32 {shape}")
        for name in ("length", "overlap", "rate", "typical_row"):
            self.meta[name]
        last = self.index["first"] + self.index["rows"]
        if len(self.index) and (last > self.videos["rows"].to_numpy()[self.index["video"]]).any():
            raise ValueError(f"{INDEX} names rows that no video has")
        if missing := {"video_id", "split", "start", "width", "height"} - {*self.videos} | {"split"} - {*self.index}:
            raise KeyError(f"no column {', '.join(sorted(missing))}")

    @property
    def length(self) -> int:
        """Rows of a window."""
        return int(self.meta["length"])

    def cells(self, video: int) -> Cells:
        """All cells of a video (T, tracks, features) in real units, float32."""
        start = self._starts[video]
        return self._rows[start : start + self._counts[video]]

    def of(self, split: str) -> list[int]:
        """Positions of the videos of `train`, `validation` or `test`."""
        return [int(position) for position in np.flatnonzero(self.videos["split"] == split)]


def window_starts(rows: int, length: int, overlap: int) -> range:
    """First rows of a video's windows: every `length - overlap` rows until one reaches the end; that one is padded."""
    stride = length - overlap
    return range(0, max(rows - overlap, 1), stride)


def padded(cells: Cells, length: int) -> tuple[Cells, NDArray[np.bool_]]:
    """Cells (length, tracks, features), zeros after the given ones, and which rows are given (length,)."""
    window = np.zeros((length, *cells.shape[1:]), np.float32)
    window[: len(cells)] = cells
    return window, np.arange(length) < len(cells)
