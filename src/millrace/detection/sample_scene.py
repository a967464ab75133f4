"""A synthetic workbench from above: which parts lie where, and what a camera would see of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from millrace.detection.sample_parts import (
    Light,
    Plane,
    Shape,
    Sprite,
    bolt,
    chip,
    coin,
    draw_light,
    draw_metal,
    draw_part,
    nut,
    o_ring,
    pencil,
    screw,
    smooth_noise,
    washer,
    wire,
)

PARTS: dict[str, tuple[Shape, tuple[float, float], float]] = {
    "nut": (nut, (18, 66), 0.60),
    "washer": (washer, (18, 80), 0.25),
    "screw": (screw, (40, 92), 0.10),
    "bolt": (bolt, (40, 92), 0.05),
}
"""By name: shape, longest extent in px at the middle distance of the camera, share of all parts."""
EXTENT_PX = (14.0, 110.0)
LABELLED_SHARE = 0.25
"""A part of which less is to be seen has no box."""
PARTS_PER_PX = 16 / (320 * 240)
"""Most parts in a picture, as a density."""
TRIES = 30


class Thing(NamedTuple):
    """A part, or a heap of parts that nobody would count.

    Attributes:
        name: Of its class.
        box: Left, top, right, bottom of its whole extent within the frame, in px.
        crowd: Whether it is a heap.
        truncated: Whether some of it is out of the frame.
        occluded: Whether other things hide a tenth of it or more.
    """

    name: str
    box: tuple[int, int, int, int]
    crowd: bool
    truncated: bool
    occluded: bool


class Placed(NamedTuple):
    """A sprite at its place: the frame's row and column of its first pixel, which may be negative."""

    name: str
    sprite: Sprite
    top: int
    left: int


class Bench:
    """A picture in the making: things are laid onto it one after another, each over those before it.

    Attributes:
        colour: RGB, (H, W, 3), about 0 to 1.
        owner: Number of the uppermost part at each pixel, counted from 1; 0 is the bench; (H, W).
    """

    def __init__(self, colour: Plane, light: Light) -> None:
        self.colour = colour
        self.light = light
        self.owner: NDArray[np.int32] = np.zeros(colour.shape[:2], np.int32)

    def windows(self, shape: tuple[int, ...], top: int, left: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a patch lies in the frame, and which part of the patch that is."""
        rows, patch_rows = _common(top, shape[0], self.owner.shape[0])
        columns, patch_columns = _common(left, shape[1], self.owner.shape[1])
        return (rows, columns), (patch_rows, patch_columns)

    def covered(self, mask: NDArray[np.bool_], top: int, left: int) -> int:
        """Pixels of parts that `mask` would hide if it lay there."""
        frame, patch = self.windows(mask.shape, top, left)
        return int(((self.owner[frame] > 0) & mask[patch]).sum())

    def lay(self, sprite: Sprite, top: int, left: int, number: int) -> None:
        """Draw it with its shadow; `number` 0 is for what is no part."""
        length = 0.7 * sprite.thickness / self.light.z
        reach = 4 + int(np.ceil(length + 0.5 * sprite.thickness))
        shade = np.pad(sprite.alpha, reach)
        cast = ndimage.shift(shade, (-length * self.light.y, -length * self.light.x), order=1)
        shadow = 0.45 * ndimage.gaussian_filter(np.maximum(cast, 0.6 * shade), 0.8 + 0.15 * sprite.thickness)
        frame, patch = self.windows(shade.shape, top - reach, left - reach)
        self.colour[frame] *= 1 - shadow[patch][:, :, None]
        frame, patch = self.windows(sprite.alpha.shape, top, left)
        alpha = sprite.alpha[patch][:, :, None]
        self.colour[frame] = (1 - alpha) * self.colour[frame] + alpha * sprite.colour[patch]
        self.owner[frame][sprite.mask[patch]] = number


def _common(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """What [start, start + length) and [0, limit) have in common, counted from 0 and from `start`."""
    first = min(max(0, start), limit)
    last = max(first, min(start + length, limit))
    return slice(first, last), slice(first - start, last - start)


def draw_scene(
    generator: np.random.Generator, width_px: int, height_px: int, empty: bool, heap: bool
) -> tuple[Plane, list[Thing]]:
    """A bench top with clutter and, unless it is `empty`, parts; with a heap of nuts or washers where asked for.

    Returns:
        RGB (H, W, 3), about 0 to 1, and the parts that are to be found.
    """
    shape = (height_px, width_px)
    light = draw_light(generator)
    surface = SURFACES[generator.choice(len(SURFACES), p=SURFACE_SHARES)]
    bench = Bench(surface(generator, shape).astype(np.float32), light)
    _litter(generator, bench)
    zoom = float(np.exp(generator.uniform(np.log(0.75), np.log(1.5))))
    placed: list[Placed] = []
    box: tuple[str, tuple[int, int, int, int]] | None = None
    if heap and not empty:
        box = _heap(generator, bench, zoom, placed)
    loose = len(placed)
    if not empty:
        most = max(3, round(PARTS_PER_PX * height_px * width_px / zoom))
        for _ in range(generator.integers(2, most, endpoint=True)):
            _add_part(generator, bench, zoom, placed)
    for _ in range(generator.integers(0, 2, endpoint=True)):
        _toss(generator, bench, chip, (6, 18), np.array((0.82, 0.68, 0.45)), 0.05)
    things = [thing for number in range(loose, len(placed)) if (thing := seen(bench, placed[number], number + 1))]
    if box is not None:
        things.append(Thing(box[0], box[1], crowd=True, truncated=False, occluded=False))
    bench.colour *= _lamp(generator, shape)[:, :, None]
    return bench.colour, things


def _add_part(generator: np.random.Generator, bench: Bench, zoom: float, placed: list[Placed]) -> None:
    """Lay one more part: alone, touching another, or partly over another."""
    name = str(generator.choice(list(PARTS), p=[share for _, _, share in PARTS.values()]))
    sprite = _draw(generator, name, zoom, draw_metal(generator), bench.light)
    manner = generator.choice(("alone", "touching", "over"), p=(0.5, 0.25, 0.25)) if placed else "alone"
    near = ndimage.binary_dilation(np.pad(sprite.mask, 3), iterations=3)
    area = sprite.mask.sum()
    for _ in range(TRIES):
        if manner == "alone":
            top, left = _anywhere(generator, bench, sprite)
            fits = bench.covered(near, top - 3, left - 3) == 0
        else:
            other = placed[generator.integers(len(placed))]
            top, left = _beside(generator, bench, sprite, other)
            if manner == "touching":
                fits = (
                    bench.covered(near, top - 3, left - 3) > 0 and bench.covered(sprite.mask, top, left) < 0.03 * area
                )
            else:
                step, half = generator.uniform(0.3, 0.8), len(other.sprite.alpha) / 2 - len(sprite.alpha) / 2
                top += round(step * (other.top + half - top))
                left += round(step * (other.left + half - left))
                fits = 0.05 < bench.covered(sprite.mask, top, left) / area < 0.8
        if fits:
            placed.append(Placed(name, sprite, top, left))
            bench.lay(sprite, top, left, len(placed))
            return


def _draw(generator: np.random.Generator, name: str, zoom: float, metal: Plane, light: Light) -> Sprite:
    shape, sizes, _ = PARTS[name]
    size = float(np.clip(np.exp(generator.uniform(*np.log(sizes))) * zoom, *EXTENT_PX))
    return draw_part(generator, shape, size, metal, light, generator.uniform(0.3, 0.7))


def _anywhere(generator: np.random.Generator, bench: Bench, sprite: Sprite) -> tuple[int, int]:
    """A place whose middle is in the frame, so that the frame cuts some parts."""
    height, width = bench.owner.shape
    half = len(sprite.alpha) / 2
    return round(generator.uniform(0, height) - half), round(generator.uniform(0, width) - half)


def _beside(generator: np.random.Generator, bench: Bench, sprite: Sprite, other: Placed) -> tuple[int, int]:
    """The nearest place on a random line from the middle of `other` where neither hides anything of the other."""
    angle = generator.uniform(0, 2 * np.pi)
    offset = (len(other.sprite.alpha) - len(sprite.alpha)) / 2
    for distance in range(4, 200, 2):
        top = round(other.top + offset + distance * np.sin(angle))
        left = round(other.left + offset + distance * np.cos(angle))
        if bench.covered(sprite.mask, top, left) == 0:
            break
    return top, left


def _heap(
    generator: np.random.Generator, bench: Bench, zoom: float, placed: list[Placed]
) -> tuple[str, tuple[int, int, int, int]]:
    """Pour many equal parts onto one spot; returns their class and the box around them."""
    name = str(generator.choice(("nut", "washer"), p=(0.7, 0.3)))
    metal, size = draw_metal(generator), max(EXTENT_PX[0], zoom * generator.uniform(15, 24))
    centre = generator.uniform(0.2, 0.8, 2) * bench.owner.shape
    for _ in range(generator.integers(14, 26)):
        sprite = draw_part(generator, PARTS[name][0], size, metal * generator.uniform(0.92, 1.08), bench.light)
        row, column = generator.normal(centre, 0.9 * size) - len(sprite.alpha) / 2
        placed.append(Placed(name, sprite, round(row), round(column)))
        bench.lay(sprite, placed[-1].top, placed[-1].left, len(placed))
    rows, columns = np.nonzero(bench.owner)
    return name, (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def seen(bench: Bench, part: Placed, number: int) -> Thing | None:
    """The part's box, unless too little of it is to be seen."""
    mask = part.sprite.mask
    frame, patch = bench.windows(mask.shape, part.top, part.left)
    visible, inside, whole = int((bench.owner[frame] == number).sum()), int(mask[patch].sum()), int(mask.sum())
    if visible < LABELLED_SHARE * whole:
        return None
    rows, columns = np.nonzero(mask[patch])
    top, left = frame[0].start, frame[1].start
    box = (left + int(columns.min()), top + int(rows.min()), left + int(columns.max()) + 1, top + int(rows.max()) + 1)
    return Thing(part.name, box, crowd=False, truncated=inside < whole, occluded=visible < 0.9 * inside)


def _litter(generator: np.random.Generator, bench: Bench) -> None:
    """Things that lie about and are no parts."""
    kinds: list[tuple[Shape, tuple[float, float], tuple[float, float, float], float, float]] = [
        (pencil, (150, 260), (0.85, 0.62, 0.12), 0.2, 0.12),
        (o_ring, (16, 60), (0.09, 0.09, 0.10), 0.15, 0.5),
        (coin, (26, 60), (0.62, 0.48, 0.30), 0.45, 0.3),
        (wire, (20, 70), (0.72, 0.36, 0.16), 0.5, 0.6),
        (chip, (6, 26), (0.80, 0.66, 0.44), 0.05, 1.5),
    ]
    for shape, sizes, colour, shine, mean in kinds:
        for _ in range(min(4, generator.poisson(mean))):
            _toss(generator, bench, shape, sizes, np.array(colour), shine)


def _toss(
    generator: np.random.Generator, bench: Bench, shape: Shape, sizes: tuple[float, float], colour: Plane, shine: float
) -> None:
    size = float(np.exp(generator.uniform(*np.log(sizes))))
    sprite = draw_part(generator, shape, size, colour * generator.uniform(0.85, 1.15), bench.light, shine)
    top, left = _anywhere(generator, bench, sprite)
    if bench.covered(sprite.mask, top, left) < 0.2 * sprite.mask.sum():
        bench.lay(sprite, top, left, 0)


def _lamp(generator: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Uneven light about 1: brighter on one side, darker in the corners."""
    height, width = shape
    rows = (np.arange(height)[:, None] - height / 2) / max(shape)
    columns = (np.arange(width)[None, :] - width / 2) / max(shape)
    angle, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0.05, 0.7)
    light: Plane = 1 + slope * (rows * np.sin(angle) + columns * np.cos(angle))
    return light - generator.uniform(0, 0.5) * (rows**2 + columns**2)


def _wood(generator: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Planks: wavy rings along the grain, fibres, seams, a drilled hole here and there."""
    upright = generator.random() < 0.3
    height, width = shape[::-1] if upright else shape
    tones = np.array(((0.70, 0.52, 0.34), (0.56, 0.40, 0.26), (0.76, 0.63, 0.45), (0.45, 0.34, 0.26)))
    rows = np.arange(height)[:, None] + 5 * smooth_noise(generator, (height, width), (9, 50))
    plank = np.floor_divide(np.arange(height) + generator.integers(0, 100), generator.integers(60, 130))
    _, plank = np.unique(plank, return_inverse=True)
    shift = generator.uniform(0, 50, plank.max() + 1)[plank][:, None]
    tint = generator.normal(1, 0.05, plank.max() + 1)[plank][:, None]
    rings = np.sin(2 * np.pi * (rows + shift) / generator.uniform(6, 15))
    fibres = smooth_noise(generator, (height, width), (0.5, 9))
    value = tint * (1 + generator.uniform(0.02, 0.08) * rings + generator.uniform(0.02, 0.06) * fibres)
    value[1:][plank[1:] != plank[:-1]] *= 0.5
    value *= _drilled(generator, (height, width), generator.poisson(0.8))
    colour: Plane = tones[generator.integers(len(tones))] * (value.T if upright else value)[:, :, None]
    return colour * generator.uniform(0.9, 1.1)


def _mat(generator: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """A cutting mat: a printed grid, cuts, wear."""
    tones = np.array(((0.16, 0.36, 0.28), (0.17, 0.28, 0.42), (0.28, 0.29, 0.30)))
    tone = tones[generator.integers(len(tones))] * generator.uniform(0.85, 1.2)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    step, angle = generator.uniform(18, 46), generator.normal(0, 0.15)
    grid = np.zeros(shape)
    for axis in (rows * np.cos(angle) + columns * np.sin(angle), columns * np.cos(angle) - rows * np.sin(angle)):
        off = (axis + generator.uniform(0, step)) % step
        grid = np.maximum(grid, np.clip(1.2 - abs(off - step / 2), 0, 1))
    value = 1 + 0.05 * smooth_noise(generator, shape, 0.8) + 0.06 * smooth_noise(generator, shape, 25)
    colour: Plane = tone * (value + _scratches(generator, shape, 0.25))[:, :, None]
    return colour + generator.uniform(0.08, 0.3) * grid[:, :, None]


def _steel(generator: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """A brushed sheet: streaks, scratches, a broad reflection."""
    streaks = smooth_noise(generator, shape, (0.5, 30)) * generator.uniform(0.02, 0.05)
    reflection = generator.uniform(0.04, 0.1) * smooth_noise(generator, shape, (20, 60))
    value = 1 + streaks + reflection + _scratches(generator, shape, 0.2)
    tone = np.array((0.50, 0.52, 0.55)) * generator.uniform(0.6, 1.25)
    colour: Plane = tone * (value * _drilled(generator, shape, generator.poisson(0.6)))[:, :, None]
    return colour


def _card(generator: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Cardboard or paper: fibres, stains of oil."""
    tones = np.array(((0.72, 0.60, 0.45), (0.86, 0.84, 0.80), (0.55, 0.63, 0.72)))
    value = 1 + 0.03 * smooth_noise(generator, shape, 0.7) + 0.03 * smooth_noise(generator, shape, (1, 5))
    stains = np.clip(smooth_noise(generator, shape, 14) - 1.2, 0, 0.6)
    value = value - generator.uniform(0.1, 0.6) * stains
    colour: Plane = tones[generator.integers(len(tones))] * generator.uniform(0.85, 1.08) * value[:, :, None]
    return colour


SURFACES = (_wood, _mat, _steel, _card)
SURFACE_SHARES = (0.4, 0.25, 0.15, 0.2)


def _scratches(generator: np.random.Generator, shape: tuple[int, int], strength: float) -> Plane:
    """Thin straight lines, light or dark, added to a surface."""
    lines = np.zeros(shape)
    for _ in range(generator.integers(2, 9)):
        length, angle = generator.uniform(20, 150), generator.uniform(0, 2 * np.pi)
        steps = np.arange(0, length, 0.5)
        rows = np.rint(generator.uniform(0, shape[0]) + steps * np.sin(angle)).astype(int)
        columns = np.rint(generator.uniform(0, shape[1]) + steps * np.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        lines[rows[inside], columns[inside]] = generator.uniform(-1, 1)
    return strength * lines


def _drilled(generator: np.random.Generator, shape: tuple[int, int], count: int) -> Plane:
    """Factor of a surface: dark round holes with a bright far edge."""
    factor = np.ones(shape)
    for _ in range(count):
        row, column, radius = generator.uniform(0, shape[0]), generator.uniform(0, shape[1]), generator.uniform(3, 10)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        off = np.hypot(rows - row, columns - column) - radius
        factor *= 1 - 0.8 * np.clip(0.5 - off, 0, 1) + 0.15 * np.exp(-((off - 1) ** 2))
    return factor
