"""What makes one synthetic video itself: a rhythm, and what comes back in it. Drawn once a video, kept throughout."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from millrace.keyframes.sample_lanes import (
    Generator,
    Lane,
    Layout,
    Ramp,
    any_slot,
    captions,
    face,
    graphics,
    layout_of,
)

Shots = Literal["slot", "bar", "one"]

RATES = {Fraction(60): 0.76, Fraction(60000, 1001): 0.08, Fraction(30000, 1001): 0.08, Fraction(59): 0.08}
"""Frames a second; among real files nearly all run at about 60."""

BEATS_TENTHS = (12, 15, 16)
PATTERNS = ((2, 1), (1, 2), (1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2), (1, 3))
"""Lengths in beats of a bar's slots. A bar lasts 3.6 to 6.4 s, so that ten seconds of history hold more than one."""

TRACKS = {3: 4, 4: 8, 5: 12, 6: 15, 7: 21, 8: 10, 9: 8, 10: 6, 11: 5, 12: 4, 14: 3, 17: 2, 22: 2}
"""Video tracks of a file, and how many of a hundred files have that many."""

BASE_SCALES = (120.0, 150.0, 178.0, 200.0)


@dataclass(frozen=True, slots=True)
class Style:
    """All that is drawn for a video as a whole.

    Attributes:
        rate: Frames a second.
        slots: Tenths of a second between the cuts of a bar.
        jitter: Share of the cuts that come a tenth of a second early or late, without shifting those after them.
        shots: Whether the lowest track is cut at each slot, at each bar, or never.
        framings: Layouts that its shots take in turn.
        still: Whether it shows a picture instead of footage.
        punch: The slot (or bar) whose shot zooms in, and how.
        lanes: Tracks from the second up.
    """

    rate: Fraction
    slots: tuple[int, ...]
    jitter: float
    shots: Shots
    framings: tuple[Layout, ...]
    still: bool
    punch: tuple[int, Ramp] | None
    lanes: tuple[Lane, ...]

    @property
    def bar(self) -> int:
        """Tenths of a second."""
        return sum(self.slots)


def draw_style(generator: Generator) -> Style:
    """A style; all that the generator gives next is independent of it."""
    beat = int(generator.choice(BEATS_TENTHS))
    slots = tuple(beat * part for part in PATTERNS[generator.integers(len(PATTERNS))])
    shots: Shots = ("slot", "bar", "one")[generator.choice(3, p=(0.25, 0.55, 0.2))]
    tracks = int(generator.choice(list(TRACKS), p=np.array(list(TRACKS.values())) / sum(TRACKS.values())))
    framings = _framings(generator, shots, slots)
    return Style(
        rate=list(RATES)[generator.choice(len(RATES), p=list(RATES.values()))],
        slots=slots,
        jitter=float(generator.choice((0.0, 0.1))),
        shots=shots,
        framings=framings,
        still=shots == "one" and generator.random() < 0.5,
        punch=_punch(generator, shots, slots, framings),
        lanes=(face(generator, slots), captions(generator, slots, beat), *graphics(generator, slots, tracks - 3)),
    )


def _framings(generator: Generator, shots: Shots, slots: tuple[int, ...]) -> tuple[Layout, ...]:
    scale = float(generator.choice(BASE_SCALES)) * generator.uniform(0.97, 1.03)
    cut = float(generator.choice((0.0, 20.0, 30.0, 40.0), p=(0.7, 0.1, 0.1, 0.1)))
    side = "crop_t" if generator.random() < 0.25 else "crop_b"
    y = 0.0 if not cut else 0.12 if side == "crop_t" else -0.12
    aside = 0.18 * float(generator.choice((-1, 1)))
    looks = (
        layout_of(scale, 0.0, y, **{side: cut}),
        layout_of(scale * 1.25, aside, y, **{side: cut}),
        layout_of(scale, -aside, y - 0.05, **{side: cut}),
    )
    if shots == "slot":
        return looks[: len(slots)]
    # Two bars must fit into ten seconds for their alternation to be seen.
    return looks[:2] if shots == "bar" and 2 * sum(slots) <= 80 else looks[:1]


def _punch(
    generator: Generator, shots: Shots, slots: tuple[int, ...], framings: tuple[Layout, ...]
) -> tuple[int, Ramp] | None:
    if shots == "one" or generator.random() < 0.75:
        return None
    slot = any_slot(generator, slots) if shots == "slot" else 0
    length = slots[slot] if shots == "slot" else sum(slots)
    scale = framings[slot % len(framings)].scale
    ramp = Ramp("scale", scale, round(scale * 1.2, 1), int(generator.choice((2, 4))), min(length - 5, 12))
    return slot, ramp
