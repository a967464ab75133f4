"""The table of all timelines: a row a video and time step, nine columns (or eleven) a track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.keyframes.assets import VIDEO_ENDINGS, asset_of, media_name
from millrace.keyframes.params import Parse
from millrace.keyframes.sampling import PARAMETERS, Layer, sample
from millrace.keyframes.timeline import Clip, Sequence
from millrace.keyframes.xml_events import TimelineError

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
        TimelineError: It is longer than `max_hours`, or shows more than `max_clips` clips.
    """
    hours = float(sequence.duration / 3600)
    if hours > settings.max_hours:
        raise TimelineError(f"sequence {sequence.name!r} lasts {hours:.1f} hours, more than max_hours allows")
    ignored: Counter[str] = Counter()
    rate = Fraction(str(settings.rate))
    layers, clips = sample(sequence, rate, ignored, settings.max_clips)
    rows = len(layers[0].clip) if layers else 0
    shown = [layer for layer in layers if (layer.clip >= 0).any()]
    cells: dict[str, Column] = {}
    for number in range(1, TRACKS + 1):
        layer = layers[number - 1] if number <= len(layers) else Layer.empty(rows)
        cells |= _cells(layer, number, clips, settings)
    keys = {
        "video_id": np.full(rows, video_id, dtype=object),
        "source_video_name": np.full(rows, _source_name(clips), dtype=object),
        # From the row's number, not by adding steps: 0.3 is 3 / 10 and not 0.1 + 0.1 + 0.1.
        "time": np.arange(rows) * rate.denominator / rate.numerator,
    }
    table = pd.DataFrame(keys | cells)
    return Sampled(
        table=table,
        tracks=len(shown),
        clips=len(clips),
        animated=sum(curve.animated for clip in clips for curve in clip.animation.values()),
        beyond=int(sum((layer.clip >= 0).sum() for layer in layers[TRACKS:])),
        ignored=ignored,
    )


def _cells(layer: Layer, number: int, clips: Many[Clip], settings: Parse) -> dict[str, Column]:
    active = layer.clip >= 0
    asset = np.zeros(len(active), np.int8)
    for index in np.unique(layer.clip[active]):
        asset[layer.clip == index] = asset_of(clips[index], number, settings.assets)
    values = layer.cells.astype(np.float32)
    names = PARAMETERS if settings.rotation_and_opacity else PARAMETERS[:-2]
    cells: dict[str, Column] = {"active": active.astype(np.int8), "asset": asset}
    cells |= {name: values[:, index] for index, name in enumerate(names)}
    return {f"target_v{number}_{name}": cell for name, cell in cells.items()}


def _source_name(clips: Many[Clip]) -> str:
    """Stem of the first video file."""
    for clip in clips:
        stem, _, ending = media_name(clip).rpartition(".")
        if stem and ending.lower() in VIDEO_ENDINGS:
            return stem
    return UNKNOWN
