"""Synthetic scenes: a photograph, and everything that is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millrace.roof import sample_roofs
from millrace.roof.classes import background_class, flat_class
from millrace.roof.sample_layout import settle
from millrace.roof.sample_render import Sun, photograph
from millrace.roof.sample_scene import Settlement
from millrace.roof.sample_surface import Grid, superstructures, survey
from millrace.roof.scene import Lines

AZIMUTHS = 16
SUN_AZIMUTHS_DEG = (105.0, 255.0)
SUN_ELEVATIONS_DEG = (28.0, 60.0)


@dataclass(frozen=True)
class Truth:
    """A scene; the rasters are (H, W), with the values of `classes`.

    Attributes:
        image: RGB (H, W, 3).
        segments: Of 16 azimuths.
        superstructures: Of the roofs; nothing else is labelled.
        roof: 1 on a roof.
        lines: Of all roofs that the picture shows some of, in pixels.
        height: Metres above the ground, with trees and all.
        faces: Of the same roofs, in metres.
        grid: Where the picture lies among them.
        sun: Where the light came from.
    """

    image: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    superstructures: NDArray[np.uint8]
    roof: NDArray[np.uint8]
    lines: Lines
    height: NDArray[np.float32]
    faces: tuple[sample_roofs.Face, ...]
    grid: Grid
    sun: Sun


def make_scene(
    seed: Sequence[int], size_px: int, pixel_m: float, *, centred: bool = False, south: bool = False
) -> Truth:
    """Draw a scene; it depends on the arguments alone.

    Args:
        seed: Of its random numbers.
        size_px: Side of the picture.
        pixel_m: Side of a pixel in metres.
        centred: With a house in the middle.
        south: Of the earth's southern half, where the sun stands in the north.
    """
    generator = np.random.default_rng(seed)
    place = settle(generator, size_px * pixel_m, centred)
    grid = Grid.around(place.centre, size_px, pixel_m)
    azimuth = generator.uniform(*SUN_AZIMUTHS_DEG)
    sun = Sun(180 - azimuth if south else azimuth, generator.uniform(*SUN_ELEVATIONS_DEG))
    image, shaded = photograph(generator, place, grid, sun)
    surface = survey(place, grid)
    shown = _shown(place, surface.face)
    everything = [face for building in place.buildings for face in building.faces]
    return Truth(
        image=image,
        segments=_segments(everything, surface.face),
        superstructures=superstructures(place, surface, shaded),
        roof=(surface.face >= 0).astype(np.uint8),
        lines=_lines([line for number in shown for line in place.buildings[number].lines], grid),
        height=surface.height,
        faces=tuple(face for number in shown for face in place.buildings[number].faces),
        grid=grid,
        sun=sun,
    )


def segment_class(face: sample_roofs.Face) -> int:
    """Class of a face among 16 azimuths and `flat`."""
    return flat_class(AZIMUTHS) if face.azimuth is None else round(face.azimuth * AZIMUTHS / 360) % AZIMUTHS


def _segments(faces: Sequence[sample_roofs.Face], number: NDArray[np.int32]) -> NDArray[np.uint8]:
    table = np.array([*(segment_class(face) for face in faces), background_class(AZIMUTHS)], np.uint8)
    return table[number]  # -1 is the last one


def _shown(place: Settlement, number: NDArray[np.int32]) -> list[int]:
    """Buildings of which some pixel is in the picture."""
    present = np.unique(number[number >= 0])
    first = np.cumsum([0, *(len(building.faces) for building in place.buildings)])
    return sorted(set((np.searchsorted(first, present, side="right") - 1).tolist()))


def _lines(lines: Sequence[sample_roofs.Line], grid: Grid) -> Lines:
    ends = [(*grid.pixel(*line.start), *grid.pixel(*line.end)) for line in lines]
    return Lines(np.array([line.kind for line in lines], np.uint8), np.array(ends, np.float64).reshape(-1, 4))
