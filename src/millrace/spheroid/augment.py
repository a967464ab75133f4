"""Random changes of a training patch that leave its truth true."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from millrace.spheroid.params import Augmentation

Array = NDArray[np.float32]


def turn_and_flip(channels: Array, settings: Augmentation, rng: np.random.Generator) -> Array:
    """One of the eight symmetries of the square, for all channels (C, S, S) alike."""
    for axis in (1, 2):
        if rng.random() < settings.flip:
            channels = np.flip(channels, axis)
    if settings.turn:
        channels = np.rot90(channels, int(rng.integers(4)), axes=(1, 2))
    return channels


def change_grey(image: Array, settings: Augmentation, rng: np.random.Generator) -> Array:
    """Inversion, gamma, contrast about the mean, brightness, noise on a normalised patch (S, S); may leave 0 to 1."""
    if rng.random() < settings.invert:
        image = 1 - image
    gamma = 2 ** rng.uniform(-settings.gamma, settings.gamma)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = rng.uniform(-settings.brightness, settings.brightness)
    noise = rng.uniform(0, settings.noise)
    changed = np.clip(image, 0, None) ** gamma if settings.gamma else image
    mean = changed.mean()
    changed = (changed - mean) * contrast + mean + brightness
    if settings.noise:
        changed = changed + rng.normal(0, noise, image.shape)
    return np.asarray(changed, dtype=np.float32)


def zoomed_side(side: int, settings: Augmentation, rng: np.random.Generator) -> int:
    """Side of the window that is scaled to `side` pixels: magnifications up to `zoom`, down to its inverse, equally."""
    limit = math.log2(settings.zoom)
    return max(8, round(side / math.pow(2, rng.uniform(-limit, limit))))
