"""Synthetic landscapes: which layers make up a scene, at full resolution and in overviews."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millrace.compression.sample_layers import Landscape
from millrace.compression.sample_texture import Generator, Plane, log_uniform

THEMES = {"farmland": 4, "coast": 5, "city": 3, "relief": 4, "wetland": 3, "forest": 5, "sea": 1}
"""Kinds of scene and how often each is drawn."""
OVERVIEW_THEMES = {"coast": 5, "relief": 6, "plain": 3, "wetland": 1, "sea": 1}


@dataclass(frozen=True)
class Ground:
    decibels: NDArray[np.float32]
    """Mean backscatter of VV and VH, (2, H, W), dB."""
    points: NDArray[np.complex64]
    """Coherent point targets, (2, H, W), in the square root of power."""
    displacement_px: Plane
    """How far relief shifts the ground towards the radar, (H, W)."""


def draw_ground(generator: Generator, shape: tuple[int, int], spacing_m: float) -> Ground:
    """A landscape of a random theme, (H, W) of `shape`."""
    land = Landscape(generator, shape, spacing_m)
    themes = OVERVIEW_THEMES if land.overview else THEMES
    weights = np.array(list(themes.values()), float)
    theme = str(generator.choice(list(themes), p=weights / weights.sum()))
    land.open_land()
    if theme != "sea":
        draw = _draw_overview if land.overview else _draw_close_up
        draw(land, theme)
    if theme in ("coast", "sea"):
        land.sea(1.0 if theme == "sea" else generator.uniform(0.1, 0.75))
    land.natural_texture()
    return Ground(land.decibels, land.points, land.displacement_px)


def _draw_close_up(land: Landscape, theme: str) -> None:
    """Where a pixel is smaller than a house block."""
    generator = land.generator
    if theme in ("farmland", "city") or (theme in ("coast", "relief") and generator.random() < 0.4):
        land.fields()
    land.forest(generator.uniform(0.5, 0.98) if theme == "forest" else generator.uniform(0, 0.3))
    if theme == "relief" or (theme in ("coast", "forest") and generator.random() < 0.3):
        land.relief(log_uniform(generator, 0.08, 0.7))
    if theme == "wetland":
        land.lakes(generator.uniform(0.1, 0.5))
    elif generator.random() < 0.3:
        land.lakes(log_uniform(generator, 0.003, 0.05))
    land.rivers(int(generator.integers(0, 3)))
    if generator.random() < 0.1:
        land.valleys()
    if theme == "city":
        land.city(generator.uniform(0.3, 0.95), 4000)
    elif theme in ("farmland", "coast", "relief") and generator.random() < 0.5:
        land.city(log_uniform(generator, 0.003, 0.05), 2000)
    land.roads(int(generator.integers(0, 5)))


def _draw_overview(land: Landscape, theme: str) -> None:
    """Where a pixel is larger: regions, mountains, rivers, and towns as bright spots."""
    generator = land.generator
    land.forest(generator.uniform(0, 0.3))
    if theme == "relief" or generator.random() < 0.3:
        land.relief(log_uniform(generator, 0.1, 0.7))
    land.lakes(generator.uniform(0.05, 0.3) if theme == "wetland" else log_uniform(generator, 0.001, 0.02))
    land.rivers(int(generator.integers(0, 4)))
    if generator.random() < 0.5:
        land.valleys()
    if generator.random() < 0.6:
        land.city(log_uniform(generator, 0.001, 0.03), 6000)
