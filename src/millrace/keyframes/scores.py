"""Scores of predicted layouts in real units, over all asked cells and over those of tracks that change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.keyframes.cases import Case, Video
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS, Cells, Normalisation

UNITS = {"scale": "percent", "x": "fraction", "y": "fraction", "rotation": "degrees"}
SCOPES = ("all", "changing")
Floats = NDArray[np.float64]


@dataclass
class Sums:
    """Counts and sums by asked row and track, all (horizon, tracks, ...) float64.

    Attributes:
        outcome: Cells that are (both, only predicted, only true, neither) active.
        asset: Active cells whose class is told, which takes that they are predicted active.
        errors: Absolute errors of the P numbers of truly active cells, in their units.
        pixels: The same of x and y in pixels, of videos whose frame is known.
        with_pixels: Truly active cells of those videos.
    """

    outcome: Floats
    asset: Floats
    errors: Floats
    pixels: Floats
    with_pixels: Floats

    @classmethod
    def empty(cls, horizon: int, tracks: int, numbers: int) -> Sums:
        def zeros(*more: int) -> Floats:
            return np.zeros((horizon, tracks, *more))

        return cls(zeros(4), zeros(), zeros(numbers), zeros(2), zeros())

    def add(self, truth: Cells, predicted: Cells, chosen: NDArray[np.bool_], size: tuple[int, int]) -> None:
        """Add the cells of the tracks that are chosen."""
        real, said = truth[..., ACTIVE] > 0, predicted[..., ACTIVE] > 0
        cells = np.broadcast_to(chosen, real.shape)
        self.outcome += np.stack([real & said, ~real & said, real & ~said, ~real & ~said], -1) & cells[..., None]
        active = real & cells
        self.asset += active & said & (truth[..., ASSET] == predicted[..., ASSET])
        errors = np.where(active[..., None], np.abs(predicted - truth)[..., NUMBERS:].astype(np.float64), 0)
        self.errors += errors
        if min(size) > 0:
            self.pixels += errors[..., 1:3] * np.array(size)
            self.with_pixels += active


@dataclass
class Scores:
    """Of one method, summed over cases.

    Args:
        normalisation: Names of the numbers, and the spreads that `error` is measured in.
        horizon: Rows of a case.
        tracks: Tracks of a cell array.
    """

    normalisation: Normalisation
    horizon: int
    tracks: int
    sums: dict[str, Sums] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = len(self.normalisation.parameters)
        self.sums = {scope: Sums.empty(self.horizon, self.tracks, numbers) for scope in SCOPES}

    def add(self, case: Case, video: Video, predicted: Cells) -> None:
        """Add the asked rows of a case, predicted as whole layouts (horizon, tracks, 2 + P)."""
        for scope, chosen in (("all", case.tracks), ("changing", case.changing)):
            self.sums[scope].add(case.truth, predicted, chosen, (video.width, video.height))

    def summary(self) -> dict[str, Any]:
        """Each score over all cells and over the changing ones; null where there is no cell to score."""
        return {scope: self._scores(scope, ()) for scope in SCOPES}

    def per_track(self) -> pd.DataFrame:
        """A row a track, over all asked cells."""
        rows = [self._scores("all", (slice(None), track)) for track in range(self.tracks)]
        return pd.DataFrame(rows).assign(track=range(1, self.tracks + 1))

    def by_step(self, scope: str) -> pd.DataFrame:
        """A row a step after the last known row."""
        rows = [self._scores(scope, (step,)) for step in range(self.horizon)]
        return pd.DataFrame(rows).assign(step=range(1, self.horizon + 1))

    def _scores(self, scope: str, where: tuple[Any, ...]) -> dict[str, float]:
        sums = self.sums[scope]
        both, surplus, missed, neither = sums.outcome[where].reshape(-1, 4).sum(0)
        active = both + missed
        mean = sums.errors[where].reshape(-1, sums.errors.shape[-1]).sum(0) / _or_nan(active)
        pixels = sums.pixels[where].reshape(-1, 2).sum(0) / _or_nan(sums.with_pixels[where].sum())
        names = self.normalisation.parameters
        units = {f"{name}_{UNITS.get(name, 'percent')}": error for name, error in zip(names, mean, strict=True)}
        return {
            "cells": both + surplus + missed + neither,
            "active_cells": active,
            "active_accuracy": (both + neither) / _or_nan(both + surplus + missed + neither),
            "active_f1": 2 * both / _or_nan(2 * both + surplus + missed),
            "active_iou": both / _or_nan(both + surplus + missed),
            "asset_accuracy": sums.asset[where].sum() / _or_nan(active),
            **units,
            "x_px": pixels[0],
            "y_px": pixels[1],
            "crop_percent": float(np.mean([error for name, error in units.items() if name.startswith("crop")])),
            "error": float((mean / np.array(self.normalisation.spread)).mean()),
        }


def _or_nan(count: float) -> float:
    return count if count > 0 else np.nan
