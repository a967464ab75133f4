"""Rasters of a synthetic settlement: what is where, and how high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from millrace.roof.classes import NO_SUPERSTRUCTURE, SUPERSTRUCTURES
from millrace.roof.sample_scene import Settlement

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Square pixels over a rectangle, north up.

    Attributes:
        left: Its least x, in metres.
        top: Its largest y.
        pixel_m: Side of a pixel.
    """

    left: float
    top: float
    pixel_m: float
    height: int
    width: int

    @classmethod
    def around(cls, centre: tuple[float, float], size_px: int, pixel_m: float) -> Grid:
        half = size_px * pixel_m / 2
        return cls(centre[0] - half, centre[1] + half, pixel_m, size_px, size_px)

    def finer(self, factor: int) -> Grid:
        return Grid(self.left, self.top, self.pixel_m / factor, self.height * factor, self.width * factor)

    def x(self) -> Plane:
        """Of the pixels' middles, (W,)."""
        middles: Plane = (self.left + (np.arange(self.width) + 0.5) * self.pixel_m).astype(np.float32)
        return middles

    def y(self) -> Plane:
        """Of the pixels' middles, (H,)."""
        middles: Plane = (self.top - (np.arange(self.height) + 0.5) * self.pixel_m).astype(np.float32)
        return middles

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Row and column, (0, 0) being the outer corner of the first pixel."""
        return (self.top - y) / self.pixel_m, (x - self.left) / self.pixel_m

    def numbers(self, polygons: Sequence[Any]) -> NDArray[np.int32]:
        """Place of the last polygon that has the pixel's middle, or -1, (H, W)."""
        shape = (self.height, self.width)
        transform = Affine(self.pixel_m, 0, self.left, 0, -self.pixel_m, self.top)
        pairs = [(polygon, number + 1) for number, polygon in enumerate(polygons)]
        if not pairs:
            return np.full(shape, -1, np.int32)
        drawn: NDArray[np.int32] = rasterize(pairs, shape, transform=transform, dtype="int32")
        return drawn - 1

    def window(self, x: float, y: float, radius: float) -> tuple[slice, slice]:
        """Rows and columns around a point."""
        row, column = self.pixel(x, y)
        reach = radius / self.pixel_m + 1
        rows = slice(max(0, int(row - reach)), max(0, min(self.height, int(row + reach) + 1)))
        return rows, slice(max(0, int(column - reach)), max(0, min(self.width, int(column + reach) + 1)))


@dataclass(frozen=True)
class Surface:
    """What is at each pixel's middle, seen from above; all (H, W).

    Attributes:
        patch: Place in the settlement's patches.
        face: Place among all faces, building by building, or -1.
        structure: Place among all structures, building by building, or -1.
        tree: Place in the trees, or -1.
        lump: Tone of the tree's lump, 1 where there is none.
        ground: Metres of what lies on the ground, without roofs and trees.
        roof: Metres with the roofs, without what is on them.
        solid: Metres with that as well.
        height: Metres of all.
    """

    patch: NDArray[np.int32]
    face: NDArray[np.int32]
    structure: NDArray[np.int32]
    tree: NDArray[np.int32]
    lump: Plane
    ground: Plane
    roof: Plane
    solid: Plane
    height: Plane


def survey(place: Settlement, grid: Grid) -> Surface:
    """Look at the settlement from straight above."""
    faces = [face for building in place.buildings for face in building.faces]
    structures = [each for building in place.buildings for each in building.structures]
    patch = grid.numbers([each.polygon for each in place.patches])
    face = grid.numbers([each.polygon for each in faces])
    structure = grid.numbers([each.polygon for each in structures])
    structure[face < 0] = -1
    ground: Plane = np.array([each.height_m for each in place.patches], np.float32)[patch]
    roof = heights(grid, face, [each.plane for each in faces], ground)
    # What stands on a roof ends where it would be lower than the roof.
    solid = np.maximum(heights(grid, structure, [each.plane for each in structures], roof), roof)
    top, tree, lump = _crowns(place, grid)
    covered = top > solid
    return Surface(
        patch=patch,
        face=face,
        structure=structure,
        tree=np.where(covered, tree, -1).astype(np.int32),
        lump=np.where(covered, lump, 1).astype(np.float32),
        ground=ground,
        roof=roof,
        solid=solid,
        height=np.maximum(top, solid),
    )


def heights(grid: Grid, number: NDArray[np.int32], planes: Sequence[tuple[float, float, float]], other: Plane) -> Plane:
    """Height of plane `number` at each pixel, and `other` where it is -1."""
    result = other.copy()
    rows, columns = np.nonzero(number >= 0)
    if len(rows):
        # The planes' constants refer to a far origin: their sum needs more digits than a float32 has.
        a, b, c = np.array(planes, np.float64)[number[rows, columns]].T
        x = grid.left + (columns + 0.5) * grid.pixel_m
        y = grid.top - (rows + 0.5) * grid.pixel_m
        result[rows, columns] = a * x + b * y + c
    return result


def superstructures(place: Settlement, surface: Surface, shaded: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Places in `classes.SUPERSTRUCTURES` as a labeller sees them, (H, W): on roofs only.

    Args:
        place: The settlement.
        surface: Of it.
        shaded: Where something casts a shadow, (H, W).
    """
    kinds = np.array([each.kind for building in place.buildings for each in building.structures] or [0], np.uint8)
    result = np.full(surface.face.shape, NO_SUPERSTRUCTURE, np.uint8)
    on_roof = surface.face >= 0
    result[on_roof & shaded] = SUPERSTRUCTURES.index("shadow")
    present = surface.structure >= 0
    result[present] = kinds[surface.structure[present]]
    result[on_roof & (surface.tree >= 0)] = SUPERSTRUCTURES.index("tree")
    return result


def _crowns(place: Settlement, grid: Grid) -> tuple[Plane, NDArray[np.int32], Plane]:
    """Height of the trees, which tree it is, and the tone of its uppermost lump."""
    shape = (grid.height, grid.width)
    top = np.zeros(shape, np.float32)
    tree = np.full(shape, -1, np.int32)
    tone = np.ones(shape, np.float32)
    all_x, all_y = grid.x(), grid.y()
    right, bottom = grid.left + grid.width * grid.pixel_m, grid.top - grid.height * grid.pixel_m
    for number, each in enumerate(place.trees):
        lump_x, lump_y, radii = each.lumps[:, 0], each.lumps[:, 1], each.lumps[:, 3]
        seen = (lump_x + radii > grid.left) & (lump_x - radii < right)
        seen &= (lump_y + radii > bottom) & (lump_y - radii < grid.top)
        for x, y, middle, radius, lump in each.lumps[seen].tolist():
            window = grid.window(x, y, radius)
            square = (all_y[window[0], None] - np.float32(y)) ** 2 + (all_x[window[1]] - np.float32(x)) ** 2
            surface = middle + np.sqrt(np.maximum(radius**2 - square, 0))
            higher = (square < radius**2) & (surface > top[window])
            top[window][higher] = surface[higher]
            tree[window][higher] = number
            tone[window][higher] = lump
    return top, tree, tone
