"""Small xmeml files for tests: each function returns a piece of XML, `read_text` reads the whole."""

from __future__ import annotations

import numpy as np

from millrace.keyframes.xmeml.read import read

LIMITS = {"max_bytes": 10_000_000, "max_clips": 1000, "max_depth": 4}
TICKS = 254_016_000_000
FILE = '<file id="f"><name>m</name><pathurl>file:///../../etc/m%20n.mov</pathurl></file>'


def child(tag, value):
    return "" if value is None else f"<{tag}>{value}</{tag}>"


def rate(timebase=30, ntsc=None):
    return child("rate", child("timebase", timebase) + child("ntsc", ntsc))


def value_of(value):
    horiz_vert = isinstance(value, tuple)
    return child("value", child("horiz", value[0]) + child("vert", value[1]) if horiz_vert else value)


def key(when, value, interpolation=None, *, inbez=None, outbez=None, more=""):
    name = interpolation and child("name", interpolation)
    handles = "".join(
        child(tag, pair and child("horiz", pair[0]) + child("vert", pair[1]))
        for tag, pair in (("inbez", inbez), ("outbez", outbez))
    )
    return child("keyframe", child("when", when) + value_of(value) + child("interpolation", name) + handles + more)


def parameter(own_id, value=None, *keys, name=None):
    static = "" if value is None else value_of(value)
    return child("parameter", child("parameterid", own_id) + child("name", name) + static + "".join(keys))


def effect(own_id, *parameters, name=None, enabled=None):
    inside = child("name", name) + child("effectid", own_id) + "".join(parameters)
    return child("filter", child("enabled", enabled) + child("effect", inside))


def remap(speed=100, reverse=None, *graph, variable=0):
    keys = [key(when, media) for when, media in graph]
    return effect(
        "timeremap",
        parameter("variablespeed", variable),
        parameter("speed", speed),
        parameter("reverse", reverse),
        parameter("graphdict", 0, *keys),
    )


def clip(start=0, end=30, first=0, last=None, *, name="a", tag="clipitem", file='<file id="f"/>', more="", **children):
    """A clip whose `out` is as far from `in` as its end from its start, unless told; None leaves an element away."""
    if last is None and -1 not in (start, end) and all(isinstance(at, int) for at in (start, end, first)):
        last = first + end - start
    children = {"name": name, "start": start, "end": end, "in": first, "out": last, **children}
    own = "".join(child(each, children[each]) for each in children)
    return f"<{tag}>{own}{file}{more}</{tag}>"


def ticks(first_s, last_s):
    """Ticks for times in seconds, as children of a clip."""
    return {"pproTicksIn": round(first_s * TICKS), "pproTicksOut": round(last_s * TICKS)}


def transition(start, end, alignment="center", cut_ticks=None):
    return child(
        "transitionitem",
        child("start", start)
        + child("end", end)
        + child("alignment", alignment)
        + child("cutPointTicks", cut_ticks)
        + child("effect", child("effectid", "Cross Dissolve")),
    )


def track(*items, enabled=None):
    return child("track", "".join(items) + child("enabled", enabled))


def sequence(*tracks, own_id="s", name="main", own_rate=None, duration=None, size=(1920, 1080), more=""):
    """`tracks` of video; `more` goes into `media`."""
    characteristics = child("width", size[0]) + child("height", size[1]) if size else ""
    video = child("format", child("samplecharacteristics", characteristics)) + "".join(tracks)
    head = child("name", name) + child("duration", duration) + (rate() if own_rate is None else own_rate)
    return f'<sequence id="{own_id}">{head}<media>{child("video", video)}{more}</media></sequence>'


def xmeml(*content, version=4):
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE xmeml><xmeml version="{version}">{"".join(content)}</xmeml>'
    )


def read_text(text, folder, **limits):
    path = folder / "timeline.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, **{**LIMITS, **limits})


def read_items(folder, *items, **settings):
    """The only track's clips, and the notes, of a sequence with these items."""
    document = read_text(xmeml(sequence(track(*items), **settings)), folder)
    return document.sequences[0].tracks[0].clips, document.notes


def at(curve, *times):
    """A curve's values at times in seconds."""
    return curve.at(np.array([float(time) for time in times])).tolist()


def edges(clips):
    """Start, end and local start of clips, in frames of 1/30 s."""
    return [(clip.start * 30, clip.end * 30, clip.local_start * 30) for clip in clips]
