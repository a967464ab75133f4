"""Final Cut Pro 7 XML (xmeml version 4), written so that `read` gives back the same sequence and editors import it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from lxml import etree

from millrace.files import write_text
from millrace.keyframes.assets import media_name
from millrace.keyframes.curve import Curve
from millrace.keyframes.timeline import Clip, Sequence, Track
from millrace.keyframes.xmeml.time import MAX_TIMEBASE, NTSC, TICKS_PER_SECOND
from millrace.keyframes.xmeml.write_effects import (
    add,
    add_effect,
    add_parameter,
    frames_text,
    number_text,
    write_effects,
)
from millrace.keyframes.xmeml.write_keys import is_still
from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError

CLIP_RATES = tuple(Fraction(base) * pull for base in (24, 25, 30, 48, 50, 60, 120) for pull in (Fraction(1), NTSC))
"""Rates at which a clip's own frames may count where those of the sequence do not fit."""

NO_LENGTH = -1
"""`out` of a marker of a moment, as Premiere writes it."""


@dataclass
class _Written:
    """What is already in the file: clips, counted, and what each file id stands for."""

    clips: int = 0
    files: dict[str, tuple[str | None, str, Fraction | None]] = field(default_factory=dict)


Marker = tuple[Fraction, Fraction, str]
"""Start and end in seconds of the sequence, and a name."""


def write(sequence: Sequence, path: Path, markers: Iterable[Marker] = ()) -> None:
    """Write a sequence as xmeml version 4; equal sequences give equal bytes.

    Audio is not written. A clip's own frames count at the sequence's rate, or at a common one in which its `in` and its
    keys are whole; where there is none, its local axis is moved by less than a frame, so that `in` is whole, and keys
    lie between frames. A change of speed becomes the graph of a Time Remap. A generator with a `media_id` is written as
    Premiere's graphics are (a file without a path), one without as a `generatoritem` that shows the clip's name.

    The length of media is written in frames of the first rate in which it is whole: the clip's, the sequence's, a
    common one. Where there is none it is rounded up to a frame of the clip, and a length of more than 1e9 frames is
    left out. `read` takes no length from generators and still images.

    Args:
        sequence: Without nested sequences: whoever has some flattens them first. Clips lie on whole frames, in order.
        path: Takes the place of what is there only when the file is whole.
        markers: Of the sequence, in its frames: from the one in which they start to the one in which they end. One
            without length marks a moment. `read` passes over them.

    Raises:
        TimelineError: xmeml cannot say it: a frame rate that is neither whole nor n * 1000/1001, an edge between
            frames, overlapping clips, a nested sequence, a marker that ends before it starts, a text with control
            characters, a number beyond 1e9.
    """
    root = etree.Element("xmeml", version="4")
    try:
        _sequence(root, sequence, markers)
    except ValueError as error:  # lxml's own for a text that no XML can hold
        raise TimelineError(f"sequence {sequence.name!r} cannot be written: {error}") from None
    text = etree.tostring(
        root, xml_declaration=True, encoding="UTF-8", doctype="<!DOCTYPE xmeml>", pretty_print=True
    ).decode()
    write_text(path, lambda stream: stream.write(text))


def _sequence(root: etree._Element, sequence: Sequence, markers: Iterable[Marker]) -> None:
    rate = sequence.frame_rate
    element = add(root, "sequence", id="sequence-1")
    add(element, "name", sequence.name)
    _rate(element, rate)
    add(element, "duration", _whole(sequence.duration * rate, "the sequence's duration"))
    timecode = add(element, "timecode")
    _rate(timecode, rate)
    for tag, text in (("string", "00:00:00:00"), ("frame", "0"), ("displayformat", "NDF")):
        add(timecode, tag, text)
    video = add(add(element, "media"), "video")
    characteristics = add(add(video, "format"), "samplecharacteristics")
    _rate(characteristics, rate)
    if sequence.width and sequence.height:
        add(characteristics, "width", sequence.width)
        add(characteristics, "height", sequence.height)
    add(characteristics, "pixelaspectratio", "square")
    written = _Written()
    for track in sequence.tracks:
        _track(add(video, "track"), track, rate, written)
    for marker in markers:
        _marker(element, marker, rate)


def _marker(sequence: etree._Element, marker: Marker, rate: Fraction) -> None:
    start, end, name = marker
    first, last = math.floor(start * rate), math.ceil(end * rate)
    if not (0 <= start <= end and last <= MAX_MAGNITUDE):
        raise TimelineError(f"marker {name!r} lasts from {float(start):g} to {float(end):g} s, frame {first} to {last}")
    element = add(sequence, "marker")
    add(element, "name", name or None)
    add(element, "comment")
    add(element, "in", first)
    add(element, "out", last if start < end else NO_LENGTH)


def _track(element: etree._Element, track: Track, rate: Fraction, written: _Written) -> None:
    for before, after in pairwise(track.clips):
        if after.start < before.end:
            raise TimelineError(f"clip {after.name!r} begins at {float(after.start):g} s, before {before.name!r} ends")
    for clip in track.clips:
        try:
            _clip(element, clip, rate, written)
        except TimelineError as error:
            raise TimelineError(f"clip {clip.name!r} at {float(clip.start):g} s: {error}") from None
    add(element, "enabled", _truth(track.enabled))
    add(element, "locked", "FALSE")


def _clip(track: etree._Element, clip: Clip, rate: Fraction, written: _Written) -> None:
    if clip.kind == "nested":
        raise TimelineError("it holds a sequence; flatten nested sequences before writing")
    start, end = (_whole(edge * rate, edge_name) for edge, edge_name in ((clip.start, "start"), (clip.end, "end")))
    if not 0 <= start < end:
        raise TimelineError(f"it lasts from frame {start} to {end}")
    own = _own_rate(clip, rate)
    local_start = math.floor(clip.local_start * own) / own
    if local_start != clip.local_start:
        clip = _moved(clip, local_start)
    first = int(local_start * own)
    last = first + max(1, round((clip.end - clip.start) * own))
    generated = clip.kind == "generator" and clip.media_id is None
    written.clips += 1
    element = add(track, "generatoritem" if generated else "clipitem", id=f"clipitem-{written.clips}")
    add(element, "name", clip.name)
    add(element, "enabled", _truth(clip.enabled))
    add(element, "duration", _media_frames(_retimed_duration(clip), own) or last)
    _rate(element, own)
    for tag, value in (("start", start), ("end", end), ("in", first), ("out", last)):
        add(element, tag, value)
    remapped = _ticks(element, clip, own)
    if generated:
        _text_generator(element, clip.name)
    else:
        _file(element, clip, (own, rate, *CLIP_RATES), written)
    if remapped:
        _remap(element, clip, own)
    write_effects(element, clip, own)


def _own_rate(clip: Clip, rate: Fraction) -> Fraction:
    """The first rate in which `in` and all keys lie on whole frames, else the first in which `in` does, else `rate`."""
    if clip.local_start < 0:
        raise TimelineError("its local time begins before 0, which xmeml has no frames for")
    keys = [key.time for curve in clip.animation.values() for key in curve.keys]
    for times in ([clip.local_start, *keys], [clip.local_start]):
        for own in (rate, *CLIP_RATES):
            if all((time * own).denominator == 1 for time in times):
                return own
    return rate


def _moved(clip: Clip, local_start: Fraction) -> Clip:
    """The same clip with its local axis moved so that `local_start` is at its start; media and values stay."""
    by = local_start - clip.local_start
    animation = {
        name: curve if is_still(curve) else Curve([replace(key, time=key.time + by) for key in curve.keys])
        for name, curve in clip.animation.items()
    }
    return replace(clip, local_start=local_start, animation=animation)


def _ticks(element: etree._Element, clip: Clip, own: Fraction) -> bool:
    """Write the time of `in` where the media is not at that frame; return whether it needs a Time Remap instead."""
    (first, media), (length, _) = clip.media_times[0], clip.media_times[-1]
    if first != 0 or length != clip.end - clip.start or any(a[0] >= b[0] for a, b in pairwise(clip.media_times)):
        raise TimelineError("its media_times do not run from its start to its end")
    if clip.media_times != ((Fraction(0), media), (length, media + length)):
        return True
    if media == clip.local_start:
        return False
    ticks = media * TICKS_PER_SECOND
    if ticks < 0 or ticks.denominator != 1 or abs(media - clip.local_start) * own > 1:
        return True
    add(element, "pproTicksIn", int(ticks))
    return False


def _file(element: etree._Element, clip: Clip, rates: Many[Fraction], written: _Written) -> None:
    """The clip's `file`: in full once, and again only where one id stands for another path or length."""
    duration = clip.media_duration if clip.kind == "media" else None
    content = clip.media, clip.kind, duration
    if clip.media_id is None:
        file = add(element, "file")
    else:
        file = add(element, "file", id=clip.media_id)
        known = clip.media_id in written.files
        if known and written.files[clip.media_id] == content:
            return
        written.files.setdefault(clip.media_id, content)  # a reference means the first
    add(file, "name", media_name(clip) or clip.name)
    if clip.kind == "generator":
        add(file, "mediaSource", "GraphicAndType")
    elif clip.media is not None:
        add(file, "pathurl", clip.media)
    rate = next((each for each in rates if duration is not None and (duration * each).denominator == 1), rates[0])
    _rate(file, rate)
    if frames := _media_frames(duration, rate):
        add(file, "duration", frames)
    add(add(file, "media"), "video")


def _media_frames(duration: Fraction | None, rate: Fraction) -> int | None:
    """Frames of media, the last of them perhaps in part; None where that is not known or beyond the format."""
    frames = 0 if duration is None else math.ceil(duration * rate)
    return frames if 0 < frames <= MAX_MAGNITUDE else None


def _retimed_duration(clip: Clip) -> Fraction | None:
    """Seconds of the media at the clip's speed, or average speed; None where they are not known or have no end."""
    (_, first), (length, last) = clip.media_times[0], clip.media_times[-1]
    if clip.media_duration is None or clip.kind != "media" or first == last:
        return None
    return clip.media_duration * length / abs(last - first)


def _text_generator(element: etree._Element, name: str) -> None:
    effect = add_effect(element, "Text", "Text", "generator", category="Text")
    parameter = add(effect, "parameter")
    for tag, text in (("parameterid", "str"), ("name", "Text"), ("value", name)):
        add(parameter, tag, text)


def _remap(element: etree._Element, clip: Clip, own: Fraction) -> None:
    (_, first), (length, last) = clip.media_times[0], clip.media_times[-1]
    pace = (last - first) / length
    effect = add_effect(add(element, "filter"), "Time Remap", "timeremap", "motion")
    variable = add_parameter(effect, "variablespeed", "variablespeed", 0, 1)
    add(variable, "value", int(len(clip.media_times) > 2))
    speed = add_parameter(effect, "speed", "speed", -10_000, 10_000)
    add(speed, "value", number_text(float(pace * 100)))
    add(add_parameter(effect, "reverse", "reverse", None, None), "value", _truth(pace < 0))
    graph = add_parameter(effect, "graphdict", "graphdict", 0, None)
    for after, media in clip.media_times:
        key = add(graph, "keyframe")
        add(key, "when", frames_text((clip.local_start + after) * own, "a change of speed"))
        add(key, "value", frames_text(media * own, "the media at a change of speed"))


def _whole(frames: Fraction, what: str) -> int:
    if frames.denominator != 1 or abs(frames) > MAX_MAGNITUDE:
        raise TimelineError(f"{what} lies at frame {float(frames):g}, which is no whole one; move it to a frame first")
    return int(frames)


def _rate(parent: etree._Element, rate: Fraction) -> None:
    for ntsc in (False, True):
        timebase = rate / NTSC if ntsc else rate
        if timebase.denominator == 1 and 1 <= timebase <= MAX_TIMEBASE:
            element = add(parent, "rate")
            add(element, "timebase", int(timebase))
            add(element, "ntsc", _truth(ntsc))
            return
    raise TimelineError(
        f"a frame rate of {float(rate):.6g} is neither a whole number up to {MAX_TIMEBASE} nor one times 1000/1001"
    )


def _truth(value: bool) -> str:
    return "TRUE" if value else "FALSE"
