"""Pictures of single things on a workbench, lit from one side: nuts, washers, screws, bolts, and other things."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Plane = NDArray[np.floating[Any]]

FINE_PX = 100
"""Up to this size a thing is drawn at twice the resolution: threads of a pixel or two would turn into moire."""
METALS = {
    "zinc": (0.74, 0.76, 0.79),
    "steel": (0.58, 0.59, 0.60),
    "passivated": (0.80, 0.72, 0.50),
    "brass": (0.83, 0.65, 0.32),
    "black": (0.20, 0.20, 0.22),
}
METAL_SHARES = (0.4, 0.25, 0.1, 0.15, 0.1)


class Sprite(NamedTuple):
    """A thing seen from above.

    Attributes:
        alpha: Opacity, (h, w), from 0 to 1.
        colour: RGB, (h, w, 3), about 0 to 1.
        thickness: How far above the bench its top is, in px: its shadow is as long.
    """

    alpha: Plane
    colour: Plane
    thickness: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that are at least half covered, (h, w)."""
        return self.alpha >= 0.5


class Light(NamedTuple):
    """Unit vector towards the lamp; x to the right, y down, z towards the camera."""

    x: float
    y: float
    z: float


class Relief(NamedTuple):
    """A shape on a grid: signed distance to its outline (negative inside) and height of its surface, both in px."""

    distance: Plane
    height: Plane


Shape = Callable[[np.random.Generator, float, Plane, Plane], Relief]
"""From the longest extent in px and the coordinates along and across the thing's axis, in px from its centre."""


def draw_light(generator: np.random.Generator) -> Light:
    """A lamp at the side of the bench, 35 to 65 degrees high."""
    azimuth, elevation = generator.uniform(0, 2 * math.pi), math.radians(generator.uniform(35, 65))
    flat = math.cos(elevation)
    return Light(flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation))


def draw_metal(generator: np.random.Generator) -> Plane:
    """RGB of a metal, (3,), no two quite alike."""
    base = np.array(list(METALS.values())[generator.choice(len(METALS), p=METAL_SHARES)])
    colour = base * generator.uniform(0.9, 1.1) + generator.normal(0, 0.012, 3)
    return colour.astype(np.float32)


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], sigma_px: float | tuple[float, float]
) -> Plane:
    """Random field (H, W) with mean 0 and standard deviation 1.

    Broad noise is made on a coarse grid, so that its cost does not grow with its width.
    """
    sigmas = np.broadcast_to(sigma_px, 2)
    steps = np.maximum(1, sigmas // 2)
    coarse = np.ceil(np.array(shape) / steps).astype(int) + 1
    white = generator.standard_normal(coarse, np.float32)
    field: Plane = ndimage.gaussian_filter(white, sigmas / steps, mode="wrap", truncate=3)
    if (steps > 1).any():
        box = (0, 0, shape[1] / steps[1], shape[0] / steps[0])
        field = np.asarray(Image.fromarray(field).resize(shape[::-1], Image.Resampling.BICUBIC, box))
    else:
        field = field[: shape[0], : shape[1]]
    field = field - field.mean()
    return field / max(float(field.std()), 1e-12)


def draw_part(
    generator: np.random.Generator, shape: Shape, size_px: float, colour: Plane, light: Light, shine: float = 0.5
) -> Sprite:
    """A solid thing, turned at random and shaded.

    Args:
        generator: Of the picture.
        shape: What it is.
        size_px: Its longest extent.
        colour: RGB of its material, (3,).
        light: Of the picture.
        shine: Strength of highlights: about 0.5 for metal, 0.1 for rubber or wood.
    """
    fine = 2 if size_px <= FINE_PX else 1
    pixels = int(np.ceil(size_px)) + 6
    axis = (np.arange(pixels * fine, dtype=np.float32) + 0.5) / fine - pixels / 2
    down, right = axis[:, None] - generator.uniform(-0.5, 0.5), axis[None, :] - generator.uniform(-0.5, 0.5)
    angle = generator.uniform(0, 2 * math.pi)
    along, across = right * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - right * math.sin(angle)
    relief = shape(generator, size_px, along, across)
    alpha = np.clip(0.5 - relief.distance * fine, 0, 1)

    slope_y, slope_x = np.gradient(relief.height, 1 / fine)
    steep = np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = light.z - slope_x * light.x - slope_y * light.y
    towards = np.maximum(0, facing / steep)
    # Blinn's highlight: the mirror direction is where the normal halves the angle between lamp and camera.
    glossy = np.maximum(0, (facing + 1) / (steep * math.sqrt(2 + 2 * light.z))) ** 24
    # Turned and brushed faces reflect in two opposite sectors; a broad gradient stands for the room's reflection.
    sector = np.cos(2 * (np.arctan2(down, right) - math.atan2(light.y, light.x)))
    room = (right * light.x + down * light.y) / size_px
    surface = 0.38 + 0.62 * towards + shine * (0.22 * sector * towards**2 + 0.3 * room)
    lit = colour * surface[:, :, None] + shine * (glossy * (0.25 + 0.75 * float(colour.mean())))[:, :, None]
    opacity = _reduced(alpha, fine)
    lit = _reduced(lit * alpha[:, :, None], fine) / np.maximum(opacity, 1e-6)[:, :, None]
    grain = generator.uniform(0.01, 0.05) * smooth_noise(generator, opacity.shape, 0.7)
    tarnish = generator.uniform(0, 0.1) * smooth_noise(generator, opacity.shape, size_px / 4)
    lit *= (1 + grain + tarnish)[:, :, None]
    return Sprite(opacity, lit, float(relief.height[relief.distance < 0].max(initial=0)))


def _reduced(plane: Plane, factor: int) -> Plane:
    height, width = plane.shape[0] // factor, plane.shape[1] // factor
    mean: Plane = plane.reshape(height, factor, width, factor, *plane.shape[2:]).mean(axis=(1, 3))
    return mean


def nut(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """Hexagon nut from above: chamfered corners, a threaded hole."""
    apothem = size_px / 2 * math.cos(math.pi / 6)
    radius = np.hypot(along, across)
    hexagon = np.max(
        [abs(along * math.sin(turn) + across * math.cos(turn)) for turn in (0, math.pi / 3, 2 * math.pi / 3)], axis=0
    )
    hole = apothem * generator.uniform(0.5, 0.62)
    chamfer = 0.6 * np.maximum(0, radius - 0.94 * apothem) + 1.3 * np.maximum(0, 1.25 * hole - radius)
    height = apothem * generator.uniform(0.55, 0.75) - chamfer
    return Relief(np.maximum(hexagon - apothem, hole - radius), height)


def washer(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """Flat ring, narrow or broad, with rounded edges."""
    outer = size_px / 2
    inner = outer * generator.uniform(0.36, 0.6)
    radius = np.hypot(along, across)
    distance = np.maximum(radius - outer, inner - radius)
    rounding = max(1.0, 0.08 * outer)
    edge = np.clip(distance + rounding, 0, rounding)
    return Relief(distance, 0.16 * outer + 1 - 0.5 * edge**2 / rounding)


def screw(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """Countersunk wood screw on its side: a conical head, a coarse thread up to the head, a pointed tip."""
    thick = size_px * generator.uniform(0.10, 0.15)
    head = thick * generator.uniform(0.95, 1.1)
    at = along + size_px / 2
    cone = np.where(at < 0.2 * thick, head, head - (head - 0.5 * thick) * (at - 0.2 * thick) / (0.8 * thick))
    shank = 0.5 * thick * np.clip((size_px - at) / (1.9 * thick), 0, 1)
    pitch = max(2.2, 0.55 * thick)
    ridge = _thread(at, across, pitch, thick) * ((at > 1.6 * thick) & (at < size_px - 0.7 * thick))
    return _turned(np.maximum(np.where(at < thick, cone, 0), shank + 0.12 * thick * ridge), at, across, size_px)


def bolt(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """Hexagon bolt on its side: a head of flat faces, a plain shank, a fine thread, a blunt end."""
    thick = size_px * generator.uniform(0.13, 0.18)
    head = 0.65 * thick
    at = along + size_px / 2
    blunt = 0.5 * thick - np.maximum(0, at - (size_px - 0.15 * thick))
    pitch = max(2.0, 0.32 * thick)
    start = head + (size_px - head) * generator.uniform(0.1, 0.5)
    ridge = _thread(at, across, pitch, thick) * (at > start)
    body = _turned(np.where(at < head, 0, blunt - 0.06 * thick * (1 - ridge) * (at > start)), at, across, size_px)
    half = thick * generator.uniform(0.86, 0.95)
    distance = np.maximum(np.maximum(-at, at - head), abs(across) - half)
    faces = 0.85 * thick - 1.1 * np.maximum(0, abs(across) - 0.5 * half) - 0.5 * np.maximum(0, 0.25 * head - at)
    return Relief(np.minimum(body.distance, distance), np.where(at < head, faces, body.height))


def _thread(at: Plane, across: Plane, pitch: float, thick: float) -> Plane:
    """Ridges of a helix seen from the side, from 0 to 1."""
    ridge: Plane = 0.5 + 0.5 * np.cos(2 * math.pi * (at / pitch + 0.5 * across / thick))
    return ridge


def _turned(half_width: Plane, at: Plane, across: Plane, length: float) -> Relief:
    """A body with a round cross-section."""
    distance = np.maximum(abs(across) - half_width, np.maximum(-at, at - length))
    return Relief(distance, 1.3 * np.sqrt(np.maximum(0, half_width**2 - across**2)))


def o_ring(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """A seal: a thin round ring."""
    tube = size_px * generator.uniform(0.05, 0.09)
    off = np.hypot(along, across) - (size_px / 2 - tube)
    return Relief(abs(off) - tube, np.sqrt(np.maximum(0, tube**2 - off**2)))


def coin(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """A disc with a raised rim and a worn picture."""
    radius = np.hypot(along, across)
    edge = radius - size_px / 2
    relief = 0.35 * smooth_noise(generator, edge.shape, size_px / 9) * (edge < -0.16 * size_px)
    return Relief(edge, 0.06 * size_px + 0.5 * np.clip(edge + 3, 0, 2) + relief)


def chip(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """A shaving of wood: an irregular flat piece."""
    angle = np.arctan2(across, along)
    waves = np.zeros_like(angle)
    for order in range(2, 6):
        waves += generator.normal(0, 0.25) / order * np.cos(order * angle + generator.uniform(0, 2 * math.pi))
    slender = generator.uniform(1, 2.5)
    distance = np.hypot(along, across * slender) - size_px / 2 * (0.75 + waves)
    return Relief(distance / slender, 1 + 0.4 * np.clip(-distance, 0, 2))


def wire(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """An offcut of thin wire: an arc."""
    tube = generator.uniform(0.8, 1.6)
    radius = size_px * generator.uniform(0.5, 1.2)
    centre = math.sqrt(max(0, radius**2 - (size_px / 2 - 2) ** 2))
    off = np.hypot(along, across + centre) - radius
    distance = np.maximum(abs(off) - tube, np.maximum(abs(along) - size_px / 2, -across - centre))
    return Relief(distance, np.sqrt(np.maximum(0, tube**2 - off**2)))


def pencil(generator: np.random.Generator, size_px: float, along: Plane, across: Plane) -> Relief:
    """The painted hexagonal shaft, blunt at both ends."""
    half = size_px * generator.uniform(0.03, 0.04)
    faces = 1.6 * half - 0.8 * np.maximum(0, abs(across) - 0.5 * half)
    return Relief(np.maximum(abs(across) - half, abs(along) - size_px / 2 + 1), faces)
