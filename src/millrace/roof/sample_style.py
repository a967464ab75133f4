"""What the houses and gardens of one place have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millrace.roof.sample_scene import TILE_COLOURS
from millrace.roof.sample_superstructures import Colour


@dataclass(frozen=True)
class Style:
    """How often which houses and materials occur.

    Attributes:
        forms: Share of each form of roof.
        tile_weights: Share of each of `TILE_COLOURS`.
        lawn: Colour of grass.
        paving: Colour of drives and terraces.
        trees: How many there are, 1 as usual.
        plot_m: Least and largest width of a plot.
    """

    forms: dict[str, float]
    tile_weights: NDArray[np.float64]
    lawn: Colour
    paving: Colour
    trees: float
    plot_m: tuple[float, float]


def draw_style(generator: np.random.Generator) -> Style:
    """A village of gables, a suburb of hipped and gabled houses, or a mixed quarter with flat roofs."""
    forms = (
        {"gable": 0.56, "half-hip": 0.1, "hip": 0.1, "L": 0.1, "T": 0.06, "flat": 0.04, "shed": 0.04},
        {"gable": 0.28, "half-hip": 0.06, "hip": 0.34, "L": 0.16, "T": 0.06, "flat": 0.06, "shed": 0.04},
        {"gable": 0.3, "half-hip": 0.04, "hip": 0.16, "L": 0.1, "T": 0.05, "flat": 0.25, "shed": 0.1},
    )[generator.choice(3, p=(0.45, 0.35, 0.2))]
    weights = generator.dirichlet(np.full(len(TILE_COLOURS), 0.7))
    green, dry = generator.uniform(0.96, 1.12), generator.uniform(0, 1)
    lawn = (76 + 38 * dry, (97 + 14 * dry) * green, 57 + 20 * dry)
    tone = generator.uniform(0.85, 1.15)
    paving = (146 * tone, 142 * tone, 136 * tone)
    return Style(forms, weights, lawn, paving, generator.uniform(0.5, 1.6), (12.5, 18 + 6 * generator.random()))
