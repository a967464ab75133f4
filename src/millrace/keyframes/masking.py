"""Which cells of a window the network is shown, and which it is asked for: the objective of a training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
FEWEST_ROWS = 3
WHOLE_TRACK = 0.5
"""Share of masked stretches that leave the other tracks visible."""


def forecast_target(rows: int, tracks: int, horizon: int) -> Mask:
    """The last rows of all tracks, at most half of them: bool (rows, tracks)."""
    target = np.zeros((rows, tracks), bool)
    target[rows - min(horizon, rows // 2) :] = True
    return target


def infill_target(rows: int, tracks: int, horizon: int, rng: np.random.Generator) -> Mask:
    """Up to three stretches of at most `horizon` rows, each of all tracks or of a random part of them."""
    target = np.zeros((rows, tracks), bool)
    for _ in range(rng.integers(1, 4)):
        longest = max(1, min(horizon, rows // 2))
        length = int(rng.integers(min(FEWEST_ROWS, longest), longest, endpoint=True))
        start = int(rng.integers(0, rows - length, endpoint=True))
        chosen = np.ones(tracks, bool)
        if rng.random() < WHOLE_TRACK:
            chosen = some_tracks(tracks, rng)
        target[start : start + length] |= chosen
    return target


def some_tracks(tracks: int, rng: np.random.Generator) -> Mask:
    """A random part of the tracks, a tenth to six tenths of them: bool (tracks,)."""
    return rng.random(tracks) < rng.uniform(0.1, 0.6)
