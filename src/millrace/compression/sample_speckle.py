"""How a synthetic aperture radar sees a landscape: layover and foreshortening, its point response, and speckle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from millrace.compression.sample_texture import Generator, Plane

COHERENT_LOOKS = 8.0
"""Above so many looks, speckle is drawn as a transformed Gaussian field rather than as a sum of looks."""
GROUND_CELLS = 3
"""Pieces of a ground cell that are projected each on its own; one alone would give moire."""


@dataclass(frozen=True)
class Sensor:
    """What decides the point response and the speckle; x is range and y azimuth."""

    looks: float
    """Equivalent number of looks of one pixel, 1 or more."""
    bandwidth: tuple[float, float]
    """Of azimuth and range, in cycles per pixel: 1 is sampled critically, less is oversampled."""
    taper: tuple[float, float]
    """Generalised Hamming coefficient in azimuth and range: 1 weights nothing, 0.54 is a Hamming window."""


def project(power: NDArray[np.float32], displacement_px: Plane) -> NDArray[np.float32]:
    """Sum `power` (bands, H, W) where the radar sees it: `displacement_px` (H, W) nearer to it, to the left.

    Cells that fall together are foreshortening and layover, cells that are drawn apart are dark slopes and shadow.
    """
    bands, height, width = power.shape
    following = np.empty_like(displacement_px)
    following[:, :-1] = displacement_px[:, 1:]
    following[:, -1] = displacement_px[:, -1]
    pieces = np.arange(GROUND_CELLS, dtype=np.float32) / GROUND_CELLS
    columns = np.arange(width, dtype=np.float32) - pieces.mean()
    starts = (np.arange(height) * width)[:, None]
    seen = np.zeros((bands, height * width))
    for piece in pieces:
        place = columns + piece - (displacement_px * (1 - piece) + following * piece)
        whole = np.floor(place)
        part = place - whole
        left = (starts + np.clip(whole, 0, width - 1).astype(np.intp)).ravel()
        right = (starts + np.clip(whole + 1, 0, width - 1).astype(np.intp)).ravel()
        for band in range(bands):
            seen[band] += np.bincount(left, (power[band] * (1 - part)).ravel(), height * width)
            seen[band] += np.bincount(right, (power[band] * part).ravel(), height * width)
    return (seen / GROUND_CELLS).reshape(power.shape).astype(np.float32)


def detect(generator: Generator, power: Plane, points: NDArray[np.complex64], sensor: Sensor) -> Plane:
    """Intensity (H, W) of a mean `power` (H, W) with fully developed speckle, and of coherent `points` (H, W).

    Up to COHERENT_LOOKS each look is circular Gaussian noise of that power, filtered by the sensor's window and
    squared: pixels are correlated, edges have the sensor's resolution and points its side lobes. Above, the mean is
    filtered by the same response and multiplied by a gamma field (Wilson and Hilferty 1931) with the same correlation.
    """
    window = _window(power.shape, sensor)
    if sensor.looks <= COHERENT_LOOKS:
        intensity = np.zeros(power.shape, np.float32)
        weights = look_weights(sensor.looks)
        amplitude = np.sqrt(power / 2)
        window /= np.sqrt(np.mean(window**2))
        for weight in weights:
            noise = generator.standard_normal((*power.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
            noise *= amplitude
            noise += points
            field = fft.ifft2(fft.fft2(noise, overwrite_x=True) * window, overwrite_x=True)
            intensity += np.float32(weight) * (field.real**2 + field.imag**2)
        return intensity

    half = power.shape[1] // 2 + 1
    response = np.abs(fft.ifft2(window)) ** 2
    transfer = fft.rfft2(response / response.sum())
    correlation = np.abs(fft.ifft2(window**2)) ** 2
    spectrum = np.maximum(fft.fft2(correlation).real[:, :half], 0)
    mean: Plane = fft.irfft2(fft.rfft2(power + np.abs(points) ** 2) * transfer, power.shape)
    white = generator.standard_normal(power.shape, dtype=np.float32)
    normal: Plane = fft.irfft2(fft.rfft2(white) * np.sqrt(spectrum / spectrum.mean()), power.shape)
    normal *= np.float32(1 / (3 * np.sqrt(sensor.looks))) / normal.std()
    gamma: Plane = np.maximum(normal + np.float32(1 - 1 / (9 * sensor.looks)), 0) ** 3
    gamma *= np.maximum(mean, np.float32(0.1) * power.min())
    return gamma


def look_weights(looks: float) -> NDArray[np.float64]:
    """Weights, summing to 1, of independent looks whose weighted mean has `looks` equivalent looks.

    Fewer than 1 cannot be had from one look, and give 1.
    """
    whole = int(np.ceil(looks)) - 1
    if whole == 0:
        return np.ones(1)
    last = (whole - np.sqrt(whole**2 - (looks - 1) * whole * (looks - whole))) / (looks - 1)
    weights: NDArray[np.float64] = np.append(np.ones(whole), last) / (whole + last)
    return weights


def _window(shape: tuple[int, ...], sensor: Sensor) -> Plane:
    """Transfer function (H, W) of the processor for amplitudes."""
    vertical, horizontal = (
        np.where(
            np.abs(frequency) <= bandwidth / 2,
            taper + (1 - taper) * np.cos(2 * np.pi * frequency / bandwidth),
            0,
        )
        for frequency, bandwidth, taper in zip(
            (fft.fftfreq(shape[0]), fft.fftfreq(shape[1])), sensor.bandwidth, sensor.taper, strict=True
        )
    )
    window: Plane = (vertical[:, None] * horizontal[None]).astype(np.float32)
    return window
