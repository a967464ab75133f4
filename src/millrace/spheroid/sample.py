"""Stage `spheroid-sample`: a small synthetic data set in the raw formats that users bring."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from millrace.files import whole_folder
from millrace.parallel import parallel_map
from millrace.settings import Runtime
from millrace.spheroid.params import Sample, Spheroid
from millrace.spheroid.sample_scene import Plane, draw_labels, draw_well, emitted, transmitted

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

FOLDER = Path("data/sample/spheroid")
FORMATS = ("grey8.png", "grey16.tif", "rgb8.png", "float32.tif")
BRIGHT_EVERY = 5
"""One image of so many is fluorescence, bright on dark."""
EMPTY_EVERY, EMPTY_FIRST = 20, 13


def run(params: Spheroid, runtime: Runtime) -> None:
    """Write `images/NAME.png|tif` and `masks/NAME_mask.png|tif` under data/sample/spheroid.

    Masks hold instance ids (uint16), or 0/255 in some images where no two spheroids touch. Image i depends on the
    seed, i and the size alone, so a larger set begins with the smaller one, byte for byte.
    """
    with whole_folder(FOLDER) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        write = partial(_write_well, folder=folder, sample=params.sample)
        parallel_map(write, range(params.sample.images), runtime, "spheroid sample")


def _write_well(index: int, folder: Path, sample: Sample) -> None:
    generator = np.random.default_rng((sample.seed, index))
    well = draw_well(generator, sample.size_px)
    if index % EMPTY_EVERY == EMPTY_FIRST:
        labels = np.zeros((sample.size_px, sample.size_px), np.uint16)
    else:
        labels = draw_labels(generator, sample.size_px, well)
    bright = index % BRIGHT_EVERY == BRIGHT_EVERY - 1
    light = emitted(generator, labels) if bright else transmitted(generator, labels, well)

    kind = FORMATS[index % len(FORMATS)]
    name = f"well_{index:04d}"
    _write(folder / "images" / f"{name}{Path(kind).suffix}", _photograph(generator, light, kind, bright))
    if index % 2 == 0:
        _write(folder / "masks" / f"{name}_mask.tif", labels)
    elif touching(labels):
        _write(folder / "masks" / f"{name}_mask.png", labels)
    else:
        _write(folder / "masks" / f"{name}_mask.png", np.where(labels > 0, 255, 0).astype(np.uint8))


def touching(labels: NDArray[np.uint16]) -> bool:
    """Whether a binary mask would merge objects that `labels` (H, W) tells apart, read with 8-connectivity."""
    _, components = ndimage.label(labels > 0, structure=np.ones((3, 3)))
    return bool(components < labels.max())


def _photograph(generator: np.random.Generator, light: Plane, kind: str, bright: bool) -> Pixels:
    """A camera's picture of `light` (H, W): shot noise, read noise, saturation, and the bits of its file format."""
    photons = np.exp(generator.uniform(np.log(250), np.log(800 if bright else 2000)))
    if kind == "rgb8.png":
        light = light[:, :, None] * np.array((0.15, 0.95, 0.25) if bright else (0.95, 0.9, 0.8))
    seen: Plane = generator.poisson(photons * np.maximum(0, light)) / photons
    seen += generator.normal(0, generator.uniform(0.004, 0.015), light.shape)
    if kind == "float32.tif":
        return seen.astype(np.float32)
    exposed = np.clip(seen * generator.uniform(0.55, 0.75), 0, 1)
    if kind == "grey16.tif":
        return np.rint(exposed * 4095).astype(np.uint16)  # scientific cameras write 12 bits in a 16-bit file
    return np.rint(exposed * 255).astype(np.uint8)


def _write(path: Path, pixels: Pixels) -> None:
    """Write a PNG or an LZW-compressed TIFF without any tag that could differ between runs."""
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, compression="lzw", metadata=None, software=False)
