"""FCPXML 1.8 to 1.14, as Final Cut Pro and DaVinci Resolve write it, read into sequences.

Format: Apple's DTDs and "FCPXML Reference". Resources and the project at hand are kept as elements, the rest is
freed as it goes by.
"""

from __future__ import annotations

import re
from pathlib import Path

from lxml import etree

from millrace.keyframes.fcpxml.layout import CLIPS
from millrace.keyframes.fcpxml.resources import Resources
from millrace.keyframes.fcpxml.story import Story
from millrace.keyframes.timeline import Document, Notes, Sequence
from millrace.keyframes.xml_events import TimelineError, events, place, release

VERSIONS = (8, 14)
"""Of FCPXML 1.x. The elements read here have kept their meaning since 1.8; other versions are read and noted."""

# Large, and nothing of it is used: emptied as soon as it has gone by.
_EMPTIED = frozenset(
    {
        "metadata",
        "bookmark",
        "note",
        "marker",
        "chapter-marker",
        "keyword",
        "rating",
        "analysis-marker",
        "filter-video",
        "filter-video-mask",
        "filter-audio",
        "text",
        "text-style-def",
        "audio-channel-source",
        "audio-role-source",
        "adjust-volume",
        "object-tracker",
    }
)


def read(path: Path, *, max_bytes: int, max_clips: int, max_depth: int) -> Document:
    """All projects of a file, in its order.

    Args:
        path: The file.
        max_bytes: A larger file is refused unread.
        max_clips: A file with more clips, nested and unused ones counted in, is refused.
        max_depth: Sequences inside sequences; a clip that goes deeper is left out and noted as a problem.

    Raises:
        TimelineError: It is no FCPXML, holds no project, has a sequence that cannot be read, or passes a limit.
    """
    notes = Notes()
    sequences: list[Sequence] = []
    story = Story(Resources(None, notes), notes, max_depth)
    root: etree._Element | None = None
    clips = compounds = 0
    for event, element in events(path, max_bytes=max_bytes):
        if root is None:
            root = element
            _check_root(root, notes)
        if event == "start":
            continue
        if element.tag in _EMPTIED:
            element.clear()
        elif element.tag == "resources":
            story = Story(Resources(element, notes), notes, max_depth)
        elif element.tag == "project":
            sequences.append(_project(element, story))
            release(element)
        elif element.tag in CLIPS or element.tag == "audition":
            clips += element.tag != "audition"
            if clips > max_clips:
                raise TimelineError(f"it holds more than the {max_clips} clips that max_clips allows")
            parent = element.getparent()
            if parent is not None and parent.tag in ("event", "fcpxml"):
                notes.ignored["clip in an event, outside any project"] += 1
                compounds += element.tag == "ref-clip"
                release(element)
    if not sequences:
        outside = notes.ignored["clip in an event, outside any project"]
        found = f": {outside} clips stand in it outside any, {compounds} of them compound clips" if outside else ""
        raise TimelineError(f"it holds no project, so no timeline{found}")
    return Document(sequences, notes)


def _check_root(root: etree._Element, notes: Notes) -> None:
    if root.tag != "fcpxml":
        raise TimelineError(f"it is no FCPXML: its root element is {root.tag[:40]!r}")
    version = root.get("version", "")
    match = re.fullmatch(r"1\.([0-9]{1,3})", version)
    if match is None or not VERSIONS[0] <= int(match[1]) <= VERSIONS[1]:
        notes.guessed[f"version {version[:20]!r} read as one of 1.{VERSIONS[0]} to 1.{VERSIONS[1]}"] += 1


def _project(element: etree._Element, story: Story) -> Sequence:
    name = element.get("name", "")
    sequence = element.find("sequence")
    if sequence is None:
        raise TimelineError(f"{place(element)}: project {name!r} holds no sequence")
    return story.sequence(sequence, name)[0]
