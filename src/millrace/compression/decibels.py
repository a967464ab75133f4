"""Pixel values to decibels, clipped and scaled to 0..1, and back: the codec sees nothing else of a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from millrace.errors import ImageError

Values = Literal["amplitude", "power", "decibel", "linear"]
DECIBELS_PER_DECADE: dict[str, float] = {"amplitude": 20.0, "power": 10.0}

MAX_DECIBELS = 300.0
MAX_LINEAR = 1e30
MAX_NEGATIVE_SHARE = 0.01
"""Of amplitude or power: subtracting noise leaves a few."""
MAX_ZERO_SHARE = 0.01
"""Of floating decibels: more of exactly 0 are an undeclared border."""
_MOST = 0.9
_PLAUSIBLE_DECIBELS = 60.0
_HALF_RANGE = 0.5
_MARGIN = 1e-5


@dataclass(frozen=True)
class Scaling:
    """What becomes 0 and 1, in decibels; of `linear` values in their own unit.

    Raises:
        ImageError: The range is no range of radar values.
    """

    low: float
    high: float
    values: Values

    def __post_init__(self) -> None:
        limit = MAX_LINEAR if self.values == "linear" else MAX_DECIBELS
        if not -limit <= self.low < self.high <= limit:
            raise ImageError(f"its clip range {self.low:g} to {self.high:g} is not usable")

    def normalise(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Values of any shape and dtype to 0..1; what lies outside the range is saturated, what has no logarithm is 0.

        uint8, uint16 and int16 come back exactly from `denormalise` where nothing is saturated.
        """
        if values.dtype in (np.uint8, np.uint16):
            table = self.normalise(np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64))
            return np.take(table, values)
        levels: Any = to_decibels(values, self.values)
        levels -= levels.dtype.type(self.low)
        levels /= levels.dtype.type(self.high - self.low)
        np.nan_to_num(np.clip(levels, 0, 1, out=levels), copy=False, nan=0.0)
        normalised: NDArray[np.float32] = levels.astype(np.float32, copy=False)
        return normalised

    def denormalise(self, normalised: NDArray[np.floating[Any]], dtype: str, nodata: float | None) -> NDArray[Any]:
        """0..1 back to values of `dtype`, rounded and clipped to what it holds.

        No result is `nodata`, and none of an amplitude or power is 0: those would not be valid when read again.
        """
        kind = np.dtype(dtype)
        levels: Any = normalised.astype(np.float64 if kind == np.float64 else np.float32)
        levels *= levels.dtype.type(self.high - self.low)
        levels += levels.dtype.type(self.low)
        decade = DECIBELS_PER_DECADE.get(self.values)
        if decade is not None:
            levels *= levels.dtype.type(math.log(10) / decade)
            np.exp(levels, out=levels)
        if kind.kind != "f":
            limits = np.iinfo(kind)
            np.rint(levels, out=levels)
            np.clip(levels, limits.min if decade is None else 1, limits.max, out=levels)
        values: NDArray[Any] = levels.astype(kind, copy=False)
        if nodata is not None and math.isfinite(nodata):
            _step_off(values, nodata)
        return values


def to_decibels(values: NDArray[Any], kind: Values) -> NDArray[np.floating[Any]]:
    """New array in decibels, float64 for float64 and float32 for any other dtype; `linear` values stay as they are.

    20 log10 of amplitude, 10 log10 of power. What has no logarithm becomes NaN or -inf.
    """
    floats: Any = values.astype(np.float64 if values.dtype == np.float64 else np.float32)
    if kind in DECIBELS_PER_DECADE:
        with np.errstate(divide="ignore", invalid="ignore"):
            np.log10(floats, out=floats)
        floats *= floats.dtype.type(DECIBELS_PER_DECADE[kind])
    decibels: NDArray[np.floating[Any]] = floats
    return decibels


def to_power(values: NDArray[Any], kind: Values) -> NDArray[np.float64]:
    """Values as power: the square of amplitude, 10^(dB / 10) of decibels.

    Raises:
        ValueError: `linear` values have no power.
    """
    if kind == "linear":
        raise ValueError("linear values have no power")
    floats = values.astype(np.float64)
    if kind == "amplitude":
        floats *= floats
    elif kind == "decibel":
        floats *= math.log(10) / 10
        with np.errstate(over="ignore"):
            np.exp(floats, out=floats)
    return floats


def with_logarithm(values: NDArray[Any], valid: NDArray[np.bool_], kind: Values) -> NDArray[np.bool_]:
    """The valid pixels that a codec codes: of amplitude and power, those above 0."""
    return valid & (values > 0) if kind in DECIBELS_PER_DECADE else valid


def check_values(levels: NDArray[np.float64], counts: NDArray[np.int64], dtype: str, kind: Values) -> None:
    """Refuse values that cannot be what they are called.

    Args:
        levels: Values that occur, none of them nodata or NaN, at least one.
        counts: How often each of them occurs.
        dtype: Of the file.
        kind: What the settings call them.

    Raises:
        ImageError: They are something else; the message says what `values` would be likelier right.
    """

    def share(of: NDArray[np.bool_]) -> float:
        return float(counts[of].sum() / counts.sum())

    if np.abs(levels).max() > MAX_LINEAR:
        raise ImageError(f"it has values up to {np.abs(levels).max():.3g}: no measurement; declare them as nodata")
    negative = share(levels < 0)
    if kind in DECIBELS_PER_DECADE and negative > MAX_NEGATIVE_SHARE:
        likely = "decibel" if negative > 0.5 else "decibel, or linear if they are no radar values"
        raise ImageError(f"{negative:.0%} of its values are negative, which no {kind} is: set values to {likely}")
    if kind != "decibel":
        return
    if np.dtype(dtype).kind == "u":
        likely = "linear" if dtype == "uint8" else "amplitude"
        raise ImageError(f"its values are {dtype}, which cannot hold decibels below 0: set values to {likely}")
    if share(np.abs(levels) > _PLAUSIBLE_DECIBELS) > _MOST:
        likely = "linear" if negative > 0.5 else "amplitude"
        raise ImageError(f"nearly all its values are beyond {_PLAUSIBLE_DECIBELS:g} dB: set values to {likely}")
    if np.dtype(dtype).kind == "f" and share(levels == 0) > MAX_ZERO_SHARE:
        raise ImageError(
            f"{share(levels == 0):.0%} of its values are exactly 0 dB, as in a border: declare 0 as nodata"
        )
    if negative == 0 and share(levels < 1) > 0.5 and share(levels < 10) > 0.99:
        raise ImageError("its values lie near 0 and none below, as no decibels do: set values to power")


def clip_range(
    levels: NDArray[np.float64], counts: NDArray[np.int64], kind: Values, low: float, high: float
) -> tuple[float, float]:
    """Percentiles `low` and `high` of values that occur (ascending) so many times, in decibels, never equal."""
    ranks = np.cumsum(counts)
    found = [int(np.searchsorted(ranks, percent / 100 * ranks[-1])) for percent in (low, high)]
    ends = to_decibels(levels[found], kind)
    bottom, top = float(ends[0]), float(ends[1])
    if top - bottom <= 1e-6 * max(1.0, abs(bottom), abs(top)):
        margin = max(_HALF_RANGE, 1e-3 * abs(bottom))
        return bottom - margin, top + margin
    return bottom, top


def _step_off(values: NDArray[Any], nodata: float) -> None:
    """Move the values that equal nodata to the next larger one; in place.

    Floats are moved as far as it takes for readers that compare them with a tolerance.
    """
    if values.dtype.kind == "f":
        margin = max(abs(nodata) * _MARGIN, float(np.finfo(values.dtype).tiny))
        values[np.abs(values - values.dtype.type(nodata)) < margin] = nodata + margin
    elif float(nodata).is_integer():
        number = int(nodata)
        values[values == number] = number + 1 if number < np.iinfo(values.dtype).max else number - 1
