"""Tracks over time as a picture: what lies where, how it moves, and what of it was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from millrace.keyframes.params import ASSETS
from millrace.keyframes.table import CELL

Cells = NDArray[np.float32]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    (86, 130, 178),
    (240, 150, 62),
    (98, 168, 92),
    (214, 104, 148),
    (72, 172, 176),
    (206, 178, 52),
    (146, 112, 178),
    (158, 120, 98),
    (202, 84, 78),
    (126, 136, 152),
)
"""Of asset classes 0 to 9, all dark enough for a white line."""

INK: Colour = (38, 42, 50)
FAINT: Colour = (112, 118, 128)
LANE: Colour = (241, 243, 246)
GRID: Colour = (214, 219, 226)
MARKED: Colour = (253, 243, 212)
MARKED_LANE: Colour = (248, 232, 188)
MARKED_EDGE: Colour = (208, 140, 20)
WHITE: Colour = (255, 255, 255)

UNIT = 2
"""The picture is drawn this much larger and reduced, so that slanting lines are smooth."""

MARGIN, LABEL, GAP, TITLE, AXIS, LEGEND = 16, 34, 3, 34, 38, 20
LANES = {6: 34, 12: 26, 20: 20}
"""Height of a track in pixels, by the greatest number of them."""

FONT, TITLE_FONT = 12, 14
TICK = 64
"""Least distance of two numbers on the time axis."""

STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)

LINES = {"scale": (10.0, WHITE, 0), "x": (0.1, INK, 0), "y": (0.1, INK, 3)}
"""Parameters drawn as a line: the least span that fills a track's height, its colour, and its dashes' length."""

SUDDEN = 4.0
"""A change this many times that of the rows around it is a cut."""

NEARLY = 1e-9
"""Rounding of a number of steps."""


@dataclass(frozen=True)
class _Frame:
    """Where time and tracks lie; in drawn pixels.

    Attributes:
        left: Where row 0 begins.
        width: Of all rows.
        rows: Number of them.
        rate: Rows a second.
        first_row: Row of the video that is row 0 here.
        marked: Cells of the marked part; (0, 0) for none.
        tracks: Numbers from 0 of the tracks, from the top down.
        lane: Height of one.
        spans: For each of LINES and each track, the least and the greatest value: (3, 20, 2).
    """

    left: int
    width: int
    rows: int
    rate: float
    first_row: int
    marked: Mask
    tracks: tuple[int, ...]
    lane: int
    spans: NDArray[np.float64]

    def x(self, row: float) -> int:
        return self.left + round(row * self.width / self.rows)

    def marked_runs(self, track: int) -> list[tuple[int, int]]:
        """First rows of the marked stretches of a track, and the rows after them."""
        if not self.marked.size:
            return []
        edges = np.flatnonzero(np.diff(self.marked[:, track].astype(np.int8), prepend=0, append=0))
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

    @property
    def height(self) -> int:
        return len(self.tracks) * (self.lane + GAP * UNIT) - GAP * UNIT


def tracks_picture(
    layouts: Sequence[tuple[str, Cells]],
    rate: float,
    *,
    first_row: int = 0,
    marked: Mask | None = None,
    width_px: int = 1200,
) -> NDArray[np.uint8]:
    """One or more layouts below each other, on one time axis.

    Each track that any of them uses is a strip, V1 at the bottom. A clip has the colour of its asset class; white edges
    are where a clip begins, or its layout changes from one row to the next as at a cut. Lines show scale, x and y where
    they change on the track, up for more, on one scale for all layouts.

    Args:
        layouts: Captions and cells in the order of `table.CELL`: (R, 20, 5 or more); the numbers of rows may differ.
        rate: Rows a second.
        first_row: Of the layouts in their video: where the time axis begins.
        marked: Cells with a ground of their own, such as those that were predicted: bool (R, 20). Where the last of the
            layouts shows something there, it is paler.
        width_px: Of the picture; its height follows from the tracks.

    Returns:
        RGB picture.
    """
    used = np.any([(cells[..., 0] > 0).any(axis=0) for _, cells in layouts], axis=0)
    tracks = tuple(np.flatnonzero(used)[::-1].tolist()) or (0,)
    frame = _Frame(
        left=(MARGIN + LABEL) * UNIT,
        width=(width_px - 2 * MARGIN - LABEL) * UNIT,
        rows=max(1, *(len(cells) for _, cells in layouts)),
        rate=rate,
        first_row=first_row,
        marked=np.zeros((0, 0), bool) if marked is None else marked,
        tracks=tracks,
        lane=next(height for most, height in LANES.items() if len(tracks) <= most) * UNIT,
        spans=np.array([_spans([cells for _, cells in layouts], name) for name in LINES]),
    )
    block = frame.height + (TITLE + AXIS) * UNIT
    size = width_px * UNIT, len(layouts) * block + (LEGEND + MARGIN) * UNIT
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for number, (caption, cells) in enumerate(layouts):
        _layout(draw, frame, number * block, caption, cells, pale=number == len(layouts) - 1)
    assets = {int(asset) for _, cells in layouts for asset in np.unique(cells[..., 1][cells[..., 0] > 0])}
    _legend(draw, frame, len(layouts) * block + LEGEND * UNIT // 2, sorted(assets))
    return np.asarray(page.reduce(UNIT))


def _spans(layouts: Sequence[Cells], name: str) -> NDArray[np.float64]:
    """Least and greatest value of a parameter on each track, apart by its least span: (20, 2)."""
    column = CELL.index(name)
    shown = np.concatenate([np.where(cells[..., 0] > 0, cells[..., column], np.nan) for cells in layouts])
    spans = np.zeros((shown.shape[1], 2))
    for track in np.flatnonzero(~np.isnan(shown).all(axis=0)):
        low, high = np.nanmin(shown[:, track]), np.nanmax(shown[:, track])
        more = max(LINES[name][0] - (high - low), 0) / 2
        spans[track] = low - more, high + more
    return spans


def _layout(draw: ImageDraw.ImageDraw, frame: _Frame, top: int, caption: str, cells: Cells, *, pale: bool) -> None:
    middle = top + (TITLE * UNIT) * 3 // 5
    draw.text((frame.left, middle), caption, fill=INK, font=_font(TITLE_FONT), anchor="lm")
    first, right = top + TITLE * UNIT, max(frame.x(len(cells)) - 1, frame.left)
    bottom, rim = first + frame.height, GAP * UNIT
    whole = np.flatnonzero(frame.marked.any(axis=1)) if frame.marked.size else np.zeros(0, np.int64)
    ends = [frame.x(row) for row in (whole[0], whole[-1] + 1)] if len(whole) else []
    if ends:
        draw.rectangle((ends[0], first - rim, min(ends[1], right), bottom + rim), fill=MARKED)
    _axis(draw, frame, first, bottom, right)
    for number, track in enumerate(frame.tracks):
        y = first + number * (frame.lane + rim)
        foot = y + frame.lane - 1
        draw.rectangle((frame.left, y, right, foot), fill=LANE)
        for begin, end in frame.marked_runs(track):
            draw.rectangle((frame.x(begin), y, min(frame.x(end) - 1, right), foot), fill=MARKED_LANE)
        place = (frame.left - 8 * UNIT, (y + foot) // 2)
        draw.text(place, f"V{track + 1}", fill=FAINT, font=_font(FONT), anchor="rm")
        _strip(draw, frame, y, cells[:, track], track, pale)
    for x in ends:
        draw.line((x, first - rim, x, bottom + rim), fill=MARKED_EDGE, width=2 * UNIT)


def _strip(draw: ImageDraw.ImageDraw, frame: _Frame, y: int, cells: Cells, track: int, pale: bool) -> None:
    """The clips of one track; `pale` where they are marked."""
    kind = np.where(cells[:, 0] > 0, np.rint(cells[:, 1]), -1).astype(np.int64)
    for first, stop in pairwise([0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]):
        if first == stop or kind[first] < 0:
            continue
        colour = COLOURS[kind[first] % ASSETS]
        left, right = frame.x(first), max(frame.x(stop) - 1, frame.x(first))
        draw.rectangle((left, y, right, y + frame.lane - 1), fill=colour)
        for begin, end in frame.marked_runs(track) if pale else ():
            box = (max(left, frame.x(begin)), y, min(right, frame.x(end) - 1), y + frame.lane - 1)
            if box[0] <= box[2]:
                draw.rectangle(box, fill=_paler(colour))
        for begin, end in pairwise([first, *(first + _cuts(cells[first:stop])).tolist(), stop]):
            draw.line((frame.x(begin), y, frame.x(begin), y + frame.lane - 1), fill=WHITE, width=UNIT)
            for number, (name, (least, ink, dash)) in enumerate(LINES.items()):
                low, high = frame.spans[number, track]
                if high - low > least * (1 + 1e-6):
                    part = (cells[begin:end, CELL.index(name)] - low) / (high - low)
                    _line(draw, frame, y, begin, part, ink if ink == WHITE else _darker(colour), dash)


def _cuts(cells: Cells) -> NDArray[np.int64]:
    """Rows whose parameters are far from those of the row before, while they rest or move slowly on both sides."""
    columns = [CELL.index(name) for name in LINES]
    change = (np.abs(np.diff(cells[:, columns], axis=0)) / [span for span, _, _ in LINES.values()]).sum(axis=1)
    around = np.pad(change, 1)
    beside = np.maximum(around[:-2], around[2:])
    return np.flatnonzero((change > SUDDEN * beside) & (change > 0.2)) + 1


def _line(
    draw: ImageDraw.ImageDraw, frame: _Frame, y: int, first: int, part: NDArray[np.floating], ink: Colour, dash: int
) -> None:
    """A parameter over consecutive rows; 0 is the foot of the track and 1 its head."""
    inner = frame.lane - 8 * UNIT
    points = [
        (frame.x(first + row + 0.5), y + 4 * UNIT + round((1 - value) * inner))
        for row, value in enumerate(part.tolist())
    ]
    ends = [(frame.x(first), points[0][1]), *points, (frame.x(first + len(points)) - 1, points[-1][1])]
    if not dash:
        draw.line(ends, fill=ink, width=UNIT * 3 // 2, joint="curve")
        return
    for begin, end in pairwise(ends):
        _dashed(draw, begin, end, ink, dash * UNIT)


def _dashed(draw: ImageDraw.ImageDraw, begin: tuple[int, int], end: tuple[int, int], ink: Colour, length: int) -> None:
    """Dashes whose place depends on x (or on y where a line is upright), so that they go on from line to line."""
    axis = 0 if abs(end[0] - begin[0]) >= abs(end[1] - begin[1]) else 1
    low, high = sorted((begin, end), key=lambda point: point[axis])
    reach = high[axis] - low[axis]
    for start in range(low[axis] // (2 * length) * 2 * length, high[axis], 2 * length):
        stops = (max(start, low[axis]), min(start + length, high[axis]))
        if stops[0] < stops[1]:
            shares = [(stop - low[axis]) / reach for stop in stops]
            dash = [tuple(round(a + (b - a) * share) for a, b in zip(low, high, strict=True)) for share in shares]
            draw.line([dash[0], dash[1]], fill=ink, width=UNIT * 3 // 2)


def _axis(draw: ImageDraw.ImageDraw, frame: _Frame, first: int, bottom: int, right: int) -> None:
    seconds = frame.rows / frame.rate
    step = next((each for each in STEPS_S if each * frame.width >= TICK * UNIT * seconds), STEPS_S[-1])
    foot = bottom + GAP * UNIT
    draw.line((frame.left, foot, right, foot), fill=GRID, width=UNIT)
    origin = frame.first_row / frame.rate
    for number in range(ceil(origin / step - NEARLY), floor((origin + seconds) / step + NEARLY) + 1):
        x = frame.x(number * step * frame.rate - frame.first_row)
        if x <= right + 1:
            draw.line((x, first - GAP * UNIT, x, foot + 4 * UNIT), fill=GRID, width=UNIT)
            text = f"{number * step:g} s"
            over = x + _font(FONT).getlength(text) / 2 > frame.left + frame.width + MARGIN * UNIT
            draw.text((x, foot + 7 * UNIT), text, fill=FAINT, font=_font(FONT), anchor="ra" if over else "ma")


def _legend(draw: ImageDraw.ImageDraw, frame: _Frame, middle: int, assets: Sequence[int]) -> None:
    x, half = frame.left, 6 * UNIT
    entries: list[tuple[str, Colour, str | None]] = []
    entries += [(f"asset {asset}", COLOURS[asset % ASSETS], None) for asset in assets]
    entries += [(name, FAINT, name) for name in LINES]
    if frame.marked.any():
        entries.append(("asked for", MARKED_LANE, None))
    for text, colour, name in entries:
        box = (x, middle - half, x + (4 if name else 2) * half, middle + half)
        draw.rectangle(box, fill=colour)
        if name:
            _, ink, dash = LINES[name]
            ends = (box[0] + UNIT * 2, middle), (box[2] - UNIT * 2, middle)
            line = ink if ink == WHITE else _darker(colour)
            if dash:
                _dashed(draw, *ends, line, dash * UNIT)
            else:
                draw.line(ends, fill=line, width=UNIT * 3 // 2)
        draw.text((box[2] + 5 * UNIT, middle), text, fill=INK, font=_font(FONT), anchor="lm")
        x = round(box[2] + 5 * UNIT + _font(FONT).getlength(text) + 16 * UNIT)


def _paler(colour: Colour) -> Colour:
    red, green, blue = ((value * 3 + 255 * 2) // 5 for value in colour)
    return red, green, blue


def _darker(colour: Colour) -> Colour:
    red, green, blue = (value * 3 // 8 for value in colour)
    return red, green, blue


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px * UNIT)
