"""Nested sequences taken apart: a timeline of plain clips that shows the same."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter

import numpy as np

from millrace.keyframes.key_fit import TOLERANCE, fit_animation
from millrace.keyframes.sampling import Grid, Layer, sample
from millrace.keyframes.timeline import Clip, Sequence, Track

Times = tuple[tuple[Fraction, Fraction], ...]


def flatten(sequence: Sequence, rate: Fraction, max_clips: int, tolerance: Mapping[str, float] = TOLERANCE) -> Sequence:
    """The sequence without nested ones, with the same clips in all rows.

    A track that holds no nested clip is kept as it is. One that does becomes as many tracks as the deepest of its
    nested sequences has: its plain clips stay on the lowest, and what its nested clips show becomes clips with edges at
    rows, media of their own, and keys fitted to their values. What is switched off in such a track is left out.

    Args:
        sequence: As a reader gives it.
        rate: Rows a second.
        max_clips: Most clips that its nested sequences may show.
        tolerance: Greatest deviation of a nested clip's parameters.

    Raises:
        TimelineError: There are more clips, or a track becomes so many that their rows do not fit into memory.
    """
    if not any(clip.kind == "nested" for track in sequence.tracks for clip in track.clips):
        return sequence
    tracks: list[Track] = []
    for track in sequence.tracks:
        if any(clip.kind == "nested" for clip in track.clips):
            tracks += _flat(track, sequence, rate, max_clips, tolerance)
        else:
            tracks.append(track)
    return replace(sequence, tracks=tracks)


def _flat(
    track: Track, sequence: Sequence, rate: Fraction, max_clips: int, tolerance: Mapping[str, float]
) -> list[Track]:
    alone = replace(sequence, tracks=[track])
    found = sample(alone, rate, Counter(), max_clips)
    plain = {id(clip): clip for clip in track.clips if clip.kind != "nested" and clip.enabled and track.enabled}
    tracks = [list(plain.values()), *([] for _ in found.layers[1:])]
    for made, layer, count in zip(tracks, found.layers, found.counts, strict=True):
        for index, run in _runs(layer) if count else ():
            clip, grid = found.clips[index], found.grids[index]
            if id(clip) not in plain:
                end = min(run.stop / rate, sequence.duration)
                made.append(_rebuilt(clip, layer, run, grid, end, rate, tolerance))
    return [Track(_apart(made), track.enabled) for made in tracks]


def _runs(layer: Layer) -> Iterator[tuple[int, range]]:
    """Clip number and rows of each stretch of rows that show one clip."""
    changes = np.flatnonzero(np.diff(layer.clip)) + 1
    for first, stop in pairwise([0, *changes.tolist(), len(layer.clip)]):
        if first < stop and layer.clip[first] >= 0:
            yield int(layer.clip[first]), range(first, stop)


def _rebuilt(
    clip: Clip, layer: Layer, rows: range, grid: Grid, end: Fraction, rate: Fraction, tolerance: Mapping[str, float]
) -> Clip:
    """What `rows` show of a clip in a nested sequence, as a clip of the outermost one that ends at `end`."""
    length, pace = end - rows.start / rate, grid.step * rate
    first = grid.offset + rows.start * grid.step - clip.start
    times = _seen(clip.media_times, first, pace, length)
    local_start = max(times[0][1], Fraction(0)) if clip.kind == "media" else Fraction(0)
    if clip.kind == "generator":  # its media is its local axis
        times = (Fraction(0), local_start), (length, local_start + length)
    return replace(
        clip,
        start=rows.start / rate,
        end=end,
        local_start=local_start,
        media_times=times,
        animation=fit_animation(layer.cells[rows.start : rows.stop], local_start, 1 / rate, tolerance),
        enabled=True,
    )


def _seen(media_times: Times, first: Fraction, pace: Fraction, length: Fraction) -> Times:
    """`media_times` of a clip looked at from `first` seconds after its start on, at another pace, for `length`."""
    edges = sorted((first, first + length * pace))
    begin = max(bisect_right(media_times, edges[0], key=itemgetter(0)), 1)
    end = min(bisect_left(media_times, edges[1], key=itemgetter(0)), len(media_times) - 1)
    inner = sorted((after - first) / pace for after, _ in media_times[begin:end])
    return tuple((stop, media_at(media_times, first + stop * pace)) for stop in (Fraction(0), *inner, length))


def media_at(media_times: Times, after: Fraction) -> Fraction:
    """Time in the media so long after the clip's start; before and behind the clip it runs on evenly."""
    index = min(max(bisect_right(media_times, after, key=itemgetter(0)) - 1, 0), len(media_times) - 2)
    (start, media), (stop, then) = media_times[index : index + 2]
    return media + (then - media) * (after - start) / (stop - start)


def _apart(clips: list[Clip]) -> list[Clip]:
    """Clips in order, each ending where the next begins: the edges of plain ones may lie between rows."""
    clips = sorted(clips, key=lambda clip: clip.start)
    ends = [min(clip.end, after.start) for clip, after in pairwise(clips)]
    return [between(clip, clip.start, end) for clip, end in zip(clips, ends, strict=False)] + clips[-1:]


def between(clip: Clip, start: Fraction, end: Fraction) -> Clip:
    """The clip with other edges; what it shows at a time stays. The same object where nothing changes."""
    if (start, end) == (clip.start, clip.end):
        return clip
    first, last = start - clip.start, end - clip.start
    inner = [after for after, _ in clip.media_times[1:-1] if first < after < last]
    times = tuple((after - first, media_at(clip.media_times, after)) for after in (first, *inner, last))
    return replace(clip, start=start, end=end, local_start=clip.local_start + first, media_times=times)
