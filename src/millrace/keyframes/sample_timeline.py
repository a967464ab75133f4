"""One synthetic vertical-video timeline: a style played from begin to end, with the accidents of real edits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.sample_lanes import Generator, Lane, Layout, Ramp, Source
from millrace.keyframes.sample_style import Style, draw_style
from millrace.keyframes.timeline import DEFAULTS, Clip, Sequence, Track

SIZE_PX = 1080, 1920
LENGTH_TENTHS = 200, 600
DISABLED_SHARE = 0.01
SKIPPED_SHARE = 0.03
"""Of what comes once a bar: an editor leaves it out, or forgets."""

SOFT_END_SHARE = 0.2
"""Videos whose footage ends before their graphics."""

STILL_AT_S = 3600
"""Stills and graphics begin an hour into a source without end, as Premiere writes them."""

FOLDER = "file://localhost/D%3a/projects/shorts"
GRAPHIC = "グラフィック"
"""What Premiere calls a graphic in Japanese, as in the files whose shape is copied."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip in tenths of a second, of which footage shows its media from `shown` on."""

    start: int
    end: int
    source: Source
    name: str
    layout: Layout
    ramp: Ramp | None
    shown: int


def draw_timeline(seed: int, index: int) -> Sequence:
    """Video `index` of a set; it depends on nothing else.

    It lasts 20 to 60 s, and its clips come in a rhythm, so that ten seconds of it tell what follows.
    """
    generator = np.random.default_rng((seed, index))
    style = draw_style(generator)
    length = int(generator.integers(*LENGTH_TENTHS, endpoint=True))
    cuts = _cuts(generator, style, length)
    ends = length - int(generator.integers(2, 12)) if generator.random() < SOFT_END_SHARE else length
    tracks = [
        _footage(generator, style, cuts, ends),
        *(_lane(generator, lane, style, cuts, length) for lane in style.lanes),
    ]
    files: dict[str, str] = {}
    rate = style.rate
    return Sequence(
        name=f"video_{index:04d}",
        frame_rate=rate,
        width=SIZE_PX[0],
        height=SIZE_PX[1],
        duration=_frame(length, rate) / rate,
        tracks=[
            Track([_clip(piece, rate, files, _is_enabled(generator, above=number > 0)) for piece in pieces])
            for number, pieces in enumerate(tracks)
        ],
    )


def _cuts(generator: Generator, style: Style, length: int) -> list[int]:
    """Cuts of all slots up to and beyond the end; cut i is that of slot i % len(slots)."""
    grid, at = [], 0
    while at <= length + style.bar:
        for slot in style.slots:
            grid.append(at)
            at += slot
    moved = generator.random(len(grid)) < style.jitter
    shift = np.where(generator.random(len(grid)) < 0.5, -1, 1) * moved
    return [0, *(cut + int(by) for cut, by in zip(grid[1:], shift[1:], strict=True))]


def _footage(generator: Generator, style: Style, cuts: list[int], end: int) -> list[Piece]:
    """The lowest track, cut without gaps; each shot goes on a little later in the same footage."""
    every = {"slot": 1, "bar": len(style.slots), "one": len(cuts)}[style.shots]
    edges = [*(cut for cut in cuts[::every] if cut < end), end]
    pieces, shown = [], int(generator.integers(0, 3000))
    name = f"game_{generator.integers(1, 40):02d}"
    for number, (start, stop) in enumerate(pairwise(edges)):
        slot = number % len(style.slots) if style.shots == "slot" else 0
        layout = style.framings[(slot if style.shots == "slot" else number) % len(style.framings)]
        # The zoom was drawn for one framing; shots with another one stay as they are.
        zooms = style.punch is not None and style.punch[0] == slot and style.punch[1].start == layout.scale
        ramp = style.punch[1] if zooms and style.punch else None
        pieces.append(Piece(start, stop, "png" if style.still else "mp4", name, layout, ramp, shown))
        shown += stop - start + int(generator.integers(0, 80))
    return pieces


def _lane(generator: Generator, lane: Lane, style: Style, cuts: list[int], length: int) -> list[Piece]:
    if lane.steady is not None:
        return [Piece(0, length, lane.source, lane.name, lane.steady, None, 0)]
    pieces: list[Piece] = []
    bars = list(range(length // style.bar + 1))
    for bar in [int(generator.choice(bars[: length // style.bar]))] if lane.once else bars:
        for visit in lane.visits:
            if not lane.once and generator.random() < SKIPPED_SHARE:
                continue
            number = bar * len(style.slots) + visit.slot
            start = cuts[number] + visit.delay
            stop = min(cuts[number + 1] if visit.length is None else start + visit.length, length)
            before = pieces[-1] if pieces else None
            start = max(start, before.end if before else 0)
            if before and before.end == start and before.layout == visit.layout and before.ramp is visit.ramp is None:
                pieces[-1] = replace(before, end=stop)  # nothing changes here, so nobody cuts here
            elif start < stop:
                pieces.append(Piece(start, stop, lane.source, lane.name, visit.layout, visit.ramp, start))
    return pieces


def _frame(tenths: int, rate: Fraction) -> int:
    """The frame that is on screen at that time, so that what begins with it is seen in the row of that time."""
    return floor(Fraction(tenths, 10) * rate)


def _is_enabled(generator: Generator, *, above: bool) -> bool:
    """Some clips are switched off, but those of the lowest track: that would leave a hole in the picture."""
    return bool(generator.random() >= DISABLED_SHARE) or not above


def _clip(piece: Piece, rate: Fraction, files: dict[str, str], enabled: bool) -> Clip:
    start, end = (_frame(tenths, rate) for tenths in (piece.start, piece.end))
    first = _frame(piece.shown, rate) if piece.source == "mp4" else floor(STILL_AT_S * rate)
    graphic = piece.source == "graphic"
    media = None if graphic else f"{FOLDER}/{piece.name}.{piece.source}"
    # Each graphic is a file of its own, without a path; clips of the same media share one.
    media_id = files.setdefault(media or f"graphic {len(files)}", f"file-{len(files) + 1}")
    return Clip(
        name=GRAPHIC if graphic else f"{piece.name}.{piece.source}",
        kind="generator" if graphic else "media",
        start=start / rate,
        end=end / rate,
        local_start=first / rate,
        media_times=((Fraction(0), first / rate), ((end - start) / rate, (first + end - start) / rate)),
        media=media,
        media_id=media_id,
        animation=_animation(piece, first - start, rate),
        enabled=enabled,
    )


def _animation(piece: Piece, offset: int, rate: Fraction) -> dict[str, Curve]:
    """Curves of what is not at its default; frame n of the sequence is frame n + offset of the clip."""
    layout = asdict(piece.layout)
    curves = {name: Curve.constant(value) for name, value in layout.items() if value != DEFAULTS[name]}
    ramp = piece.ramp
    if ramp is not None:
        times = (piece.start + ramp.delay, piece.start + ramp.delay + ramp.length)
        keys = zip(times, (ramp.start, ramp.end), strict=True)
        curves[ramp.name] = Curve([Key((_frame(time, rate) + offset) / rate, value) for time, value in keys])
    return curves
