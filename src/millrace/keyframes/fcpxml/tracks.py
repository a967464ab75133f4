"""Lanes of FCPXML turned into tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from millrace.keyframes.timeline import Clip, Notes, Track
from millrace.keyframes.xml_events import TimelineError

MAX_OVERLAPS = 100
"""Clips of one lane over each other. Final Cut allows none."""

Lane = tuple[int, ...]
"""The way from the primary storyline, (), to a lane: a lane number counts from the clip that the element is connected
to, so (1, -1) lies below lane (1,) and above the primary storyline."""


def tracks_of(lanes: Mapping[Lane, Iterable[Clip]], notes: Notes) -> list[Track]:
    """Tracks from the lowest lane up; clips that overlap in one lane go to a track above it.

    Raises:
        TimelineError: Absurdly many overlap.
    """
    depth = max(map(len, lanes), default=0)
    levels: dict[Lane, list[Clip]] = defaultdict(list)
    for lane, clips in lanes.items():
        levels[lane + (0,) * (depth - len(lane))] += clips
    return [track for lane in sorted(levels) for track in _rows(levels[lane], notes)]


def _rows(clips: list[Clip], notes: Notes) -> Iterator[Track]:
    rows: list[Track] = []
    for clip in sorted(clips, key=lambda clip: clip.start):
        row = next((row for row in rows if row.clips[-1].end <= clip.start), None)
        if row is None:
            if len(rows) == MAX_OVERLAPS:
                raise TimelineError(f"more than {MAX_OVERLAPS} clips of one lane overlap")
            row = Track()
            rows.append(row)
        if row is not rows[0]:
            notes.guessed["overlapping clip of one lane moved to a track above"] += 1
        row.clips.append(clip)
    yield from rows
