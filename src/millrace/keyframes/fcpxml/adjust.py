"""How a clip of an FCPXML file is laid out: position, scale, rotation, crop and opacity, still or keyed.

Units (FCPXML DTD 1.11 and files that Final Cut wrote): `position` and all four sides of a crop are percentages of the
frame's HEIGHT, position from the middle with y up, crop of the media's own frame; scale 1 is 100 percent; rotation is
in degrees, counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from lxml import etree

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.fcpxml.resources import Shape
from millrace.keyframes.fcpxml.time import seconds
from millrace.keyframes.timeline import DEFAULTS, Notes
from millrace.keyframes.xml_events import TimelineError, number

Values = tuple[float, ...]

_UNSUPPORTED = frozenset(
    {
        "adjust-corners",
        "adjust-stabilization",
        "adjust-rollingShutter",
        "adjust-360-transform",
        "adjust-reorient",
        "adjust-orientation",
        "adjust-cinematic",
        "object-tracker",
        "filter-video",
        "filter-video-mask",
    }
)
_USUAL_ASPECT = 16 / 9


@dataclass(frozen=True)
class _Point:
    """A keyframe: time on the clip's local axis, components, and whether the motion slows down before and after it."""

    time: Fraction
    values: Values
    slow_in: bool = False
    slow_out: bool = False


class Adjustments:
    """Reads the adjustments of one clip.

    Args:
        item: The element that holds them.
        shape: Of the sequence that the clip lies in.
        aspect: Width over height of the clip's own picture, where known.
        start: Local time at which the clip begins, in seconds.
        duration: Its length in seconds.
        notes: Where things ignored and guessed are counted.
    """

    def __init__(
        self,
        item: etree._Element,
        *,
        shape: Shape,
        aspect: float | None,
        start: Fraction,
        duration: Fraction,
        notes: Notes,
    ) -> None:
        self.item, self.shape, self.aspect = item, shape, aspect
        self.start, self.duration, self.notes = start, duration, notes

    def curves(self) -> dict[str, Curve]:
        """Curves, on the clip's local axis, of the parameters that are ever off their default.

        Raises:
            TimelineError: A time or number in it is impossible.
        """
        found: dict[str, Curve] = {}
        for element in self.item:
            if element.get("enabled", "1") == "0":
                continue
            if element.tag == "adjust-transform":
                found |= self._transform(element)
            elif element.tag == "adjust-crop":
                found |= self._crop(element)
            elif element.tag == "adjust-blend":
                found["opacity"] = _curve(self._faded(element), lambda amount: 100 * amount[0])
            elif element.tag == "adjust-conform" and element.get("type", "fit") != "fit":
                self.notes.ignored[f"adjust-conform {element.get('type')}"] += 1
            elif element.tag in _UNSUPPORTED:
                self.notes.ignored[element.tag] += 1
        return {name: curve for name, curve in found.items() if any(key.value != DEFAULTS[name] for key in curve.keys)}

    def _transform(self, element: etree._Element) -> dict[str, Curve]:
        position = self._points(element, "position", (0.0, 0.0))
        aspect = self.shape.aspect
        if aspect is None:
            aspect = _USUAL_ASPECT
            if any(point.values[0] for point in position):
                self.notes.guessed["frame of unknown size taken as 16:9"] += 1
        scale = self._points(element, "scale", (1.0, 1.0))
        if any(point.values[0] != point.values[1] for point in scale):
            self.notes.guessed["scale that differs in x and y, its mean taken"] += 1
        if any(any(point.values) for point in self._points(element, "anchor", (0.0, 0.0))):
            self.notes.ignored["anchor"] += 1
        return {
            "x": _curve(position, lambda place: place[0] / 100 / aspect),
            "y": _curve(position, lambda place: -place[1] / 100),
            # A mirrored clip has a negative scale; its size is what counts.
            "scale": _curve(scale, lambda factor: 50 * (abs(factor[0]) + abs(factor[1]))),
            "rotation": _curve(self._points(element, "rotation", (0.0,)), lambda angle: -angle[0]),
        }

    def _crop(self, element: etree._Element) -> dict[str, Curve]:
        mode = element.get("mode", "trim")
        rectangle = element.find(f"{mode}-rect")
        if rectangle is None:
            return {}
        if mode != "trim":  # both then enlarge what is left to fill the frame, and pan moves to its second rectangle
            self.notes.ignored["adjust-crop pan: movement" if mode == "pan" else "adjust-crop crop: enlargement"] += 1
        if self.aspect is None:
            self.notes.guessed["crop of media of unknown size, taken for the sequence's"] += 1
        aspect = self.aspect or self.shape.aspect or _USUAL_ASPECT
        return {
            "crop_l": _curve(self._points(rectangle, "left", (0.0,)), lambda part: part[0] / aspect),
            "crop_r": _curve(self._points(rectangle, "right", (0.0,)), lambda part: part[0] / aspect),
            "crop_t": _curve(self._points(rectangle, "top", (0.0,)), lambda part: part[0]),
            "crop_b": _curve(self._points(rectangle, "bottom", (0.0,)), lambda part: part[0]),
        }

    def _points(self, element: etree._Element, name: str, default: Values) -> list[_Point]:
        """A parameter's keyframes, or its one value."""
        text = element.get(name)
        still = default if text is None else _vector(text, len(default), name)
        param = _param(element, name)
        if param is None:
            return [_Point(self.start, still)]
        if param.get("value"):
            still = _vector(param.get("value", ""), len(default), name)
        points = self._keyframes(param, name, len(default))
        parts = [_param(param, axis) for axis in "xy"] if len(default) == 2 else []
        if not points and any(part is not None for part in parts):
            points = self._by_axis(parts, name, still)
        return points or [_Point(self.start, still)]

    def _keyframes(self, param: etree._Element, name: str, size: int) -> list[_Point]:
        keyframes = param.findall("keyframeAnimation/keyframe")
        points = {}
        for index, keyframe in enumerate(keyframes):
            time = seconds(keyframe.get("time", ""), f"time of a keyframe of {name}")
            interp = keyframe.get("interp", "linear")
            if interp != "linear":
                self.notes.guessed["eased keyframe drawn with handles of a third"] += 1
            elif 0 < index < len(keyframes) - 1 and keyframe.get("curve", "smooth") == "smooth":
                self.notes.guessed["smooth keyframe drawn as a corner"] += 1
            values = _vector(keyframe.get("value", ""), size, name)
            points[time] = _Point(time, values, interp in ("ease", "easeIn"), interp in ("ease", "easeOut"))
        return [points[time] for time in sorted(points)]

    def _by_axis(self, parts: list[etree._Element | None], name: str, still: Values) -> list[_Point]:
        """Keyframes of x and y apart, joined at the times of both."""
        axes = []
        for part, value in zip(parts, still, strict=True):
            alone = [_Point(self.start, (value,))]
            if part is not None:
                if part.get("value"):
                    alone = [_Point(self.start, _vector(part.get("value", ""), 1, name))]
                alone = self._keyframes(part, name, 1) or alone
            axes.append(alone)
        if [point.time for point in axes[0]] != [point.time for point in axes[1]] and min(map(len, axes)) > 1:
            self.notes.guessed["x and y keyed at different times"] += 1
        # A still axis adds no time of its own to the keyframes of the other.
        moving = [points for points in axes if len(points) > 1] or axes
        points = {point.time: point for alone in moving for point in alone}
        times = sorted(points)
        local = np.array([float(time) for time in times])
        columns = [_curve(alone, lambda value: value[0]).at(local).tolist() for alone in axes]
        return [
            _Point(time, values, points[time].slow_in, points[time].slow_out)
            for time, values in zip(times, zip(*columns, strict=True), strict=True)
        ]

    def _faded(self, element: etree._Element) -> list[_Point]:
        """Keyframes of the opacity, those of a fade in and out included."""
        points = self._points(element, "amount", (1.0,))
        param = _param(element, "amount")
        fades = [] if param is None else [fade for fade in param if fade.tag in ("fadeIn", "fadeOut")]
        if not fades:
            return points
        if len(points) > 1:
            self.notes.ignored["fade beside keyframes"] += len(fades)
            return points
        full, end = points[0].values, self.start + self.duration
        faded: dict[Fraction, Values] = {}
        for fade in fades:
            length = min(
                max(seconds(fade.get("duration", ""), f"duration of a {fade.tag}"), Fraction(0)), self.duration
            )
            if fade.get("type") != "linear":
                self.notes.guessed["curved fade drawn straight"] += 1
            if fade.tag == "fadeIn":
                faded |= {self.start: (0.0,), self.start + length: full}
            else:  # where both overlap, the fade out begins when the fade in is done
                faded |= {max(end - length, *faded, self.start): full, end: (0.0,)}
        return [_Point(time, values) for time, values in sorted(faded.items())]


def _param(element: etree._Element, name: str) -> etree._Element | None:
    for param in element.iterfind("param"):
        if param.get("name", "").lower() == name and param.get("enabled", "1") != "0":
            return param
    return None


def _vector(text: str, size: int, what: str) -> Values:
    parts = text.split()
    if len(parts) == 1 and size == 2 and what == "scale":
        parts *= 2
    if len(parts) != size:
        raise TimelineError(f"{what} is {text[:40]!r}, not {size} number{'s' * (size > 1)}")
    return tuple(number(part, what) for part in parts)


def _curve(points: list[_Point], convert: Callable[[Values], float]) -> Curve:
    """Keys of one parameter.

    Where a key is eased, all segments get handles of a third of their length: flat on an eased side, along the straight
    line on the other, which leaves a segment without an ease straight.
    """
    values = [convert(point.values) for point in points]
    if len(points) == 1:
        return still(values[0])
    if not any(point.slow_in or point.slow_out for point in points):
        return Curve([Key(point.time, value) for point, value in zip(points, values, strict=True)])
    keys = []
    for index, (point, value) in enumerate(zip(points, values, strict=True)):
        reach_in = reach_out = (0.0, 0.0)
        if index > 0:
            reach_in = _third(points[index - 1].time - point.time, values[index - 1] - value, flat=point.slow_in)
        if index < len(points) - 1:
            reach_out = _third(points[index + 1].time - point.time, values[index + 1] - value, flat=point.slow_out)
        keys.append(Key(point.time, value, "bezier", reach_in, reach_out))
    return Curve(keys)


@lru_cache(4096)
def still(value: float) -> Curve:
    """The curve of a value that never changes: one object for many clips."""
    return Curve.constant(value + 0.0)  # -0.0, which is the same key to the cache, becomes 0.0


def _third(length: Fraction, rise: float, *, flat: bool) -> tuple[float, float]:
    return float(length / 3), 0.0 if flat else rise / 3
