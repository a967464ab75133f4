"""Layers of a synthetic landscape as a radar's backscatter: fields, forest, relief, water, roads, cities and sea."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millrace.compression.sample_texture import (
    PARCEL_IDS,
    Generator,
    Plane,
    contour_distance,
    coverage,
    districts,
    fractal,
    grid,
    log_uniform,
    parcels,
)

OVERVIEW_M = 40.0
"""From this pixel spacing on, parcels and streets are too small to be seen one by one."""
MAX_DISPLACEMENT_PX = 40


class Landscape:
    """A canvas of backscatter that layers are painted on, the later over the earlier."""

    def __init__(self, generator: Generator, shape: tuple[int, int], spacing_m: float) -> None:
        self.generator = generator
        self.shape = shape
        self.spacing_m = spacing_m
        self.overview = spacing_m >= OVERVIEW_M
        self.decibels: NDArray[np.float32] = np.zeros((2, *shape), np.float32)
        """VV and VH, (2, H, W)."""
        self.texture: Plane = np.ones(shape, np.float32)
        """How much of the natural texture each pixel shows."""
        self.points = np.zeros((2, *shape), np.complex64)
        self.displacement_px: Plane = np.zeros(shape, np.float32)

    def paint(self, share: Plane | NDArray[np.bool_], vv: Plane | float, vh: Plane | float, texture: float) -> None:
        """Cover a `share` (H, W; 0 to 1) of each pixel with backscatter `vv` and `vh` in dB."""
        share = share.astype(np.float32)
        for band, value in zip(self.decibels, (vv, vh), strict=True):
            band += share * (np.asarray(value, np.float32) - band)
        self.texture += share * (np.float32(texture) - self.texture)

    def px(self, low_m: float, high_m: float) -> float:
        """A length between two, drawn log-uniformly, in pixels."""
        return log_uniform(self.generator, low_m, high_m) / self.spacing_m

    def patches(self, share: float, outer_px: float, exponent: float = 3.2, inner_px: float = 0.0) -> Plane:
        """Soft-edged fractal patches, often of about `outer_px`, that cover about `share` of the scene, 0 to 1."""
        field = fractal(self.generator, self.shape, exponent, outer_px, inner_px)
        level = np.float32(np.quantile(field[::4, ::4], 1 - share))
        slope = np.float32(log_uniform(self.generator, *((0.5, 6) if self.overview else (1, 12))))
        soft: Plane = np.clip((field - level) * slope + np.float32(0.5), 0, 1)
        return soft

    def open_land(self) -> None:
        """Grass, heath or savanna: one mean, broken by large patches of another."""
        vv = self.generator.uniform(-12.5, -7.5)
        vh = vv - self.generator.uniform(5, 7.5)
        self.paint(np.ones(self.shape, np.float32), vv, vh, 1.0)
        other = vv + self.generator.normal(0, 1.5)
        share = self.generator.uniform(0.1, 0.5)
        outer = max(self.px(2000, 20000), 80)
        self.paint(self.patches(share, outer), other, other - self.generator.uniform(5, 9), 1.0)
        region = fractal(self.generator, self.shape, 3.5, 1000, 2.0)
        spread = log_uniform(self.generator, *((0.1, 2.5) if self.overview else (0.1, 1.2)))
        self.decibels[0] += np.float32(spread) * region
        self.decibels[1] += np.float32(spread * self.generator.uniform(0.8, 1.6)) * region

    def fields(self) -> None:
        """Parcels with different crops, some ploughed or sown in rows, between tracks and hedges."""
        generator = self.generator
        district = districts(generator, self.shape, int(generator.integers(1, 9)), self.px(100, 800))
        width = self.px(60, 350)
        plot = parcels(generator, district, width, width * generator.uniform(1.2, 4))
        contrast = generator.uniform(0.8, 3.2)
        vv = generator.normal(generator.uniform(-13, -9.5), contrast, PARCEL_IDS).astype(np.float32)
        vh = vv - generator.normal(7.5, 0.6 * contrast, PARCEL_IDS).astype(np.float32)
        crop_vv, crop_vh = vv[plot.number], vh[plot.number]
        depth = np.where(generator.random(PARCEL_IDS) < 0.3, generator.exponential(0.8, PARCEL_IDS), 0)
        frequency = 2 * np.pi / generator.uniform(2.5, 8, PARCEL_IDS)
        rows = np.sin(frequency.astype(np.float32)[plot.number] * plot.across_px)
        rows *= depth.astype(np.float32)[plot.number]
        self.paint(np.ones(self.shape, np.float32), crop_vv + rows, crop_vh + rows, generator.uniform(0.3, 1))
        border = coverage(plot.edge_px, generator.uniform(0.2, 1.5))
        level = generator.uniform(-15, -8)
        self.paint(border * generator.uniform(0.2, 0.9), level, level - 6, 1.0)

    def forest(self, share: float) -> None:
        vv = self.generator.uniform(-9.5, -6.5)
        outer = max(self.px(600, 8000), 80 if self.overview else 40)
        self.paint(self.patches(share, outer), vv, vv - self.generator.uniform(4.5, 6.5), 1.3)

    def relief(self, strength: float) -> None:
        """Mountains over part of the scene, which displace the ground; slopes away from the radar are darker.

        `strength` is the standard deviation of the displacement's slope: at 1, foreshortening becomes layover.
        """
        generator = self.generator
        inner = generator.uniform(0.4, 1.2) if self.overview else generator.uniform(0.8, 2.5)
        angle = generator.uniform(-0.6, 0.6)
        stretch = log_uniform(generator, 1.0, 3.0)
        outer = self.px(3000, 15000)
        height = fractal(generator, self.shape, generator.uniform(3.2, 4.0), outer, inner, stretch, angle)
        if generator.random() < 0.6:  # sharp crests where the field crosses zero
            ridge = fractal(generator, self.shape, generator.uniform(3.4, 4.0), outer / 2, inner, stretch, angle)
            height -= np.float32(generator.uniform(0.5, 2)) * np.abs(ridge)
        area = self.patches(generator.uniform(0.2, 0.9), max(3 * outer, 150), 3.6, 6)
        displacement: Plane = height * area
        slope: Plane = np.gradient(displacement, axis=1)
        scale = np.float32(strength / max(float(slope[area > 0.5].std()), 1e-6)) if (area > 0.5).any() else 0
        self.displacement_px += np.clip(displacement * scale, -MAX_DISPLACEMENT_PX, MAX_DISPLACEMENT_PX)
        self.decibels += np.tanh(slope * scale) * np.float32(generator.uniform(0.5, 4))

    def water(self, share: Plane | NDArray[np.bool_]) -> None:
        vv = self.generator.uniform(-23, -15)
        self.paint(share, vv, min(vv - 5, -24.0), 0.25)

    def lakes(self, share: float) -> None:
        """Ponds, reservoirs, flooded ground: fractal shores."""
        self.water(self.patches(share, max(self.px(500, 6000), 40), self.generator.uniform(2.4, 3.6), 0.4))

    def valleys(self) -> None:
        """Branching reservoirs: flooded valleys of a fractal terrain in a few places."""
        valley = fractal(self.generator, self.shape, self.generator.uniform(2.6, 3.4), self.px(3000, 9000), 0.5)
        flooded = self.patches(log_uniform(self.generator, 0.005, 0.08), 60)
        self.water(coverage(contour_distance(valley, 0), self.generator.uniform(1, 3)) * flooded)

    def rivers(self, count: int) -> None:
        """Courses that cross the scene: contours of a fractal on a slope."""
        rows, columns = grid(self.shape)
        for _ in range(count):
            angle = self.generator.uniform(0, 2 * np.pi)
            ramp = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
            bends = fractal(
                self.generator, self.shape, self.generator.uniform(3.6, 5), max(self.px(1500, 20000), 60), 1.5
            )
            course: Plane = np.float32(log_uniform(self.generator, 4, 25) / max(self.shape)) * ramp + bends
            width = float(np.clip(self.px(10, 250), 0.4, 12))
            level = np.quantile(course[::4, ::4], self.generator.uniform(0.15, 0.85))
            self.water(coverage(contour_distance(course, float(level)), width))

    def roads(self, count: int) -> None:
        """Thin smooth surfaces, dark; some with banks or rails, bright."""
        rows, columns = grid(self.shape)
        for _ in range(count):
            if self.generator.random() < 0.5:
                bend = fractal(self.generator, self.shape, 5, self.px(4000, 40000), 4.0)
                distance = contour_distance(bend, self.generator.normal(0, 0.6))
            else:
                angle = self.generator.uniform(0, np.pi)
                row, column = (self.generator.uniform(0, side) for side in self.shape)
                distance = np.abs(
                    (columns - np.float32(column)) * np.float32(np.sin(angle))
                    - (rows - np.float32(row)) * np.float32(np.cos(angle))
                )
            vv = self.generator.uniform(-20, -15) if self.generator.random() < 0.8 else self.generator.uniform(-7, -3)
            width = float(np.clip(self.px(8, 30), 0.2, 2.5))
            self.paint(coverage(distance, width), vv, vv - 6.5, 0.3)

    def city(self, share: float, outer_m: float) -> None:
        """Blocks between streets, double-bounce lines at walls that face the radar, and bright point targets."""
        generator = self.generator
        built = self.patches(share, outer_m / self.spacing_m, 2.6)
        if not self.overview:
            district = districts(generator, self.shape, int(generator.integers(2, 12)), 20)
            block = self.px(60, 250)
            plot = parcels(generator, district, block, block * generator.uniform(1, 2))
            spread = generator.uniform(2, 4.5)
            vv = generator.normal(generator.uniform(-8, -4), spread, PARCEL_IDS).astype(np.float32)[plot.number]
            bounce = generator.exponential(4.5, PARCEL_IDS).astype(np.float32)[plot.number]
            wall = (plot.near_px > 0.7) & (plot.near_px < 2.2)
            vv += bounce * wall
            vv += (generator.uniform(-15, -10) - vv) * coverage(plot.edge_px, generator.uniform(0.5, 2.5))
        else:
            vv = generator.uniform(-8, -3) + np.zeros(self.shape, np.float32)
        clutter = generator.exponential(1, self.shape).astype(np.float32) - 1
        vv = vv + np.float32(generator.uniform(0.5, 3)) * clutter
        self.paint(built, vv, vv - generator.uniform(5.5, 8), 0.5)
        self.targets(built * np.float32(log_uniform(generator, 0.003, 0.05)), generator.uniform(-2, 3))

    def targets(self, density: Plane | float, decibels: float) -> None:
        """Corner reflectors: `density` of them a pixel, exponentially brighter than `decibels`."""
        there = self.generator.random(self.shape, dtype=np.float32) < density
        count = int(there.sum())
        bright = decibels + self.generator.exponential(5.0, count)
        for band, loss in enumerate((0.0, self.generator.uniform(5, 9))):
            phase = self.generator.uniform(0, 2 * np.pi, count)
            level = np.minimum(bright - loss + self.generator.normal(0, 1, count), 14)
            self.points[band][there] = 10 ** (level / 20) * np.exp(1j * phase)

    def sea(self, share: float) -> None:
        """Water on one side of a fractal shore: wind, swell, slicks, surf and a few ships."""
        generator = self.generator
        rows, columns = grid(self.shape)
        angle = generator.uniform(0, 2 * np.pi)
        ramp = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
        rough = fractal(generator, self.shape, generator.uniform(3.2, 4.5), max(self.px(3000, 30000), 100), 0.4)
        shore = ramp + rough * np.float32(log_uniform(generator, 0.01, 0.3) * max(self.shape))
        level = np.float32(np.quantile(shore[::4, ::4], share))
        wet = np.clip(level - shore + np.float32(0.5), 0, 1)
        if share < 1 and generator.random() < 0.5:  # beach ridges, dunes, lagoons and marsh along the shore
            reach = max(self.px(200, 8000), 8)
            steps = np.cumsum(generator.normal(0, 1, 32)) * np.linspace(1, 0, 32)
            profile = generator.uniform(0.5, 2.5) * np.interp(shore - level, np.linspace(0, reach, 32), steps, 0, 0)
            self.decibels += profile.astype(np.float32)

        vv = generator.uniform(-21, -13) + np.zeros(self.shape, np.float32)
        wind = generator.uniform(0, np.pi)
        gusts = fractal(
            generator,
            self.shape,
            generator.uniform(2.6, 3.6),
            self.px(4000, 40000),
            0.7,
            log_uniform(generator, 1, 6),
            wind,
        )
        vv += np.float32(log_uniform(generator, 0.2, 1.8)) * gusts
        if not self.overview:
            length = self.px(80, 300)
            along = columns * np.float32(np.cos(wind)) + rows * np.float32(np.sin(wind))
            drift = 2 * fractal(generator, self.shape, 4, 100)
            vv += np.float32(generator.uniform(0, 1)) * np.sin(np.float32(2 * np.pi / length) * along + drift)
        if generator.random() < 0.3:
            vv -= np.float32(generator.uniform(2, 6)) * self.patches(generator.uniform(0.02, 0.2), self.px(1000, 9000))
        vh = np.minimum(vv - generator.uniform(7, 10), -22)
        self.paint(wet, vv, vh, 0.1)
        self.points *= 1 - wet
        self.displacement_px *= np.clip((shore - level) / 30, 0, 1)
        if share < 1:
            surf = coverage(np.abs(shore - level), generator.uniform(0.5, 2)) * generator.uniform(0, 0.8)
            self.paint(surf, generator.uniform(-10, -5), -16, 0.5)
        self.targets(wet * np.float32(generator.uniform(0, 4e-5)), 3)

    def natural_texture(self) -> None:
        """What no layer explains: variation at all scales, most of it common to both bands."""
        generator = self.generator
        strength = log_uniform(generator, *((0.4, 1.8) if self.overview else (0.2, 1.6)))
        exponent = generator.uniform(0.8, 2.4 if self.overview else 3.0)
        common = fractal(generator, self.shape, exponent, max(self.px(500, 8000), 30))
        shared = generator.uniform(0.75, 0.97)
        own = fractal(generator, self.shape, generator.uniform(0.8, 2.2), max(self.px(500, 8000), 30))
        fine = generator.standard_normal(self.shape, dtype=np.float32)
        grain = np.float32(log_uniform(generator, 0.1, 0.8))
        self.decibels[0] += self.texture * (np.float32(strength) * common + grain * fine)
        mixed = np.float32(shared) * common + np.float32(np.sqrt(1 - shared**2)) * own
        self.decibels[1] += self.texture * (np.float32(strength * generator.uniform(0.6, 1.1)) * mixed + grain * fine)
