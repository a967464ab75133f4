"""Synthetic microscopy of a micro-well: which pixel belongs to which spheroid, and how much light each pixel sends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]

RADIUS_PX = (8.0, 25.0)
MIN_AREA_PX = 60
OBJECTS_PER_PX = 8 / 192**2
"""Most spheroids in a well image, as a density: a larger image shows more of the well at the same magnification."""
TOUCHING_SHARE = 0.3
GAP_PX = 3.0
"""Clear background that a spheroid keeps around itself unless it is drawn to touch another."""
MARGIN_PX = 20
"""How far around a spheroid its halo is drawn."""


@dataclass(frozen=True)
class Well:
    """The round wall; it may lie partly or wholly outside the image."""

    row: float
    column: float
    radius: float

    def distance(self, size_px: int) -> Plane:
        """Distance of each pixel to the wall in px, positive inside the well; float64 (size_px, size_px)."""
        rows, columns = np.ogrid[:size_px, :size_px]
        return self.radius - np.hypot(rows - self.row, columns - self.column)

    def holds(self, outline: Outline) -> bool:
        return math.hypot(outline.row - self.row, outline.column - self.column) <= self.radius - outline.radius


@dataclass(frozen=True)
class Outline:
    """A closed curve around a centre: r(angle) = radius * (1 + sum of a_k * cos(k * angle + phase_k)), k = 2, 3, ..."""

    row: float
    column: float
    radius: float
    amplitudes: Plane
    phases: Plane

    def relative_distance(self, size_px: int) -> tuple[tuple[slice, slice], Plane]:
        """Window of the image around the curve, and its pixels' distances to the centre as shares of r(angle)."""
        reach = self.radius * (1 + float(np.abs(self.amplitudes).sum())) + GAP_PX + 1
        window = (
            slice(max(0, int(self.row - reach)), min(size_px, int(self.row + reach) + 1)),
            slice(max(0, int(self.column - reach)), min(size_px, int(self.column + reach) + 1)),
        )
        rows, columns = np.ogrid[window]
        angle = np.arctan2(rows - self.row, columns - self.column)
        orders = np.arange(2, 2 + len(self.amplitudes))[:, None, None]
        waves = self.amplitudes[:, None, None] * np.cos(orders * angle + self.phases[:, None, None])
        return window, np.hypot(rows - self.row, columns - self.column) / (self.radius * (1 + waves.sum(axis=0)))


def draw_well(generator: np.random.Generator, size_px: int) -> Well:
    """A well that fills most of the image, so that the background stays the majority of its pixels."""
    row, column = size_px * generator.uniform(0.4, 0.6, 2)
    return Well(row, column, size_px * generator.uniform(0.47, 0.85))


def draw_labels(generator: np.random.Generator, size_px: int, well: Well) -> NDArray[np.uint16]:
    """Spheroids alone, in touching pairs and in small clusters.

    Returns:
        uint16 (size_px, size_px): 0 is background, 1 ... n are spheroids, each 4-connected and at least `MIN_AREA_PX`.
        Where two overlap, a pixel belongs to the one whose centre is nearer in units of its own radius.
    """
    labels = np.zeros((size_px, size_px), np.uint16)
    nearest = np.ones((size_px, size_px))
    placed: list[Outline] = []
    count = generator.integers(1, max(1, round(OBJECTS_PER_PX * size_px**2)), endpoint=True)
    for _ in range(20 * count):
        partner = placed[generator.integers(len(placed))] if placed and generator.random() < TOUCHING_SHARE else None
        outline = _draw_outline(generator, well, partner)
        if not (well.holds(outline) and 0 <= outline.row < size_px and 0 <= outline.column < size_px):
            continue
        window, relative = outline.relative_distance(size_px)
        taken = labels[window] > 0
        inside = relative < 1
        if partner is None:
            fits = not (taken & (relative < 1 + GAP_PX / outline.radius)).any()
        else:
            fits = 0.02 < (taken & inside).sum() / inside.sum() < 0.25
        if fits:
            placed.append(outline)
            labels[window][relative < nearest[window]] = len(placed)
            np.minimum(nearest[window], relative, out=nearest[window])
        if len(placed) == count:
            break
    return _whole_objects(labels)


def _draw_outline(generator: np.random.Generator, well: Well, partner: Outline | None) -> Outline:
    """An irregular outline anywhere in the well, or one that overlaps `partner` a little."""
    radius = float(np.exp(generator.uniform(*np.log(RADIUS_PX))))
    orders = np.arange(2, 9)
    amplitudes = generator.normal(0, generator.uniform(0.06, 0.22), len(orders)) / orders
    angle = generator.uniform(0, 2 * np.pi)
    if partner is None:
        row, column = well.row, well.column
        distance = (well.radius - radius) * np.sqrt(generator.random())
    else:
        row, column = partner.row, partner.column
        distance = (partner.radius + radius) * generator.uniform(0.78, 0.95)
    row, column = row + distance * np.sin(angle), column + distance * np.cos(angle)
    return Outline(row, column, radius, amplitudes, generator.uniform(0, 2 * np.pi, len(orders)))


def _whole_objects(labels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Keep the largest part of each object where it is large enough, and number the objects anew without gaps."""
    whole = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        parts, _ = ndimage.label(labels == label)
        areas = np.bincount(parts.ravel())[1:]
        if areas.max() >= MIN_AREA_PX:
            whole[parts == 1 + areas.argmax()] = whole.max() + 1
    return whole


def transmitted(generator: np.random.Generator, labels: NDArray[np.uint16], well: Well) -> Plane:
    """Brightfield: an uneven lamp whose light spheroids, debris and the well's wall take away (Beer-Lambert).

    Returns:
        float64 (H, W), 1 is the lamp's light at the image's centre.
    """
    size_px = len(labels)
    wall = well.distance(size_px)
    light = _lamp(generator, size_px)
    light *= 1 - generator.uniform(0.02, 0.2) / (1 + np.exp(wall / generator.uniform(1, 3)))
    light *= 1 - generator.uniform(0.1, 0.4) * np.exp(-((wall / generator.uniform(1.5, 4)) ** 2))
    light *= 1 + generator.uniform(0, 0.15) * np.exp(-(((wall - 6) / 3) ** 2))
    depth = _spheroids(generator, labels, halo=True) + _debris(generator, size_px) + _smudges(generator, size_px)
    return ndimage.gaussian_filter(light * np.exp(-depth), generator.uniform(0.4, 1.0))


def emitted(generator: np.random.Generator, labels: NDArray[np.uint16]) -> Plane:
    """Fluorescence: spheroids glow on a dark ground with haze around them.

    Returns:
        float64 (H, W), about 0.1 is the ground and 1 a bright spheroid.
    """
    size_px = len(labels)
    glow = 1.5 * _spheroids(generator, labels, halo=False) + 0.4 * np.maximum(0, _debris(generator, size_px))
    haze = ndimage.gaussian_filter(glow, generator.uniform(6, 12))
    ground = generator.uniform(0.08, 0.2) * _lamp(generator, size_px)
    return ground + ndimage.gaussian_filter(glow, generator.uniform(0.6, 1.4)) + generator.uniform(0.2, 0.5) * haze


def _lamp(generator: np.random.Generator, size_px: int) -> Plane:
    """Uneven illumination about 1: a gradient, vignetting about a point off the centre, and broad blotches."""
    rows, columns = np.mgrid[:size_px, :size_px] / size_px - 0.5
    slope_row, slope_column = generator.uniform(-0.12, 0.12, 2)
    shift_row, shift_column = generator.uniform(-0.15, 0.15, 2)
    vignette = generator.uniform(0.05, 0.25) * ((rows - shift_row) ** 2 + (columns - shift_column) ** 2)
    light: Plane = 1 + slope_row * rows + slope_column * columns - vignette
    return light + generator.uniform(0.01, 0.04) * _noise(generator, (size_px, size_px), size_px / 8)


def _noise(generator: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> Plane:
    """Smooth random field with mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(generator.normal(size=shape), sigma_px, mode="wrap")
    field -= field.mean()
    return field / max(float(field.std()), 1e-12)


def _spheroids(generator: np.random.Generator, labels: NDArray[np.uint16], halo: bool) -> Plane:
    """Optical depth of all spheroids; negative where a halo adds light."""
    depth = np.zeros(labels.shape)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        window = (
            slice(max(0, rows.start - MARGIN_PX), rows.stop + MARGIN_PX),
            slice(max(0, columns.start - MARGIN_PX), columns.stop + MARGIN_PX),
        )
        depth[window] += _spheroid(generator, labels[window] == label, halo)
    return depth


def _spheroid(generator: np.random.Generator, mask: NDArray[np.bool_], halo: bool) -> Plane:
    """Optical depth of one spheroid, faint to strong, in or out of focus: solid, with a dark core, or a cyst."""
    radius = np.sqrt(mask.sum() / np.pi)
    inner, outer = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    edge = ndimage.gaussian_filter(inner - outer, 0.7)
    blur = generator.uniform(0.4, 2.2)
    body = 1 / (1 + np.exp(-edge / blur))
    # The depth falls towards every edge, the shared one too: this is the weak seam between touching spheroids.
    thickness = 1 - np.exp(-np.maximum(0, edge) / (0.3 * radius))
    rim = np.exp(-(((edge - blur) / (0.08 * radius + blur)) ** 2))
    profiles = (0.5 + 0.5 * thickness, 0.3 + 0.9 * thickness**3, 0.15 + 0.2 * thickness + 0.7 * rim)
    profile = profiles[generator.choice(3, p=(0.5, 0.25, 0.25))] + generator.uniform(0, 0.25) * rim
    texture = generator.uniform(0.1, 0.3) * _noise(generator, mask.shape, 1.2)
    texture += generator.uniform(0.05, 0.25) * _noise(generator, mask.shape, radius / 4)
    depth: Plane = body * profile * np.maximum(0.1, 1 + texture)
    if halo:
        away = np.maximum(0, -edge) / (2 * blur + 1)
        depth -= generator.uniform(0, 0.5) * (1 - body) * np.sin(np.pi * away) * np.exp(-away)
    depth *= np.exp(generator.uniform(np.log(0.15), np.log(0.8)))
    return depth


def _debris(generator: np.random.Generator, size_px: int) -> Plane:
    """Optical depth of what is no spheroid: specks, fibres, and bubbles with a bright centre."""
    depth = np.zeros((size_px, size_px))
    rows, columns = np.ogrid[:size_px, :size_px]
    for _ in range(generator.integers(3, 16)):
        row, column = generator.uniform(0, size_px, 2)
        height, width = generator.uniform(0.7, 2.2, 2)
        square = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2
        depth += generator.uniform(0.1, 0.7) * np.exp(-square / 2)
    for _ in range(generator.integers(0, 3)):
        depth += generator.uniform(0.15, 0.5) * _fibre(generator, size_px)
    for _ in range(generator.integers(0, 3)):
        row, column = generator.uniform(0, size_px, 2)
        radius = generator.uniform(3, 7)
        distance = np.hypot(rows - row, columns - column)
        depth += generator.uniform(0.3, 0.8) * np.exp(-(((distance - radius) / 1.3) ** 2))
        depth -= generator.uniform(0.1, 0.3) * np.exp(-((distance / (0.5 * radius)) ** 2))
    return depth


def _fibre(generator: np.random.Generator, size_px: int) -> Plane:
    """A thin bent line with a peak of 1: a quadratic Bezier curve."""
    start = generator.uniform(0, size_px, 2)
    end = start + generator.normal(0, 40, 2)
    bend = (start + end) / 2 + generator.normal(0, 20, 2)
    step = np.linspace(0, 1, 400)[:, None]
    points = (1 - step) ** 2 * start + 2 * step * (1 - step) * bend + step**2 * end
    points = np.rint(points[((points >= 0) & (points <= size_px - 1)).all(axis=1)]).astype(int)
    line = np.zeros((size_px, size_px))
    line[points[:, 0], points[:, 1]] = 1
    line = ndimage.gaussian_filter(line, generator.uniform(0.6, 1.1))
    return line / max(float(line.max()), 1e-12)


def _smudges(generator: np.random.Generator, size_px: int) -> Plane:
    """Broad faint shadows out of the focal plane, such as dirt under the plate."""
    depth = np.zeros((size_px, size_px))
    rows, columns = np.ogrid[:size_px, :size_px]
    for _ in range(generator.integers(0, 4)):
        row, column = generator.uniform(0, size_px, 2)
        height, width = generator.uniform(8, 24, 2)
        square = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2
        depth += generator.uniform(0.03, 0.12) * np.exp(-square / 2)
    return depth
