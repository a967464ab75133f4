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
    MediaFile,
    RawSequence,
    RawTrack,
    file_of,
    item_of,
    size_of,
    transition_of,
)
from millrace.keyframes.xmeml.time import frame, rate_of, truth
from millrace.keyframes.xml_events import TimelineError, events, place, release

VIDEO_TRACK = ["sequence", "media", "video", "track"]
AUDIO_TRACK = ["sequence", "media", "audio", "track"]
ITEMS = ("clipitem", "generatoritem")
WHOLE = frozenset((*ITEMS, "transitionitem", "file", "rate", "format"))
"""Elements that are read at their end, and whose children therefore stay until then."""

HOLDERS = frozenset((*ITEMS, "clip"))
"""Elements that a sequence may stand in without being one of the file's own."""

STRUCTURE = WHOLE | HOLDERS | {"sequence"}
"""Elements whose begin and end always matter; others do only outside of those that are read as a whole."""

MAX_CLIP_ELEMENTS = 500_000
"""A clip with a keyframe on each frame of an hour has fewer; more would fill the memory."""


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
    for event, element in events(path, max_bytes=max_bytes):
        tag = element.tag
        if event == "start":
            reader.start(element, tag)
        elif tag in STRUCTURE or not reader.held[-1]:
            reader.end(element, tag)
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


class _Reader:
    """What has been seen of the file so far.

    Attributes:
        tags: Names of the open elements, the root first, without those that do not matter inside of WHOLE.
        held: For the root and each open sequence, how many open elements of WHOLE it has outside of sequences further
            in.
        kept: Likewise, how many elements those hold so far.
        holders: For each open holder the sequence that stood in it, or its id, None where it held none.
        sequences: Open sequences, the outermost first.
        top: Sequences that stood outside of clips; an id where only a reference did.
    """

    def __init__(self, max_clips: int) -> None:
        self.notes = Notes()
        self.files: dict[str, MediaFile] = {}
        self.by_id: dict[str, RawSequence] = {}
        self.top: list[RawSequence | str] = []
        self.tags: list[str] = []
        self.held = [0]
        self.kept = [0]
        self.holders: list[RawSequence | str | None] = []
        self.sequences: list[RawSequence] = []
        self.clips = 0
        self.max_clips = max_clips

    def start(self, element: etree._Element, tag: str) -> None:
        if self.held[-1]:
            self.kept[-1] += 1
            if self.kept[-1] > MAX_CLIP_ELEMENTS:
                raise TimelineError(f"{place(element)}: more than {MAX_CLIP_ELEMENTS} elements in one clip")
            if tag not in STRUCTURE:
                return
        else:
            self.kept[-1] = 0
        if not self.tags and tag != "xmeml":
            raise TimelineError(f"it is no Final Cut Pro 7 XML: its first element is {tag[:60]!r}, not 'xmeml'")
        self.tags.append(tag)
        if tag in WHOLE:
            self.held[-1] += 1
        if tag in HOLDERS:
            self.holders.append(None)
        elif tag == "sequence":
            self.sequences.append(RawSequence(place(element), element.get("id")))
            self.held.append(0)
            self.kept.append(0)
        elif tag == "track" and self.tags[-4:] == VIDEO_TRACK:
            self.sequences[-1].tracks.append(RawTrack())

    def end(self, element: etree._Element, tag: str) -> None:
        self.tags.pop()
        if tag in WHOLE:
            self.held[-1] -= 1
        if tag == "sequence":
            self.held.pop()
            self.kept.pop()
            self._sequence(element)
        elif tag in ITEMS or tag == "transitionitem":
            self._item(element, tag)
        elif tag == "file":
            file, key = file_of(element), element.get("id")
            if file is not None and key is not None:
                self.files.setdefault(key, file)
        elif self.sequences and not self.held[-1]:
            self._property(element, tag)
        if tag == "clip":
            self.holders.pop()
        if not self.held[-1]:
            release(element)

    def _sequence(self, element: etree._Element) -> None:
        raw = self.sequences.pop()
        seen: RawSequence | str = raw
        if len(element) == 0:
            seen = raw.id or ""
        else:
            if raw.rate is None:
                raise TimelineError(f"{raw.line}: sequence {raw.name[:60]!r} has no rate")
            if raw.id is not None:
                self.by_id.setdefault(raw.id, raw)
        if self.holders:
            self.holders[-1] = seen
        else:
            self.top.append(seen)

    def _item(self, element: etree._Element, tag: str) -> None:
        nested = None if tag == "transitionitem" else self.holders.pop()
        if self.tags[-4:] != VIDEO_TRACK:
            return
        items = self.sequences[-1].tracks[-1].items
        if tag == "transitionitem":
            transition = transition_of(element, self.notes)
            if transition is not None:
                items.append(transition)
            return
        self.clips += 1
        if self.clips > self.max_clips:
            raise TimelineError(f"it has more than the {self.max_clips} clips that max_clips allows")
        item = item_of(element, nested, self.notes)
        if item is not None:
            items.append(item)

    def _property(self, element: etree._Element, tag: str) -> None:
        """A child of the innermost open sequence, its video or a track of it."""
        sequence = self.sequences[-1]
        where = f"{sequence.line}: sequence {sequence.name[:60]!r}"
        try:
            if self.tags[-1] == "sequence":
                if tag == "name":
                    sequence.name = (element.text or "").strip()
                elif tag == "duration":
                    sequence.duration = frame(element.text, "duration")
                elif tag == "rate":
                    sequence.rate = rate_of(element)
            elif tag == "format" and self.tags[-3:] == VIDEO_TRACK[:3]:
                sequence.width, sequence.height = size_of(element)
            elif tag == "enabled" and self.tags[-4:] == VIDEO_TRACK:
                sequence.tracks[-1].enabled = truth(element.text, default=True)
            elif tag == "track" and [*self.tags[-3:], tag] == AUDIO_TRACK:
                self.notes.ignored["audio track"] += 1
        except TimelineError as error:
            raise TimelineError(f"{where}: {error}") from None
