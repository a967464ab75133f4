"""Straight lines through points, and where several of them meet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

END_POINTS = 3
_HOLD = 0.01


class FittedLine(NamedTuple):
    """The straight line nearest to points, by total least squares: its middle and the unit vector across it, (2,)."""

    middle: Points
    normal: Points
    length: float
    """Of the points, from the first to the last."""


def fitted_line(points: Points) -> FittedLine:
    """Line through points (N, 2) in their order.

    Those near an end, which a bend draws towards its inside, do not count where enough others are left.
    """
    inner = points[END_POINTS:-END_POINTS] if len(points) >= 4 * END_POINTS else points
    middle = inner.mean(axis=0)
    normal = np.linalg.svd(inner - middle, full_matrices=True)[2][-1]
    return FittedLine(middle, normal, float(np.linalg.norm(points[-1] - points[0])))


def meeting_point(place: Points, lines: list[FittedLine], furthest: float) -> Points:
    """The point nearest to lines, by least squares with their lengths as weights.

    It stays at `place` (2,) in directions in which they leave it free, and altogether if it would be further than a
    distance from there.
    """
    total = sum(line.length for line in lines)
    if not total:
        return place
    normals = np.array([line.normal * (line.length / total) ** 0.5 for line in lines])
    offsets = np.array([(line.middle - place) @ line.normal * (line.length / total) ** 0.5 for line in lines])
    shift: Points = np.linalg.solve(normals.T @ normals + _HOLD * np.eye(2), normals.T @ offsets)
    return place + shift if np.linalg.norm(shift) <= furthest else place
