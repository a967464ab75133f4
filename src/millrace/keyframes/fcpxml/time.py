"""Times of FCPXML: exact rational seconds, and the piecewise straight maps from one time axis to another."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from lxml import etree

from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError

TimeMap = tuple[tuple[Fraction, Fraction], ...]
"""Pairs (time on one axis, time on another) in strict order of the first; straight between and beyond the pairs."""

MAX_BENDS = 10_000
"""Changes of speed in one clip; those of clips inside each other multiply."""

# The DTD: a 64-bit numerator and a 32-bit denominator, or a whole number of seconds.
_RATIONAL = re.compile(r"(-?[0-9]{1,19})(?:/([0-9]{1,10}))?s")


@lru_cache(4096)
def seconds(text: str, what: str) -> Fraction:
    """Exact seconds of `1001/30000s` or `5s`; one object for texts that come again soon.

    Raises:
        TimelineError: It is not of that form, or longer than any edit.
    """
    match = _RATIONAL.fullmatch(text.strip())
    if match is None or (match[2] and int(match[2]) == 0):
        raise TimelineError(f"{what} is {text[:40]!r}, not a time like 1001/30000s")
    value = Fraction(int(match[1]), int(match[2] or 1))
    if abs(value) > MAX_MAGNITUDE:
        raise TimelineError(f"{what} is {text[:40]!r}, more than {MAX_MAGNITUDE:g} seconds")
    return value


def time_of(element: etree._Element, attribute: str, default: Fraction = Fraction(0)) -> Fraction:
    """An attribute in seconds; `default` where it is not given (0 in the DTD).

    Raises:
        TimelineError: It is no time.
    """
    text = element.get(attribute)
    return default if text is None else seconds(text, attribute)


def length_of(element: etree._Element) -> Fraction | None:
    """The `duration` in seconds, or None where it is not given.

    Raises:
        TimelineError: It is no time, or below zero.
    """
    text = element.get("duration")
    if text is None:
        return None
    value = seconds(text, "duration")
    if value < 0:
        raise TimelineError(f"duration is {text!r}, below zero")
    return value


def shift(origin: Fraction) -> TimeMap:
    """The map to an axis that runs at the same pace and begins at `origin` of this one."""
    return ((origin, Fraction(0)), (origin + 1, Fraction(1)))


def look_up(points: TimeMap, time: Fraction) -> Fraction:
    """Where a map puts `time`; the first and the last segment go on beyond their ends."""
    if len(points) == 1:
        return points[0][1]
    right = min(max(bisect_right(points, time, key=lambda point: point[0]), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (time - x0) * (y1 - y0) / (x1 - x0)


def through(first: TimeMap, second: TimeMap) -> TimeMap:
    """The map `first` and then `second`, over the times of `first`, with every bend of both.

    Raises:
        TimelineError: They have absurdly many bends.
    """
    inner = [middle for middle, _ in second[1:-1]]
    if not inner:
        return tuple((x, look_up(second, y)) for x, y in first)
    bends = {x for x, _ in first}
    for (x0, y0), (x1, y1) in pairwise(first):
        for middle in inner[bisect_right(inner, min(y0, y1)) : bisect_left(inner, max(y0, y1))]:
            bends.add(x0 + (middle - y0) * (x1 - x0) / (y1 - y0))
        if len(bends) > MAX_BENDS:
            raise TimelineError(f"its speed changes more than {MAX_BENDS} times")
    return tuple((x, look_up(second, look_up(first, x))) for x in sorted(bends))


def time_map(item: etree._Element) -> TimeMap | None:
    """The speed changes of a clip: from its local axis to that of its content; None where there are none.

    Raises:
        TimelineError: A point of it is no time.
    """
    element = item.find("timeMap")
    if element is None:
        return None
    points = {}
    for point in element.iterfind("timept"):
        points[seconds(point.get("time", ""), "time of a timept")] = seconds(
            point.get("value", ""), "value of a timept"
        )
    return tuple(sorted(points.items())) or None
