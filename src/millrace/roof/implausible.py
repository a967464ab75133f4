"""Labels that are valid values, each of them, and as a whole cannot be what the format means by them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from millrace.roof.class_counts import by_head
from millrace.roof.classes import SUPERSTRUCTURES, segment_names

LEAST_GROUND_M = 50.0
"""A data set whose lowest height is above this has no ground in it."""


def implausible(counts: NDArray[np.int64], azimuths: int, pixels: int, lowest_m: float) -> list[str]:
    """What is wrong with the labels of a whole data set, each with its remedy.

    Args:
        counts: Pixels of each of `class_counts.columns`.
        azimuths: Azimuth classes of `counts`.
        pixels: All that there are.
        lowest_m: Lowest height; NaN where none is known.
    """
    found = []
    of = by_head(counts, azimuths)
    first = {"segments": segment_names(azimuths)[0], "superstructures": SUPERSTRUCTURES[0], "roof": "beside a roof"}
    for head, meaning in first.items():
        if of[head][0] and not any(of[head][1:]) and of[head][0] < pixels:
            found.append(
                f"All labels of {head} are 0 ({meaning}), and the other pixels are not labelled (255): that is a mask "
                f"of black and white. A mask of roofs belongs in roofs/, with 0 beside them and 1 on them."
            )
    if math.isfinite(lowest_m) and lowest_m > LEAST_GROUND_M:
        found.append(
            f"No height is below {lowest_m:.4g} m, so they are not above the ground but above the sea: take a terrain "
            f"model from them."
        )
    return found
