"""The story elements of one FCPXML sequence laid out on lanes.

Every element has a local time axis. `offset` is where it begins on its parent's axis, `start` what its own axis then
shows, `duration` its length on both. So what a parent that begins at record time R with local `start` S holds at
`offset` O begins at R + O - S, at any depth. The axis of a sequence's spine begins at the sequence's tcStart; those of
a spine connected to a clip and of a multicam angle begin at 0.

Clips next to a transition end and begin inside it, at the edit point: Final Cut writes them so, and their ranges are
taken as they are, without the handles that the transition shows of each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lxml import etree

from millrace.keyframes.fcpxml.adjust import Adjustments
from millrace.keyframes.fcpxml.resources import Shape
from millrace.keyframes.fcpxml.time import TimeMap, length_of, through, time_map, time_of
from millrace.keyframes.fcpxml.tracks import Lane
from millrace.keyframes.timeline import Clip, Kind, Sequence
from millrace.keyframes.xml_events import TimelineError, place, whole

if TYPE_CHECKING:  # which builds layouts
    from millrace.keyframes.fcpxml.story import Story

CLIPS = frozenset({"clip", "asset-clip", "sync-clip", "mc-clip", "ref-clip", "title", "video", "live-drawing"})
STORY = CLIPS | {"gap", "audio", "caption", "audition"}
CONTAINERS = frozenset({"clip", "sync-clip"})

MAX_LEVELS = 48
"""Story elements inside each other, compound clips counted in: deeper than editors go, and within Python's stack."""


@dataclass(frozen=True)
class Axis:
    """A local time axis that shows `local` at the record time `record`."""

    record: Fraction
    local: Fraction

    def at(self, time: Fraction) -> Fraction:
        return self.record + time - self.local


ZERO = Axis(Fraction(0), Fraction(0))


@dataclass(frozen=True)
class Source:
    """What a clip shows.

    Attributes:
        kind: As in `Clip`, like `media`, `media_id`, `sequence` and `media_duration`.
        times: From the clip's local axis, after changes of speed, to seconds since the beginning of the media.
        name: For a clip without a name.
        height: Levels of sequences in `sequence`.
        aspect: Width over height of the picture, where known.
        enabled: Whether it is seen.
    """

    kind: Kind
    times: TimeMap
    name: str = ""
    media: str | None = None
    media_id: str | None = None
    sequence: Sequence | None = None
    height: int = 0
    aspect: float | None = None
    enabled: bool = True
    media_duration: Fraction | None = None


class Layout:
    """Collects the clips of one sequence by lane.

    Args:
        story: Knows what clips refer to.
        shape: Of the sequence.
        depth: Sequences that it lies in.
        inside: Whether it is the content of a clip, whose own axis may begin anywhere.
    """

    def __init__(self, story: Story, shape: Shape, depth: int, *, inside: bool = False) -> None:
        self.story, self.shape, self.depth, self.inside = story, shape, depth, inside
        self.notes = story.notes
        self.height = 0
        self.aspect: float | None = None
        self.lanes: dict[Lane, list[Clip]] = defaultdict(list)

    def serial(self, items: Iterable[etree._Element], axis: Axis, lane: Lane) -> None:
        """Place what follows each other in a spine or an angle.

        An element without an offset comes after the one before it, and overlaps it by the length of a transition
        between them that has no offset either (the DTD's own example).
        """
        end, first = axis.local, True
        for element in items:
            if element.tag == "transition":
                self.notes.ignored["transition"] += 1
                if element.get("offset") is None and not first:
                    end -= self._transition(element)
            elif element.tag in STORY:
                if element.get("offset") is None and not first:
                    self.notes.guessed["clip without offset placed after the one before it"] += 1
                end, first = self.place(element, axis, lane, end), False

    def place(self, element: etree._Element, axis: Axis, lane: Lane, default_offset: Fraction = ZERO.local) -> Fraction:
        """Place an element and what is connected to it. Whatever is impossible about it is noted and left out.

        Returns:
            Where it ends on `axis`; where it would begin if it is left out.
        """
        item = self._active(element)
        try:
            if self.story.levels >= MAX_LEVELS:
                raise TimelineError(f"it lies more than {MAX_LEVELS} levels deep")
            # An audition is placed itself; its alternatives need no offset.
            offset = time_of(element, "offset", time_of(item, "offset", default_offset))
            start = time_of(item, "start")
            duration = self._duration(item)
        except TimelineError as error:
            self._problem(item, error)
            if item.tag not in CONTAINERS:
                connected = sum(inner is not item for inner in item.iter(*CLIPS))
                self.notes.ignored.update({"clip connected to one that is left out": connected} if connected else {})
            return default_offset
        inner = Axis(axis.at(offset), start)
        self.story.levels += 1
        try:
            if item.tag in CLIPS:
                self._add(item, inner, duration, lane)
            elif item.tag != "gap":
                self.notes.ignored[item.tag] += 1
        except TimelineError as error:
            self._problem(item, error)
        self._connected(item, inner, lane)
        self.story.levels -= 1
        return offset + duration

    def _transition(self, element: etree._Element) -> Fraction:
        try:
            return length_of(element) or Fraction(0)
        except TimelineError as error:
            self._problem(element, error)
            return Fraction(0)

    def _active(self, element: etree._Element) -> etree._Element:
        if element.tag != "audition":
            return element
        choices = [child for child in element if child.tag in STORY]
        if len(choices) > 1:
            self.notes.ignored["alternative of an audition"] += len(choices) - 1
        return choices[0] if choices else element

    def _duration(self, item: etree._Element) -> Fraction:
        duration = length_of(item)
        if duration is None:
            duration = self.story.resources.length(item.get("ref"))
        if duration is None:
            raise TimelineError("it has no duration")
        return duration

    def _problem(self, item: etree._Element, error: TimelineError) -> None:
        self.notes.problems.append(f"{place(item)}: {item.tag} {item.get('name', '')[:60]!r}: {error}")

    def _connected(self, item: etree._Element, axis: Axis, lane: Lane) -> None:
        for child in item:
            if child.tag not in STORY and child.tag != "spine":
                continue
            try:
                number = lane_of(child)
                if number == 0 and item.tag in CONTAINERS:
                    continue  # it is the content
                outer = (*lane, number)
                if child.tag == "spine":
                    self.serial(child, Axis(axis.at(time_of(child, "offset")), Fraction(0)), outer)
                else:
                    self.place(child, axis, outer)
            except TimelineError as error:
                self._problem(child, error)

    def _add(self, item: etree._Element, axis: Axis, duration: Fraction, lane: Lane) -> None:
        source = self.story.source(item, self)
        if source is None:
            self.notes.ignored["clip without picture"] += 1
            return
        if duration == 0:
            self.notes.ignored["clip of no length"] += 1
            return
        if axis.record < 0 and not self.inside:
            raise TimelineError(f"it begins {float(-axis.record):g} seconds before its sequence")
        adjusted = video_source(item) if item.tag == "mc-clip" else item
        adjustments = Adjustments(
            item if adjusted is None else adjusted,
            shape=self.shape,
            aspect=source.aspect,
            start=axis.local,
            duration=duration,
            notes=self.notes,
        )
        clip = Clip(
            name=item.get("name") or source.name,
            kind=source.kind,
            start=axis.record,
            end=axis.record + duration,
            local_start=axis.local,
            media_times=through(self._speed(item, axis.local, duration), source.times),
            media=source.media,
            media_id=source.media_id,
            animation=adjustments.curves(),
            enabled=source.enabled and item.get("enabled", "1") != "0",
            sequence=source.sequence,
            media_duration=source.media_duration,
        )
        self.aspect = source.aspect
        if source.kind == "nested":
            self.height = max(self.height, source.height + 1)
        self.lanes[lane].append(clip)

    def _speed(self, item: etree._Element, start: Fraction, duration: Fraction) -> TimeMap:
        """The map from seconds after the clip's beginning to the axis of its content."""
        times: TimeMap = ((Fraction(0), start), (duration, start + duration))
        conform = item.find("conform-rate")
        if conform is not None and conform.get("scaleEnabled", "1") != "0":
            self.notes.guessed["conform-rate: media taken at its own speed"] += 1
        speed = time_map(item)
        if speed is None:
            return times
        points = item.findall("timeMap/timept")
        if len(speed) > 2 and any(point.get("interp", "smooth2") != "linear" for point in points[1:-1]):
            self.notes.guessed["smooth change of speed drawn as a corner"] += 1
        return through(times, speed)


def lane_of(element: etree._Element) -> int:
    """The lane number; 0, contained in its parent, where none is given.

    Raises:
        TimelineError: It is no whole number.
    """
    text = element.get("lane")
    return 0 if text is None else whole(text, "lane")


def video_source(item: etree._Element) -> etree._Element | None:
    """The `mc-source` that shows the picture of a multicam clip, if any does."""
    sources = item.iterfind("mc-source")
    return next((source for source in sources if source.get("srcEnable", "all") in ("all", "video")), None)
