"""Effects on a clip in xmeml: curves of what moves and cuts it, and the graph of its speed. Time is in frames here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from lxml import etree

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.timeline import DEFAULTS, Notes
from millrace.keyframes.xmeml.keys import Axis, curve
from millrace.keyframes.xmeml.time import Frames, frame, label, plain, truth
from millrace.keyframes.xml_events import children, number, text_in

EFFECTS = {
    "basic": "basic",
    "basicmotion": "basic",
    "crop": "crop",
    "opacity": "opacity",
    "timeremap": "timeremap",
}
"""Effect ids and, for files without a known one, names; lower case without spaces."""

PARAMETERS = {
    "basic": {
        "scale": "scale",
        "rotation": "rotation",
        "leftcrop": "crop_l",
        "rightcrop": "crop_r",
        "topcrop": "crop_t",
        "bottomcrop": "crop_b",
    },
    "crop": {"left": "crop_l", "right": "crop_r", "top": "crop_t", "bottom": "crop_b"},
    "opacity": {"opacity": "opacity"},
}
"""Ids (or names) of parameters that stand for ours in the same unit. `center`, a point, is apart."""

CENTER: dict[str, Axis] = {"x": "horiz", "y": "vert"}
"""Fractions of the frame from its middle, `vert` downwards."""


MAX_KNOWN, MAX_KNOWN_BYTES = 1000, 10_000
"""How many effects `KnownEffects` remembers, and how long they may be: animated ones seldom come twice."""


@dataclass(frozen=True, slots=True)
class Remap:
    """How the media of a clip is sped up, slowed down or turned round.

    Attributes:
        speed: 1 for unchanged, negative backwards, 0 for a still. Nothing where there is a graph.
        graph: Pairs (frame on the axis of in and out, frame of the media), at least two, in order; empty for constant
            speed.
    """

    speed: Fraction
    graph: tuple[tuple[Frames, Frames], ...] = ()


@dataclass(slots=True)
class Effects:
    """What the effects on a clip amount to: curves with keys at frames, none at its default, and its speed."""

    curves: dict[str, Curve] = field(default_factory=dict)
    remap: Remap | None = None


NO_EFFECTS = Effects()
"""Of most clips; one object for all."""


class KnownEffects:
    """Reads the effects of clips. Those that are written alike, as most are, are read once and are one object."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Effects, Notes]] = {}

    def of(self, clip: etree._Element, notes: Notes) -> Effects:
        """As `effects_of`."""
        written = b"".join(map(etree.tostring, clip.iterchildren("filter")))
        known = self._known.get(written)
        if known is None:
            own = Notes()
            known = effects_of(clip, own), own
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            if len(written) <= MAX_KNOWN_BYTES:
                self._known[written] = known
        effects, own = known
        if own.ignored or own.guessed:
            notes.ignored.update(own.ignored)
            notes.guessed.update(own.guessed)
        return effects


def effects_of(clip: etree._Element, notes: Notes) -> Effects:
    """All `filter`s of a clip together.

    Where Motion and a Crop effect (or two of them) cut the same side, the larger cut counts: both are measured from the
    edge of the whole picture, and what one takes away the other cannot take again. Of other parameters given twice the
    last counts.

    Raises:
        TimelineError: A number that matters is none.
    """
    found = Effects()
    for effect in clip.iterfind("filter/effect"):
        inside = children(effect)
        kind = EFFECTS.get(plain(text_in(inside, "effectid"))) or EFFECTS.get(plain(text_in(inside, "name")))
        if not (_is_enabled(effect.getparent()) and truth(text_in(inside, "enabled"), default=True)):
            notes.ignored[f"disabled effect {label(inside, 'effectid')}"] += 1
        elif kind is None:
            notes.ignored[f"effect {label(inside, 'effectid')}"] += 1
        elif kind == "timeremap":
            found.remap = _remap(effect, notes)
        else:
            for name, made in _curves(effect, kind, notes):
                _add(found.curves, name, made, notes)
    return found if found.curves or found.remap else NO_EFFECTS


def _is_enabled(around: etree._Element | None) -> bool:
    return around is None or truth(around.findtext("enabled"), default=True)


def _curves(effect: etree._Element, kind: str, notes: Notes) -> Iterator[tuple[str, Curve]]:
    known = PARAMETERS[kind]
    for parameter in effect.iterchildren("parameter"):
        inside = children(parameter)
        names = (plain(text_in(inside, "parameterid")), plain(text_in(inside, "name")))
        name = known.get(names[0]) or known.get(names[1])
        if name is None and not (kind == "basic" and "center" in names):
            _ignore(parameter, inside, notes)
            continue
        for each, axis in CENTER.items() if name is None else ((name, None),):
            made = curve(parameter, inside, notes, axis=axis)
            if made is not None and not _is_constant(made, DEFAULTS[each]):
                yield each, made


def _is_constant(made: Curve, value: float) -> bool:
    return all(key.value == value and key.reach_in[1] == 0 == key.reach_out[1] for key in made.keys)


def _ignore(parameter: etree._Element, inside: Mapping[str, etree._Element], notes: Notes) -> None:
    """Count a parameter that has no place in a timeline, unless it does nothing: 0, FALSE or empty throughout."""
    for value in parameter.iter("value", "horiz", "vert"):
        text = plain(value.text)
        if text not in ("", "false") and text.strip("+-0.") != "":
            notes.ignored[f"parameter {label(inside, 'parameterid')}"] += 1
            return


def _add(curves: dict[str, Curve], name: str, made: Curve, notes: Notes) -> None:
    before = curves.get(name)
    if before is None:
        curves[name] = made
    elif name.startswith("crop"):
        notes.guessed["one side cut twice, by Motion or Crop: the larger counts"] += 1
        curves[name] = _larger(before, made)
    else:
        notes.guessed[f"{name} given twice: the last counts"] += 1
        curves[name] = made


def _larger(one: Curve, other: Curve) -> Curve:
    """The one curve that is larger at every key, else the larger at each key of both with straight lines between."""
    for first, second in ((one, other), (other, one)):
        if min(key.value for key in first.keys) >= max(key.value for key in second.keys):
            return first
    times = sorted({key.time for key in (*one.keys, *other.keys)})
    at = np.array([float(time) for time in times])
    return Curve(
        [Key(time, float(value)) for time, value in zip(times, np.maximum(one.at(at), other.at(at)), strict=True)]
    )


def _remap(effect: etree._Element, notes: Notes) -> Remap:
    """The speed of a clip. Premiere writes the graph for constant and reversed speed too, so it wins over `speed`.

    Keys of the graph are joined by straight lines; Final Cut rounds the corners where its speed keys have a ramp.
    """
    speed, backwards = Fraction(1), False
    graph: dict[Frames, Frames] = {}
    for parameter in effect.iterchildren("parameter"):
        inside = children(parameter)
        names = (plain(text_in(inside, "parameterid")), plain(text_in(inside, "name")))
        if "speed" in names and (text_in(inside, "value") or "").strip():
            speed = Fraction(number(text_in(inside, "value"), "speed")).limit_denominator(10_000_000) / 100
        elif "reverse" in names:
            backwards = truth(text_in(inside, "value"), default=False)
        elif "graphdict" in names:
            for keyframe in parameter.iterchildren("keyframe"):
                within = children(keyframe)
                when, media = (frame(text_in(within, tag), tag) for tag in ("when", "value"))
                if when is not None and media is not None:
                    graph[when] = media
                if "inbez" in within or "outbez" in within:
                    notes.guessed["curved speed, taken as straight between its keys"] += 1
        elif "variablespeed" not in names:
            _ignore(parameter, inside, notes)
    return Remap(-abs(speed) if backwards else speed, tuple(sorted(graph.items())) if len(graph) > 1 else ())
