"""What the clips of an FCPXML file refer to by id: formats, media files, effects, compound and multicam clips."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from lxml import etree

from millrace.keyframes.assets import is_still_image
from millrace.keyframes.fcpxml.time import length_of, seconds, time_of
from millrace.keyframes.timeline import Notes
from millrace.keyframes.xmeml.time import MAX_TIMEBASE
from millrace.keyframes.xml_events import TimelineError, place, whole

# Final Cut knows the formats it has names for; a file may give the name alone.
_NAME = re.compile(r"FFVideoFormat(?:[A-Z]*?)(?:([0-9]{1,5})x)?([0-9]{1,5})([pi])([0-9]{1,5})")
_NTSC = {2398: 24, 2997: 30, 4795: 48, 5994: 60, 11988: 120}


@dataclass(frozen=True)
class Shape:
    """Frame rate in frames a second (None where the format leaves it open) and size in pixels (0 likewise)."""

    frame_rate: Fraction | None = None
    width: int = 0
    height: int = 0

    @property
    def aspect(self) -> float | None:
        return self.width / self.height if self.width and self.height else None


@dataclass(frozen=True)
class Asset:
    """A media file. `start` is the time code of its first frame, in seconds; `aspect` is width over height.

    `duration` is its length in seconds, None where that is not known, and for a still image.
    """

    name: str
    path: str | None
    start: Fraction
    duration: Fraction | None
    has_video: bool
    aspect: float | None


class Resources:
    """The `resources` of a file by id.

    Args:
        element: The element; None for a file without.
        notes: Where ids given twice are counted.
    """

    def __init__(self, element: etree._Element | None, notes: Notes) -> None:
        self._by_id: dict[str, etree._Element] = {}
        self._assets: dict[etree._Element, Asset] = {}
        for resource in () if element is None else element:
            if resource.get("id", "") in self._by_id:
                notes.guessed["resource id given twice, the first one taken"] += 1
            else:
                self._by_id[resource.get("id", "")] = resource

    def get(self, reference: str | None) -> etree._Element | None:
        return None if reference is None else self._by_id.get(reference)

    def shape(self, reference: str | None) -> Shape:
        """The format of that id; of one that does not exist, nothing is known.

        Raises:
            TimelineError: A number in it is impossible.
        """
        element = self.get(reference)
        if element is None or element.tag != "format":
            return Shape()
        try:
            return _shape(element)
        except TimelineError as error:
            raise TimelineError(f"format {(reference or '')[:60]!r} at {place(element)}: {error}") from None

    def asset(self, element: etree._Element) -> Asset:
        """An `asset`.

        Raises:
            TimelineError: A time in it is impossible.
        """
        if element not in self._assets:
            self._assets[element] = self._asset(element)
        return self._assets[element]

    def _asset(self, element: etree._Element) -> Asset:
        try:
            start = time_of(element, "start")
        except TimelineError as error:
            raise TimelineError(f"asset {element.get('id', '')[:60]!r} at {place(element)}: {error}") from None
        files = element.findall("media-rep")
        original = [file for file in files if file.get("kind", "original-media") == "original-media"]
        path = next(iter(original or files), element).get("src")
        try:
            duration = length_of(element)
        except TimelineError:  # no reason to refuse clips that have one of their own
            duration = None
        return Asset(
            name=element.get("name", ""),
            path=path,
            start=start,
            duration=None if is_still_image(path or "") else duration or None,
            # Both attributes may be missing; a file that says only that it has sound has no picture.
            has_video=element.get("hasVideo", "0" if element.get("hasAudio") == "1" else "1") == "1",
            aspect=self.shape(element.get("format")).aspect,
        )

    def length(self, reference: str | None) -> Fraction | None:
        """Seconds of the media of that id, where known.

        Raises:
            TimelineError: Its duration is impossible.
        """
        element = self.get(reference)
        if element is None:
            return None
        return length_of(element[0]) if element.tag == "media" and len(element) else length_of(element)


def _shape(element: etree._Element) -> Shape:
    rate, width, height = _named(element.get("name", ""))
    text = element.get("frameDuration")
    if text is not None:
        duration = seconds(text, "frameDuration")
        if duration <= 0:
            raise TimelineError(f"frameDuration is {text[:40]!r}, not above zero")
        rate = 1 / duration
    if rate is not None and not 1 <= rate <= MAX_TIMEBASE:
        raise TimelineError(f"frame rate is {float(rate):g}, not between 1 and {MAX_TIMEBASE}")
    sizes = []
    for side, known in (("width", width), ("height", height)):
        value = whole(element.get(side), side) if element.get(side) else known
        if not 0 <= value <= 1_000_000:
            raise TimelineError(f"{side} is {value}, not a number of pixels")
        sizes.append(value)
    return Shape(rate, *sizes)


def _named(name: str) -> tuple[Fraction | None, int, int]:
    """Rate, width and height of a name like FFVideoFormat1080p2997 or FFVideoFormat3840x2160p25."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None, 0, 0
    height, digits = int(match[2]), int(match[4])
    rate = Fraction(_NTSC[digits] * 1000, 1001) if digits in _NTSC else Fraction(digits)
    if match[3] == "i":  # the name counts fields
        rate /= 2
    return rate or None, int(match[1]) if match[1] else height * 16 // 9, height
