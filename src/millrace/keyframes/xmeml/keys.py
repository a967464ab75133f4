"""A parameter of an xmeml effect as a curve over frames.

Keyframes win over the static `value` that stands beside them. `when` counts frames of the clip's media, on the axis of
the clip's `in` and `out`; keys before `in` and after `out` are kept, since the curve between them crosses the clip.

A key's interpolation is linear, held, or Bezier. Final Cut calls the last one FCPCurve, and Premiere writes that name
without handles on straight segments too: only handles make a curve. Apple names the elements `inbez` and `outbez`
without a unit. They are taken as offsets from the key: `horiz` in frames and `vert` in the parameter's unit, which is
how DaVinci Resolve writes handles of the same names. Those of a point (`center`) bend its path: both are offsets of the
point, and it runs along the path evenly in the curve's own parameter. `inscale` and `outscale` (-1..1) shift speed
along a segment without moving its ends; they are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from lxml import etree

from millrace.keyframes.curve import Curve, Ease, Key
from millrace.keyframes.timeline import Notes
from millrace.keyframes.xmeml.time import frame, label, plain
from millrace.keyframes.xml_events import TimelineError, children, number, text_in

Axis = Literal["horiz", "vert"]
Point = tuple[float, float]

EASES: dict[str, Ease] = {
    "linear": "linear",
    "hold": "hold",
    "constant": "hold",
    "bezier": "bezier",
    "fcpcurve": "bezier",
}


def curve(
    parameter: etree._Element, inside: Mapping[str, etree._Element], notes: Notes, *, axis: Axis | None = None
) -> Curve | None:
    """Keys at frames, of a number or of one axis of a point; None where the parameter says nothing.

    Args:
        parameter: The element.
        inside: Its `children`.
        notes: Filled.
        axis: Of a point.

    Raises:
        TimelineError: A value, time or handle is no number of sane size.
    """
    if "keyframe" not in inside:
        text = _value(inside, axis)
        return still(number(text, f"{label(inside, 'parameterid')} value")) if (text or "").strip() else None
    shown = label(inside, "parameterid")
    common = parameter.findtext("interpolation/name")
    keys = [_key(keyframe, common, axis, shown, notes) for keyframe in parameter.iterchildren("keyframe")]
    curved = sum(key.ease == "bezier" for key in keys)
    if curved:
        notes.guessed["unit of a Bezier handle"] += curved
    made = Curve(keys)
    return made if axis is None or not curved else Curve(_along_path(made.keys, axis))


@lru_cache(4096)
def still(value: float) -> Curve:
    """The curve of a value that never changes: one object for many clips."""
    return Curve.constant(value + 0.0)  # -0.0, which is the same key to the cache, becomes 0.0


def _value(inside: Mapping[str, etree._Element], axis: Axis | None) -> str | None:
    if axis is None:
        return text_in(inside, "value")
    value = inside.get("value")
    return None if value is None else text_in(children(value), axis)


def _key(keyframe: etree._Element, common: str | None, axis: Axis | None, shown: str, notes: Notes) -> Key:
    inside = children(keyframe)
    when = frame(text_in(inside, "when"), "when")
    if when is None:
        raise TimelineError(f"a keyframe of {shown} has no time")
    value = number(_value(inside, axis), f"{shown} at frame {float(when):g}")
    written = keyframe.findtext("interpolation/name") or common or "linear"
    ease = EASES.get(plain(written))
    if ease is None:
        notes.guessed[f"interpolation {written.strip()[:60]}, taken as linear"] += 1
    time = Fraction(when)
    if len(inside) == 2:  # when and value, as nearly always
        return Key(time, value, "hold" if ease == "hold" else "linear")
    if any(_handle(keyframe, tag, None, shown) for tag in ("inscale", "outscale")):
        notes.ignored["acceleration of a keyframe (inscale, outscale)"] += 1
    reach_in, reach_out = (
        (_handle(keyframe, tag, "horiz", shown), _handle(keyframe, tag, "vert", shown)) for tag in ("inbez", "outbez")
    )
    if ease != "bezier" or reach_in == (0, 0) == reach_out:
        return Key(time, value, "hold" if ease == "hold" else "linear")
    if axis is None:  # in time, a handle never points away from its segment; a sign that says so is a slip
        reach_in, reach_out = (-abs(reach_in[0]), reach_in[1]), (abs(reach_out[0]), reach_out[1])
    return Key(time, value, "bezier", reach_in, reach_out)


def _handle(keyframe: etree._Element, tag: str, axis: Axis | None, shown: str) -> float:
    text = keyframe.findtext(tag if axis is None else f"{tag}/{axis}")
    return number(text, f"{tag} of {shown}") if (text or "").strip() else 0.0


def _along_path(keys: tuple[Key, ...], axis: Axis) -> list[Key]:
    """Keys of one axis of a point; handles of a third of the segment in time let the cubic's parameter run evenly."""
    bent = []
    for index, key in enumerate(keys):
        before = float(key.time - keys[index - 1].time) if index else 0.0
        after = float(keys[index + 1].time - key.time) if index + 1 < len(keys) else 0.0
        offset = 0 if axis == "horiz" else 1
        bent.append(
            replace(key, reach_in=(-before / 3, key.reach_in[offset]), reach_out=(after / 3, key.reach_out[offset]))
        )
    return bent
