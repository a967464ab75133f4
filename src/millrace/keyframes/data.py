"""Training and validation windows, each a function of seed, epoch and index alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from millrace.keyframes.masking import Mask, forecast_target, infill_target
from millrace.keyframes.normalisation import ACTIVE, NUMBERS, Cells, Normalisation
from millrace.keyframes.params import Train
from millrace.keyframes.window_store import WindowStore, padded
from millrace.training.sampling import EpochIndex, Samples

SHORTEST = 2
"""Horizons that the shortest window trained on holds: one to look back, one to predict."""


class Windows(Samples):
    """Windows of some videos.

    A sample is a dict: `input` holds `cells` (L, tracks, 2 + P; active, asset, normalised parameters, 0 where nothing
    is shown), `known` and `valid` as the network takes them; `target`, bool (L, tracks), says which cells are asked
    for; `name` is the video and its first row.

    Args:
        store: Prepared videos.
        split: Side whose videos are taken.
        settings: Objective and horizon.
        training: Whether windows are moved, shortened and mirrored at random; else they are the same in each epoch.
    """

    def __init__(self, store: WindowStore, split: str, settings: Train, *, training: bool) -> None:
        self._store, self._settings, self._training = store, settings, training
        chosen = store.index[store.index["split"] == split]
        self._windows = chosen[["video", "first", "rows"]].to_numpy()
        self._repeats = settings.per_window if training else 1

    def __len__(self) -> int:
        return len(self._windows) * self._repeats

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        epoch, index = key
        settings = self._settings
        rng = np.random.default_rng((settings.seed, epoch if self._training else 0, index))
        video, first, rows = (int(each) for each in self._windows[index // self._repeats])
        cells = self._store.cells(video)
        if self._training:
            first, rows = self._moved(first, rows, len(cells), rng)
        window = np.array(cells[first : first + rows])
        if self._training and rng.random() < settings.mirror:
            window = mirrored(window, self._store.normalisation.parameters)
        target = target_of(settings, len(window), window.shape[1], rng)
        name = f"{self._store.videos['video_id'].iloc[video]}[{first}:{first + rows}]"
        return as_sample(window, target, self._store.length, self._store.normalisation, settings.objective) | {
            "name": name
        }

    def _moved(self, first: int, rows: int, total: int, rng: np.random.Generator) -> tuple[int, int]:
        """Another place near the window's, and sometimes a later beginning; never beyond the video."""
        length = self._store.length
        stride = length - int(self._store.meta["overlap"])
        # The last window of a video is short; moved back it is as long as the others.
        latest = max(0, total - length)
        first = min(max(0, first + int(rng.integers(-stride // 2, stride // 2, endpoint=True))), latest)
        rows = min(length, total - first)
        spare = rows - SHORTEST * self._settings.horizon
        if spare > 0 and rng.random() < self._settings.short_history:
            cut = int(rng.integers(0, spare, endpoint=True))
            first, rows = first + cut, rows - cut
        return first, rows


def target_of(settings: Train, rows: int, tracks: int, rng: np.random.Generator) -> Mask:
    """Cells that are asked for in a window, bool (rows, tracks)."""
    if settings.objective == "reconstruct":
        return np.ones((rows, tracks), bool)
    if settings.objective == "forecast":
        return forecast_target(rows, tracks, settings.horizon)
    return infill_target(rows, tracks, settings.horizon, rng)


def normalised(cells: Cells, normalisation: Normalisation) -> Cells:
    """Cells as the network takes them: parameters in spreads about their mean where a clip is active, else 0."""
    mean, spread = (np.array(each, np.float32) for each in (normalisation.mean, normalisation.spread))
    numbers = (cells[..., NUMBERS:] - mean) / spread
    active = cells[..., ACTIVE : ACTIVE + 1] > 0
    return np.concatenate([cells[..., :NUMBERS], np.where(active, numbers, 0)], axis=-1, dtype=np.float32)


def as_sample(window: Cells, target: Mask, length: int, normalisation: Normalisation, objective: str) -> dict[str, Any]:
    """A window (R, tracks, 2 + P) in real units, at most `length` rows, as `input` and `target`."""
    cells, valid = padded(normalised(window, normalisation), length)
    wanted = np.zeros((length, window.shape[1]), bool)
    wanted[: len(window)] = target
    known = valid[:, None] & (~wanted if objective != "reconstruct" else True)
    arrays = {"cells": cells, "known": np.broadcast_to(known, wanted.shape).copy(), "valid": valid}
    return {
        "input": {name: torch.from_numpy(array) for name, array in arrays.items()},
        "target": torch.from_numpy(wanted),
    }


def mirrored(cells: Cells, parameters: tuple[str, ...]) -> Cells:
    """The layout with left and right exchanged."""
    place = {name: NUMBERS + index for index, name in enumerate(parameters)}
    turned = cells.copy()
    for name in ("x", "rotation"):
        if name in place:
            turned[..., place[name]] *= -1
    turned[..., place["crop_l"]], turned[..., place["crop_r"]] = (
        cells[..., place["crop_r"]],
        cells[..., place["crop_l"]],
    )
    return turned
