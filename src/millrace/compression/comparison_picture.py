"""Picture of decoded images beside their originals, and of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millrace.compression.codecs import CODECS
from millrace.compression.rate_distortion import Case, decode_case, encode_case
from millrace.compression.targets import RatePoints
from millrace.imagery.pictures import outlines, sheet, write_png

CROP_PX = 192
ERROR_GAIN = 2.0  # errors are drawn around grey, so many times as large


def write_examples(path: Path, cases: Sequence[Case], points: RatePoints) -> None:
    """For each case: the original, the model's middle rate point and JPEG 2000 at its size, and the error of both.

    What is drawn is the middle of the image, of 256 pixels a side.
    """
    point = points.points[(len(points.points) - 1) // 2]
    pictures, captions = [], []
    for case in cases:
        data = encode_case(case, point, 1.0)
        rate = 8 * len(data) / case.image.size
        peer = CODECS["jpeg2000"].encode(case.image, rate)
        original, own, other = (
            _middle(image.astype(np.float32) / np.float32(case.levels))
            for image in (case.image, decode_case(data, point), CODECS["jpeg2000"].decode(peer))
        )
        errors = [np.clip(0.5 + ERROR_GAIN * (each - original), 0, 1) for each in (own, other)]
        pictures += [outlines(each, []) for each in (original, own, other, *errors)]
        peer_rate = 8 * len(peer) / case.image.size
        captions += [
            case.name,
            f"{point.name}: {rate:.3f} bpp, {_psnr(own, original):.1f} dB",
            f"JPEG 2000: {peer_rate:.3f} bpp, {_psnr(other, original):.1f} dB",
            f"{point.name}: error x {ERROR_GAIN:g}",
            f"JPEG 2000: error x {ERROR_GAIN:g}",
        ]
    write_png(path, sheet(pictures, captions, columns=5, cell_px=CROP_PX))


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    top, left = (max(0, (side - CROP_PX) // 2) for side in image.shape)
    return image[top : top + CROP_PX, left : left + CROP_PX]


def _psnr(decoded: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    """Of what is drawn."""
    return float(-10 * np.log10(max(float(np.square(decoded - original).mean()), 1e-12)))
