"""Elements of xmeml, and the filters that say how a clip lies: Basic Motion and Opacity."""

from __future__ import annotations

import math
from fractions import Fraction

from lxml import etree

from millrace.keyframes.curve import Curve
from millrace.keyframes.timeline import DEFAULTS, Clip
from millrace.keyframes.xmeml.time import frame
from millrace.keyframes.xmeml.write_keys import (
    Keyframe,
    Point,
    is_still,
    keyframes_of_number,
    keyframes_of_point,
)
from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError

MOTION = {
    "scale": ("scale", "Scale", 0, 10_000),
    "rotation": ("rotation", "Rotation", -8640, 8640),
    "crop_l": ("leftcrop", "Crop Left", 0, 100),
    "crop_t": ("topcrop", "Crop Top", 0, 100),
    "crop_r": ("rightcrop", "Crop Right", 0, 100),
    "crop_b": ("bottomcrop", "Crop Bottom", 0, 100),
}
"""Id, name and range of Basic Motion's parameters; `center`, a point, stands between rotation and the crops."""

EASES = {"linear": "linear", "hold": "hold", "bezier": "FCPCurve"}


def add(parent: etree._Element, tag: str, text: str | int | None = None, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element


def write_effects(element: etree._Element, clip: Clip, own: Fraction) -> None:
    """Add the filters of what is not at its default; keys count at the rate `own`."""
    curves = {
        name: curve
        for name, curve in clip.animation.items()
        if not (is_still(curve) and curve.keys[0].value == DEFAULTS[name])
    }
    if set(curves) - {"opacity"}:
        motion = add_effect(add(element, "filter"), "Basic Motion", "basic", "motion")
        for name, shown in MOTION.items():
            if name == "crop_l" and ("x" in curves or "y" in curves):
                x, y = (curves.get(axis) or Curve.constant(DEFAULTS[axis]) for axis in ("x", "y"))
                static: Point = (x.keys[0].value, y.keys[0].value)
                _values(add_parameter(motion, "center", "Center", None, None), static, keyframes_of_point(x, y), own)
            if name in curves:
                curve = curves[name]
                _values(add_parameter(motion, *shown), curve.keys[0].value, keyframes_of_number(curve), own)
    if "opacity" in curves:
        effect = add_effect(add(element, "filter"), "Opacity", "opacity", "motion")
        curve = curves["opacity"]
        parameter = add_parameter(effect, "opacity", "opacity", 0, 100)
        _values(parameter, curve.keys[0].value, keyframes_of_number(curve), own)


def add_effect(parent: etree._Element, name: str, own_id: str, kind: str, category: str = "motion") -> etree._Element:
    effect = add(parent, "effect")
    texts = {"name": name, "effectid": own_id, "effectcategory": category, "effecttype": kind, "mediatype": "video"}
    for tag, text in texts.items():
        add(effect, tag, text)
    return effect


def add_parameter(effect: etree._Element, own_id: str, name: str, low: int | None, high: int | None) -> etree._Element:
    parameter = add(effect, "parameter")
    for tag, value in (("parameterid", own_id), ("name", name), ("valuemin", low), ("valuemax", high)):
        if value is not None:
            add(parameter, tag, value)
    return parameter


def _values(parameter: etree._Element, static: float | Point, keyframes: list[Keyframe], own: Fraction) -> None:
    _value(parameter, "value", static)
    for keyframe in keyframes:
        element = add(parameter, "keyframe")
        add(element, "when", frames_text(keyframe.time * own, "a keyframe"))
        _value(element, "value", keyframe.value)
        add(add(element, "interpolation"), "name", EASES[keyframe.ease])
        if keyframe.ease == "bezier":
            for tag, (horiz, vert) in (("inbez", keyframe.inbez), ("outbez", keyframe.outbez)):
                in_time = not isinstance(keyframe.value, tuple)
                _value(element, tag, (_handle(horiz, own) if in_time else horiz, vert))


def _handle(seconds: float, own: Fraction) -> float:
    """A handle's length in frames, chosen among the nearest so that it comes back as the same number of seconds."""
    pace = float(own)
    near = seconds * pace
    around = (near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
    return next((length for length in around if length / pace == seconds), near)


def _value(parent: etree._Element, tag: str, value: float | Point) -> None:
    if not isinstance(value, tuple):
        add(parent, tag, number_text(value))
        return
    element = add(parent, tag)
    for axis, each in zip(("horiz", "vert"), value, strict=True):
        add(element, axis, number_text(each))


def number_text(value: float) -> str:
    """Shortest text that reads as the same float64."""
    if not abs(value) <= MAX_MAGNITUDE:
        raise TimelineError(f"{value} is not a number between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}")
    return repr(float(value)).removesuffix(".0")


def frames_text(frames: Fraction, what: str) -> str:
    """A frame number, with decimals where it lies between frames: the reader takes those to a 10 000th."""
    text = str(frames.numerator) if frames.denominator == 1 else repr(float(frames))
    frame(text, what)
    return text
