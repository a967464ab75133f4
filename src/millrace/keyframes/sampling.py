"""A sequence looked at in even steps: which clip each track shows at each row, and how it lies in the frame.

Row k shows time k / rate, for every k with k / rate before the end. Which rows a clip covers is decided in whole
fractions, so that no row is lost or won by rounding; only values between keys are computed in floating point.

Nested sequences are flattened: in the place of the track on which they lie come their own, one above the other, and
their clips are moved, scaled and turned with them.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from millrace.keyframes.timeline import DEFAULTS, Clip, Sequence
from millrace.keyframes.xml_events import TimelineError

PARAMETERS = tuple(DEFAULTS)
SCALE, X, Y = (PARAMETERS.index(name) for name in ("scale", "x", "y"))
CROPS = slice(PARAMETERS.index("crop_l"), PARAMETERS.index("crop_b") + 1)
ROTATION, OPACITY = (PARAMETERS.index(name) for name in ("rotation", "opacity"))
NOTHING = np.array(list(DEFAULTS.values()))
Floats = NDArray[np.float64]
EXACT = 1 << 53
"""Whole numbers below it are floats too."""

MAX_CELLS = 40_000_000
"""Rows times tracks held in memory, at 80 bytes each. A day of 20 tracks, ten times a second, has 17 million."""


@dataclass(frozen=True)
class Grid:
    """Row k lies at `offset + k * step` seconds of a sequence; the step is negative where it plays backwards."""

    offset: Fraction
    step: Fraction

    def within(self, start: Fraction, end: Fraction, rows: range) -> range:
        """Those of `rows` whose time is at or after `start` and before `end`."""
        if self.step == 0:
            return rows if start <= self.offset < end else range(0)
        if self.step > 0:
            first, stop = self._row_from(start), self._row_from(end)
        else:
            stop, first = 1 - self._row_from(start, -1), 1 - self._row_from(end, -1)
        return range(max(first, rows.start), max(min(stop, rows.stop), first, rows.start))

    def _row_from(self, time: Fraction, sign: int = 1) -> int:
        """`ceil(sign * (time - offset) / step)`, in whole numbers: a tenth of the cost of fractions."""
        offset, step = self.offset, self.step
        above = time.numerator * offset.denominator - offset.numerator * time.denominator
        below = time.denominator * offset.denominator * step.numerator
        return -(-sign * above * step.denominator // below)

    def span(self, rows: range) -> tuple[Fraction, Fraction]:
        """Earliest and latest time of some rows, at least one."""
        first, last = self.offset + rows[0] * self.step, self.offset + rows[-1] * self.step
        return (first, last) if first <= last else (last, first)

    def times(self, rows: range, origin: Fraction) -> Floats:
        """Times of rows after `origin`, in seconds, float64 (N,), each the nearest to the exact one.

        So a row that lies exactly on a key is given the key's own time, and not one a hair before a jump.
        """
        offset = self.offset - origin
        unit = math.lcm(offset.denominator, self.step.denominator)
        first = offset.numerator * (unit // offset.denominator)
        step = self.step.numerator * (unit // self.step.denominator)
        if max(abs(first + step * row) for row in (rows.start, rows.stop)) < EXACT and unit < EXACT:
            return (first + step * np.arange(rows.start, rows.stop)) / unit
        return np.array([(first + step * row) / unit for row in rows])


@dataclass
class Layer:
    """One track of the flattened sequence.

    Attributes:
        clip: Number of the clip that each row shows, in `Flattened.clips`; -1 where there is none. int32 (N,)
        cells: PARAMETERS of each row, DEFAULTS where there is no clip: (N, 9), float32 as the table's, or float64 where
            nested sequences are composed.
    """

    clip: NDArray[np.int32]
    cells: Floats | NDArray[np.float32]

    @classmethod
    def empty(cls, rows: int, dtype: type[np.floating] = np.float32) -> Layer:
        return cls(np.full(rows, -1, np.int32), np.tile(NOTHING.astype(dtype), (rows, 1)))


@dataclass
class Flattened:
    """What `sample` finds.

    Attributes:
        layers: Tracks from the lowest up, each with all rows; those that show nothing share one.
        counts: Rows in which each track shows something, those above `layers` included.
        clips: What rows refer to, by number.
        grids: For each clip, the rows' times in the sequence in which it lies.
    """

    layers: list[Layer]
    counts: list[int]
    clips: list[Clip]
    grids: list[Grid]


def row_count(duration: Fraction, rate: Fraction) -> int:
    """Rows of a sequence: all k >= 0 with k / rate before its end."""
    return max(0, math.ceil(duration * rate))


def sample(
    sequence: Sequence, rate: Fraction, ignored: Counter[str], max_clips: int, tracks: int = sys.maxsize
) -> Flattened:
    """Look at a sequence `rate` times a second.

    Args:
        sequence: With all that is nested in it.
        rate: Rows a second.
        ignored: Takes what has no place in the result, counted by kind.
        max_clips: Most clips after flattening; a few sequences, each twice in the next, multiply without end. What has
            to be looked at to find them counts too: nested clips, their changes of speed, tracks in them.
        tracks: As many get layers, counted from the lowest.

    Raises:
        TimelineError: There are more clips, or rows times tracks that show something are more than MAX_CELLS.
    """
    rows = range(row_count(sequence.duration, rate))
    nested = any(clip.sequence is not None for track in sequence.tracks for clip in track.clips)
    shown = _Shown(len(rows), ignored, max_clips, tracks, np.float64 if nested else np.float32)
    height = _lay(sequence, Grid(Fraction(0), 1 / rate), rows, 0, shown)
    nothing = Layer.empty(len(rows))
    layers = [shown.layers.get(level, nothing) for level in range(height)[:tracks]]
    return Flattened(layers, [shown.counts[level] for level in range(height)], shown.clips, shown.grids)


@dataclass(frozen=True)
class _Lane:
    """What a track can show: clips that are enabled and not empty, where they begin and where they end."""

    number: int
    clips: list[Clip]
    starts: list[Fraction]
    ends: list[Fraction]

    def around(self, first: Fraction, last: Fraction) -> list[Clip]:
        """Clips that reach into the time from `first` to `last`."""
        return self.clips[bisect_right(self.ends, first) : bisect_right(self.starts, last)]


@dataclass
class _Shown:
    """What is collected on the way.

    Attributes:
        rows: Of the outermost sequence. All rows are numbered as its own.
        dtype: Of the layers' cells.
        levels: For each clip, the number of its track in the flattened sequence.
        spent: What counts against `max_clips`.
        lanes: Of sequences that have been met, by identity.
    """

    rows: int
    ignored: Counter[str]
    max_clips: int
    tracks: int
    dtype: type[np.floating]
    layers: dict[int, Layer] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    clips: list[Clip] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    spent: int = 0
    lanes: dict[int, list[_Lane]] = field(default_factory=dict)

    def lanes_of(self, sequence: Sequence) -> list[_Lane]:
        """Tracks that can show something; none for a sequence of empty ones."""
        if id(sequence) not in self.lanes:
            lanes = []
            for number, track in enumerate(sequence.tracks):
                clips = [clip for clip in track.clips if track.enabled and self._can_show(clip)]
                if clips:
                    lanes.append(_Lane(number, clips, [clip.start for clip in clips], [clip.end for clip in clips]))
            self.lanes[id(sequence)] = lanes
        return self.lanes[id(sequence)]

    def _can_show(self, clip: Clip) -> bool:
        return clip.enabled and (clip.sequence is None or bool(self.lanes_of(clip.sequence)))

    def spend(self, count: int) -> None:
        self.spent += count
        if self.spent > self.max_clips:
            raise TimelineError(f"its nested sequences show more than the {self.max_clips} clips that max_clips allows")

    def add(self, clip: Clip, grid: Grid, rows: range, level: int) -> None:
        """Show a clip in rows that it covers."""
        self.counts[level] += len(rows)
        if level < self.tracks:
            layer, place = self._layer(level), slice(rows.start, rows.stop)
            layer.clip[place], layer.cells[place] = len(self.clips), values_in(clip, grid, rows)
        self.clips.append(clip)
        self.grids.append(grid)
        self.levels.append(level)

    def _layer(self, level: int) -> Layer:
        if level not in self.layers:
            if self.rows * (len(self.layers) + 1) > MAX_CELLS:
                raise TimelineError(
                    f"{self.rows} rows of more than {len(self.layers)} tracks do not fit into memory; "
                    "lower keyframes.parse.rate, or cut the sequence into shorter ones"
                )
            self.layers[level] = Layer.empty(self.rows, self.dtype)
        return self.layers[level]


def _lay(sequence: Sequence, grid: Grid, rows: range, lowest: int, shown: _Shown) -> int:
    """Lay a sequence over some rows, from the track `lowest` of the flattened one up; returns how many it takes."""
    if not rows:
        return len(sequence.tracks)
    first, last = grid.span(rows)
    more = 0  # tracks than its own
    for lane in shown.lanes_of(sequence):
        height = 1
        for clip in lane.around(first, last):
            shown.spend(1)
            covered = grid.within(clip.start, clip.end, rows)
            level = lowest + lane.number + more
            if not covered:
                continue
            if clip.sequence is None:
                shown.add(clip, grid, covered, level)
            else:
                height = max(height, _nested(clip, clip.sequence, sequence, grid, covered, level, shown))
        more += height - 1
    return len(sequence.tracks) + more


def values_in(clip: Clip, grid: Grid, rows: range) -> Floats:
    """PARAMETERS (N, 9) of a clip in rows that it covers."""
    values = np.empty((len(rows), len(PARAMETERS)))
    values[:] = NOTHING
    times: Floats | None = None
    for name, curve in clip.animation.items():
        column = values[:, PARAMETERS.index(name)]
        if len(curve.keys) == 1:  # as nearly all
            column[:] = curve.keys[0].value
            continue
        if times is None:
            times = grid.times(rows, clip.start - clip.local_start)
        column[:] = curve.at(times)
    return values


def _nested(clip: Clip, inside: Sequence, around: Sequence, grid: Grid, rows: range, lowest: int, shown: _Shown) -> int:
    """Lay the sequence inside a clip over rows that the clip covers, as `_lay` does."""
    height, first = 1, len(shown.clips)
    shown.spend(len(clip.media_times) - 2)  # more than one of constant speed has
    for inner_grid, part in media_grids(clip, grid, rows):
        shown.spend(len(inside.tracks))
        height = max(height, _lay(inside, inner_grid, part, lowest, shown))
    layers = [shown.layers[level] for level in set(shown.levels[first:]) if level < shown.tracks]
    if layers:
        values, place = values_in(clip, grid, rows), slice(rows.start, rows.stop)
        for layer in layers:
            inner = Layer(layer.clip[place], layer.cells[place])
            layer.cells[place] = _composed(inner, values, inside, around, shown.ignored)
    return height


def media_grids(clip: Clip, grid: Grid, rows: range) -> Iterator[tuple[Grid, range]]:
    """For each stretch of a clip over which its media runs evenly: the media's own grid, and the rows."""
    for (after, media), (later, media_later) in pairwise(clip.media_times):
        start = clip.start + after
        part = grid.within(start, clip.start + later, rows)
        if part:
            pace = (media_later - media) / (later - after)
            yield Grid(media + (grid.offset - start) * pace, grid.step * pace), part


@np.errstate(over="ignore", invalid="ignore")  # absurd scales multiply; the table refuses what comes of it
def _composed(
    inner: Layer, outer: Floats, inside: Sequence, around: Sequence, ignored: Counter[str]
) -> Floats | NDArray[np.float32]:
    """Values of clips of a nested sequence as seen in the sequence around it: (N, 9)."""
    active = inner.clip >= 0
    values = inner.cells.copy()
    factor, turn = outer[:, SCALE] / 100, np.radians(outer[:, ROTATION])
    # Fractions of the inner frame to those of the outer one; turning takes place in pixels.
    width, height = _size(inside, around)
    right, down = inner.cells[:, X] * width[0] * factor, inner.cells[:, Y] * height[0] * factor
    values[:, X] = outer[:, X] + (right * np.cos(turn) - down * np.sin(turn)) / width[1]
    values[:, Y] = outer[:, Y] + (right * np.sin(turn) + down * np.cos(turn)) / height[1]
    values[:, SCALE] = inner.cells[:, SCALE] * factor
    values[:, ROTATION] = inner.cells[:, ROTATION] + outer[:, ROTATION]
    values[:, OPACITY] = inner.cells[:, OPACITY] * outer[:, OPACITY] / 100
    cropped = outer[:, CROPS].any(axis=1) & active
    if cropped.any():
        plain = cropped & (inner.cells[:, : ROTATION + 1] == NOTHING[: ROTATION + 1]).all(axis=1)
        values[plain, CROPS] = outer[plain, CROPS]
        if (cropped & ~plain).any():
            ignored["crop of a nested sequence around a clip that does not fill it"] += 1
    values[~active] = NOTHING
    return values


def _size(inside: Sequence, around: Sequence) -> tuple[tuple[int, int], tuple[int, int]]:
    """Widths and heights of both frames; where one is unknown both count as the same square."""
    if min(inside.width, inside.height, around.width, around.height) <= 0:
        return (1, 1), (1, 1)
    return (inside.width, around.width), (inside.height, around.height)
