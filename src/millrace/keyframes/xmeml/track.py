"""Where the clips of an xmeml track lie, in frames of the sequence: edges that transitions decide, and overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from millrace.keyframes.timeline import Notes
from millrace.keyframes.xmeml.clip import BY_TRANSITION, Item, Transition
from millrace.keyframes.xmeml.time import TICKS_PER_SECOND, Frames
from millrace.keyframes.xml_events import TimelineError


@dataclass(slots=True)
class Placed:
    """A clip with its edges known.

    Attributes:
        item: The clip.
        start: First frame of it.
        end: First frame after it.
        lead: Frames of the sequence from where the clip's `in` lies to `start`: what a transition before it takes.
    """

    item: Item
    start: Frames
    end: Frames
    lead: Frames


def place_all(items: Sequence[Item | Transition], rate: Fraction, notes: Notes) -> list[Placed]:
    """The clips of a track in order of time, none over another.

    An edge of -1 lies in the transition beside the clip, at its cut point (`cut_frame`): the clip before a transition
    ends there and the one after it begins there. The file's `in` and `out` of such clips span the whole transition, so
    that `in` belongs to its first frame; `lead` says how much later the clip begins. Without a transition, the missing
    edge follows from the other one and the length from `in` to `out`; a start no earlier than the end of the clip
    before; with nothing else the next clip's start.

    Where clips overlap all the same, the earlier one ends at the start of the later one.

    Args:
        items: As in the file.
        rate: Of the sequence, in frames a second.
        notes: Filled.
    """
    placed: list[Placed] = []
    for index, item in enumerate(items):
        if isinstance(item, Transition):
            continue
        try:
            clip = _place(items, index, item, placed[-1].end if placed else 0, rate, notes)
        except TimelineError as error:
            notes.problems.append(f"{item}: {error}")
            continue
        if clip.start == clip.end:
            notes.ignored["clip of no length"] += 1
        else:
            placed.append(clip)
    placed.sort(key=lambda clip: clip.start)
    return list(_apart(placed, notes))


def cut_frame(transition: Transition, rate: Fraction) -> Frames:
    """Where a transition would be a cut.

    `start` and `start-black` put it at the first frame and `end` and `end-black` behind the last one, as Final Cut's
    documentation has it. For `center`, and where nothing is said, it is Premiere's `cutPointTicks` after the start if
    that lies within the transition, else the middle, rounded down.
    """
    if transition.alignment in ("start", "start-black"):
        return transition.start
    if transition.alignment in ("end", "end-black"):
        return transition.end
    if transition.cut_ticks is not None:
        cut = transition.start + round(transition.cut_ticks * rate / TICKS_PER_SECOND)
        if cut <= transition.end:
            return cut
    return (transition.start + transition.end) // 2


def _place(
    items: Sequence[Item | Transition], index: int, item: Item, earliest: Frames, rate: Fraction, notes: Notes
) -> Placed:
    if BY_TRANSITION not in (item.start, item.end):
        return Placed(item, item.start, item.end, 0)
    before = items[index - 1] if index else None
    after = items[index + 1] if index + 1 < len(items) else None
    length = None if item.last is None else (item.last - item.first) * rate / (item.rate or rate)
    start, end = item.start, item.end
    lead: Frames = 0
    if start == BY_TRANSITION and isinstance(before, Transition):
        start = cut_frame(before, rate)
        lead = start - before.start
    if end == BY_TRANSITION and isinstance(after, Transition):
        end = cut_frame(after, rate)
    if BY_TRANSITION in (start, end):
        notes.guessed["edge of -1 without a transition"] += 1
    if start == BY_TRANSITION:
        wanted = earliest if end == BY_TRANSITION or length is None else end - length
        start = max(wanted, earliest)
        lead = start - wanted
    if end == BY_TRANSITION:
        if length is not None:
            end = start - lead + length
        elif isinstance(after, Item) and after.start != BY_TRANSITION:
            end = after.start
        else:
            raise TimelineError(
                "end is -1, and neither a transition nor in and out nor another clip says where it ends"
            )
    if end < start:
        raise TimelineError(f"end {float(end):g} is before start {float(start):g}")
    return Placed(item, start, end, lead)


def _apart(placed: Sequence[Placed], notes: Notes) -> Iterator[Placed]:
    for index, clip in enumerate(placed):
        if index + 1 < len(placed) and placed[index + 1].start < clip.end:
            notes.guessed["overlapping clips: the earlier one ends where the later one starts"] += 1
            clip.end = placed[index + 1].start
        if clip.start < clip.end:
            yield clip
        else:
            notes.ignored["clip wholly under another of its track"] += 1
