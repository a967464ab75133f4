"""From an xmeml clip in frames to one in exact seconds: its own rate, its media and how the media runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.timeline import Clip, Kind, Notes, Sequence
from millrace.keyframes.xmeml.clip import BY_TRANSITION, Item, MediaFile
from millrace.keyframes.xmeml.effects import Remap
from millrace.keyframes.xmeml.time import could_stand_for
from millrace.keyframes.xmeml.track import Placed

Times = tuple[tuple[Fraction, Fraction], ...]


def clip_of(
    placed: Placed,
    nominal: Fraction,
    rate: Fraction,
    files: Mapping[str, MediaFile],
    sequence: Sequence | None,
    notes: Notes,
) -> Clip:
    """The clip on its track.

    Args:
        placed: Clip and edges in frames of the sequence.
        nominal: Frames a second that the sequence states.
        rate: Those that it has.
        files: Files given in full, by id.
        sequence: What a nested clip holds.
        notes: Filled.
    """
    item = placed.item
    own, first_time = _own_rate(item, nominal, rate, notes)
    length, lead = (placed.end - placed.start) / rate, placed.lead / rate
    kind, media = ("nested", None) if sequence is not None else _media(item, files, notes)
    return Clip(
        name=item.name,
        kind=kind,
        start=placed.start / rate,
        end=placed.end / rate,
        local_start=item.first / own + lead,
        media_times=_media_times(item, own, rate, first_time, lead, length, notes),
        media=media,
        media_id=item.file_id,
        animation={name: _in_seconds(curve, own) for name, curve in item.effects.curves.items()},
        enabled=item.enabled,
        sequence=sequence,
    )


def _own_rate(item: Item, nominal: Fraction, rate: Fraction, notes: Notes) -> tuple[Fraction, Fraction]:
    """The rate at which a clip's `in`, `out` and keyframes count, and the time of its `in` in seconds.

    A clip that states the sequence's rate runs at the sequence's true one. Ticks, where given, are the time of `in`.
    Where they are more than a frame off, the rate that they show replaces a stated rate that can be its whole part;
    other ticks are damaged.
    """
    stated = item.rate or nominal
    own = rate if stated == nominal else stated
    first_time, last_time = item.first_time, item.last_time
    if first_time is None:
        return own, item.first / own
    known = item.last is not None and last_time is not None and last_time > 0
    fits = abs(first_time * own - item.first) <= 1
    if known:
        assert item.last is not None
        assert last_time is not None
        if fits and abs(last_time * own - item.last) <= 1:
            return own, first_time
        if could_stand_for(stated, item.last / last_time):
            notes.guessed["clip's frame rate, by its ticks"] += 1
            return item.last / last_time, first_time
    elif fits:
        return own, first_time
    notes.guessed["ticks that contradict in and out, left aside"] += 1
    return own, item.first / own


def _media(item: Item, files: Mapping[str, MediaFile], notes: Notes) -> tuple[Kind, str | None]:
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
    return "media", file.path


def _in_seconds(curve: Curve, rate: Fraction) -> Curve:
    return Curve([_key_in_seconds(key, rate) for key in curve.keys])


def _key_in_seconds(key: Key, rate: Fraction) -> Key:
    if key.reach_in == key.reach_out == (0.0, 0.0):  # sharing the default ones saves much of a key's memory
        return Key(key.time / rate, key.value, key.ease)
    (back, below), (ahead, above) = key.reach_in, key.reach_out
    pace = float(rate)
    return Key(key.time / rate, key.value, key.ease, (back / pace, below), (ahead / pace, above))


def _media_times(
    item: Item, own: Fraction, rate: Fraction, first_time: Fraction, lead: Fraction, length: Fraction, notes: Notes
) -> Times:
    """Where the media stands over a clip of `length` seconds that begins `lead` seconds after its `in`.

    Without Time Remap the media runs at its own pace from `in`, whatever `out` says: editors that read xmeml do the
    same.
    """
    remap = item.effects.remap
    written = None if BY_TRANSITION in (item.start, item.end) else (item.end - item.start) / rate
    span = None if item.last is None else (item.last - item.first) / own
    if remap is not None and remap.graph:
        return _by_graph(remap, (first_time + lead) * own, length, own)
    if remap is not None and remap.speed != 1:
        start = _retimed_start(item, remap.speed, own, first_time, written, span, notes)
        return _even(start + lead * remap.speed, length, remap.speed)
    if written is not None and span is not None and abs(span - written) > max(1 / own, 1 / rate):
        notes.guessed["in and out longer or shorter than start and end: media at its own pace"] += 1
    return _even(first_time + lead, length, Fraction(1))


def _even(start: Fraction, length: Fraction, speed: Fraction) -> Times:
    return (Fraction(0), start), (length, start + length * speed)


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
        media = shown + (then - shown) * (stop - left) / (right - left)
        times.append(((stop - first) / own, media / own))
    return tuple(times)
