"""How the synthetic SAR scenes compare with real images in what decides a codec's rate.

    python benchmarks/sar_sample_statistics.py [--scenes 48] [--size 512] [--real FOLDER]

Every image is a band in decibels, clipped at its 1 and 99 percentiles and scaled to 8 bits. Prints a Markdown table: a
row per statistic; minimum, median and maximum over the bands of the synthetic scenes; then each real image, with `!`
where it lies outside the synthetic range. Scenes with a border are drawn again, as windows without a border are
compared. The real folder (default: $MILLRACE_SHARED_DATA/sar, where it is set) may hold uint16 amplitudes (20 log10)
and floats in decibels; other files are passed over.

ENL: of power, median over the tenth of all 15 px windows that vary least. r: autocorrelation along x and y at some
lag. S: power at radial frequencies of up to 0.05, 0.10, ... cycles/px, dB relative to the mean over the plane (Hann
window). PSNR: of Pillow's JPEG 2000 (9/7) at a rate in bpp, dB.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from millrace.compression.sample_scene import scene

Plane = NDArray[np.float64]
LAGS = (1, 2, 4, 8)
RATES = (0.15, 0.3, 0.7, 1.5)
WINDOW_PX = 15
FLAT_SHARE = 0.1
BIN = 0.05
JPEG2000_DEPTH = 8


def synthetic(scenes: int, size_px: int, looks: float, seed: int) -> Iterator[Plane]:
    """Decibels of each band of `scenes` scenes without a border."""
    number = found = 0
    while found < scenes:
        drawn = scene(np.random.SeedSequence((seed, number)), size_px, looks)
        number += 1
        if drawn.valid.all():
            found += 1
            yield from 20 * np.log10(np.maximum(np.rint(drawn.amplitude.astype(float)), 1))


def real(folder: Path) -> Iterator[tuple[str, Plane]]:
    """Name and decibels of each band of the radar images below `folder`, without borders of nodata."""
    for path in sorted((*folder.rglob("*.tif"), *folder.rglob("*.tiff"))):
        with rasterio.open(path) as source:
            if source.dtypes[0] == "uint8":
                continue
            bands = source.read().astype(float)
            nodata, amplitude = source.nodata, source.dtypes[0] == "uint16"
        for number, band in enumerate(bands, 1):
            valid = np.isfinite(band) & (band != (0 if nodata is None else nodata))
            inner = band[np.ix_(valid.mean(axis=1) > 0.9, valid.mean(axis=0) > 0.9)]
            name = path.stem if len(bands) == 1 else f"{path.stem}, band {number}"
            yield (
                name,
                20 * np.log10(np.maximum(inner, 1)) if amplitude else np.nan_to_num(inner, nan=inner[valid].min()),
            )


def statistics(decibels: Plane) -> dict[str, float]:
    low, high = np.percentile(decibels, (1, 99))
    scaled = np.rint(255 * np.clip((decibels - low) / (high - low), 0, 1))
    centred = scaled - scaled.mean()
    found = {"range, dB": high - low, "ENL": looks_of(10 ** (decibels / 10))}
    for lag in LAGS:
        found[f"r x{lag}"] = float((centred[:, lag:] * centred[:, :-lag]).mean() / centred.var())
        found[f"r y{lag}"] = float((centred[lag:] * centred[:-lag]).mean() / centred.var())
    found |= {f"S {BIN * (bin_ + 1):.2f}": level for bin_, level in enumerate(radial_spectrum(centred))}
    found["standard deviation / range"] = float(scaled.std() / 255)
    found["skewness"] = float(stats.skew(scaled, axis=None))
    found["kurtosis"] = float(stats.kurtosis(scaled, axis=None))
    return found | {f"PSNR {rate:g}": jpeg2000_psnr(scaled.astype(np.uint8), rate) for rate in RATES}


def looks_of(power: Plane) -> float:
    """Equivalent number of looks, mean**2 / variance, in the most homogeneous windows."""
    height, width = (side // WINDOW_PX * WINDOW_PX for side in power.shape)
    windows = power[:height, :width].reshape(height // WINDOW_PX, WINDOW_PX, width // WINDOW_PX, WINDOW_PX)
    looks = windows.mean(axis=(1, 3)) ** 2 / windows.var(axis=(1, 3))
    return float(np.median(looks[looks >= np.quantile(looks, 1 - FLAT_SHARE)]))


def radial_spectrum(centred: Plane) -> list[float]:
    height, width = centred.shape
    density = np.abs(np.fft.fft2(centred * np.outer(np.hanning(height), np.hanning(width)))) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    rings = [density[(radius >= start) & (radius < start + BIN)].mean() for start in np.arange(10) * BIN]
    return [float(10 * np.log10(ring / density.mean())) for ring in rings]


def jpeg2000_psnr(pixels: NDArray[np.uint8], bits_per_pixel: float) -> float:
    file = io.BytesIO()
    layers = [JPEG2000_DEPTH / bits_per_pixel]
    Image.fromarray(pixels).save(
        file, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=layers, no_jp2=True
    )
    decoded = np.asarray(Image.open(file), float)
    return float(10 * np.log10(255**2 / np.mean((decoded - pixels) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("MILLRACE_SHARED_DATA")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--size", type=int, default=512, help="height and width of a scene, px")
    parser.add_argument("--looks", type=float, default=4.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, default=Path(shared) / "sar" if shared else None)
    arguments = parser.parse_args()

    drawn = [statistics(band) for band in synthetic(arguments.scenes, arguments.size, arguments.looks, arguments.seed)]
    known = {name: statistics(band) for name, band in real(arguments.real)} if arguments.real else {}
    print(" | ".join(("| statistic", "min", "median", "max", *known, "")))
    print("| --- " * (4 + len(known)) + "|")
    for key in drawn[0]:
        values = np.array([one[key] for one in drawn])
        low, middle, high = values.min(), np.median(values), values.max()
        cells = [f"{value:.2f}" for value in (low, middle, high)]
        for one in known.values():
            cells.append(f"{one[key]:.2f}{'' if low <= one[key] <= high else ' !'}")
        print(" | ".join((f"| {key}", *cells, "")))


if __name__ == "__main__":
    main()
