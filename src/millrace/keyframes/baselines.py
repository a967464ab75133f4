"""What one would expect without a model: nothing changes, everything goes on as it moves, everything is as usual."""

from __future__ import annotations

import numpy as np

from millrace.keyframes.cases import Case
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS, Cells


def copy_last(case: Case) -> Cells:
    """The last known row, repeated: (asked rows, tracks, 2 + P)."""
    return np.repeat(case.window[case.start - 1][None], case.stop - case.start, axis=0)


def linear(case: Case) -> Cells:
    """Numbers go on as from the last but one to the last known row, or straight to the first known one after.

    Only where both of these rows show the same class; else, and for active and asset, the last row is repeated.
    """
    layout = copy_last(case)
    last = case.window[case.start - 1]
    steps = np.arange(1, len(layout) + 1, dtype=np.float32)[:, None, None]
    if case.stop < len(case.window):
        other, span = case.window[case.stop], float(len(layout) + 1)
        slope = (other - last)[:, NUMBERS:] / span
    elif case.start >= 2:
        other = case.window[case.start - 2]
        slope = (last - other)[:, NUMBERS:]
    else:
        return layout
    same = (last[:, ACTIVE] > 0) & (other[:, ACTIVE] > 0) & (last[:, ASSET] == other[:, ASSET])
    layout[..., NUMBERS:] += np.where(same[:, None], slope, 0) * steps
    return layout


def typical(case: Case, row: Cells) -> Cells:
    """The typical row, repeated."""
    return np.repeat(row[None], case.stop - case.start, axis=0)
