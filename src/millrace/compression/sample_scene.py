"""One synthetic SAR scene: a landscape seen by a sensor at some pixel spacing, as amplitudes in digital numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from millrace.compression.sample_ground import draw_ground
from millrace.compression.sample_speckle import Sensor, detect, project
from millrace.compression.sample_texture import Generator, grid, log_uniform

MARGIN_PX = 48
"""Drawn around a scene and cut off: fields wrap at the edges, and relief moves ground across them."""
DIGITAL_NUMBER = 600.0
"""Amplitude, in digital numbers, of a backscatter of 0 dB in a scene of mean exposure."""
OVERVIEW_SHARE = 0.35
"""Of scenes that are drawn at a reduced resolution, as quick looks and overviews are."""


@dataclass(frozen=True)
class SceneArrays:
    amplitude: NDArray[np.float32]
    """(bands, H, W), digital numbers before rounding; VV, then VH; 0 where not valid."""
    valid: NDArray[np.bool_]
    """(H, W)."""
    geocoded: bool
    """Whether the scene lies on a map grid; if not, its rows and columns are azimuth and range."""
    spacing_m: float


def scene(random: np.random.SeedSequence | Generator, size_px: int, looks: float = 4.4, bands: int = 2) -> SceneArrays:
    """Draw a scene of `size_px` by `size_px` of a random theme, with speckle, point targets and perhaps a border.

    Args:
        random: The same seed gives the same scene, and the same VV for 1 and 2 bands.
        size_px: Height and width.
        looks: Equivalent number of looks of a full-resolution product, 1 or more. Scenes have up to 1.4 times as many,
            multilooked ones up to 8 times, and those at reduced resolution 5 to 60 times.
        bands: 1 for VV, 2 for VV and VH.
    """
    if bands not in (1, 2):
        raise ValueError(f"a scene has 1 or 2 bands, not {bands}")
    generator = np.random.default_rng(random)
    speckle_seeds = generator.integers(2**63, size=2)  # SeedSequence.spawn would change the caller's object
    side = fft.next_fast_len(size_px + 2 * MARGIN_PX, real=True)
    overview = generator.random() < OVERVIEW_SHARE
    if overview:
        spacing = float(round(log_uniform(generator, 60, 250)))
    else:
        spacing = float(generator.choice((10.0, 20.0), p=(0.75, 0.25)))
    geocoded = bool(generator.random() < (0.3 if overview else 0.75))
    sensor = _draw_sensor(generator, looks, overview)
    ground = draw_ground(generator, (side, side), spacing)

    noise = 10 ** (generator.uniform(-30, -23) / 10)
    power: NDArray[np.float32] = np.power(np.float32(10), ground.decibels[:bands] / 10)
    if overview:  # incidence angle
        power *= 10 ** np.linspace(0, generator.uniform(-0.3, 0.1), side, dtype=np.float32)
    if ground.displacement_px.any():
        power = project(power, ground.displacement_px)
    power += np.float32(noise)

    exposure = DIGITAL_NUMBER * np.exp(generator.normal(0, 0.15))
    blur = generator.uniform(*((0, 0.1) if overview else (0.08, 0.25))) if geocoded else 0.0
    valid = _footprint(generator, size_px, geocoded)
    cut = slice(MARGIN_PX, MARGIN_PX + size_px)
    amplitude = np.empty((bands, size_px, size_px), np.float32)
    for band, seed in enumerate(speckle_seeds[:bands]):
        intensity = detect(np.random.default_rng(seed), power[band], ground.points[band], sensor)
        if blur > 0:  # resampling to the map
            for axis in (0, 1):
                intensity = ndimage.correlate1d(intensity, (blur, 1 - 2 * blur, blur), axis)
        amplitude[band] = exposure * np.sqrt(intensity[cut, cut])
    amplitude *= valid
    return SceneArrays(amplitude, valid, geocoded, spacing)


def _draw_sensor(generator: Generator, looks: float, overview: bool) -> Sensor:
    """An overview averages many pixels: many looks, hardly correlated. Others are oversampled, or multilooked."""
    if overview:
        factor, bandwidth = log_uniform(generator, 5, 60), generator.uniform(0.85, 1.4, 2)
    elif generator.random() < 0.15:
        factor, bandwidth = log_uniform(generator, 1.5, 8), generator.uniform(0.55, 1.1, 2)
    else:
        factor, bandwidth = log_uniform(generator, 1, 1.4), generator.uniform(0.42, 0.72, 2)
    taper = generator.uniform(0.6, 0.95, 2)
    return Sensor(looks * factor, (bandwidth[0], bandwidth[1]), (taper[0], taper[1]))


def _footprint(generator: Generator, side: int, geocoded: bool) -> NDArray[np.bool_]:
    """Where there are data (side, side): slanted edges on a map, ragged borders in range before geocoding."""
    rows, columns = grid((side, side))
    valid = np.ones((side, side), np.bool_)
    if generator.random() < 0.5:
        return valid
    if geocoded:
        angle = generator.uniform(0.05, 0.3) * generator.choice((-1, 1))
        for turn in generator.permutation(4)[: generator.integers(1, 3)]:
            direction = angle + turn * np.pi / 2
            reach = (columns - side / 2) * np.cos(direction) + (rows - side / 2) * np.sin(direction)
            valid &= reach < side * generator.uniform(0.3, 0.5)
        return valid
    for border in generator.permutation(2)[: generator.integers(1, 3)]:
        step = np.cumsum(generator.random(side) < 0.01) % 4
        width = generator.integers(2, max(3, side // 16)) + step[:, None]
        valid &= columns >= width if border == 0 else columns < side - width
    return valid
