"""What comes back in every bar of a synthetic video on the tracks above its footage, and how it is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Generator = np.random.Generator
Source = Literal["mp4", "psd", "png", "webp", "graphic"]

CORNERS = ((-0.3, -0.36), (0.3, -0.36), (-0.3, 0.34), (0.3, 0.34))
CAPTION_HEIGHTS = (0.25, 0.32, -0.22)
SPOTS = ((-0.28, -0.2), (0.28, -0.2), (-0.25, 0.12), (0.25, 0.12), (0.0, -0.3), (0.0, 0.05))
SCALES = (17.0, 547.0)
REACH_X, REACH_Y = (-1.7, 1.6), (-3.7, 1.3)
"""Ranges seen in real files; the places above are made up."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a clip lies; units are those of timeline.DEFAULTS."""

    scale: float = 100.0
    x: float = 0.0
    y: float = 0.0
    crop_l: float = 0.0
    crop_r: float = 0.0
    crop_t: float = 0.0
    crop_b: float = 0.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """A parameter that runs straight to another value.

    Attributes:
        name: Of the parameter.
        start: Its value before.
        end: Its value after.
        delay: Tenths of a second from the clip's start.
        length: Tenths of a second; a clip that ends earlier cuts it off.
    """

    name: str
    start: float
    end: float
    delay: int
    length: int


@dataclass(frozen=True, slots=True)
class Visit:
    """A clip that comes once a bar.

    Attributes:
        slot: The cut that it follows.
        delay: Tenths of a second after that cut.
        length: Tenths of a second; None lasts to the next cut.
        layout: Where it lies.
        ramp: What moves in it.
    """

    slot: int
    delay: int
    length: int | None
    layout: Layout
    ramp: Ramp | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """A track above the lowest.

    Attributes:
        source: Kind of its media.
        name: Of its media, without ending.
        visits: What comes in each bar.
        steady: Layout of a single clip from begin to end, instead of visits.
        once: Whether the visits come in one bar only.
    """

    source: Source
    name: str
    visits: tuple[Visit, ...] = ()
    steady: Layout | None = None
    once: bool = False


def face(generator: Generator, slots: tuple[int, ...]) -> Lane:
    """The face camera: steady in a corner, changing between corner and full frame, only in some slots, or never."""
    x, y = CORNERS[generator.integers(len(CORNERS))]
    side = float(generator.choice((0.0, 12.0, 20.0)))
    corner = layout_of(generator.uniform(55, 90), x, y, crop_l=side, crop_r=side)
    full = layout_of(generator.uniform(150, 190), 0.0, 0.0)
    how = generator.choice(4, p=(0.25, 0.3, 0.25, 0.2))
    chosen = any_slot(generator, slots)
    if how == 0:
        return Lane("mp4", "face_camera", steady=corner)
    if how == 1:
        visits = [Visit(slot, 0, None, full if slot == chosen else corner) for slot in range(len(slots))]
        return Lane("mp4", "face_camera", tuple(visits))
    if how == 2:
        return Lane("mp4", "face_camera", (Visit(chosen, 0, None, corner),))
    return Lane("mp4", "face_camera")


def captions(generator: Generator, slots: tuple[int, ...], beat: int) -> Lane:
    """Captions a fixed time after each cut or beat, a title throughout, or none."""
    height = float(generator.choice(CAPTION_HEIGHTS))
    delay = int(generator.choice((2, 3)))
    length = beat - delay - int(generator.choice((0, 2)))
    how = generator.choice(4, p=(0.27, 0.4, 0.13, 0.2))
    reveals = generator.random() < 0.08
    zigzag = 0.06 if generator.random() < 0.4 else 0.0
    if how == 2:
        return Lane("graphic", "graphic", steady=Layout(y=height))
    if how == 3:
        return Lane("graphic", "graphic")
    visits: list[Visit] = []
    for slot, tenths in enumerate(slots):
        for offset in range(0, tenths if how == 0 else beat, beat):
            layout = Layout(y=round(height + zigzag * (len(visits) % 2), 3))
            ramp = Ramp("crop_r", 100.0, 0.0, 0, 4) if reveals else None
            shown = length if how == 0 else length + (tenths - beat) * 3 // 4
            visits.append(Visit(slot, delay + offset, shown, layout, ramp))
    return Lane("graphic", "graphic", tuple(visits))


def graphics(generator: Generator, slots: tuple[int, ...], count: int) -> list[Lane]:
    """Tracks from the fourth up: the higher, the emptier; the top one always holds something."""
    lanes = []
    for number in range(4, 4 + count):
        used = 0.6 if number == 4 else 0.4 if number < 8 else 0.2
        source: Source = ("psd", "png", "graphic", "webp")[generator.choice(4, p=(0.45, 0.22, 0.3, 0.03))]
        name = "graphic" if source == "graphic" else f"Class{generator.integers(2, 7)}_sticker_{number}"
        draw, top = generator.random(), number == 3 + count
        if draw >= used and not top:
            lanes.append(Lane(source, name))
        elif number >= 9 or draw >= used:
            lanes.append(Lane(source, name, (_sticker(generator, slots, any_slot(generator, slots)),), once=True))
        elif generator.random() < 0.3:
            lanes.append(Lane(source, name, steady=_spot(generator)))
        else:
            first = any_slot(generator, slots)
            chosen = {first, (first + 1) % len(slots)} if number == 4 and generator.random() < 0.5 else {first}
            lanes.append(Lane(source, name, tuple(_sticker(generator, slots, slot) for slot in sorted(chosen))))
    return lanes


def any_slot(generator: Generator, slots: tuple[int, ...]) -> int:
    return int(generator.integers(len(slots)))


def _sticker(generator: Generator, slots: tuple[int, ...], slot: int) -> Visit:
    layout = _spot(generator)
    delay = int(generator.choice((1, 4)))
    length = min(slots[slot] - delay, int(generator.choice((8, 14))))
    ramp = None
    if generator.random() < 0.1:
        ramp = Ramp("x", layout.x, round(layout.x + float(generator.choice((-0.4, 0.4))), 3), 0, length)
    return Visit(slot, delay, length, layout, ramp)


def _spot(generator: Generator) -> Layout:
    scale = float(np.clip(np.exp(generator.normal(np.log(130), 0.55)), *SCALES))
    if generator.random() < 0.06:  # most of a picture out of sight, as real ones have it
        return layout_of(scale, generator.uniform(*REACH_X), generator.uniform(*REACH_Y))
    x, y = SPOTS[generator.integers(len(SPOTS))]
    return layout_of(scale, x, y)


def layout_of(scale: float, x: float, y: float, **crops: float) -> Layout:
    return Layout(round(float(scale), 1), round(float(x), 3), round(float(y), 3), **crops)
