"""A sequence looked at in even steps: which clip each track shows at each row, and how it lies in the frame.

Row k shows time k / rate, for every k with k / rate before the end. Which rows a clip covers is decided in whole
fractions, so that no row is lost or won by rounding; only values between keys are computed in floating point.

Nested sequences are flattened: in the place of the track on which they lie come their own, one above the other, and
their clips are moved, scaled and turned with them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from millrace.keyframes.timeline import DEFAULTS, Clip, Sequence, Track
from millrace.keyframes.xml_events import TimelineError

PARAMETERS = tuple(DEFAULTS)
SCALE, X, Y = (PARAMETERS.index(name) for name in ("scale", "x", "y"))
CROPS = slice(PARAMETERS.index("crop_l"), PARAMETERS.index("crop_b") + 1)
ROTATION, OPACITY = (PARAMETERS.index(name) for name in ("rotation", "opacity"))
NOTHING = np.array(list(DEFAULTS.values()))
Floats = NDArray[np.float64]


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

    def times(self, rows: range, origin: Fraction) -> Floats:
        """Times of rows after `origin`, in seconds, float64 (N,), each the nearest to the exact one.

        So a row that lies exactly on a key is given the key's own time, and not one a hair before a jump.
        """
        offset = self.offset - origin
        unit = math.lcm(offset.denominator, self.step.denominator)
        first = offset.numerator * (unit // offset.denominator)
        step = self.step.numerator * (unit // self.step.denominator)
        return np.array([(first + step * row) / unit for row in rows])


@dataclass
class Layer:
    """One track of the flattened sequence.

    Attributes:
        clip: Number of the clip that each row shows, in the list that `sample` returns; -1 where there is none. (N,)
        cells: PARAMETERS of each row, DEFAULTS where there is no clip. (N, 9)
    """

    clip: NDArray[np.int64]
    cells: Floats

    @classmethod
    def empty(cls, rows: int) -> Layer:
        return cls(np.full(rows, -1), np.tile(NOTHING, (rows, 1)))


def row_count(duration: Fraction, rate: Fraction) -> int:
    """Rows of a sequence: all k >= 0 with k / rate before its end."""
    return max(0, math.ceil(duration * rate))


def sample(sequence: Sequence, rate: Fraction, ignored: Counter[str], max_clips: int) -> tuple[list[Layer], list[Clip]]:
    """Look at a sequence `rate` times a second.

    Args:
        sequence: With all that is nested in it.
        rate: Rows a second.
        ignored: Takes what has no place in the result, counted by kind.
        max_clips: Most clips after flattening: a few sequences, each twice in the next, multiply without end.

    Returns:
        Tracks from the lowest up, each with all rows, and the clips that their rows refer to.

    Raises:
        TimelineError: There are more clips.
    """
    shown = _Shown([], ignored, max_clips)
    rows = range(row_count(sequence.duration, rate))
    return _layers(sequence, Grid(Fraction(0), 1 / rate), rows, shown), shown.clips


@dataclass
class _Shown:
    """What is collected on the way."""

    clips: list[Clip]
    ignored: Counter[str]
    max_clips: int

    def add(self, clip: Clip) -> int:
        if len(self.clips) == self.max_clips:
            raise TimelineError(f"its nested sequences show more than the {self.max_clips} clips that max_clips allows")
        self.clips.append(clip)
        return len(self.clips) - 1


def _layers(sequence: Sequence, grid: Grid, rows: range, shown: _Shown) -> list[Layer]:
    """Layers of a sequence over some rows; the first row of each layer is that of `rows`."""
    return [layer for track in sequence.tracks for layer in _track(track, sequence, grid, rows, shown)]


def _track(track: Track, sequence: Sequence, grid: Grid, rows: range, shown: _Shown) -> list[Layer]:
    layers = [Layer.empty(len(rows))]
    for clip in track.clips if track.enabled else ():
        covered = grid.within(clip.start, clip.end, rows) if clip.enabled else range(0)
        if not covered:
            continue
        place = slice(covered.start - rows.start, covered.stop - rows.start)
        values = values_in(clip, grid, covered)
        if clip.sequence is None:
            layers[0].clip[place], layers[0].cells[place] = shown.add(clip), values
            continue
        inner = _nested(clip, clip.sequence, grid, covered, shown)
        layers += [Layer.empty(len(rows)) for _ in range(len(inner) - len(layers))]
        for layer, part in zip(layers, inner, strict=False):
            layer.clip[place] = part.clip
            layer.cells[place] = _composed(part, values, clip.sequence, sequence, shown.ignored)
    return layers


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


def _nested(clip: Clip, sequence: Sequence, grid: Grid, rows: range, shown: _Shown) -> list[Layer]:
    """Layers of the sequence inside a clip, over rows that the clip covers."""
    joined: list[Layer] = []
    for inner_grid, part in media_grids(clip, grid, rows):
        place = slice(part.start - rows.start, part.stop - rows.start)
        layers = _layers(sequence, inner_grid, part, shown)
        joined += [Layer.empty(len(rows)) for _ in range(len(layers) - len(joined))]
        for whole, layer in zip(joined, layers, strict=False):
            whole.clip[place], whole.cells[place] = layer.clip, layer.cells
    return joined


def media_grids(clip: Clip, grid: Grid, rows: range) -> Iterator[tuple[Grid, range]]:
    """For each stretch of a clip over which its media runs evenly: the media's own grid, and the rows."""
    for (after, media), (later, media_later) in pairwise(clip.media_times):
        start = clip.start + after
        part = grid.within(start, clip.start + later, rows)
        if part:
            pace = (media_later - media) / (later - after)
            yield Grid(media + (grid.offset - start) * pace, grid.step * pace), part


def _composed(inner: Layer, outer: Floats, inside: Sequence, around: Sequence, ignored: Counter[str]) -> Floats:
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
