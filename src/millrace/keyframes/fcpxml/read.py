"""FCPXML 1.8 to 1.14, as Final Cut Pro and DaVinci Resolve write it, read into sequences.

Format: Apple's DTDs and "FCPXML Reference". Resources are kept as elements; the clips of a project are
turned into ours one by one while the file is read, and they and all the rest are freed as they go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lxml import etree

from millrace.keyframes.fcpxml.layout import CLIPS, STORY
from millrace.keyframes.fcpxml.resources import Resources
from millrace.keyframes.fcpxml.story import Story
from millrace.keyframes.timeline import Document, Notes, Sequence
from millrace.keyframes.xml_events import TimelineError, drop_children, events, place

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


_AROUND = frozenset({"fcpxml", "library", "event", "project", "sequence", "spine"})
"""From the root to the clips of a project's primary storyline."""

_ITEMS = STORY | {"transition"}
"""What follows each other in a storyline."""


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
    compounds = 0
    elements = _events(path, max_bytes, max_clips)
    _check_root(next(elements), notes)
    for element in elements:
        around = [parent.tag for parent in islice(element.iterancestors(), 3)]
        if element.tag == "resources":
            story = Story(Resources(element, notes), notes, max_depth)
        elif element.tag == "project":
            sequences.append(_project(element, story, None))
        elif around == ["spine", "sequence", "project"]:
            project = next(element.iterancestors("project"))
            sequences.append(_project(project, story, _items(element, project, elements)))
        elif around[:1] in (["event"], ["fcpxml"]) and (element.tag in CLIPS or element.tag == "audition"):
            notes.ignored["clip in an event, outside any project"] += 1
            compounds += element.tag == "ref-clip"
    if not sequences:
        outside = notes.ignored["clip in an event, outside any project"]
        found = f": {outside} clips stand in it outside any, {compounds} of them compound clips" if outside else ""
        raise TimelineError(f"it holds no project, so no timeline{found}")
    return Document(sequences, notes)


def _events(path: Path, max_bytes: int, max_clips: int) -> Iterator[etree._Element]:
    """The root, and what matters of the rest when it has ended; raises TimelineError at the first clip too many."""
    tags = _EMPTIED | _ITEMS | {"resources", "project"}
    clips = 0
    for element in events(path, tags, max_bytes=max_bytes, after_chunk=_drop_ended):
        if element.tag in _EMPTIED:
            element.clear(keep_tail=True)  # type: ignore[call-arg]  # newer than the stubs
            continue
        clips += element.tag in CLIPS
        if clips > max_clips:
            raise TimelineError(f"it holds more than the {max_clips} clips that max_clips allows")
        yield element


def _drop_ended(root: etree._Element) -> None:
    """Free all that has ended but the resources and the last clip."""
    element = root
    while len(element) and element.tag in _AROUND:
        drop_children(element, ("resources",))
        element = element[-1]


def _items(
    first: etree._Element, project: etree._Element, elements: Iterator[etree._Element]
) -> Iterator[etree._Element]:
    """Items of a project's primary storyline while the file is read on, up to the project's end."""
    spine = first.getparent()
    yield first
    for element in elements:
        if element is project:
            return
        if element.getparent() is spine:
            yield element


def _check_root(root: etree._Element, notes: Notes) -> None:
    if root.tag != "fcpxml":
        raise TimelineError(f"it is no FCPXML: its root element is {root.tag[:40]!r}")
    version = root.get("version", "")
    match = re.fullmatch(r"1\.([0-9]{1,3})", version)
    if match is None or not VERSIONS[0] <= int(match[1]) <= VERSIONS[1]:
        notes.guessed[f"version {version[:20]!r} read as one of 1.{VERSIONS[0]} to 1.{VERSIONS[1]}"] += 1


def _project(element: etree._Element, story: Story, items: Iterator[etree._Element] | None) -> Sequence:
    name = element.get("name", "")
    sequence = element.find("sequence")
    if sequence is None:
        raise TimelineError(f"{place(element)}: project {name[:60]!r} holds no sequence")
    return story.sequence(sequence, name, items=items)[0]
