"""From an xmeml clip in frames to one in exact seconds: its own rate, its media and how the media runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.timeline import Clip, Kind, Notes, Sequence
from millrace.keyframes.xmeml.clip import BY_TRANSITION, Item, MediaFile
from millrace.keyframes.xmeml.effects import Remap
from millrace.keyframes.xmeml.time import TICKS_PER_SECOND, Clock, Frames, could_stand_for
from millrace.keyframes.xmeml.track import Placed

ZERO = Fraction(0)
Times = tuple[tuple[Fraction, Fraction], ...]


class Clocks:
    """How the frames of a sequence and of its clips count.

    Args:
        nominal: Frames a second that the sequence states.
        rate: Those that it has.
    """

    def __init__(self, nominal: Fraction, rate: Fraction) -> None:
        self.nominal, self.sequence = nominal, Clock(rate)
        self._own: dict[Fraction, Clock] = {}

    def own(self, rate: Fraction) -> Clock:
        """Of a clip's rate."""
        if rate is self.sequence.rate:
            return self.sequence
        clock = self._own.get(rate)
        if clock is None:
            clock = self._own[rate] = Clock(rate)
        return clock


def clip_of(
    placed: Placed, clocks: Clocks, files: Mapping[str, MediaFile], sequence: Sequence | None, notes: Notes
) -> Clip:
    """The clip on its track.

    Args:
        placed: Clip and edges in frames of the sequence.
        clocks: Of the sequence.
        files: Files given in full, by id.
        sequence: What a nested clip holds.
        notes: Filled.
    """
    item, seconds = placed.item, clocks.sequence.seconds
    rate, first_time = _own_rate(item, clocks, notes)
    own = clocks.own(rate)
    length, lead = seconds(placed.end - placed.start), seconds(placed.lead)
    local_start = own.seconds(item.first)
    kind, file = ("nested", None) if sequence is not None else _media(item, files, notes)
    return Clip(
        name=item.name,
        kind=kind,
        start=seconds(placed.start),
        end=seconds(placed.end),
        local_start=local_start + lead if lead else local_start,
        media_times=_media_times(item, own, clocks.sequence, first_time, lead, length, notes),
        media=None if file is None else file.path,
        media_id=item.file_id,
        animation={name: _in_seconds(curve, own) for name, curve in item.effects.curves.items()},
        enabled=item.enabled,
        sequence=sequence,
        media_duration=None if file is None else _media_duration(file, item.rate or clocks.nominal, own, clocks),
    )


def _own_rate(item: Item, clocks: Clocks, notes: Notes) -> tuple[Fraction, Fraction]:
    """The rate at which a clip's `in`, `out` and keyframes count, and the time of its `in` in seconds.

    A clip that states the sequence's rate runs at the sequence's true one. Ticks, where given, are the time of `in`.
    Where they are more than a frame off, the rate that they show replaces a stated rate that can be its whole part;
    other ticks are damaged.
    """
    stated = item.rate or clocks.nominal
    own = clocks.sequence.rate if stated == clocks.nominal else stated
    first, last = item.first_ticks, item.last_ticks
    if first is None:
        return own, clocks.own(own).seconds(item.first)
    fits = _fits(first, item.first, own)
    if item.last is not None and last is not None and last > 0:
        if fits and _fits(last, item.last, own):
            return own, Fraction(first, TICKS_PER_SECOND)
        shown = Fraction(item.last * TICKS_PER_SECOND) / last
        if could_stand_for(stated, shown):
            notes.guessed["clip's frame rate, by its ticks"] += 1
            return shown, Fraction(first, TICKS_PER_SECOND)
    elif fits:
        return own, Fraction(first, TICKS_PER_SECOND)
    notes.guessed["ticks that contradict in and out, left aside"] += 1
    return own, clocks.own(own).seconds(item.first)


def _fits(ticks: int, frames: Frames, rate: Fraction) -> bool:
    """Whether a time in ticks is that of a frame, give or take one."""
    ticks_a_frame = TICKS_PER_SECOND * rate.denominator
    return -ticks_a_frame <= ticks * rate.numerator - frames * ticks_a_frame <= ticks_a_frame


def _media(item: Item, files: Mapping[str, MediaFile], notes: Notes) -> tuple[Kind, MediaFile | None]:
    if item.generated:
        return "generator", None
    if item.nested is not None:
        notes.guessed["sequence that is only referred to: nothing known"] += 1
        return "media", None
    file = item.file or files.get(item.file_id or "")
    if file is None:
        notes.guessed["file that is only referred to: no path"] += 1
        return "media", None
    if file.path is None and file.source is not None:
        return "generator", None
    if file.path is None:
        notes.guessed["file without a path"] += 1
    return "media", file


def _media_duration(file: MediaFile, stated: Fraction, own: Clock, clocks: Clocks) -> Fraction | None:
    """Seconds of a file. One that states the rate of its clip runs, as that does, at the clip's true one.

    Args:
        file: It.
        stated: Nominal rate of the clip.
        own: Of the clip's frames.
        clocks: Of the sequence.
    """
    if file.length is None:
        return None
    clock = own if file.rate is None or file.rate is stated or file.rate == stated else clocks.own(file.rate)
    return clock.seconds(file.length)


def _in_seconds(curve: Curve, clock: Clock) -> Curve:
    if len(curve.keys) == 1 and curve.keys[0].time == 0:  # a value that never changes: the same for all clips
        return curve
    return Curve([_key_in_seconds(key, clock.rate) for key in curve.keys])


def _key_in_seconds(key: Key, rate: Fraction) -> Key:
    if key.reach_in == key.reach_out == (0.0, 0.0):  # sharing the default ones saves much of a key's memory
        return Key(key.time / rate, key.value, key.ease)
    (back, below), (ahead, above) = key.reach_in, key.reach_out
    pace = float(rate)
    return Key(key.time / rate, key.value, key.ease, (back / pace, below), (ahead / pace, above))


def _media_times(
    item: Item, own: Clock, sequence: Clock, first_time: Fraction, lead: Fraction, length: Fraction, notes: Notes
) -> Times:
    """Where the media stands over a clip of `length` seconds that begins `lead` seconds after its `in`.

    Without Time Remap the media runs at its own pace from `in`, whatever `out` says: editors that read xmeml do the
    same.
    """
    remap = item.effects.remap
    written = None if BY_TRANSITION in (item.start, item.end) else sequence.seconds(item.end - item.start)
    span = None if item.last is None else own.seconds(item.last - item.first)
    if remap is not None and remap.graph:
        return _by_graph(remap, (first_time + lead) * own.rate, length, own.rate)
    if remap is not None and remap.speed != 1:
        start = _retimed_start(item, remap.speed, own.rate, first_time, written, span, notes)
        return _even(start + lead * remap.speed, length, remap.speed)
    if written is None or span is None or written is span:  # the same object in nearly all clips
        pass
    elif abs(span - written) > max(1 / own.rate, 1 / sequence.rate):
        notes.guessed["in and out longer or shorter than start and end: media at its own pace"] += 1
    return _even(first_time + lead if lead else first_time, length, Fraction(1))


def _even(start: Fraction, length: Fraction, speed: Fraction) -> Times:
    return (ZERO, start), (length, start + (length if speed == 1 else length * speed))


def _retimed_start(
    item: Item,
    speed: Fraction,
    own: Fraction,
    first: Fraction,
    written: Fraction | None,
    span: Fraction | None,
    notes: Notes,
) -> Fraction:
    """Media time in seconds at `in`, which lies `first` seconds into the retimed clip, under a constant speed.

    `in`, `out` and `duration` count frames of the clip as retimed, from its own beginning: frame n shows frame n *
    speed of the media, or backwards that many frames before its end. Some programs write `in` and `out` of the media
    instead; then their distance is the clip's length on the track times the speed.
    """
    if speed == 0:
        return first
    frame = 1 / own
    if written is not None and span is not None and abs(span - written) > frame >= abs(span - written * abs(speed)):
        notes.guessed["in and out of a retimed clip, taken as media time"] += 1
        return first if speed > 0 else first + span
    if speed > 0:
        return first * speed
    if item.length is None or item.length <= 0:
        notes.guessed["length of media that runs backwards: up to out"] += 1
        return (span or written or Fraction(0)) * -speed
    return (item.length / own - first) * -speed


def _by_graph(remap: Remap, first: Fraction, length: Fraction, own: Fraction) -> Times:
    """Along the graph, from frame `first` of its axis on; beyond its ends at the pace of its first or last segment."""
    last = first + length * own
    stops = [first, *(frame for frame, _ in remap.graph if first < frame < last), last]
    frames = [frame for frame, _ in remap.graph]
    times = []
    for stop in stops:
        index = min(max(bisect_right(frames, stop) - 1, 0), len(frames) - 2)
        (left, shown), (right, then) = remap.graph[index], remap.graph[index + 1]
        media = shown + Fraction(then - shown) * (stop - left) / (right - left)
        times.append(((stop - first) / own, media / own))
    return tuple(times)
