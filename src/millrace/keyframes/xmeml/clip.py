"""The items of an xmeml track as they stand in the file, before tracks, rates and files are known in full."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from sys import intern

from lxml import etree

from millrace.keyframes.assets import is_still_image
from millrace.keyframes.timeline import Notes
from millrace.keyframes.xmeml.effects import NO_EFFECTS, Effects, KnownEffects
from millrace.keyframes.xmeml.time import Frames, frame, label, rate_of, ticks, truth
from millrace.keyframes.xml_events import TimelineError, children, line_of, place, text_in, whole

BY_TRANSITION = -1
"""A clip's `start` or `end` that a transition decides."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A `file` given in full.

    Attributes:
        path: As written.
        source: What generates it where it has no path (Slug, GraphicAndType).
        length: `duration` in frames of its own rate; None where that says nothing, and for a still image.
        rate: Nominal frames a second; None where it is that of the clip.
    """

    path: str | None
    source: str | None
    length: Frames | None
    rate: Fraction | None


@dataclass(slots=True)
class Item:
    """A clipitem or generatoritem; `start` and `end` in frames of the sequence, the others in frames of its own rate.

    Attributes:
        line: Of the file, for messages.
        start: `start`, or BY_TRANSITION.
        end: `end`, or BY_TRANSITION.
        first: `in`.
        last: `out`, None where it is missing or not after `in`.
        length: `duration`: that of the media at the clip's speed.
        rate: Nominal frames a second; None where it is the sequence's.
        first_ticks: `pproTicksIn`.
        last_ticks: `pproTicksOut`.
        file: A `file` with content; where it is elsewhere, `file_id` says which.
        generated: Whether it has no media by its kind: a generatoritem, or a clipitem without file or sequence.
        nested: The sequence that it holds, or the id of one.
    """

    line: int
    name: str
    enabled: bool
    start: Frames
    end: Frames
    first: Frames
    last: Frames | None
    length: Frames | None
    rate: Fraction | None
    first_ticks: int | None
    last_ticks: int | None
    effects: Effects
    file_id: str | None
    file: MediaFile | None
    generated: bool
    nested: RawSequence | str | None = None

    def __str__(self) -> str:
        return f"line {self.line}: clip {self.name[:60]!r}"


@dataclass(frozen=True, slots=True)
class Transition:
    """`start`, `end` in frames of the sequence; `cut_ticks` after the start, None where it is not given."""

    start: Frames
    end: Frames
    alignment: str
    cut_ticks: int | None


@dataclass(slots=True)
class RawTrack:
    items: list[Item | Transition]
    enabled: bool


@dataclass(slots=True)
class RawSequence:
    """A `sequence` given in full; `duration` as stated, None where it is not, and a size of 0 likewise."""

    id: str | None
    name: str
    rate: Fraction
    duration: Frames | None
    width: int
    height: int
    tracks: list[RawTrack]


def item_of(
    element: etree._Element, nested: RawSequence | str | None, known: KnownEffects, notes: Notes
) -> Item | None:
    """A clipitem or generatoritem; None where it is impossible, which the notes tell.

    Args:
        element: It, complete but for the inside of its `sequence`.
        nested: What that was.
        known: Reads its effects.
        notes: Filled.
    """
    inside = children(element)
    name = intern((text_in(inside, "name") or "").strip())
    try:
        return _item(element, inside, name, nested, known, notes)
    except TimelineError as error:
        notes.problems.append(f"{place(element)}: clip {name[:60]!r}: {error}")
        return None


def _item(
    element: etree._Element,
    inside: dict[str, etree._Element],
    name: str,
    nested: RawSequence | str | None,
    known: KnownEffects,
    notes: Notes,
) -> Item:
    start, end = _edge(inside, "start"), _edge(inside, "end")
    first, last = frame(text_in(inside, "in"), "in"), frame(text_in(inside, "out"), "out")
    if first is None:
        notes.guessed["clip without in: 0"] += 1
        first = 0
    if first < 0:
        raise TimelineError(f"in is {float(first):g}, before the media begins")
    if last is not None and last <= first:
        notes.guessed["out not after in: by the length on the track"] += 1
        last = None
    if BY_TRANSITION not in (start, end) and end < start:
        raise TimelineError(f"end {float(end):g} is before start {float(start):g}")
    mode = (text_in(inside, "compositemode") or "normal").strip()[:60]
    if mode.lower() != "normal":
        notes.ignored[f"composite mode {mode}"] += 1
    file = inside.get("file")
    if file is None and "multiclip" in inside:
        notes.guessed["multiclip: the file of its active or first angle"] += 1
        file = _active_angle(element)
    file_id = None if file is None else file.get("id")
    return Item(
        line=line_of(element),
        name=name,
        enabled=truth(text_in(inside, "enabled"), default=True),
        start=start,
        end=end,
        first=first,
        last=last,
        length=frame(text_in(inside, "duration"), "duration"),
        rate=rate_of(inside.get("rate")),
        first_ticks=ticks(text_in(inside, "pproTicksIn")),
        last_ticks=ticks(text_in(inside, "pproTicksOut")),
        effects=known.of(element, notes) if "filter" in inside else NO_EFFECTS,
        file_id=None if file_id is None else intern(file_id),
        file=None if file is None else file_of(file),
        generated=element.tag == "generatoritem" or (file is None and nested is None),
        nested=nested,
    )


def _edge(inside: dict[str, etree._Element], tag: str) -> Frames:
    edge = frame(text_in(inside, tag), tag)
    if edge is None:
        raise TimelineError(f"it has no {tag}")
    if edge < 0 and edge != BY_TRANSITION:
        raise TimelineError(f"{tag} is {float(edge):g}, before the sequence begins")
    return edge


def _active_angle(clip: etree._Element) -> etree._Element | None:
    angles = clip.findall("multiclip/angle")
    active = [angle for angle in angles if truth(angle.findtext("activevideoangle"), default=False)]
    return next((file for angle in active + angles for file in angle.iterfind(".//file")), None)


def file_of(element: etree._Element) -> MediaFile | None:
    """A `file`; None where it has no content and only refers to one by its id."""
    if len(element) == 0:
        return None
    inside = children(element)
    path, source = ((text_in(inside, tag) or "").strip() or None for tag in ("pathurl", "mediaSource"))
    duration = text_in(inside, "duration")
    if duration is None:
        return _media_file(path, source, None, None)
    try:
        return _media_file(path, source, duration, rate_of(inside.get("rate")))
    except TimelineError:  # no reason to refuse the clips that show it
        return _media_file(path, source, None, None)


@lru_cache(1024)
def _media_file(path: str | None, source: str | None, duration: str | None, rate: Fraction | None) -> MediaFile:
    length = frame(duration, "duration")
    known = length is not None and length > 0 and not is_still_image(path or "")
    return MediaFile(path, source, length if known else None, rate)


def transition_of(element: etree._Element, notes: Notes) -> Transition | None:
    """A transitionitem; None where its times are impossible, so that the clips beside it are placed without it."""
    inside = children(element)
    effect = inside.get("effect")
    notes.ignored["transition" if effect is None else f"transition {label(children(effect), 'effectid')}"] += 1
    try:
        start, end = (frame(text_in(inside, tag), tag) for tag in ("start", "end"))
    except TimelineError:
        start = end = None
    if start is None or end is None or not 0 <= start <= end:
        notes.guessed["transition with impossible times: none"] += 1
        return None
    alignment = (text_in(inside, "alignment") or "center").strip().lower()
    return Transition(start, end, alignment, ticks(text_in(inside, "cutPointTicks")))


def size_of(element: etree._Element | None) -> tuple[int, int]:
    """Width and height in pixels that a `format` states, 0 where it does not.

    Raises:
        TimelineError: They are no whole numbers from 0 to a million.
    """
    sizes = []
    for tag in ("width", "height"):
        text = None if element is None else element.findtext(f"samplecharacteristics/{tag}")
        size = whole(text, tag) if (text or "").strip() else 0
        if not 0 <= size <= 1_000_000:
            raise TimelineError(f"{tag} is {size}, not a number of pixels")
        sizes.append(size)
    return sizes[0], sizes[1]
