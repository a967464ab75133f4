"""Final Cut Pro 7 XML (xmeml, versions 1 to 5) as Final Cut, Premiere and others write it.

The format is that of Apple's "Final Cut Pro XML Interchange Format"; what Premiere does differently was found in its
files. The file is read element by element: a clip is turned into a few numbers when it ends, and freed, as are audio
tracks, project bins and everything else, so that memory does not grow with the XML. Tracks are put in order when the
whole file has been read, since a file or sequence may be given in full after the first clip that refers to it.

The parts: `time` (frames, rates, ticks), `keys` (keyframes), `effects` (filters), `clip` (items
of a track), `track` (transitions and overlaps), `media` (media and speed), `build` (sequences in
sequences).
"""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from millrace.keyframes.timeline import Document, Notes
from millrace.keyframes.xmeml.build import build
from millrace.keyframes.xmeml.clip import (
    Item,
    MediaFile,
    RawSequence,
    RawTrack,
    Transition,
    file_of,
    item_of,
    size_of,
    transition_of,
)
from millrace.keyframes.xmeml.effects import KnownEffects
from millrace.keyframes.xmeml.time import frame, rate_of, truth
from millrace.keyframes.xml_events import TimelineError, children, drop_children, events, place, size_of_tree, text_in

VIDEO_TRACK = ("track", "video", "media", "sequence")
AUDIO_TRACK = ("track", "audio", "media", "sequence")
ITEMS = ("clipitem", "generatoritem", "transitionitem")
HOLDERS = frozenset(("clipitem", "generatoritem", "clip"))
"""Elements that a sequence may stand in without being one of the file's own."""

WHOLE = frozenset((*ITEMS, "file", "rate", "format"))
"""Elements that are read at their end, and whose children therefore stay until then."""

PROPERTIES = {
    "sequence": frozenset(("name", "duration", "rate", "media")),
    "media": frozenset(("video",)),
    "video": frozenset(("format",)),
    "track": frozenset(("enabled",)),
}
"""Children that stay until the element around them has ended."""

MAX_CLIP_ELEMENTS = 500_000
"""A clip with a keyframe on each frame of an hour has fewer; more would fill the memory."""

MAX_PROPERTIES = 1000
"""Each of them should stand there once."""


def read(path: Path, *, max_bytes: int, max_clips: int, max_depth: int) -> Document:
    """The sequences of a file, in order; those that stand only inside clips are found there.

    A clip with something impossible in it is left out and listed in the notes, as is one whose sequence contains itself
    or nests too deep. Audio, markers and transitions (beyond the edges that they decide) are not read.

    Args:
        path: The file. The media that it names is not opened.
        max_bytes: Larger files are refused.
        max_clips: Files with more clips on video tracks are refused.
        max_depth: Levels of sequences in sequences that are followed.

    Raises:
        TimelineError: It is no xmeml, has no sequence or too many clips, or a sequence has no rate, or an impossible
            one.
    """
    reader = _Reader(max_clips)
    elements = events(path, (*ITEMS, "track", "file", "sequence"), max_bytes=max_bytes, after_chunk=_drop_ended)
    root = next(elements).tag
    if root != "xmeml":
        raise TimelineError(f"it is no Final Cut Pro 7 XML: its first element is {root[:60]!r}, not 'xmeml'")
    for element in elements:
        reader.end(element)
    if not reader.top:
        raise TimelineError("it holds no sequence")
    notes = reader.notes
    top = [raw if isinstance(raw, RawSequence) else reader.by_id.get(raw) for raw in reader.top]
    known = [raw for raw in top if raw is not None]
    if not known:
        raise TimelineError("it holds no sequence, only references to some")
    sequences = build(known, reader.by_id, reader.files, max_depth=max_depth, notes=notes)
    notes.problems.sort(key=lambda problem: int(problem.removeprefix("line ").partition(":")[0]))
    return Document(sequences, notes)


def _drop_ended(root: etree._Element) -> None:
    """Free what has ended, but for parts of an element that is read as a whole when it ends, and properties.

    Raises:
        TimelineError: What remains is absurdly large.
    """
    element, around = root, None
    while len(element):
        if element.tag in WHOLE:
            around = element if around is None else around
        elif element.tag == "sequence":
            around = None
        if around is None:
            drop_children(element, PROPERTIES.get(element.tag, ()))
            if len(element) > MAX_PROPERTIES:
                raise TimelineError(f"{place(element)}: a {element.tag} with more than {MAX_PROPERTIES} properties")
        element = element[-1]  # perhaps still open, as may be its last child
    if around is not None and size_of_tree(around) > MAX_CLIP_ELEMENTS:
        raise TimelineError(f"{place(around)}: more than {MAX_CLIP_ELEMENTS} elements in one clip")


def _stands_in(element: etree._Element, tags: tuple[str, ...]) -> bool:
    """Whether an element has these names, and those around it, from the inside out."""
    around: etree._Element | None = element
    for tag in tags:
        if around is None or around.tag != tag:
            return False
        around = around.getparent()
    return True


class _Reader:
    """What has been seen of the file so far.

    Attributes:
        items: Items of video tracks that are still open, by the track.
        tracks: Tracks of sequences that are still open, by the sequence.
        inside: Sequences, or ids of some, that stand in an item which is still open, by the item.
        top: Sequences that stood outside of clips; an id where only a reference did.
    """

    def __init__(self, max_clips: int) -> None:
        self.notes = Notes()
        self.files: dict[str, MediaFile] = {}
        self.by_id: dict[str, RawSequence] = {}
        self.top: list[RawSequence | str] = []
        self.items: dict[etree._Element, list[Item | Transition]] = {}
        self.tracks: dict[etree._Element, list[RawTrack]] = {}
        self.inside: dict[etree._Element, RawSequence | str] = {}
        self.effects = KnownEffects()
        self.clips = 0
        self.max_clips = max_clips

    def end(self, element: etree._Element) -> None:
        tag = element.tag
        if tag == "file":
            self._file(element)
        elif tag == "track":
            self._track(element)
        elif tag == "sequence":
            self._sequence(element)
        elif tag in ITEMS:
            self._item(element)

    def _file(self, element: etree._Element) -> None:
        key = element.get("id")
        if key is not None and key not in self.files:
            file = file_of(element)
            if file is not None:
                self.files[key] = file

    def _item(self, element: etree._Element) -> None:
        nested = self.inside.pop(element, None)
        track = element.getparent()
        if track is None:
            return
        items = self.items.get(track)
        if items is None:
            if not _stands_in(track, VIDEO_TRACK):
                return
            items = self.items[track] = []
        if element.tag == "transitionitem":
            transition = transition_of(element, self.notes)
            if transition is not None:
                items.append(transition)
            return
        self.clips += 1
        if self.clips > self.max_clips:
            raise TimelineError(f"it has more than the {self.max_clips} clips that max_clips allows")
        item = item_of(element, nested, self.effects, self.notes)
        if item is not None:
            items.append(item)

    def _track(self, element: etree._Element) -> None:
        if _stands_in(element, VIDEO_TRACK):
            enabled = truth(element.findtext("enabled"), default=True)
            sequence = next(element.iterancestors("sequence"))
            self.tracks.setdefault(sequence, []).append(RawTrack(self.items.pop(element, []), enabled))
        elif _stands_in(element, AUDIO_TRACK):
            self.notes.ignored["audio track"] += 1

    def _sequence(self, element: etree._Element) -> None:
        seen: RawSequence | str = element.get("id") or ""
        if len(element):
            seen = _raw_sequence(element, self.tracks.pop(element, []))
            if seen.id is not None:
                self.by_id.setdefault(seen.id, seen)
        holder = next(element.iterancestors(*HOLDERS), None)
        if holder is None:
            self.top.append(seen)
        elif holder.tag in ITEMS:
            self.inside[holder] = seen


def _raw_sequence(element: etree._Element, tracks: list[RawTrack]) -> RawSequence:
    """A `sequence` that has ended.

    Raises:
        TimelineError: It has no rate, or an impossible one, or an impossible duration or size.
    """
    inside = children(element)
    name = (text_in(inside, "name") or "").strip()
    try:
        rate = rate_of(inside.get("rate"))
        if rate is None:
            raise TimelineError("it has no rate")
        duration = frame(text_in(inside, "duration"), "duration")
        size = size_of(element.find("media/video/format"))
    except TimelineError as error:
        raise TimelineError(f"{place(element)}: sequence {name[:60]!r}: {error}") from None
    return RawSequence(element.get("id"), name, rate, duration, *size, tracks)
