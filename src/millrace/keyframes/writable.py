"""Sequences brought into a form that xmeml can say: whole frames at a rate that it knows, and curves that it has.

Why no row changes sides: let rows be r a second and frames R >= r. An edge at time e belongs to row k, the first at or
after it. It moves to the first frame at or after e, or, where that lies behind row k, to the last frame at or before
row k. There always is one: frames are at most a row apart, so one lies in ((k - 1) / r, k / r]. The new edge is in
that interval too, so that the same rows are before it and after it. Both steps keep the order of edges, and leave one
that lies on a frame where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.flatten import between
from millrace.keyframes.key_fit import TOLERANCE, fit_animation
from millrace.keyframes.sampling import PARAMETERS, Grid, row_count, values_in
from millrace.keyframes.timeline import Clip, Sequence, Track
from millrace.keyframes.xmeml.read import read
from millrace.keyframes.xmeml.time import MAX_TIMEBASE, NTSC
from millrace.keyframes.xmeml.write import CLIP_RATES, write
from millrace.keyframes.xml_events import TimelineError


def on_writable_frames(sequence: Sequence, rows_rate: Fraction, tolerance: Mapping[str, float] = TOLERANCE) -> Sequence:
    """The sequence as xmeml can say it, with the same clips in all rows.

    A frame rate that xmeml has, and that is no lower than the rows', stays; another becomes the smallest one above it
    of which a row is a whole number of frames, or, where there is none, the smallest. Edges move to frames. Clips that
    cover no row and no frame go, and so does what lies behind the sequence's end. Curves that xmeml cannot say become
    straight lines through the rows.

    Args:
        sequence: Without nested sequences.
        rows_rate: Rows a second.
        tolerance: Greatest deviation of parameters in rows.

    Returns:
        `sequence` itself where nothing had to be changed.

    Raises:
        TimelineError: No rate is high enough, or a number is beyond what the format holds.
    """
    rate = writable_rate(sequence.frame_rate, rows_rate)
    duration = _frame(sequence.duration, rate, rows_rate)
    tracks = []
    for track in sequence.tracks:
        clips = []
        for clip in track.clips:
            start, end = (min(_frame(edge, rate, rows_rate), duration) for edge in (clip.start, clip.end))
            if start < end:
                clips.append(sayable(between(clip, start, end), rate, rows_rate, tolerance))
        same = len(clips) == len(track.clips) and all(map(_is, clips, track.clips))
        tracks.append(track if same else Track(clips, track.enabled))
    if (rate, duration) == (sequence.frame_rate, sequence.duration) and all(map(_is, tracks, sequence.tracks)):
        return sequence
    return replace(sequence, frame_rate=rate, duration=duration, tracks=tracks)


def _is(one: object, other: object) -> bool:
    return one is other


def writable_rate(rate: Fraction, rows_rate: Fraction) -> Fraction:
    """The frame rate for a sequence of `rate`, as `on_writable_frames` chooses it.

    Raises:
        TimelineError: There is none.
    """
    if rate >= rows_rate and (rate.denominator == 1 or (rate / NTSC).denominator == 1) and rate <= MAX_TIMEBASE:
        return rate
    rates = sorted(base * pull for base in range(1, MAX_TIMEBASE + 1) for pull in (Fraction(1), NTSC))
    enough = [each for each in rates if each >= max(rate, rows_rate)]
    if not enough:
        raise TimelineError(
            f"xmeml has no frame rate for {float(rate):g} frames and {float(rows_rate):g} rows a second; "
            f"the highest is {MAX_TIMEBASE}"
        )
    return next((each for each in enough if (each / rows_rate).denominator == 1), enough[0])


def frame_of_row(row: int, rate: Fraction, rows_rate: Fraction) -> Fraction:
    """Time of the last frame that is not after a row."""
    return math.floor(row / rows_rate * rate) / rate


def _frame(edge: Fraction, rate: Fraction, rows_rate: Fraction) -> Fraction:
    """Where an edge moves; the head of this file says why there."""
    return min(math.ceil(edge * rate) / rate, frame_of_row(math.ceil(edge * rows_rate), rate, rows_rate))


def sayable(clip: Clip, rate: Fraction, rows_rate: Fraction, tolerance: Mapping[str, float]) -> Clip:
    """The clip as it will come back when it is written and read; `clip` itself where that is the same.

    Its local axis moves by less than a frame where `in` would lie between frames, and keys to a 10 000th of a frame.
    Where a parameter would then be further than the tolerance from what it was in any row, or cannot be said at all, it
    gets keys at rows.

    Args:
        clip: Its edges lie on frames.
        rate: Of the sequence.
        rows_rate: Rows a second.
        tolerance: Of the float32 value in a row; 0 is equality.

    Raises:
        TimelineError: A number is beyond what the format holds.
    """
    name, media = clip.name.strip(), (clip.media or "").strip() or None
    if (name, media) != (clip.name, clip.media):
        clip = replace(clip, name=name, media=media)
    if clip.local_start < 0:
        clip = _later(clip, -clip.local_start)
    plain = all(keys == (Key(Fraction(0), keys[0].value),) for keys in _keys(clip).values())
    if plain and any((clip.local_start * own).denominator == 1 for own in (rate, *CLIP_RATES)):
        return clip
    said = _said(clip, rate)
    if said.local_start == clip.local_start and _keys(said) == _keys(clip):
        return clip
    grid = Grid(Fraction(0), 1 / rows_rate)
    rows = grid.within(clip.start, clip.end, range(row_count(clip.end, rows_rate)))
    asked, shown = (values_in(each, grid, rows) for each in (clip, said))
    away = np.abs(_rounded(shown) - _rounded(asked)) > np.array([tolerance[each] for each in PARAMETERS])
    bad = {each for index, each in enumerate(PARAMETERS) if away[:, index].any()}
    if not bad:
        return said
    if bad & {"x", "y"}:  # one point
        bad |= {"x", "y"}
    first = said.local_start + rows.start / rows_rate - said.start
    fitted = fit_animation(asked, first, 1 / rows_rate, tolerance)
    animation = {each: curve for each, curve in said.animation.items() if each not in bad}
    animation |= {each: curve for each, curve in fitted.items() if each in bad}
    return _read_back(replace(said, animation=animation), rate)


def _later(clip: Clip, by: Fraction) -> Clip:
    """The clip with its local axis moved."""
    curves = {name: Curve([replace(key, time=key.time + by) for key in keys]) for name, keys in _keys(clip).items()}
    return replace(clip, local_start=clip.local_start + by, animation=curves)


def _keys(clip: Clip) -> dict[str, tuple[Key, ...]]:
    return {name: curve.keys for name, curve in clip.animation.items()}


def _said(clip: Clip, rate: Fraction) -> Clip:
    """As much of a clip as xmeml can say."""
    for left_out in ((), ("x", "y")):
        some = {name: curve for name, curve in clip.animation.items() if name not in left_out}
        try:
            return _read_back(replace(clip, animation=some), rate)
        except TimelineError:
            continue
    return _read_back(replace(clip, animation={}), rate)


def _read_back(clip: Clip, rate: Fraction) -> Clip:
    """The clip with the local axis and curves that a file gives back.

    Raises:
        TimelineError: The file cannot hold it.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.xml"
        write(Sequence("", rate, 0, 0, clip.end, [Track([clip])]), path)
        document = read(path, max_bytes=path.stat().st_size, max_clips=1, max_depth=1)
    if document.notes.problems:
        raise TimelineError(document.notes.problems[0])
    (found,) = document.sequences[0].tracks[0].clips
    return replace(clip, local_start=found.local_start, animation=found.animation)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)
