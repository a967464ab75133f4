"""What a camera straight above a synthetic settlement would see, under a sun that casts shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from millrace.roof.classes import LINES
from millrace.roof.sample_scene import Settlement
from millrace.roof.sample_surface import Grid, Surface, survey
from millrace.roof.sample_texture import Lattice, Plane, smooth_noise

OVERSAMPLING = 2
GAMMA = 2.2
RIDGE, VALLEY, HIP, EAVE = (LINES.index(name) for name in ("ridge", "valley", "hip", "eave"))
TRIM_WIDTH_M = {RIDGE: 0.32, HIP: 0.32, VALLEY: 0.4, EAVE: 0.2}
GROUND_ROUGHNESS = {"grass": 0.13, "asphalt": 0.04, "paving": 0.06, "soil": 0.12, "paint": 0.0}


@dataclass(frozen=True)
class Sun:
    """Where the light comes from: compass direction and height above the horizon, in degrees."""

    azimuth_deg: float
    elevation_deg: float

    def vector(self) -> tuple[float, float, float]:
        """Unit vector towards it: east, north, up."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        return (
            math.sin(azimuth) * math.cos(elevation),
            math.cos(azimuth) * math.cos(elevation),
            math.sin(elevation),
        )


def photograph(
    generator: np.random.Generator, place: Settlement, grid: Grid, sun: Sun
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture of the settlement, RGB (H, W, 3), and where something else casts a shadow (H, W)."""
    fine = grid.finer(OVERSAMPLING)
    surface = survey(place, fine)
    albedo = _albedo(generator, place, fine, surface)
    lit, shadow = _light(generator, place, fine, surface, sun)
    radiance = _reduce(albedo * lit)
    return _develop(generator, radiance), _reduce(shadow) > 0.5


def cast_shadow(height: Plane, sun: Sun, pixel_m: float) -> Plane:
    """How deep each point lies in the shadow of the others, in metres, 0 in the light; (H, W).

    Marches towards the sun along the larger of the two steps of a pixel, interpolating along the other; each round
    doubles the distance. What lies outside of the field casts none.
    """
    east, north, up = sun.vector()
    major = max(abs(east), abs(north))
    column_step, row_step = east / major, -north / major
    drop = pixel_m * up / major
    horizon = height
    steps = 1
    while steps * drop < float(height.max()):
        horizon = np.maximum(horizon, _moved(horizon, steps * row_step, steps * column_step) - np.float32(steps * drop))
        steps *= 2
    depth: Plane = horizon - height
    return depth


def _moved(field: Plane, rows: float, columns: float) -> Plane:
    """The field at places `rows` further down and `columns` further right; 0 outside."""
    result = np.zeros_like(field)
    for row, row_share in _neighbours(rows):
        for column, share in _neighbours(columns):
            target, source = _overlap(row, column, field.shape)
            result[target] += np.float32(row_share * share) * field[source]
    return result


def _neighbours(offset: float) -> list[tuple[int, float]]:
    whole = math.floor(offset + 1e-9)
    share = offset - whole
    return [(whole, 1.0)] if share < 1e-6 else [(whole, 1 - share), (whole + 1, share)]


def _overlap(row: int, column: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    target, source = [], []
    for offset, length in ((row, shape[0]), (column, shape[1])):
        offset = max(-length, min(length, offset))
        target.append(slice(max(0, -offset), length - max(0, offset)))
        source.append(slice(max(0, offset), length + min(0, offset)))
    return (target[0], target[1]), (source[0], source[1])


def _linear(colours: list[tuple[float, float, float]]) -> Plane:
    """Reflectances (N, 3) of sRGB colours."""
    colour = np.clip(np.array(colours, np.float32).reshape(-1, 3), 0, 255)
    table: Plane = (colour / np.float32(255)) ** np.float32(GAMMA)
    return table


def _albedo(generator: np.random.Generator, place: Settlement, grid: Grid, surface: Surface) -> Plane:
    """Reflectance of everything (H, W, 3)."""
    shape = surface.face.shape
    grain = generator.standard_normal(shape, np.float32)
    broad = smooth_noise(generator, shape, 6.0 / grid.pixel_m)
    middle = smooth_noise(generator, shape, 0.9 / grid.pixel_m)
    albedo = _ground(generator, place, surface, grain, middle, broad)

    tones, covers = _roofs(generator, place, grid, surface, grain, middle)
    on_roof = surface.face >= 0
    albedo[on_roof] = covers * tones[:, None]
    _trim(generator, place, grid, surface, albedo)

    colours = _linear([each.colour or (-1.0,) * 3 for building in place.buildings for each in building.structures])
    if len(colours):
        own = np.array([each.colour is not None for b in place.buildings for each in b.structures])
        painted = (surface.structure >= 0) & own[surface.structure]
        albedo[painted] = colours[surface.structure[painted]]
    decals = [each for building in place.buildings for each in building.decals]
    decal = grid.numbers([each.polygon for each in decals])
    decal[surface.structure < 0] = -1
    albedo[decal >= 0] = _linear([each.colour for each in decals])[decal[decal >= 0]] if decals else 0

    leaves = surface.tree >= 0
    foliage = _linear([each.colour for each in place.trees])
    tone = np.clip(surface.lump + 0.16 * middle + 0.2 * grain, 0.35, 1.8)
    albedo[leaves] = foliage[surface.tree[leaves]] * tone[leaves][:, None]
    return albedo


def _ground(
    generator: np.random.Generator, place: Settlement, surface: Surface, grain: Plane, middle: Plane, broad: Plane
) -> Plane:
    rough = np.array([GROUND_ROUGHNESS[each.kind] for each in place.patches], np.float32)[surface.patch]
    tone: Plane = 1 + rough * (1.1 * grain + 0.8 * middle + 0.6 * broad)
    albedo: Plane = np.take(_linear([each.colour for each in place.patches]), surface.patch, axis=0)
    albedo *= np.clip(tone, 0.3, 2)[:, :, None]
    # Dry spots of lawns.
    grass = rough == np.float32(GROUND_ROUGHNESS["grass"])
    dry = np.clip(0.08 * (broad + 0.7 * middle + grain + float(generator.normal(0.3, 0.8))), 0, 0.5) * grass
    straw = _linear([(150.0, 138.0, 96.0)])[0]
    albedo *= (1 - dry)[:, :, None]
    albedo += dry[:, :, None] * straw
    return albedo


def _roofs(
    generator: np.random.Generator, place: Settlement, grid: Grid, surface: Surface, grain: Plane, middle: Plane
) -> tuple[Plane, Plane]:
    """Of the roof pixels, row by row: tone of the material's pattern (N,), and colour (N, 3)."""
    rows, columns = np.nonzero(surface.face >= 0)
    number = surface.face[rows, columns]
    faces = [(face, building.covers[face.cover]) for building in place.buildings for face in building.faces]
    if not faces:
        return np.empty(0, np.float32), np.empty((0, 3), np.float32)
    kinds = np.array([("tiles", "metal", "gravel", "felt").index(cover.kind) for _, cover in faces])[number]
    up = np.array(
        [
            (f.plane[0] / f.slope, f.plane[1] / f.slope, math.hypot(1, f.slope)) if f.azimuth is not None else (0, 1, 1)
            for f, _ in faces
        ],
        np.float32,
    )[number]
    x = np.float32(grid.left) + (columns + np.float32(0.5)) * np.float32(grid.pixel_m)
    y = np.float32(grid.top) - (rows + np.float32(0.5)) * np.float32(grid.pixel_m)
    u, v = up[:, 1] * x - up[:, 0] * y, (up[:, 0] * x + up[:, 1] * y) * up[:, 2]
    lattice = Lattice(generator)
    noise, grit = middle[rows, columns], grain[rows, columns]

    def cell(values: Plane, size_m: float) -> NDArray[np.int64]:
        whole: NDArray[np.int64] = np.floor(values / np.float32(size_m)).astype(np.int64)
        return whole

    streak = lattice.at(cell(u, 0.35), cell(v, 3.1), number.astype(np.int64))
    tile = lattice.at(cell(u, 0.3), cell(v, 0.36), number.astype(np.int64))
    course = v / np.float32(0.36) - np.floor(v / np.float32(0.36)) - np.float32(0.5)
    # A pattern that is finer than the pixels cannot be seen.
    seen = math.exp(-((grid.pixel_m / 0.2) ** 2))
    wave = np.cos(u * np.float32(2 * math.pi / 0.3))
    tiles = 1 + 0.05 * noise + 0.035 * streak + seen * (0.09 * tile + 0.13 * course + 0.05 * wave) + 0.03 * grit
    seam = np.abs(u / np.float32(0.55) - np.floor(u / np.float32(0.55)) - np.float32(0.5)) > 0.4
    metal = (
        1 + 0.025 * noise + 0.03 * lattice.at(cell(u, 0.55), cell(v, 50), number.astype(np.int64)) - 0.16 * seen * seam
    )
    gravel = 1 + 0.09 * noise + 0.1 * grit + 0.03 * streak
    sheet = np.abs(u - np.round(u)) < 0.06
    felt = 1 + 0.06 * noise + 0.03 * grit - 0.14 * seen * sheet
    tone = np.choose(kinds, (tiles, metal, gravel, felt))
    colours = _linear([cover.colour for _, cover in faces])[number]
    # Moss and soot lie unevenly, and more on some roofs.
    sizes = [len(building.faces) for building in place.buildings]
    own = np.repeat(np.abs(generator.standard_normal(len(sizes), np.float32)), sizes)[number]
    moss = np.clip(0.1 * own * (noise + 0.4 * streak), 0, 0.35)[:, None]
    colours = colours + moss * (_linear([(78.0, 80.0, 62.0)])[0] - colours)
    return np.clip(tone, 0.3, 1.7).astype(np.float32), colours.astype(np.float32)


def _trim(generator: np.random.Generator, place: Settlement, grid: Grid, surface: Surface, albedo: Plane) -> None:
    """Ridge and hip tiles, metal in the valleys, gutters along the eaves."""
    shapes, values = [], []
    for building in place.buildings:
        cap = generator.uniform(0.72, 1.35)
        gutter = generator.choice((0.0, 0.35, 0.8))
        for line in building.lines:
            if line.kind in TRIM_WIDTH_M:
                strip = shapely.LineString([line.start, line.end]).buffer(TRIM_WIDTH_M[line.kind] / 2, cap_style="flat")
                shapes.append(strip)
                values.append({RIDGE: (cap, 0.0), HIP: (cap, 0.0), VALLEY: (0.8, 0.5), EAVE: (0.85, gutter)}[line.kind])
    number = grid.numbers(shapes)
    number[surface.face < 0] = -1
    there = number >= 0
    if there.any():
        tone, share = np.array(values, np.float32)[number[there]].T
        zinc = _linear([(150.0, 154.0, 156.0)])[0]
        albedo[there] = albedo[there] * (tone * (1 - share))[:, None] + share[:, None] * zinc


def _light(
    generator: np.random.Generator, place: Settlement, grid: Grid, surface: Surface, sun: Sun
) -> tuple[Plane, Plane]:
    """Light on everything (H, W, 3), 1 on level ground in the sun; and how much of the sun is hidden (H, W)."""
    east, north, up = sun.vector()
    slope_x, slope_y = _slopes(place, grid, surface)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.clip((up - slope_x * east - slope_y * north) / length, 0, None)
    shadow: Plane = np.clip((cast_shadow(surface.height, sun, grid.pixel_m) - 0.04) / 0.12, 0, 1).astype(np.float32)
    # Less of the sky is seen from beside a wall or a tree.
    around = ndimage.uniform_filter(surface.height, round(3.0 / grid.pixel_m) | 1)
    sky = (0.5 + 0.5 / length) * (1 - np.clip((around - surface.height) / 9, 0, 0.45))
    strength = generator.uniform(0.2, 0.34)
    direct = (1 - strength) / up * np.array((1.03, 1.0, 0.95), np.float32)
    diffuse = strength * np.array((0.88, 0.98, 1.2), np.float32)
    lit: Plane = (facing * (1 - shadow))[:, :, None] * direct.astype(np.float32) + sky[:, :, None] * diffuse.astype(
        np.float32
    )
    # A face that looks away from the sun is dark, but nothing casts a shadow on it.
    return lit, shadow * (facing > 0)


def _slopes(place: Settlement, grid: Grid, surface: Surface) -> tuple[Plane, Plane]:
    """Slope of the surface towards east and towards north (H, W)."""
    slope_x, slope_y = np.zeros(surface.face.shape, np.float32), np.zeros(surface.face.shape, np.float32)
    faces = [face.plane for building in place.buildings for face in building.faces]
    structures = [each.plane for building in place.buildings for each in building.structures]
    for number, planes in ((surface.face, faces), (surface.structure, structures)):
        there = number >= 0
        if there.any():
            slope_x[there], slope_y[there] = np.array(planes, np.float32)[number[there], :2].T
    leaves = surface.tree >= 0
    limit = 1.6
    for slope, axis, sign in ((slope_x, 1, 1), (slope_y, 0, -1)):
        rate: Plane = np.gradient(surface.height, grid.pixel_m, axis=axis)
        slope[leaves] = np.clip(sign * rate[leaves], -limit, limit)
    return slope_x, slope_y


def _reduce(fine: Plane) -> Plane:
    """Means of the small pixels in each pixel."""
    mean: Plane = np.zeros_like(fine[::OVERSAMPLING, ::OVERSAMPLING])
    for row in range(OVERSAMPLING):
        for column in range(OVERSAMPLING):
            mean += fine[row::OVERSAMPLING, column::OVERSAMPLING]
    mean /= np.float32(OVERSAMPLING**2)
    return mean


def _develop(generator: np.random.Generator, radiance: Plane) -> NDArray[np.uint8]:
    """Optics, haze, exposure, white balance and noise of a camera."""
    blurred = ndimage.gaussian_filter(radiance, generator.uniform(0.35, 0.75), axes=(0, 1))
    haze = generator.uniform(0.0, 0.025) * np.array((0.9, 1.0, 1.2), np.float32)
    balance = np.exp(generator.normal(0, 0.045, 3)).astype(np.float32)
    exposure = generator.uniform(0.95, 1.55)
    signal = exposure * balance * (blurred + haze)
    tone = np.clip(signal, 0, None) ** np.float32(1 / GAMMA)
    # A soft shoulder, as of film: white walls and cars do not burn out at once.
    shoulder = 0.82
    over = np.maximum(tone - shoulder, 0)
    tone = np.minimum(tone, shoulder) + (1 - shoulder) * (1 - np.exp(-over / (1 - shoulder)))
    coarse = ndimage.gaussian_filter(generator.standard_normal(radiance.shape, np.float32), 0.6, axes=(0, 1))
    tone += generator.uniform(0.004, 0.013) * 1.6 * coarse
    picture: NDArray[np.uint8] = np.rint(255 * np.clip(tone, 0, 1)).astype(np.uint8)
    return picture
