"""Small FCPXML files for tests: 25 frames a second, 1920 x 1080."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from millrace.keyframes.fcpxml.read import read
from millrace.keyframes.timeline import Clip, Document

LIMITS: dict[str, Any] = {"max_bytes": 10**6, "max_clips": 1000, "max_depth": 4}

RESOURCES = """
<format id="r1" name="FFVideoFormat1080p25" frameDuration="100/2500s" width="1920" height="1080"/>
<format id="square" frameDuration="1/25s" width="1000" height="1000"/>
<asset id="a" name="A" start="0s" duration="60s" hasVideo="1" format="r1" src="file:///media/a.mov"/>
<asset id="tc" name="TC" start="3600s" duration="60s" hasVideo="1" hasAudio="1" format="r1">
    <media-rep kind="proxy-media" src="file:///media/small.mov"/>
    <media-rep kind="original-media" src="file:///media/tc.mov"/>
</asset>
<asset id="sound" name="Sound" duration="60s" hasAudio="1" src="file:///media/a.wav"/>
<asset id="still" name="Still" duration="0s" hasVideo="1" format="square" src="file:///media/still.png"/>
<effect id="e" name="Basic Title" uid=".../Basic Title.moti"/>
"""

A = '<asset-clip name="a" ref="a" offset="0s" start="10s" duration="4s"'
"""The beginning of a clip whose local axis shows 10..14; the tests close it."""

COMPOUND = (
    '<media id="m" name="M"><sequence format="r1" tcStart="3600s" duration="30s"><spine>'
    '<asset-clip name="in" ref="a" offset="3602s" duration="10s"/></spine></sequence></media>'
)

MULTICAM = (
    '<media id="mc" name="MC"><multicam format="r1" tcStart="3600s">'
    '<mc-angle name="1" angleID="one"><gap offset="0s" duration="2s"/>'
    '<asset-clip name="left" ref="a" offset="2s" duration="50s"/></mc-angle>'
    '<mc-angle name="2" angleID="two"><asset-clip name="right" ref="tc" offset="0s" start="3600s" duration="40s"/>'
    "</mc-angle></multicam></media>"
)


def fcpxml(body: str, resources: str = "", version: str = "1.11") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="{version}">'
        f"<resources>{RESOURCES}{resources}</resources>{body}</fcpxml>"
    )


def project(spine: str, attributes: str = 'format="r1" duration="60s" tcStart="0s"', name: str = "P") -> str:
    return f'<project name="{name}"><sequence {attributes}><spine>{spine}</spine></sequence></project>'


def document(folder: Path, text: str, **limits: int) -> Document:
    path = folder / "a.fcpxml"
    path.write_text(text)
    return read(path, **{**LIMITS, **limits})


def spine(folder: Path, elements: str, resources: str = "", **limits: int) -> Document:
    """One project whose primary storyline holds these elements."""
    body = f"<library><event>{project(elements)}</event></library>"
    return document(folder, fcpxml(body, resources), **limits)


def only(read_document: Document) -> Clip:
    """The one clip of a document."""
    (sequence,) = read_document.sequences
    (track,) = sequence.tracks
    (clip,) = track.clips
    return clip


def layout(read_document: Document) -> list[list[tuple[str, float, float]]]:
    """Name, start and end of each clip, by track, of the first sequence."""
    tracks = read_document.sequences[0].tracks
    return [[(clip.name, float(clip.start), float(clip.end)) for clip in track.clips] for track in tracks]


def at(clip: Clip, parameter: str, *local: float) -> list[float]:
    """A parameter at times of the local axis."""
    values: list[float] = clip.animation[parameter].at(np.array(local, dtype=float)).tolist()
    return values


def keyed(name: str, *keyframes: str) -> str:
    return f'<param name="{name}"><keyframeAnimation>{"".join(keyframes)}</keyframeAnimation></param>'


def key(time: str, value: str, more: str = "") -> str:
    return f'<keyframe time="{time}" value="{value}" {more}/>'
