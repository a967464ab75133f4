"""What a model is scored on: stretches of videos that are taken away and have to be told from the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millrace.keyframes.masking import Mask, some_tracks
from millrace.keyframes.normalisation import Cells
from millrace.keyframes.params import Evaluate


@dataclass(frozen=True)
class Video:
    """One to be scored on.

    Attributes:
        name: Its `video_id`.
        cells: (T, tracks, 2 + P) in real units.
        width: Of its frame in pixels; 0 where the file does not say.
        height: Likewise.
    """

    name: str
    cells: Cells
    width: int
    height: int


@dataclass(frozen=True)
class Case:
    """A window of a video with a stretch that is asked for.

    Attributes:
        window: Its true cells (R, tracks, 2 + P).
        first: Row of the window in its video.
        start: First asked row of the window; the row before it is known.
        stop: Row after the last asked one.
        tracks: Which tracks are asked for, bool (tracks,).
    """

    window: Cells
    first: int
    start: int
    stop: int
    tracks: NDArray[np.bool_]

    @property
    def target(self) -> Mask:
        """Asked cells, bool (R, tracks)."""
        target = np.zeros(self.window.shape[:2], bool)
        target[self.start : self.stop] = self.tracks
        return target

    @property
    def truth(self) -> Cells:
        """Of the asked rows, all tracks."""
        return self.window[self.start : self.stop]

    @property
    def changing(self) -> NDArray[np.bool_]:
        """Asked tracks on which any of the asked rows differs from the last known one: bool (tracks,)."""
        differs: NDArray[np.bool_] = (self.truth != self.window[self.start - 1]).any(axis=(0, 2))
        return differs & self.tracks


def cases_of(
    video: Video, number: int, objective: str, length: int, horizon: int, settings: Evaluate
) -> Iterator[Case]:
    """Stretches of `horizon` rows, every `stride` rows from `min_history` on, that lie wholly in a video.

    For `infill` as many rows are known after a stretch as before it, and every second stretch leaves some tracks
    visible. A video shorter than history and horizon together has no case.
    """
    total, tracks = video.cells.shape[:2]
    before = length - horizon if objective != "infill" else (length - horizon) // 2
    for turn, start in enumerate(range(settings.min_history, total - horizon + 1, settings.stride)):
        first = max(0, start - before)
        last = start + horizon if objective != "infill" else min(total, first + length)
        asked = np.ones(tracks, bool)
        if objective == "infill" and turn % 2:
            asked = some_tracks(tracks, np.random.default_rng((number, start)))
        yield Case(video.cells[first:last], first, start - first, start - first + horizon, asked)
