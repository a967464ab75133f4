"""Straight lines through points, and where several of them meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

END_POINTS = 3
_HOLD = 0.01


class FittedLine(NamedTuple):
    """The straight line nearest to points (u, v), by total least squares: u * across_u + v * across_v = offset."""

    across_u: float
    across_v: float
    offset: float
    length: float
    """Of the points, from the first to the last."""


def fitted_line(points: Points) -> FittedLine:
    """Line through points (N, 2) in their order.

    Those near an end, which a bend draws towards its inside, do not count where enough others are left.
    """
    inner = points[END_POINTS:-END_POINTS] if len(points) >= 4 * END_POINTS else points
    u, v = inner.mean(axis=0).tolist()
    (uu, uv), (_, vv) = np.dot((away := inner - (u, v)).T, away).tolist()
    # Where the points spread least, of the two forms of it the one without cancellation.
    difference, spread = uu - vv, math.hypot(uu - vv, 2 * uv)
    across_u, across_v = (-2 * uv, spread + difference) if difference >= 0 else (difference - spread, 2 * uv)
    size = math.hypot(across_u, across_v)
    across_u, across_v = (across_u / size, across_v / size) if size else (0.0, 1.0)
    length = math.dist(points[0].tolist(), points[-1].tolist())
    return FittedLine(across_u, across_v, u * across_u + v * across_v, length)


def meeting_point(place: Sequence[float], lines: Sequence[FittedLine], furthest: float) -> tuple[float, float]:
    """The point nearest to lines, by least squares with their lengths as weights.

    It stays at `place` (2,) in directions in which they leave it free, and altogether if it would be further than a
    distance from there.
    """
    u, v = place
    total = sum(line.length for line in lines)
    if not total:
        return u, v
    # The normal equations of two unknowns: for so few lines, arrays would take ten times as long.
    uu, uv, vv, to_u, to_v = _HOLD, 0.0, _HOLD, 0.0, 0.0
    for line in lines:
        weight, away = line.length / total, line.offset - u * line.across_u - v * line.across_v
        uu += weight * line.across_u**2
        uv += weight * line.across_u * line.across_v
        vv += weight * line.across_v**2
        to_u += weight * away * line.across_u
        to_v += weight * away * line.across_v
    determinant = uu * vv - uv * uv
    shift_u, shift_v = (to_u * vv - to_v * uv) / determinant, (to_v * uu - to_u * uv) / determinant
    return (u + shift_u, v + shift_v) if math.hypot(shift_u, shift_v) <= furthest else (u, v)
