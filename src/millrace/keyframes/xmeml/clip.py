"""The items of an xmeml track as they stand in the file, before tracks, rates and files are known in full."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from lxml import etree

from millrace.keyframes.timeline import Notes
from millrace.keyframes.xmeml.effects import Effects, effects_of
from millrace.keyframes.xmeml.time import frames, label, rate_of, seconds, truth
from millrace.keyframes.xml_events import TimelineError, place, whole

BY_TRANSITION = Fraction(-1)
"""A clip's `start` or `end` that a transition decides."""


@dataclass(slots=True)
class MediaFile:
    """A `file` given in full: its path as written, and what generates it where it has none (Slug, GraphicAndType)."""

    path: str | None
    source: str | None


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
        first_time: `pproTicksIn` in seconds.
        last_time: `pproTicksOut` in seconds.
        file: A `file` with content; where it is elsewhere, `file_id` says which.
        generated: Whether it has no media by its kind: a generatoritem, or a clipitem without file or sequence.
        nested: The sequence that it holds, or the id of one.
    """

    line: str
    name: str
    enabled: bool
    start: Fraction
    end: Fraction
    first: Fraction
    last: Fraction | None
    length: Fraction | None
    rate: Fraction | None
    first_time: Fraction | None
    last_time: Fraction | None
    effects: Effects
    file_id: str | None
    file: MediaFile | None
    generated: bool
    nested: RawSequence | str | None = None

    def __str__(self) -> str:
        return f"{self.line}: clip {self.name[:60]!r}"


@dataclass(frozen=True, slots=True)
class Transition:
    """`start`, `end` in frames of the sequence; `cut_time` in seconds after the start, None where it is not given."""

    start: Fraction
    end: Fraction
    alignment: str
    cut_time: Fraction | None


@dataclass(slots=True)
class RawTrack:
    items: list[Item | Transition] = field(default_factory=list)
    enabled: bool = True


@dataclass(slots=True)
class RawSequence:
    """A `sequence` given in full; `rate` and `duration` as stated, None where they are not."""

    line: str
    id: str | None
    name: str = ""
    rate: Fraction | None = None
    duration: Fraction | None = None
    width: int = 0
    height: int = 0
    tracks: list[RawTrack] = field(default_factory=list)


def item_of(element: etree._Element, nested: RawSequence | str | None, notes: Notes) -> Item | None:
    """A clipitem or generatoritem; None where it is impossible, which the notes tell.

    Args:
        element: It, complete but for the inside of its `sequence`.
        nested: What that was.
        notes: Filled.
    """
    name = (element.findtext("name") or "").strip()
    try:
        return _item(element, name, nested, notes)
    except TimelineError as error:
        notes.problems.append(f"{place(element)}: clip {name[:60]!r}: {error}")
        return None


def _item(element: etree._Element, name: str, nested: RawSequence | str | None, notes: Notes) -> Item:
    start, end = (_edge(element, tag) for tag in ("start", "end"))
    first, last = frames(element, "in"), frames(element, "out")
    if first is None:
        notes.guessed["clip without in: 0"] += 1
        first = Fraction(0)
    if first < 0:
        raise TimelineError(f"in is {float(first):g}, before the media begins")
    if last is not None and last <= first:
        notes.guessed["out not after in: by the length on the track"] += 1
        last = None
    if BY_TRANSITION not in (start, end) and end < start:
        raise TimelineError(f"end {float(end):g} is before start {float(start):g}")
    mode = (element.findtext("compositemode") or "normal").strip()[:60]
    if mode.lower() != "normal":
        notes.ignored[f"composite mode {mode}"] += 1
    file = element.find("file")
    if file is None and element.find("multiclip") is not None:
        notes.guessed["multiclip: the file of its active or first angle"] += 1
        file = _active_angle(element)
    return Item(
        line=place(element),
        name=name,
        enabled=truth(element.findtext("enabled"), default=True),
        start=start,
        end=end,
        first=first,
        last=last,
        length=frames(element, "duration"),
        rate=rate_of(element.find("rate")),
        first_time=seconds(element, "pproTicksIn"),
        last_time=seconds(element, "pproTicksOut"),
        effects=effects_of(element, notes),
        file_id=None if file is None else file.get("id"),
        file=None if file is None else file_of(file),
        generated=element.tag == "generatoritem" or (file is None and nested is None),
        nested=nested,
    )


def _edge(element: etree._Element, tag: str) -> Fraction:
    frame = frames(element, tag)
    if frame is None:
        raise TimelineError(f"it has no {tag}")
    if frame < 0 and frame != BY_TRANSITION:
        raise TimelineError(f"{tag} is {float(frame):g}, before the sequence begins")
    return frame


def _active_angle(clip: etree._Element) -> etree._Element | None:
    angles = clip.findall("multiclip/angle")
    active = [angle for angle in angles if truth(angle.findtext("activevideoangle"), default=False)]
    return next((file for angle in active + angles for file in angle.iterfind(".//file")), None)


def file_of(element: etree._Element) -> MediaFile | None:
    """A `file`; None where it has no content and only refers to one by its id."""
    if len(element) == 0:
        return None
    path, source = ((element.findtext(tag) or "").strip() or None for tag in ("pathurl", "mediaSource"))
    return MediaFile(path, source)


def transition_of(element: etree._Element, notes: Notes) -> Transition | None:
    """A transitionitem; None where its times are impossible, so that the clips beside it are placed without it."""
    effect = element.find("effect")
    notes.ignored["transition" if effect is None else f"transition {label(effect, 'effectid')}"] += 1
    try:
        start, end = frames(element, "start"), frames(element, "end")
    except TimelineError:
        start = end = None
    if start is None or end is None or not 0 <= start <= end:
        notes.guessed["transition with impossible times: none"] += 1
        return None
    alignment = (element.findtext("alignment") or "center").strip().lower()
    return Transition(start, end, alignment, seconds(element, "cutPointTicks"))


def size_of(element: etree._Element) -> tuple[int, int]:
    """Width and height in pixels that a `format` states, 0 where it does not.

    Raises:
        TimelineError: They are no whole numbers from 0 to a million.
    """
    sizes = []
    for tag in ("width", "height"):
        text = element.findtext(f"samplecharacteristics/{tag}")
        size = whole(text, tag) if (text or "").strip() else 0
        if not 0 <= size <= 1_000_000:
            raise TimelineError(f"{tag} is {size}, not a number of pixels")
        sizes.append(size)
    return sizes[0], sizes[1]
