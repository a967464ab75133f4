"""What there is in a synthetic settlement: buildings, ground, trees and cars."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from millrace.roof.sample_roofs import Face, Line, Polygon
from millrace.roof.sample_superstructures import Colour, Decal, Structure

TILE_COLOURS: tuple[Colour, ...] = (
    (158, 88, 66),
    (142, 74, 58),
    (172, 106, 80),
    (118, 74, 62),
    (104, 78, 68),
    (128, 98, 84),
    (108, 104, 102),
    (84, 84, 88),
    (66, 66, 72),
    (140, 134, 128),
)
METAL_COLOURS: tuple[Colour, ...] = ((150, 156, 160), (104, 116, 122), (186, 188, 186), (96, 128, 116), (120, 72, 62))
FLAT_COLOURS: tuple[Colour, ...] = ((152, 148, 142), (128, 126, 122), (176, 172, 164), (92, 92, 94), (196, 194, 190))
CAR_COLOURS: tuple[Colour, ...] = (
    (226, 228, 230),
    (40, 42, 46),
    (140, 144, 150),
    (94, 98, 106),
    (142, 46, 42),
    (58, 72, 104),
    (196, 200, 204),
)


@dataclass(frozen=True)
class Cover:
    """Material of a roof: `tiles`, `metal`, `gravel` or `felt`."""

    kind: str
    colour: Colour


@dataclass(frozen=True)
class Building:
    """Faces and lines in metres; `covers[face.cover]` is a face's material."""

    faces: tuple[Face, ...]
    lines: tuple[Line, ...]
    covers: tuple[Cover, ...]
    structures: tuple[Structure, ...]
    decals: tuple[Decal, ...]
    plan: Polygon


@dataclass(frozen=True)
class Patch:
    """Ground or a thing on it: `kind` is its texture, `height_m` that of its upper side."""

    kind: str
    polygon: Polygon
    colour: Colour
    height_m: float = 0.0


@dataclass(frozen=True)
class Tree:
    """A crown of overlapping lumps: (N, 5) x, y, height of the middle, radius, and tone about 1."""

    lumps: NDArray[np.float64]
    colour: Colour


@dataclass
class Settlement:
    """Everything there is; x points east, y north, in metres, with the middle of the picture at `centre`."""

    buildings: list[Building] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    centre: tuple[float, float] = (0.0, 0.0)


def grow(generator: np.random.Generator, at: tuple[float, float], radius_m: float) -> Tree:
    """A tree: lumps around a trunk, broad and uneven, or in a slender cone."""
    number = int(np.clip(14 * radius_m, 5, 60))
    conifer = generator.random() < 0.2
    angle, share = generator.uniform(0, 2 * math.pi, number), np.sqrt(generator.random(number))
    stretch = generator.uniform(0.75, 1.25)
    top_m = generator.uniform(1.8, 2.9) * radius_m + 0.4 if conifer else generator.uniform(1.0, 1.9) * radius_m + 0.6
    lumps = np.empty((number, 5))
    lumps[:, 0] = at[0] + 0.72 * radius_m * stretch * share * np.cos(angle)
    lumps[:, 1] = at[1] + 0.72 * radius_m / stretch * share * np.sin(angle)
    fall = share if conifer else 0.6 * share**2
    lumps[:, 3] = radius_m * generator.uniform(0.22, 0.46, number) * (1.2 - 0.5 * share if conifer else 1.0)
    lumps[:, 2] = np.maximum(top_m * (1 - 0.7 * fall) * generator.uniform(0.85, 1.05, number) - lumps[:, 3], 0.1)
    lumps[:, 4] = generator.normal(1, 0.11, number)
    base = generator.uniform(0.75, 1.2)
    return Tree(lumps, (58 * base, 72 * base, 50 * base) if conifer else _leaf_colour(generator))


def trim_hedge(generator: np.random.Generator, middles: NDArray[np.float64], radius_m: float) -> Tree:
    """A row of low lumps with their middles at points (N, 2)."""
    number = len(middles)
    tops, tones = generator.uniform(0.7, 1.1, number), generator.normal(1, 0.1, number)
    radii = radius_m * generator.uniform(0.75, 1.15, number)
    return Tree(np.column_stack((middles, tops, radii, tones)), _leaf_colour(generator))


def _leaf_colour(generator: np.random.Generator) -> Colour:
    base = generator.uniform(0.75, 1.2)
    return (generator.uniform(62, 96) * base, generator.uniform(84, 104) * base, generator.uniform(46, 62) * base)


def park(generator: np.random.Generator, at: tuple[float, float], direction_deg: float) -> list[Patch]:
    """A car whose middle is `at`, about along a direction counterclockwise from east."""
    long, wide, tall = generator.uniform(3.9, 4.8), generator.uniform(1.75, 1.95), generator.uniform(1.3, 1.6)
    turn = direction_deg + (180 if generator.random() < 0.5 else 0) + generator.normal(0, 2)
    colour = CAR_COLOURS[generator.integers(len(CAR_COLOURS))]

    def box(start: float, end: float, half: float, corner: float) -> Polygon:
        shape = shapely.box(start + corner, -half + corner, end - corner, half - corner).buffer(corner, quad_segs=3)
        return affinity.translate(affinity.rotate(shape, turn, origin=(0, 0)), *at)

    return [
        Patch("paint", box(-long / 2, long / 2, wide / 2, 0.35), colour, 0.9),
        Patch("paint", box(-0.36 * long, 0.22 * long, 0.43 * wide, 0.2), (44.0, 50.0, 56.0), tall - 0.1),
        Patch("paint", box(-0.25 * long, 0.08 * long, 0.4 * wide, 0.05), colour, tall),
    ]


def draw_cover(generator: np.random.Generator, tile_weights: NDArray[np.float64], form: str) -> Cover:
    """A material for a roof of one of the forms; `tile_weights` (N,) says how often each of TILE_COLOURS occurs."""
    if form == "flat":
        kind, colours = ("gravel" if generator.random() < 0.6 else "felt"), FLAT_COLOURS
    elif generator.random() < 0.1:
        kind, colours = "metal", METAL_COLOURS
    else:
        kind, colours = "tiles", TILE_COLOURS
    index = generator.choice(len(colours), p=tile_weights if kind == "tiles" else None)
    red, green, blue = np.array(colours[index]) * generator.normal(1, 0.07) * generator.normal(1, 0.025, 3)
    return Cover(kind, (float(red), float(green), float(blue)))
