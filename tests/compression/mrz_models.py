"""Folders of small untrained codecs for tests of whole files, and rasters to compress with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from codec_models import WIDTH, codec_of, small_network
from numpy.typing import NDArray
from rasterio.transform import Affine

from millrace.compression.codec_model import step_of
from millrace.training import model_folder

RATES = {"q1": 0.0004, "q2": 0.003, "q3": 0.02}
CLIP = {"per": "scene", "low_percentile": 1.0, "high_percentile": 99.0, "fixed": None}


def write_models(folder: Path, rates: dict[str, float] = RATES, values: str = "amplitude", seed: int = 0) -> Path:
    """A folder of rate points by name and lambda; another seed gives other models."""
    for number, (rate, weight) in enumerate(rates.items()):
        network = small_network(100 * seed + number, step_of(weight))
        with torch.no_grad():
            network.restorer.tail.weight *= 0.01  # as it is, it spoils images more than the quantiser does
        config = {"task": "compression", "rate": rate, "lambda": weight, "width": WIDTH, "values": values, "clip": CLIP}
        model_folder.save(folder / rate, codec_of(network), config)
    return folder


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """A few broad waves (H, W) between 60 and 240, evenly in decibels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.zeros((height, width))
    for _ in range(4):
        fy, fx, phase = random.uniform(-0.04, 0.04), random.uniform(-0.04, 0.04), random.uniform(0, 1)
        waves += np.sin(2 * math.pi * (fy * y + fx * x + phase))
    return 60 * 4 ** ((waves + 4) / 8)


def speckled_amplitude(height: int, width: int, seed: int = 0) -> NDArray[np.uint16]:
    """Like a radar image (H, W): fields under speckle."""
    random = np.random.default_rng(seed)
    fields = np.kron(random.uniform(60, 400, (height // 40 + 1, width // 40 + 1)), np.ones((40, 40)))
    amplitude = fields[:height, :width] * np.sqrt(random.gamma(4.4, 1 / 4.4, (height, width)))
    return np.clip(amplitude, 1, 65535).astype(np.uint16)


def write_tiff(path: Path, bands: NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF of bands (B, H, W), or of one (H, W)."""
    bands = bands if bands.ndim == 3 else bands[None]
    count, height, width = bands.shape
    place = {"driver": "GTiff", "transform": Affine(10, 0, 399960, 0, -10, 4500000), "crs": "EPSG:32630"}
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", **(place | profile | shape)) as dataset:
        dataset.write(bands)
    return path


def read_tiff(path: Path) -> NDArray[Any]:
    """Bands (B, H, W)."""
    with rasterio.open(path) as dataset:
        bands: NDArray[Any] = dataset.read()
    return bands
