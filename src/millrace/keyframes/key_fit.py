"""Values of rows turned back into keys: the fewest linear ones that stay within a tolerance of every row.

Keys lie on rows and have the rows' values. Between two keys the curve is a straight line, before the first and after
the last it rests. The fewest such keys are a shortest path from row to row, where two rows are joined if their line
passes all rows between them closely enough; which rows a row is joined to follows from the cone of slopes that the rows
passed so far leave open. Among paths of equal length the one of least squared error is taken, so that keys stand at the
corners and not a little beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.sampling import PARAMETERS
from millrace.keyframes.timeline import DEFAULTS

Floats = NDArray[np.float64]

TOLERANCE: Mapping[str, float] = {
    "scale": 0.05,
    "x": 0.0005,
    "y": 0.0005,
    "crop_l": 0.05,
    "crop_r": 0.05,
    "crop_t": 0.05,
    "crop_b": 0.05,
    "rotation": 0.05,
    "opacity": 0.25,
}
"""In each parameter's unit: about half a pixel of a frame 1080 pixels wide, and half a step of 8-bit opacity."""

EXACT: Mapping[str, float] = dict.fromkeys(DEFAULTS, 0.0)

ROUNDING = 0.499
"""What rounds to a row's own float32 is as good as exact: half of the step between two of them, less a little for the
rounding of the line itself."""

FIRST_LOOK = 32
"""Rows looked at ahead of a key at first; twice as many each time the cone is still open behind them."""


def fit_animation(
    cells: ArrayLike, first: Fraction, step: Fraction, tolerance: Mapping[str, float] = TOLERANCE
) -> dict[str, Curve]:
    """Curves of all parameters of a clip; none for one that rests at its default.

    x and y get keys at the same times where both move, since a key of xmeml's `center` has both.

    Args:
        cells: PARAMETERS, or the first of them, of consecutive rows: (N, up to 9), finite, N at least 1.
        first: Time of the first row on the clip's local axis, in seconds.
        step: Seconds from row to row.
        tolerance: Greatest deviation of each parameter, in its unit.
    """
    values = np.asarray(cells, np.float64)
    columns = {name: values[:, index] for index, name in enumerate(PARAMETERS[: values.shape[1]])}
    curves = {name: resting(column, tolerance[name], DEFAULTS[name]) for name, column in columns.items()}
    moving = [name for name, curve in curves.items() if curve is None]
    point = [name for name in moving if name in ("x", "y")]
    for names in [point, *([name] for name in moving if name not in point)]:
        if names:
            together = np.stack([columns[name] for name in names], axis=1)
            fitted = fit(together, first, step, [tolerance[name] for name in names])
            curves.update(zip(names, fitted, strict=True))
    return {name: curve for name, curve in curves.items() if curve is not None and not _is_default(name, curve)}


def resting(values: ArrayLike, tolerance: float, default: float) -> Curve | None:
    """The constant within `tolerance` of all values (N,): `default` if that is one, else their middle; else None."""
    exact, low, high = _band(np.asarray(values)[:, None], [tolerance])
    for value in (default, float(np.float32((exact.min() + exact.max()) / 2))):
        if low.max() <= value <= high.min():
            return Curve.constant(value)
    return None


def fit(values: ArrayLike, first: Fraction, step: Fraction, tolerance: ArrayLike) -> list[Curve]:
    """Curves through rows at even times that share the times of their keys, as few as there can be.

    The curves, rounded to float32 as the table's values are, lie within the tolerance of the float32 of each value; a
    tolerance of 0 gives exactly these.

    Args:
        values: Of each row and parameter, finite: (N, D), N at least 1.
        first: Time of the first row on the clip's local axis, in seconds.
        step: Seconds from row to row.
        tolerance: Of each parameter: (D,).

    Raises:
        ValueError: A value is not finite.

    Returns:
        D curves; of one key at time 0 where a single value is enough.
    """
    exact, low, high = _band(values, tolerance)
    if not np.isfinite(exact).all():
        raise ValueError("a value is not finite")
    times = [first + row * step for row in range(len(exact))]
    at = np.array([float(time) for time in times])
    rows = key_rows(exact, low, high)
    while True:
        curves = [_through(exact[:, column], times, rows) for column in range(exact.shape[1])]
        shown = np.stack([curve.at(at) for curve in curves], axis=1).astype(np.float32).astype(np.float64)
        missed = np.abs(shown - exact) > np.where(np.equal(tolerance, 0), 0, high - exact + np.spacing(high))
        wrong = {*np.flatnonzero(missed.any(axis=1)).tolist()} - {*rows}
        if not wrong:
            return curves
        # Times are rounded to float64: on a steep line a value near zero may then miss its own float32.
        rows = sorted({*rows, *wrong})


def _through(values: Floats, times: list[Fraction], rows: list[int]) -> Curve:
    if len(rows) == 1:
        return Curve.constant(float(values[rows[0]]))
    return Curve([Key(times[row], float(values[row])) for row in rows])


def _band(values: ArrayLike, tolerance: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The float32 values, and between what a curve has to pass there: each (N, D)."""
    rounded = np.asarray(values, np.float32)
    exact = rounded.astype(np.float64)
    reach = np.maximum(np.asarray(tolerance, np.float64), ROUNDING * np.spacing(np.abs(rounded)).astype(np.float64))
    return exact, exact - reach, exact + reach


def key_rows(values: Floats, low: Floats, high: Floats) -> list[int]:
    """Rows of the fewest keys of a curve that stays between `low` and `high`.

    Args:
        values: Of each row and parameter: (N, D).
        low: Smallest value that the curve may have there; not above `values`.
        high: Largest one; not below `values`.
    """
    rows = len(values)
    weight = 1 / np.square(np.maximum(high - low, np.finfo(np.float64).tiny ** 0.25)).max(axis=0)
    starts, ends = _holds(values, low, high), _holds(values[::-1], low[::-1], high[::-1])[::-1]
    before = np.full(rows, -1)
    depth = np.where(starts, 0, rows)
    error = np.where(starts, _held_error(values, weight), np.inf)
    after = _held_error(values[::-1], weight)[::-1]
    level = 0
    layer = np.flatnonzero(starts)
    while not ends[layer].any():
        for row in layer.tolist():
            reached, cost = _lines(row, values, low, high, weight)
            cost += error[row]
            better = (depth[reached] > level) & (cost < error[reached])
            reached = reached[better]
            depth[reached], error[reached], before[reached] = level + 1, cost[better], row
        level += 1
        layer = np.flatnonzero(depth == level)
    last = layer[ends[layer]]
    path = [int(last[np.argmin(error[last] + after[last])])]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path[::-1]


def _holds(values: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether the value of each row fits all rows before it: (N,)."""
    fits = (np.maximum.accumulate(low) <= values) & (values <= np.minimum.accumulate(high))
    return np.asarray(fits.all(axis=1))


def _held_error(values: Floats, weight: Floats) -> Floats:
    """Squared error of holding each row's value over all rows before it: (N,)."""
    centred = values - values[0]
    count = np.arange(1, len(values) + 1)[:, None]
    total, squares = np.cumsum(centred, axis=0), np.cumsum(centred**2, axis=0)
    return np.asarray(np.maximum(squares - 2 * centred * total + count * centred**2, 0) @ weight)


def _lines(row: int, values: Floats, low: Floats, high: Floats, weight: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Rows to which a straight line from `row` passes all rows between, and the squared error of each line."""
    length = FIRST_LOOK
    while True:
        ahead = slice(row + 1, row + 1 + length)
        steps = np.arange(1, len(values[ahead]) + 1)[:, None]
        rise = values[ahead] - values[row]
        floor = np.maximum.accumulate((low[ahead] - values[row]) / steps)
        ceiling = np.minimum.accumulate((high[ahead] - values[row]) / steps)
        if ahead.stop >= len(values) or (floor[-1] > ceiling[-1]).any():
            break
        length *= 2
    slope = rise / steps
    joined = np.flatnonzero(((floor <= slope) & (slope <= ceiling)).all(axis=1))
    squares, products = np.cumsum(rise**2, axis=0), np.cumsum(rise * steps, axis=0)
    missed = squares - 2 * slope * products + slope**2 * np.cumsum(steps**2, axis=0)
    return row + 1 + joined, np.maximum(missed[joined], 0) @ weight


def _is_default(name: str, curve: Curve) -> bool:
    return len(curve.keys) == 1 and curve.keys[0].value == DEFAULTS[name]
