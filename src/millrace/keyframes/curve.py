"""A parameter's value over time, between keys as editors draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ease = Literal["linear", "hold", "bezier"]
Floats = NDArray[np.float64]

BISECTIONS = 40
"""Halvings of the curve's own parameter: 2^-40 of a segment is finer than a float32 of the value can show."""


@dataclass(frozen=True, slots=True)
class Key:
    """A value at a time, and how the curve leaves and reaches it.

    Attributes:
        time: Seconds on the clip's local axis.
        value: In the parameter's unit.
        ease: Of the segment that begins here; a segment is also Bezier when the key at its end is one.
        reach_in: Bezier handle towards the key before, as (seconds, value) relative to this key; seconds <= 0.
        reach_out: The one towards the key after; seconds >= 0.
    """

    time: Fraction
    value: float
    ease: Ease = "linear"
    reach_in: tuple[float, float] = (0.0, 0.0)
    reach_out: tuple[float, float] = (0.0, 0.0)


class Curve:
    """Keys in order of time; the first value holds before them, the last one after.

    Args:
        keys: At least one. Of several at one time the last counts, as in a file that repeats a key.
    """

    __slots__ = ("keys",)

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("a curve needs a key")
        if any(left.time >= right.time for left, right in pairwise(keys)):
            by_time = {key.time: key for key in keys}
            keys = [by_time[time] for time in sorted(by_time)]
        self.keys = tuple(keys)

    @classmethod
    def constant(cls, value: float) -> Curve:
        return cls([Key(Fraction(0), value)])

    @property
    def animated(self) -> bool:
        return any(key.value != self.keys[0].value for key in self.keys)

    def at(self, times: Floats) -> Floats:
        """Values at `times` (N,), in seconds on the local axis; float64 (N,)."""
        stops = np.array([float(key.time) for key in self.keys])
        values = np.interp(times, stops, [key.value for key in self.keys])
        segment = np.searchsorted(stops, times, side="right") - 1
        for index, (left, right) in enumerate(pairwise(self.keys)):
            if left.ease == "linear" and right.ease != "bezier":
                continue
            inside = segment == index
            if left.ease == "hold":
                values[inside] = left.value
            elif inside.any():
                values[inside] = _bezier(left, right, times[inside])
        return values


def _bezier(left: Key, right: Key, times: Floats) -> Floats:
    """Values of the cubic from `left` to `right` whose time runs monotonously: handles are cut to the segment."""
    length = float(right.time - left.time)
    out_time, out_value = _cut(left.reach_out, length)
    in_time, in_value = _cut(right.reach_in, length)
    stops = (0.0, out_time, length + in_time, length)
    values = (left.value, left.value + out_value, right.value + in_value, right.value)
    wanted = times - float(left.time)
    low, high = np.zeros_like(wanted), np.ones_like(wanted)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        before = _cubic(stops, middle) < wanted
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return _cubic(values, (low + high) / 2)


def _cut(reach: tuple[float, float], length: float) -> tuple[float, float]:
    """A handle shortened, in its direction, to at most the segment's length: a longer one would turn time back."""
    seconds, value = reach
    return (seconds, value) if abs(seconds) <= length else (np.copysign(length, seconds), value * length / abs(seconds))


def _cubic(points: tuple[float, float, float, float], s: Floats) -> Floats:
    first, second, third, fourth = points
    r = 1 - s
    return r**3 * first + 3 * r**2 * s * second + 3 * r * s**2 * third + s**3 * fourth
