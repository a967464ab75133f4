"""Predicted layout put into a timeline: clips where there were none, other clips, and the keys that move them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from millrace.keyframes.flatten import between
from millrace.keyframes.key_fit import EXACT, TOLERANCE, fit_animation
from millrace.keyframes.media_choice import clip_of_class
from millrace.keyframes.params import Parse
from millrace.keyframes.sampling import PARAMETERS, Grid, row_count
from millrace.keyframes.table import CELL, TRACKS
from millrace.keyframes.timeline import Clip, Sequence, Track
from millrace.keyframes.writable import frame_of_row, sayable
from millrace.keyframes.xmeml.write_effects import MOTION

RANGES = {name: (low, high) for name, (_, _, low, high) in MOTION.items()} | {
    "x": (-1000, 1000),
    "y": (-1000, 1000),
    "opacity": (0, 100),
}
"""What a parameter may be: as xmeml states it; a position has no bounds there, but a thousand frames away is absurd."""

ACTIVE, ASSET, FIRST_PARAMETER = CELL.index("active"), CELL.index("asset"), CELL.index(PARAMETERS[0])
ACTIVE_FROM = 0.5
Cells = NDArray[np.float32]
Mask = NDArray[np.bool_]
Span = tuple[Fraction, Fraction]


def replace_cells(
    sequence: Sequence,
    cells: Cells,
    replaced: Mask,
    *,
    first_row: int,
    settings: Parse,
    tolerance: Mapping[str, float] = TOLERANCE,
) -> Sequence:
    """The sequence with some cells of its table changed, and all else as it was.

    Where cells are replaced, clips are cut away, and each run of active rows with one asset class becomes a clip that
    covers these rows. It goes on with the media of the latest earlier clip of that class on its track, from where that
    clip ends; else it shows the beginning of another clip of the file that would have the class on this track; else it
    is a generator that is named for its class. Its parameters become straight lines between keys at rows. Where the
    rules cannot give a class on a track (by default track 1 is always footage), the clip has the one that they give.

    What a track hides stays hidden: when a clip is put on a disabled track, the track is enabled and its own clips are
    disabled instead, and a disabled clip gives way only to a new one.

    The result, written by `xmeml.write` and read again, has the same table to the last bit.

    Args:
        sequence: Without nested sequences, as `on_writable_frames` returns it.
        cells: In the order of `table.CELL`, with or without rotation and opacity: (R, 20, 9 or 11). A cell is active
            from 0.5 on; values beyond what xmeml allows are cut to it.
        replaced: Cells to change: (R, 20).
        first_row: Row of the sequence to which the first of `cells` belongs. Rows behind the sequence's end make it
            longer.
        settings: Rows a second and asset rules.
        tolerance: Greatest deviation of parameters in rows. Keys lie within a 20 000th of a frame of their rows, as the
            format allows; only rows at rates such as 29.97, which meet no such fraction, are missed by that.

    Raises:
        ValueError: Shapes do not fit, or an active replaced cell is not finite.
    """
    _check(cells, replaced, first_row)
    rows_rate, last = Fraction(str(settings.rate)), first_row + len(cells)
    duration = sequence.duration
    if last > row_count(duration, rows_rate):
        duration = frame_of_row(last, sequence.frame_rate, rows_rate)
    whole = replace(sequence, duration=duration, tracks=list(sequence.tracks) or [Track()])
    for number in range(1, TRACKS + 1):
        runs = list(_runs(cells[:, number - 1], replaced[:, number - 1], first_row))
        if not runs:
            continue
        added = number - len(whole.tracks)
        if added > 0 and all(run.asset is None for run in runs):
            continue
        whole.tracks += [Track() for _ in range(added)]
        lane = _Lane(sequence, duration, number, whole.tracks[number - 1], settings, rows_rate, tolerance)
        whole.tracks[number - 1] = lane.replaced(runs)
    return whole


def _check(cells: Cells, replaced: Mask, first_row: int) -> None:
    if cells.ndim != 3 or cells.shape[1] != TRACKS or cells.shape[2] not in (len(CELL) - 2, len(CELL)):
        raise ValueError(f"cells have the shape {cells.shape}, not (rows, {TRACKS}, {len(CELL) - 2} or {len(CELL)})")
    if replaced.shape != cells.shape[:2] or replaced.dtype != bool:
        raise ValueError(f"replaced is {replaced.dtype} {replaced.shape}, not bool {cells.shape[:2]}")
    if first_row < 0:
        raise ValueError(f"first_row is {first_row}")
    chosen = cells[replaced]
    if not np.isfinite(chosen[:, ACTIVE]).all() or not np.isfinite(chosen[chosen[:, ACTIVE] >= ACTIVE_FROM]).all():
        raise ValueError("a replaced cell is not finite")


@dataclass(frozen=True)
class _Run:
    """Consecutive replaced rows of a track: of one asset class, or (None) with nothing shown.

    Attributes:
        rows: Of the sequence.
        asset: Class.
        values: PARAMETERS, or the first of them: (N, 7 or 9).
    """

    rows: range
    asset: int | None
    values: Cells


def _runs(column: Cells, mask: Mask, first_row: int) -> Iterator[_Run]:
    """Runs of one track, in order."""
    active = column[:, ACTIVE] >= ACTIVE_FROM
    asset = np.rint(np.where(mask & active, column[:, ASSET], 0)).astype(np.int64)
    kind = np.where(mask, np.where(active, asset, -1), -2)
    names = PARAMETERS[: column.shape[1] - FIRST_PARAMETER]
    low, high = zip(*(RANGES[name] for name in names), strict=True)
    for first, stop in pairwise([0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]):
        if first < stop and kind[first] != -2:
            values = column[first:stop, FIRST_PARAMETER:]
            shown = int(kind[first]) if kind[first] >= 0 else None
            yield _Run(range(first_row + first, first_row + stop), shown, np.clip(values, low, high))


@dataclass(frozen=True)
class _Lane:
    """A track in work.

    Attributes:
        original: The sequence before anything was replaced.
        duration: That of the sequence after.
        number: Of the track.
        track: Before.
        settings: Asset rules.
        rows_rate: Rows a second.
        tolerance: Of parameters.
    """

    original: Sequence
    duration: Fraction
    number: int
    track: Track
    settings: Parse
    rows_rate: Fraction
    tolerance: Mapping[str, float]

    def replaced(self, runs: Many[_Run]) -> Track:
        """The track with `runs` in it."""
        visible = [clip for clip in self.track.clips if clip.enabled and self.track.enabled]
        spans = [self._span(run.rows, visible) for run in runs]
        shown = [piece for clip in visible for piece in self._without(clip, spans)]
        made: list[Clip] = []
        for run, span in zip(runs, spans, strict=True):
            if run.asset is not None:
                earlier = sorted((clip for clip in (*shown, *made) if clip.end <= span[0]), key=_start)
                made.append(self._clip(run, run.asset, span, earlier))
        taken = [(clip.start, clip.end) for clip in made]
        hidden = [clip for clip in self.track.clips if not (clip.enabled and self.track.enabled)]
        hidden = [piece for clip in hidden for piece in self._without(clip, taken)]
        if made and not self.track.enabled:
            hidden = [replace(clip, enabled=False) for clip in hidden]
        return Track(sorted([*shown, *made, *hidden], key=_start), self.track.enabled or bool(made))

    def _span(self, rows: range, visible: Many[Clip]) -> Span:
        start, end = (self._edge(row, visible) for row in (rows.start, rows.stop))
        return min(start, self.duration), min(end, self.duration)

    def _edge(self, row: int, visible: Many[Clip]) -> Fraction:
        """A frame after the row before and not after `row`: where the track has a cut there, that one."""
        before, after = (self._shown(each, visible) for each in (row - 1, row))
        if before is not None and before is not after:
            return before.end
        if after is not None and before is not after:
            return after.start
        return frame_of_row(row, self.original.frame_rate, self.rows_rate)

    def _shown(self, row: int, visible: Many[Clip]) -> Clip | None:
        time = row / self.rows_rate
        return next((clip for clip in visible if clip.start <= time < clip.end), None)

    def _without(self, clip: Clip, spans: Many[Span]) -> Iterator[Clip]:
        """What is left of a clip outside of `spans`; parts that no row shows are left out."""
        cuts = [(max(start, clip.start), min(end, clip.end)) for start, end in spans]
        cuts = [(start, end) for start, end in cuts if start < end]
        if not cuts:
            yield clip
            return
        grid = Grid(Fraction(0), 1 / self.rows_rate)
        edges = [clip.start, *(edge for cut in cuts for edge in cut), clip.end]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if start < end and grid.within(start, end, range(row_count(end, self.rows_rate))):
                piece = between(clip, start, end)
                yield sayable(piece, self.original.frame_rate, self.rows_rate, EXACT)

    def _clip(self, run: _Run, asset: int, span: Span, earlier: Many[Clip]) -> Clip:
        clip = clip_of_class(asset, span, self.number, earlier, self.original, self.settings.assets)
        first = clip.local_start + run.rows.start / self.rows_rate - clip.start
        fitted = fit_animation(run.values, first, 1 / self.rows_rate, self.tolerance)
        # What the cells do not tell of rests as it did.
        other = {name: curve for name, curve in clip.animation.items() if name in PARAMETERS[run.values.shape[1] :]}
        rate = self.original.frame_rate
        return sayable(replace(clip, animation=fitted | other), rate, self.rows_rate, self.tolerance)


def _start(clip: Clip) -> Fraction:
    return clip.start
