"""From sequences as an xmeml file writes them to sequences in exact time, nested ones in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Sequences
from fractions import Fraction

from millrace.keyframes.timeline import Notes, Sequence, Track
from millrace.keyframes.xmeml.clip import BY_TRANSITION, Item, MediaFile, RawSequence
from millrace.keyframes.xmeml.media import Clocks, clip_of
from millrace.keyframes.xmeml.time import Frames, sequence_rate
from millrace.keyframes.xmeml.track import place_all

ById = Mapping[str, RawSequence]


def build(
    top: Sequences[RawSequence], by_id: ById, files: Mapping[str, MediaFile], *, max_depth: int, notes: Notes
) -> list[Sequence]:
    """The top-level sequences, in order. The raw ones are emptied on the way.

    A clip whose sequence nests more than `max_depth` levels deep, or (by way of others) contains itself, is left out.

    Args:
        top: Sequences that stand outside of clips.
        by_id: All sequences given in full that have an id.
        files: Files given in full, by id.
        max_depth: Of sequences in sequences; 1 allows a nested clip whose sequence has none.
        notes: Filled.
    """
    heights = _heights(_reachable(top, by_id), max_depth)
    built: dict[int, Sequence] = {}
    allowed: dict[int, Sequence] = {}  # to stand in a clip
    # Whatever a sequence may hold is lower than itself, and so has its turn before it.
    for raw, height in sorted(heights.values(), key=lambda entry: entry[1]):
        built[id(raw)] = _sequence(raw, by_id, files, allowed, max_depth, notes)
        if height < max_depth:
            allowed[id(raw)] = built[id(raw)]
    return [built[key] for key in dict.fromkeys(id(raw) for raw in top)]


def _inside(item: Item, by_id: ById) -> RawSequence | None:
    return by_id.get(item.nested) if isinstance(item.nested, str) else item.nested


def _children(raw: RawSequence, by_id: ById) -> list[RawSequence]:
    found = (_inside(item, by_id) for track in raw.tracks for item in track.items if isinstance(item, Item))
    return list({id(child): child for child in found if child is not None}.values())


def _reachable(top: Iterable[RawSequence], by_id: ById) -> dict[int, tuple[RawSequence, list[RawSequence]]]:
    """Sequences that a top-level one shows, each with those that its clips hold. No recursion: chains may be long."""
    found: dict[int, tuple[RawSequence, list[RawSequence]]] = {}
    waiting = list(top)
    while waiting:
        raw = waiting.pop()
        if id(raw) not in found:
            found[id(raw)] = raw, _children(raw, by_id)
            waiting.extend(found[id(raw)][1])
    return found


def _heights(
    sequences: dict[int, tuple[RawSequence, list[RawSequence]]], max_depth: int
) -> dict[int, tuple[RawSequence, int]]:
    """Levels of sequences inside each, at most max_depth + 1: more, and a ring of sequences, come out as that."""
    heights = dict.fromkeys(sequences, 0)
    for _ in range(max_depth + 1):
        heights = {
            key: max((heights[id(child)] + 1 for child in children), default=0)
            for key, (_, children) in sequences.items()
        }
    return {key: (raw, heights[key]) for key, (raw, _) in sequences.items()}


def _sequence(
    raw: RawSequence,
    by_id: ById,
    files: Mapping[str, MediaFile],
    allowed: Mapping[int, Sequence],
    max_depth: int,
    notes: Notes,
) -> Sequence:
    clocks = Clocks(raw.rate, sequence_rate(raw.rate, _measured(raw)))
    rate = clocks.sequence.rate
    if rate != raw.rate:
        notes.guessed["frame rate of a sequence, by its clips' ticks"] += 1
    tracks = []
    for track in raw.tracks:
        clips = []
        waiting = place_all(track.items, raw.rate, notes)[::-1]
        track.items.clear()
        while waiting:
            placed = waiting.pop()  # and not a loop over all: each is freed when its clip has been made
            inside = _inside(placed.item, by_id)
            sequence = None if inside is None else allowed.get(id(inside))
            if inside is not None and sequence is None:
                notes.problems.append(
                    f"{placed.item}: its sequence {inside.name[:60]!r} contains itself, or sequences more than "
                    f"{max_depth - 1} deep; {max_depth} levels are allowed"
                )
                continue
            clips.append(clip_of(placed, clocks, files, sequence, notes))
        tracks.append(Track(clips, track.enabled))
    end = max((track.clips[-1].end for track in tracks if track.clips), default=Fraction(0))
    stated = clocks.sequence.seconds(raw.duration or 0)
    if 0 < stated < end:
        notes.guessed["duration of a sequence that ends before its clips: their end"] += 1
    return Sequence(raw.name, rate, raw.width, raw.height, max(stated, end), tracks)


def _measured(raw: RawSequence) -> list[tuple[Frames, int]]:
    """Lengths in frames of the sequence and in ticks, of clips that say both and run at their own speed."""
    measured = []
    for track in raw.tracks:
        for item in track.items:
            if not isinstance(item, Item) or item.first_ticks is None or item.last_ticks is None:
                continue
            if not item.effects.remap and BY_TRANSITION not in (item.start, item.end):
                length, time = item.end - item.start, item.last_ticks - item.first_ticks
                if length > 0 and time > 0:
                    measured.append((length, time))
    return measured
