"""Random fields and patterns that synthetic landscapes are drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Generator = np.random.Generator
Plane = NDArray[np.float32]
PARCEL_IDS = 4096
"""Parcels are numbered modulo this, so that any value of theirs is one look-up in a table."""


def log_uniform(generator: Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def grid(shape: tuple[int, int]) -> tuple[Plane, Plane]:
    """Row and column numbers, (H, 1) and (1, W)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return rows.astype(np.float32), columns.astype(np.float32)


def fractal(
    generator: Generator,
    shape: tuple[int, int],
    exponent: float,
    outer_px: float,
    inner_px: float = 0.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Plane:
    """A Gaussian field (H, W), mean 0, standard deviation 1, whose power spectrum falls as frequency ** -exponent.

    Args:
        generator: Source of the noise.
        shape: Height and width; both edges wrap.
        exponent: 0 is white; terrain has about 3 to 4.
        outer_px: Wavelength above which the spectrum is flat.
        inner_px: Standard deviation of a Gaussian that smooths the field.
        stretch: Length of features across `angle`, relative to that along it.
        angle: Direction of the shorter features, radians from the x axis.
    """
    vertical = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    horizontal = fft.rfftfreq(shape[1]).astype(np.float32)[None]
    if stretch == 1.0:
        square = vertical**2 + horizontal**2
    else:
        along = horizontal * np.float32(np.cos(angle)) + vertical * np.float32(np.sin(angle))
        across = vertical * np.float32(np.cos(angle)) - horizontal * np.float32(np.sin(angle))
        square = along**2 + (across * np.float32(stretch)) ** 2
    gain = (square + np.float32(1 / outer_px**2)) ** np.float32(-exponent / 4)
    if inner_px > 0:
        gain *= np.exp(np.float32(-2 * (np.pi * inner_px) ** 2) * square)
    gain[0, 0] = 0
    noise = generator.standard_normal((*gain.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field: Plane = fft.irfft2(noise * gain, shape)
    field /= field.std()
    return field


def districts(generator: Generator, shape: tuple[int, int], count: int, warp_px: float) -> NDArray[np.intp]:
    """Numbers 0 .. count-1 (H, W): cells around random centres, with borders that bend by about `warp_px`."""
    rows, columns = grid(shape)
    if warp_px > 0 and count > 1:
        rows = rows + warp_px * fractal(generator, shape, 3.5, 200)
        columns = columns + warp_px * fractal(generator, shape, 3.5, 200)
    distances = [
        (rows - np.float32(generator.uniform(0, shape[0]))) ** 2
        + (columns - np.float32(generator.uniform(0, shape[1]))) ** 2
        for _ in range(count)
    ]
    nearest = np.zeros(shape, np.intp)
    least = np.broadcast_to(distances[0], shape).copy()
    for number, distance in enumerate(distances[1:], 1):
        nearer = distance < least
        nearest[nearer] = number
        np.minimum(least, distance, out=least)
    return nearest


@dataclass(frozen=True)
class Parcels:
    """A patchwork of quadrilaterals in rows, (H, W) each."""

    number: NDArray[np.int64]
    """0 .. PARCEL_IDS-1."""
    edge_px: Plane
    """Distance to the border of the parcel."""
    across_px: Plane
    """Coordinate across the rows of the parcel."""
    near_px: Plane
    """Distance to the border across the rows on the left, where the radar is."""


def parcels(generator: Generator, district: NDArray[np.intp], width_px: float, length_px: float) -> Parcels:
    """Strips of about `width_px`, cut at about `length_px`; each district has a direction and a scale of its own."""
    count = int(district.max()) + 1
    angle = generator.uniform(-np.pi / 2, np.pi / 2, count)
    scale = np.exp(generator.uniform(-0.4, 0.4, count))
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    rows, columns = grid((district.shape[0], district.shape[1]))
    along, across = cosine.astype(np.float32)[district], sine.astype(np.float32)[district]
    u = along * columns + across * rows
    v = along * rows - across * columns

    reach = 1.5 * max(district.shape) / float(scale.min())
    widths = width_px * np.exp(generator.normal(0, 0.4, int(2 * reach / width_px) + 20))
    cuts = (np.cumsum(widths) - widths.sum() / 2).astype(np.float32)
    strip = np.clip(np.searchsorted(cuts, u), 1, len(cuts) - 1)
    lengths = (length_px * np.exp(generator.normal(0, 0.4, len(cuts)))).astype(np.float32)
    offsets = generator.uniform(0, length_px, len(cuts)).astype(np.float32)
    length = lengths[strip]
    place = (v + offsets[strip]) / length
    cell = np.floor(place)
    part = place - cell
    size = scale.astype(np.float32)[district]
    near = u - cuts[strip - 1]
    edge = np.minimum(np.minimum(near, cuts[strip] - u), np.minimum(part, 1 - part) * length)
    number = (strip * 7919 + cell.astype(np.int64) * 104729 + district * 611953) % PARCEL_IDS
    return Parcels(number, edge * size, u * size, near * size)


def contour_distance(field: Plane, level: float) -> Plane:
    """Distance in px, to first order, to the contour where `field` (H, W) has the value `level`."""
    vertical = np.gradient(field, axis=0)
    horizontal = np.gradient(field, axis=1)
    steepness = np.sqrt(vertical**2 + horizontal**2)
    distance: Plane = np.abs(field - np.float32(level)) / np.maximum(steepness, np.float32(1e-3) * field.std())
    return distance


def coverage(distance_px: Plane, width_px: float) -> Plane:
    """Share of each pixel that a line of `width_px` covers, 0 to 1, from the distance to its middle."""
    share: Plane = np.clip(0.5 + width_px / 2 - distance_px, 0, min(1.0, width_px)).astype(np.float32)
    return share
