"""A synthetic settlement: which houses stand where, and the streets, gardens, trees and cars around them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from millrace.roof.sample_roofs import (
    Polygon,
    Wing,
    annex,
    assemble,
    make_wings,
    outline,
    placed,
    roof_lines,
)
from millrace.roof.sample_scene import (
    Building,
    Cover,
    Patch,
    Settlement,
    draw_cover,
    grow,
    park,
    trim_hedge,
)
from millrace.roof.sample_style import draw_style
from millrace.roof.sample_superstructures import Slope, furnish

MARGIN_M = 9.0
SMALLEST_M = 34.0
"""Half the side of a settlement that is sure to have a house."""


def settle(generator: np.random.Generator, extent_m: float, centred: bool) -> Settlement:
    """A settlement that covers a square of `extent_m` and a margin; `centred`: with a house in the middle."""
    return _Builder(generator, extent_m, centred).build()


class _Builder:
    def __init__(self, generator: np.random.Generator, extent_m: float, centred: bool) -> None:
        self.generator = generator
        self.style = draw_style(generator)
        half_m = extent_m / 2 + MARGIN_M
        self.half_m = max(half_m + MARGIN_M, SMALLEST_M) if centred else half_m
        self.centred = centred
        self.turn_deg = generator.uniform(0, 360)
        self.bend_m, self.wave_m = generator.uniform(0, 5), generator.uniform(120, 260)
        self.phase = generator.uniform(0, 2 * math.pi)
        self.place = Settlement()
        self.taken: list[Polygon] = []
        self.houses: list[Building] = []

    def build(self) -> Settlement:
        generator, reach = self.generator, 1.5 * self.half_m
        self.place.patches.append(Patch("grass", shapely.box(*(-4 * reach,) * 2, *(4 * reach,) * 2), self.style.lawn))
        width_m = generator.uniform(5.5, 8.0)
        depth_m = generator.uniform(19, 26)
        pitch = width_m + 2 * depth_m
        across = np.arange(-math.ceil(reach / pitch), math.ceil(reach / pitch) + 1) * pitch + generator.uniform(
            0, pitch
        )
        for offset in across:
            self._street(float(offset), width_m, reach)
        for offset in across:
            for side in (-1, 1):
                self._plots(float(offset), side, width_m, depth_m, reach)
        if self.centred:
            self.place.centre = self._middle()
        self._wild_trees(reach)
        return self.place

    def _at(self, along: float, across: float) -> tuple[float, float]:
        """From the bent frame of the streets to metres east and north."""
        bent = across + self.bend_m * math.sin(2 * math.pi * along / self.wave_m + self.phase)
        angle = math.radians(self.turn_deg)
        return (
            math.cos(angle) * along - math.sin(angle) * bent,
            math.sin(angle) * along + math.cos(angle) * bent,
        )

    def _direction(self, along: float) -> float:
        """Of the street, in degrees counterclockwise from east."""
        rate = 2 * math.pi / self.wave_m
        return self.turn_deg + math.degrees(math.atan(self.bend_m * rate * math.cos(rate * along + self.phase)))

    def _band(self, start: float, end: float, low: float, high: float) -> Polygon:
        steps = np.linspace(start, end, max(2, int(abs(end - start) / 4) + 1))
        lower = [self._at(float(step), low) for step in steps]
        upper = [self._at(float(step), high) for step in steps[::-1]]
        return shapely.Polygon(lower + upper)

    def _within(self, x: float, y: float) -> bool:
        return max(abs(x), abs(y)) < self.half_m

    def _street(self, across: float, width_m: float, reach: float) -> None:
        generator, patches = self.generator, self.place.patches
        half = width_m / 2
        tone = generator.uniform(84, 132)
        kerb = generator.uniform(1.2, 2.2)
        if generator.random() < 0.8:
            walk = generator.uniform(132, 172)
            patches.append(
                Patch(
                    "paving",
                    self._band(-reach, reach, across - half - kerb, across + half + kerb),
                    (walk, walk, 0.96 * walk),
                )
            )
        street = self._band(-reach, reach, across - half, across + half)
        patches.append(Patch("asphalt", street, (tone, tone, 1.02 * tone)))
        self.taken.append(street.buffer(1.0))
        if generator.random() < 0.35:
            for start in np.arange(-reach, reach, 6.0):
                patches.append(
                    Patch("asphalt", self._band(start, start + 2.5, across - 0.07, across + 0.07), (206, 206, 202))
                )
        for along in np.arange(-reach, reach, 7.0):
            if generator.random() < 0.16:
                lane = across + generator.choice((-1, 1)) * (half - 1.2)
                self._car(self._at(float(along), float(lane)), self._direction(float(along)))

    def _car(self, at: tuple[float, float], direction_deg: float) -> None:
        if self._within(*at):
            self.place.patches += park(self.generator, at, direction_deg)

    def _plots(self, across: float, side: int, width_m: float, depth_m: float, reach: float) -> None:
        generator = self.generator
        along = -reach + generator.uniform(0, 10)
        while along < reach:
            plot_m = generator.uniform(*self.style.plot_m)
            near, far = across + side * (width_m / 2 + 2.2), across + side * (width_m / 2 + depth_m)
            if self._within(*self._at(along + plot_m / 2, (near + far) / 2)):
                self._plot(along, along + plot_m, near, far, side)
            along += plot_m

    def _plot(self, start: float, end: float, near: float, far: float, side: int) -> None:
        generator, patches = self.generator, self.place.patches
        tint = generator.normal(1, 0.12)
        green = generator.normal(1, 0.03)
        lawn = self.style.lawn
        colour = (lawn[0] * tint, lawn[1] * tint * green, lawn[2] * tint)
        patches.append(Patch("grass", self._band(start, end, near, far), colour))
        if generator.random() < 0.5:
            self._hedge((start, near), (start, far))
        if generator.random() < 0.35:
            self._hedge((start, far), (end, far))
        if generator.random() < 0.2:
            self._hedge((start, near), (start + generator.uniform(0.3, 0.6) * (end - start), near))
        house = self._house(start, end, near, far, side) if generator.random() < 0.93 else None
        if house is not None:
            self._surroundings(house, start, end, near, side)
        if generator.random() < 0.35:
            self._shed(
                (start + end) / 2 + generator.uniform(-0.35, 0.35) * (end - start), far - side * generator.uniform(2, 5)
            )
        self._garden(start, end, near, far)
        for _ in range(generator.poisson(1.7 * self.style.trees)):
            at = self._at(generator.uniform(start, end), near + generator.uniform(0.02, 1) * (far - near))
            self._tree(at, generator.uniform(0.9, 1.6) if generator.random() < 0.45 else generator.uniform(1.6, 4.4))

    def _garden(self, start: float, end: float, near: float, far: float) -> None:
        """Beds with shrubs, a pool or a trampoline, and small things."""
        generator, patches = self.generator, self.place.patches

        def spot() -> tuple[float, float]:
            return self._at(generator.uniform(start + 1, end - 1), near + generator.uniform(0.1, 0.97) * (far - near))

        for _ in range(generator.poisson(1.3)):
            steps = np.cumsum(generator.normal(0, 1.3, (4, 2)), axis=0) + spot()
            bed = shapely.LineString(steps).buffer(generator.uniform(0.4, 1.1))
            soil = generator.uniform(0.75, 1.15)
            patches.append(Patch("soil", bed, (116 * soil, 98 * soil, 78 * soil)))
            for x, y in steps[generator.random(4) < 0.7]:
                self._tree((float(x), float(y)), generator.uniform(0.4, 0.9))
        if generator.random() < 0.07:
            size = shapely.box(-generator.uniform(1.5, 2.5), -3.5, 2.0, generator.uniform(0, 3.5))
            pool = affinity.translate(affinity.rotate(size, self._direction(start), origin=(0, 0)), *spot())
            patches.append(Patch("paving", pool.buffer(0.5, join_style="mitre"), (186, 180, 168)))
            patches.append(Patch("paint", pool, (88, 158, 172)))
        elif generator.random() < 0.15:
            disc = shapely.Point(spot()).buffer(generator.uniform(1.3, 2.0))
            patches.append(Patch("paint", disc, (66, 92, 128) if generator.random() < 0.5 else (70, 104, 70), 0.9))
            patches.append(Patch("paint", disc.buffer(-0.3), (38, 38, 42), 0.9))
        for _ in range(generator.poisson(2.0)):
            width_m, depth_m = generator.uniform(0.4, 1.6, 2)
            thing = affinity.rotate(shapely.box(0, 0, width_m, depth_m), generator.uniform(0, 360))
            tone, warm = generator.uniform(50, 225), generator.uniform(0.85, 1.0)
            colour = (tone, tone * (1 + warm) / 2, tone * warm)
            patches.append(Patch("paint", affinity.translate(thing, *spot()), colour, generator.uniform(0.3, 1.0)))

    def _hedge(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From one place to another of the frame of the streets."""
        generator = self.generator
        number, radius = int(math.dist(start, end) / 0.45) + 2, generator.uniform(0.45, 0.75)
        places = np.linspace(start, end, number) + generator.normal(0, 0.12, (number, 2))
        middles = np.array([self._at(float(along), float(across)) for along, across in places])
        self.place.trees.append(trim_hedge(generator, middles[self._distances(middles) > radius], radius))

    def _distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of points (N, 2) from the nearest roof."""
        plans = [building.plan for building in self.place.buildings]
        if not plans:
            return np.full(len(points), np.inf)
        apart: NDArray[np.float64] = shapely.distance(shapely.points(points)[:, None], np.array(plans)).min(axis=1)
        return apart

    def _house(self, start: float, end: float, near: float, far: float, side: int) -> Building | None:
        generator = self.generator
        form = str(generator.choice(list(self.style.forms), p=list(self.style.forms.values())))
        for _ in range(4):
            length_m, width_m = generator.uniform(9.5, 16.5), generator.uniform(7.2, 11.5)
            width_m = min(width_m, 0.92 * length_m)
            wings = make_wings(form, generator, length_m, width_m)
            if generator.random() < 0.22:
                wings.append(annex(wings[0], generator))
            along = (start + end) / 2 + generator.normal(0, 0.8)
            across = near + math.copysign(generator.uniform(0.32, 0.52) * abs(far - near), side)
            turn = self._direction(along) + 90 * int(generator.integers(4)) + generator.normal(0, 2)
            if generator.random() < 0.18:
                turn = generator.uniform(0, 360)
            cover, flat = (draw_cover(generator, self.style.tile_weights, each) for each in (form, "flat"))
            house = self._erect(wings, (cover, flat), turn, self._at(along, across), 1.2)
            if house is not None:
                self.houses.append(house)
                return house
        return None

    def _erect(
        self, wings: list[Wing], covers: tuple[Cover, ...], turn_deg: float, at: tuple[float, float], distance_m: float
    ) -> Building | None:
        """Build it where nothing is nearer than `distance_m`; None if it does not fit. One cover: with a bare roof."""
        generator = self.generator
        plan = affinity.translate(affinity.rotate(outline(wings), turn_deg, origin=(0, 0)), *at)
        inside = plan.within(shapely.box(-self.half_m, -self.half_m, self.half_m, self.half_m))
        if not inside or (shapely.distance(plan, self.taken) <= distance_m).any():
            return None
        local = assemble(wings)
        faces, lines = placed(local, roof_lines(wings, local), turn_deg, *at)
        ridge_m = max(face.height(x, y) for face in faces for x, y in shapely.get_coordinates(face.polygon))
        slopes = [Slope.of(face, turn_deg) for face in faces]
        zinc = (132.0, 138.0, 140.0) if generator.random() < 0.4 else None
        for slope in slopes if len(covers) > 1 else []:
            if slope.face.cover == 0 or generator.random() < 0.3:
                furnish(generator, slope, zinc, ridge_m)
        building = Building(
            tuple(faces),
            tuple(lines),
            covers,
            tuple(each for slope in slopes for each in slope.structures),
            tuple(each for slope in slopes for each in slope.decals),
            plan,
        )
        self.taken.append(plan)
        self.place.buildings.append(building)
        return building

    def _shed(self, along: float, across: float) -> None:
        """A small roof in the garden."""
        generator = self.generator
        form = str(generator.choice(("gable", "flat", "shed")))
        wings = make_wings(form, generator, generator.uniform(3.0, 6.0), generator.uniform(2.3, 2.9))
        lower = [replace(each, planes=tuple((a, b, c - 0.4) for a, b, c in each.planes)) for each in wings]
        turn = self._direction(along) + 90 * int(generator.integers(2))
        self._erect(lower, (draw_cover(generator, self.style.tile_weights, form),), turn, self._at(along, across), 0.6)

    def _surroundings(self, house: Building, start: float, end: float, near: float, side: int) -> None:
        """A drive from the street, a terrace, and perhaps a car."""
        generator, patches, paving = self.generator, self.place.patches, self.style.paving
        tone = generator.normal(1, 0.1)
        colour = (paving[0] * tone, paving[1] * tone, paving[2] * tone)
        along = generator.uniform(start + 2.5, end - 2.5)
        drive_m = generator.uniform(2.6, 5.0)
        depth = generator.uniform(5, 13)
        patches.append(
            Patch(
                "paving",
                self._band(along - drive_m / 2, along + drive_m / 2, near - side * 2.3, near + side * depth),
                colour,
            )
        )
        if generator.random() < 0.5 and depth > 6:
            at = self._at(along, near + side * 3.2)
            if self._distances(np.array([at]))[0] > 2.6:
                self._car(at, self._direction(along) + 90)
        path = generator.uniform(start + 2.5, end - 2.5)
        narrow = self._band(path - 0.6, path + 0.6, near - side * 2.3, near + side * generator.uniform(5, 10))
        patches.append(Patch("paving", narrow, colour))
        if generator.random() < 0.4:
            tone *= generator.uniform(0.7, 1.05)
            apron = house.plan.buffer(generator.uniform(0.3, 1.2), join_style="mitre")
            patches.append(Patch("paving", apron, (colour[0] * tone, colour[1] * tone, colour[2] * tone)))
        if generator.random() < 0.6:
            middle = house.plan.centroid
            shape = affinity.rotate(
                shapely.box(-3, -7.5, 3, 7.5), self._direction(along) + generator.choice((0, 90)), origin=(0, 0)
            )
            tan = generator.uniform(0.9, 1.1)
            patches.append(
                Patch("paving", affinity.translate(shape, middle.x, middle.y), (158 * tan, 142 * tan, 124 * tan))
            )

    def _tree(self, at: tuple[float, float], radius_m: float) -> None:
        """A crown; its middle is never above a roof, though its edge may be."""
        if not self._within(*at):
            return
        if self._distances(np.array([at]))[0] > self.generator.choice((0.6, 0.2)) * min(radius_m, 2.2):
            self.place.trees.append(grow(self.generator, at, radius_m))

    def _wild_trees(self, reach: float) -> None:
        generator = self.generator
        for _ in range(generator.poisson(0.0012 * self.style.trees * (2 * self.half_m) ** 2)):
            at = generator.uniform(-self.half_m, self.half_m, 2)
            if shapely.distance(shapely.Point(at), self.taken).min(initial=np.inf) > 1:
                self._tree((float(at[0]), float(at[1])), generator.uniform(1.5, 4.8))

    def _middle(self) -> tuple[float, float]:
        """Close to the middle of the house that is nearest to the origin."""
        if not self.houses:
            return (0.0, 0.0)
        middles = [(house.plan.centroid.x, house.plan.centroid.y) for house in self.houses]
        x, y = min(middles, key=lambda middle: math.hypot(*middle))
        return x + self.generator.normal(0, 0.7), y + self.generator.normal(0, 0.7)
