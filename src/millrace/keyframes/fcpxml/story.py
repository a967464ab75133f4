"""Sequences of FCPXML, and what their clips refer to or contain: media, titles, compound, multicam and synced clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain

from lxml import etree

from millrace.keyframes.fcpxml.layout import CONTAINERS, STORY, ZERO, Axis, Layout, Source, video_source
from millrace.keyframes.fcpxml.resources import Resources, Shape
from millrace.keyframes.fcpxml.time import TimeMap, length_of, shift, time_of
from millrace.keyframes.fcpxml.tracks import tracks_of
from millrace.keyframes.timeline import Notes, Sequence
from millrace.keyframes.xml_events import TimelineError, place


class Story:
    """Builds sequences from elements; each compound and multicam clip once.

    Args:
        resources: What ids refer to.
        notes: Where everything ignored, guessed and wrong is noted.
        max_depth: Sequences inside sequences; a clip that goes deeper is left out.
    """

    def __init__(self, resources: Resources, notes: Notes, max_depth: int) -> None:
        self.resources, self.notes, self.max_depth = resources, notes, max_depth
        self.levels = 0  # story elements around the one at hand
        self._built: dict[tuple[str, str], tuple[Sequence, int]] = {}
        self._broken: dict[tuple[str, str], TimelineError] = {}
        self._open: list[tuple[str, str]] = []

    def sequence(
        self,
        element: etree._Element,
        name: str,
        depth: int = 0,
        parent: Shape | None = None,
        items: Iterable[etree._Element] | None = None,
    ) -> tuple[Sequence, int]:
        """A `sequence` and how many levels of sequences it holds.

        Args:
            element: The element.
            name: What to call it.
            depth: Sequences that it lies in.
            parent: The shape of the innermost of those, which fills gaps in its own.
            items: Its primary storyline, where that is still being read.

        Raises:
            TimelineError: It has no spine, no frame rate, or an impossible time.
        """
        try:
            spine = element.find("spine")
            if spine is None:
                raise TimelineError("it has no spine")
            duration = length_of(element)
            layout = Layout(self, self._shape(element, parent), depth)
            origin, items = self._origin(iter(spine if items is None else items), time_of(element, "tcStart"))
            layout.serial(items, Axis(Fraction(0), origin), ())
            return self._finish(layout, name, duration), layout.height
        except TimelineError as error:
            raise TimelineError(f"{place(element)}: sequence {name[:60]!r}: {error}") from None

    def _origin(self, items: Iterator[etree._Element], start: Fraction) -> tuple[Fraction, Iterator[etree._Element]]:
        """Where the axis of a primary storyline begins, and all its items.

        It begins at tcStart, unless its clips begin before that.
        """
        seen = []
        for item in items:
            seen.append(item)
            if item.get("offset") is None:
                continue
            try:
                if time_of(item, "offset") < start:
                    self.notes.guessed["spine counted from 0 in spite of tcStart"] += 1
                    start = Fraction(0)
            except TimelineError:
                continue  # a problem of that clip, met again when it is placed
            break
        return start, chain(seen, items)

    def _shape(self, element: etree._Element, parent: Shape | None) -> Shape:
        reference = element.get("format")
        shape = self.resources.shape(reference)
        if shape.frame_rate is None and parent is None:
            known = "does not exist" if self.resources.get(reference) is None else "does not say it"
            raise TimelineError(f"its frame rate is unknown: format {(reference or '')[:60]!r} {known}")
        if parent is not None and (shape.frame_rate is None or shape.aspect is None):
            self.notes.guessed["format of a nested sequence completed from the one around it"] += 1
            if shape.aspect is None:
                shape = replace(shape, width=parent.width, height=parent.height)
            shape = replace(shape, frame_rate=shape.frame_rate or parent.frame_rate)
        return shape

    def _finish(self, layout: Layout, name: str, duration: Fraction | None) -> Sequence:
        tracks = tracks_of(layout.lanes, self.notes)
        if duration is None:
            duration = max((track.clips[-1].end for track in tracks), default=Fraction(0))
        shape = layout.shape
        assert shape.frame_rate is not None
        return Sequence(name, shape.frame_rate, shape.width, shape.height, duration, tracks)

    def source(self, item: etree._Element, layout: Layout) -> Source | None:
        """What an element shows; None for sound alone.

        Raises:
            TimelineError: It cannot be used.
        """
        if item.tag in CONTAINERS:
            return self._content(item, layout)
        if item.get("srcEnable") == "audio":
            return None
        own_axis = shift(Fraction(0))
        reference = item.get("ref")
        resource = self.resources.get(reference)
        if resource is None and item.tag != "live-drawing":
            self.notes.guessed["reference to a resource that does not exist"] += 1
        if item.tag in ("title", "live-drawing") or (resource is not None and resource.tag == "effect"):
            name = "" if resource is None else resource.get("name", "")
            return Source("generator", own_axis, name, aspect=layout.shape.aspect)
        if resource is None or reference is None:
            return Source("media", own_axis, media_id=reference)
        if resource.tag == "media":
            return self._nested(item, reference, resource, layout)
        if resource.tag != "asset":
            raise TimelineError(f"ref {reference[:60]!r} is a {resource.tag}, which cannot be shown")
        asset = self.resources.asset(resource)
        if not asset.has_video and item.tag != "video":
            return None
        return Source(
            kind="media",
            times=shift(asset.start),
            name=asset.name,
            media=asset.path,
            media_id=reference,
            aspect=asset.aspect,
            media_duration=asset.duration,
        )

    def _content(self, item: etree._Element, layout: Layout) -> Source | None:
        """What lies in a container: one plain clip stands for itself, more become a sequence."""
        inner = Layout(self, layout.shape, layout.depth, inside=True)
        for child in item:
            if (child.tag in STORY or child.tag == "spine") and child.get("lane", "0").strip() == "0":
                if child.tag == "spine":
                    inner.serial(child, Axis(time_of(child, "offset"), Fraction(0)), ())
                else:
                    inner.place(child, ZERO, ())
        clips = [clip for lane in inner.lanes.values() for clip in lane]
        if not clips:
            return None
        if len(clips) == 1 and not clips[0].animation:
            only = clips[0]
            return Source(
                kind=only.kind,
                times=tuple((only.start + time, media) for time, media in only.media_times),
                name=only.name,
                media=only.media,
                media_id=only.media_id,
                sequence=only.sequence,
                height=max(inner.height - 1, 0),
                aspect=self.resources.shape(item.get("format")).aspect or inner.aspect,
                enabled=only.enabled,
                media_duration=only.media_duration,
            )
        self._check_depth(layout.depth + 1 + inner.height)
        origin = min(clip.start for clip in clips)
        for lane, placed in inner.lanes.items():
            inner.lanes[lane] = [replace(clip, start=clip.start - origin, end=clip.end - origin) for clip in placed]
        sequence = self._finish(inner, item.get("name", ""), None)
        return Source("nested", shift(origin), sequence=sequence, height=inner.height, aspect=layout.shape.aspect)

    def _nested(self, item: etree._Element, reference: str, media: etree._Element, layout: Layout) -> Source | None:
        """A compound clip, or the angle of a multicam clip whose picture is seen."""
        element = next((child for child in media if child.tag in ("sequence", "multicam")), None)
        if element is None:
            raise TimelineError(f"media {reference[:60]!r} at {place(media)} holds no sequence")
        angle = None
        if element.tag == "multicam":
            choice = video_source(item)
            if choice is None and item.find("mc-source") is not None:
                return None  # it takes the sound of all its angles
            angle = self._angle(element, choice)
        key = (reference, "" if angle is None else angle.get("angleID", ""))
        if key in self._open:
            raise TimelineError(f"compound clip {reference[:60]!r} contains itself")
        if key in self._broken:
            raise self._broken[key]
        self._check_depth(layout.depth + 1 + (self._built[key][1] if key in self._built else 0))
        if key not in self._built:
            self._open.append(key)
            try:
                self._built[key] = self._build(element, media.get("name", ""), angle, layout)
            except TimelineError as error:
                self._broken[key] = error
                raise
            finally:
                self._open.pop()
        sequence, height = self._built[key]
        times: TimeMap = shift(time_of(element, "tcStart"))
        aspect = Shape(None, sequence.width, sequence.height).aspect
        return Source("nested", times, sequence.name, None, reference, sequence, height, aspect)

    def _angle(self, multicam: etree._Element, choice: etree._Element | None) -> etree._Element:
        angles = multicam.findall("mc-angle")
        if not angles:
            raise TimelineError("its multicam clip has no angle")
        wanted = None if choice is None else choice.get("angleID")
        for angle in angles:
            if angle.get("angleID") == wanted:
                return angle
        self.notes.guessed["multicam angle that does not exist, the first one taken"] += 1
        return angles[0]

    def _build(
        self, element: etree._Element, name: str, angle: etree._Element | None, around: Layout
    ) -> tuple[Sequence, int]:
        if angle is None:
            return self.sequence(element, name, around.depth + 1, around.shape)
        duration = length_of(element)
        layout = Layout(self, self._shape(element, around.shape), around.depth + 1)
        layout.serial(angle, ZERO, ())
        return self._finish(layout, name, duration), layout.height

    def _check_depth(self, depth: int) -> None:
        if depth > self.max_depth:
            raise TimelineError(f"it is nested deeper than max_depth, {self.max_depth}, allows")
