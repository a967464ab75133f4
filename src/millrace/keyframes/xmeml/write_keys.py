"""Curves as keyframes of an xmeml parameter: the reverse of `keys`, which says how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np

from millrace.keyframes.curve import Curve, Ease, Key
from millrace.keyframes.xml_events import TimelineError

Point = tuple[float, float]
Shape = Literal["still", "linear", "hold", "bezier"]
THIRD = 1e-6
"""How far, as a part of the segment, a handle may lie from a third of it and still count as there."""


@dataclass(frozen=True, slots=True)
class Keyframe:
    """As it stands in the file.

    Attributes:
        time: Seconds on the clip's local axis.
        value: A number, or a point as (horiz, vert).
        ease: Of the segment that begins here; `bezier` also where only the one before is.
        inbez: Handle towards the key before. Of a number (seconds, value), of a point (horiz, vert); from the key.
        outbez: The one towards the key after.
    """

    time: Fraction
    value: float | Point
    ease: Ease
    inbez: Point = (0.0, 0.0)
    outbez: Point = (0.0, 0.0)


def is_still(curve: Curve) -> bool:
    """Whether nothing moves."""
    first = curve.keys[0].value
    return all(key.value == first and key.reach_in[1] == 0 == key.reach_out[1] for key in curve.keys)


def keyframes_of_number(curve: Curve) -> list[Keyframe]:
    """Keyframes of a parameter that is one number; none for one that a static value says as well.

    Raises:
        TimelineError: A handle stands at a key that is no Bezier one, where the format has no place for it.
    """
    keys = curve.keys
    if len(keys) == 1 and keys[0] == Key(Fraction(0), keys[0].value):
        return []
    for left, right in pairwise(keys):
        if left.ease != "hold" and "bezier" in (left.ease, right.ease):
            for key, reach in ((left, left.reach_out), (right, right.reach_in)):
                if key.ease != "bezier" and reach != (0, 0):
                    raise TimelineError(f"at {float(key.time):g} s a {key.ease} key has a Bezier handle")
    return [
        Keyframe(key.time, key.value, key.ease, key.reach_in, key.reach_out)
        if key.ease == "bezier"
        else Keyframe(key.time, key.value, key.ease)
        for key in keys
    ]


def keyframes_of_point(x: Curve, y: Curve) -> list[Keyframe]:
    """Keyframes of a point from the curves of its two axes; none where it rests.

    In the file a key has both axes and one interpolation. Keys are added where only one axis has one, straight segments
    become Bezier ones where the other axis is curved, and a curve that begins and ends flat is cut in the middle,
    because a key without any handle is read as a straight one.

    Raises:
        TimelineError: The two move in ways that one list of keys cannot say.
    """
    curves = [curve for curve in (x, y) if not is_still(curve)]
    if not curves:
        return []
    times = sorted({key.time for curve in curves for key in curve.keys})
    values = list(zip(_values(x, times), _values(y, times), strict=True))
    parts = [_joined(_axis(x, *span), _axis(y, *span), span) for span in pairwise(times)]
    bends = _Bends(times, values, [part.shape for part in parts], [(0.0, 0.0)] * len(times), [(0.0, 0.0)] * len(times))
    for index, part in enumerate(parts):
        if part.shape == "bezier":
            bends.bend(index, part.out, part.into)
    bends.straighten()
    bends.cut()
    return bends.keyframes()


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment; `out` and `into` are the value handles at its begin and end, of one axis or of both."""

    shape: Shape
    out: Point = (0.0, 0.0)
    into: Point = (0.0, 0.0)


@dataclass
class _Bends:
    """The keys of a point while they are made to fit the format; `shapes` are those of the segments between."""

    times: list[Fraction]
    values: list[Point]
    shapes: list[Shape]
    into: list[Point]
    out: list[Point]

    def bend(self, index: int, out: Point, into: Point) -> None:
        self.shapes[index], self.out[index], self.into[index + 1] = "bezier", out, into

    def curved(self, key: int) -> bool:
        """Whether the key has a handle, by which it is read as a Bezier one."""
        return any((*self.into[key], *self.out[key]))

    def straighten(self) -> None:
        """Give straight segments beside Bezier keys handles along the line: they would be read as curved."""
        waiting = True
        while waiting:
            waiting = False
            for index, shape in enumerate(self.shapes):
                if shape in ("linear", "still") and (self.curved(index) or self.curved(index + 1)):
                    (x, y), (end_x, end_y) = self.values[index : index + 2]
                    rise = (end_x - x) / 3, (end_y - y) / 3
                    self.bend(index, rise, (-rise[0], -rise[1]))
                    waiting = True

    def cut(self) -> None:
        """Halve curved segments between keys without handles (de Casteljau), so that the key between has some."""
        for index in reversed(range(len(self.shapes))):
            if self.shapes[index] != "bezier" or self.curved(index) or self.curved(index + 1):
                continue
            (x, y), (end_x, end_y) = self.values[index : index + 2]
            quarter = (end_x - x) / 4, (end_y - y) / 4
            self.times.insert(index + 1, (self.times[index] + self.times[index + 1]) / 2)
            self.values.insert(index + 1, ((x + end_x) / 2, (y + end_y) / 2))
            self.shapes.insert(index, "bezier")
            self.into.insert(index + 1, (-quarter[0], -quarter[1]))
            self.out.insert(index + 1, quarter)

    def keyframes(self) -> list[Keyframe]:
        made = []
        for index, (time, value) in enumerate(zip(self.times, self.values, strict=True)):
            held = index < len(self.shapes) and self.shapes[index] == "hold"
            if held and self.curved(index):
                raise TimelineError(f"at {float(time):g} s the position is held after a curve, which xmeml cannot say")
            plain = Keyframe(time, value, "hold" if held else "linear")
            curved = self.curved(index)
            made.append(
                replace(plain, ease="bezier", inbez=self.into[index], outbez=self.out[index]) if curved else plain
            )
        return made


def _values(curve: Curve, times: Sequence[Fraction]) -> list[float]:
    exact = {key.time: key.value for key in curve.keys}
    between = curve.at(np.array([float(time) for time in times]))
    return [float(exact.get(time, value)) for time, value in zip(times, between, strict=True)]


def _axis(curve: Curve, begin: Fraction, end: Fraction) -> _Part:
    """How one axis goes from `begin` to `end`, between which it has no key; handles are (value, 0)."""
    if is_still(curve) or end <= curve.keys[0].time or begin >= curve.keys[-1].time:
        return _Part("still")
    left, right = next(pair for pair in pairwise(curve.keys) if pair[0].time <= begin < pair[1].time)
    if left.ease == "hold":
        return _Part("hold")
    if "bezier" not in (left.ease, right.ease):
        third = (right.value - left.value) * float((end - begin) / (right.time - left.time)) / 3
        return _Part("linear" if third else "still", (third, 0.0), (-third, 0.0))
    length = float(end - begin)
    thirds = left.reach_out[0] - length / 3, right.reach_in[0] + length / 3
    if (left.time, right.time) != (begin, end) or max(map(abs, thirds)) > THIRD * length:
        raise TimelineError(
            f"from {float(left.time):g} to {float(right.time):g} s x or y follows a curve of its own in time; "
            "xmeml bends the path of a point, with handles of a third of the segment"
        )
    return _Part("bezier", (left.reach_out[1], 0.0), (right.reach_in[1], 0.0))


def _joined(x: _Part, y: _Part, span: tuple[Fraction, Fraction]) -> _Part:
    shapes = {x.shape, y.shape} - {"still"}
    if "hold" in shapes and len(shapes) > 1:
        raise TimelineError(
            f"from {float(span[0]):g} to {float(span[1]):g} s one of x and y is held while the other moves"
        )
    if "bezier" not in shapes:
        return _Part(shapes.pop() if shapes else "still")
    return _Part("bezier", (x.out[0], y.out[0]), (x.into[0], y.into[0]))
