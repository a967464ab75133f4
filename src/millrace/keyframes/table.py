"""The table of all timelines: a row a video and time step, nine columns (or eleven) a track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.keyframes.assets import VIDEO_ENDINGS, asset_of, media_name
from millrace.keyframes.params import Parse
from millrace.keyframes.sampling import MAX_CELLS, PARAMETERS, Floats, Grid, Layer, row_count, sample
from millrace.keyframes.timeline import Clip, Sequence
from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError

TRACKS = 20
KEYS = ("video_id", "source_video_name", "time")
CELL = ("active", "asset", *PARAMETERS)
UNKNOWN = "unknown"
Column = NDArray[np.int8] | NDArray[np.float32]


@dataclass
class Sampled:
    """A sequence as rows, and what is worth knowing about it.

    Attributes:
        table: KEYS and `columns`; active and asset int8, parameters float32, time float64 in seconds.
        tracks: Video tracks that show anything, those beyond TRACKS included.
        clips: Clips that show in a row, on all tracks.
        animated: Parameters of those clips whose value changes between keys.
        beyond: Cells with a clip on tracks beyond TRACKS, which the table has no place for.
        ignored: What else has no place in the table, counted by kind.
    """

    table: pd.DataFrame
    tracks: int
    clips: int
    animated: int
    beyond: int
    ignored: Counter[str] = field(default_factory=Counter)


def columns(*, rotation_and_opacity: bool) -> list[str]:
    """Names of the cells' columns, track by track: 180 or 220."""
    cell = CELL if rotation_and_opacity else CELL[:-2]
    return [f"target_v{track}_{name}" for track in range(1, TRACKS + 1) for name in cell]


def tabulate(sequence: Sequence, video_id: str, settings: Parse) -> Sampled:
    """Rows of a sequence, `settings.rate` a second.

    Args:
        sequence: As a reader gives it.
        video_id: Written into each row.
        settings: Rate, asset rules, optional columns.

    Raises:
        TimelineError: It is too long, as `check_length` says; shows more than `max_clips` clips; or a value in it is
            beyond MAX_MAGNITUDE.
    """
    check_length([sequence], settings)
    ignored: Counter[str] = Counter()
    rate = Fraction(str(settings.rate))
    rows = row_count(sequence.duration, rate) if sequence.tracks else 0
    found = sample(sequence, rate, ignored, settings.max_clips, TRACKS)
    assets = _Assets(found.clips, settings)
    nothing = _cells(Layer.empty(rows), 0, assets, settings)
    cells: dict[str, Column] = {}
    for number, count in enumerate((found.counts + [0] * TRACKS)[:TRACKS], start=1):
        # Taken out of the list, so that the wider numbers of each are freed before the next.
        layer = found.layers.pop(0) if found.layers else None
        track = _cells(layer, number, assets, settings) if layer is not None and count else nothing
        cells |= {f"target_v{number}_{name}": column for name, column in track.items()}
    keys = {
        "video_id": np.full(rows, video_id, dtype=object),
        "source_video_name": np.full(rows, _source_name(found.clips), dtype=object),
        # From the row's number, not by adding steps: 0.3 is 3 / 10 and not 0.1 + 0.1 + 0.1.
        "time": Grid(Fraction(0), 1 / rate).times(range(rows), Fraction(0)),
    }
    table = pd.DataFrame(keys | cells, index=pd.RangeIndex(rows))  # which it would look for in all columns
    return Sampled(
        table=table,
        tracks=sum(count > 0 for count in found.counts),
        clips=len(found.clips),
        animated=sum(curve.animated for clip in found.clips for curve in clip.animation.values()),
        beyond=sum(found.counts[TRACKS:]),
        ignored=ignored,
    )


def check_length(sequences: Iterable[Sequence], settings: Parse) -> None:
    """Refuse sequences whose tables are too large, before any of them is made.

    Raises:
        TimelineError: One is longer than `max_hours`, or all together have more cells than MAX_CELLS.
    """
    rows = 0
    for sequence in sequences:
        hours = float(sequence.duration / 3600)
        if hours > settings.max_hours:
            raise TimelineError(f"sequence {sequence.name[:60]!r} lasts {hours:.1f} hours, more than max_hours allows")
        rows += row_count(sequence.duration, Fraction(str(settings.rate)))
    if rows * TRACKS > MAX_CELLS:
        raise TimelineError(
            f"its sequences have {rows} rows, more than {MAX_CELLS // TRACKS}; lower keyframes.parse.rate, or export "
            "fewer sequences to one file"
        )


class _Assets:
    """Asset classes of clips; those of one name and file are looked up once a track."""

    def __init__(self, clips: Many[Clip], settings: Parse) -> None:
        self.clips, self.rules = clips, settings.assets
        self.known: dict[tuple[str, str | None, int], int] = {}

    def of(self, clip: Clip, track: int) -> int:
        key = clip.name, clip.media, track
        if key not in self.known:
            self.known[key] = asset_of(clip, track, self.rules)
        return self.known[key]

    def of_rows(self, shown: NDArray[np.int32], track: int) -> NDArray[np.int8]:
        """Class of the clip that each row shows, given by number."""
        numbers, which = np.unique(shown, return_inverse=True)
        return np.array([self.of(self.clips[number], track) for number in numbers], np.int8)[which]


def _cells(layer: Layer, number: int, assets: _Assets, settings: Parse) -> dict[str, Column]:
    active = layer.clip >= 0
    asset = np.zeros(len(active), np.int8)
    if active.any():
        asset[active] = assets.of_rows(layer.clip[active], number)
    _check_size(layer.cells, number)
    values = layer.cells.T.astype(np.float32, order="C", copy=False)
    names = PARAMETERS if settings.rotation_and_opacity else PARAMETERS[:-2]
    cells: dict[str, Column] = {"active": active.astype(np.int8), "asset": asset}
    return cells | {name: values[index] for index, name in enumerate(names)}


def _check_size(cells: Floats | NDArray[np.float32], track: int) -> None:
    """Raise TimelineError for a value that no edit has; NaN is one."""
    if not len(cells) or (cells.min() >= -MAX_MAGNITUDE and cells.max() <= MAX_MAGNITUDE):
        return
    row, column = np.argwhere(~(np.abs(cells) <= MAX_MAGNITUDE))[0]
    raise TimelineError(
        f"{PARAMETERS[column]} on track {track} comes to {cells[row, column]:g} in row {row}, nested sequences counted "
        f"in; that is not between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}"
    )


def _source_name(clips: Many[Clip]) -> str:
    """Stem of the first video file."""
    for clip in clips:
        stem, _, ending = media_name(clip).rpartition(".")
        if stem and ending.lower() in VIDEO_ENDINGS:
            return stem
    return UNKNOWN
