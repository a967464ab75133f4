"""How near a decoded SAR image is to the original, over the valid pixels, and a paired test over images.

All take the original and the decoded image, normalised decibels 0..1 of shape (H, W), floating point, and a mask of the
same shape that is True where a pixel is valid. What the arrays hold elsewhere is never used, not even NaN:

- measures by pixel leave invalid pixels out;
- measures by window (SSIM 11 x 11, Sobel 3 x 3, ENL 15 x 15) leave out every window with an invalid pixel, and those
  that would reach over the image's edge.

A measure is None where it has no value: without a valid pixel or window, and in the cases that each one names. Images
are worked through in strips of rows, so that beside the arguments about 3 bytes a pixel are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

Pixels = NDArray[np.floating]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)

STRIP_PX = 2**21
"""Pixels of a strip; each of its dozen working arrays takes 16 MiB."""

SSIM_RADIUS = 5
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""From the finest scale to the coarsest."""
MS_SSIM_SIDE = 160
"""Sides up to this leave no 11 x 11 window on the coarsest scale."""

ENL_WINDOW = 15
ENL_SHARE = 0.1
HISTOGRAM_BINS = 64
MIN_PAIRS = 6


def scores(
    original: Pixels, decoded: Pixels, valid: Mask, decibel_range: tuple[float, float] | None
) -> dict[str, float | None]:
    """All measures of one image.

    Args:
        original: Normalised values 0..1, shape (H, W).
        decoded: Same shape.
        valid: True where a pixel counts, same shape.
        decibel_range: Decibels that 0 and 1 stand for; None where values are no decibels, which leaves `enl_ratio` out.

    Returns:
        `psnr_db`, `ssim`, `ms_ssim`, `mae`, `enl_ratio`, `epi`, `epi_ratio`, `histogram_intersection` and
        `bhattacharyya`.

    Raises:
        ValueError: The shapes differ, or a valid pixel is not finite.
    """
    if not original.shape == decoded.shape == valid.shape or original.ndim != 2:
        raise ValueError(f"shapes differ: {original.shape}, {decoded.shape}, {valid.shape}")
    psnr = psnr_db(original, decoded, valid)
    correlation, ratio = edge_preservation(original, decoded, valid)
    intersection, distance = histogram_similarity(original, decoded, valid)
    return {
        "psnr_db": psnr,
        "ssim": ssim(original, decoded, valid),
        "ms_ssim": ms_ssim(original, decoded, valid),
        "mae": mae(original, decoded, valid),
        "enl_ratio": None if decibel_range is None else enl_ratio(original, decoded, valid, decibel_range),
        "epi": correlation,
        "epi_ratio": ratio,
        "histogram_intersection": intersection,
        "bhattacharyya": distance,
    }


def psnr_db(original: Pixels, decoded: Pixels, valid: Mask) -> float | None:
    """-10 log10 of the mean squared error (the peak is 1); None without an error, where it is infinite."""
    error = _mean_power(original, decoded, valid, 2)
    return -10 * math.log10(error) if error else None


def mae(original: Pixels, decoded: Pixels, valid: Mask) -> float | None:
    """Mean absolute error."""
    return _mean_power(original, decoded, valid, 1)


def ssim(original: Pixels, decoded: Pixels, valid: Mask) -> float | None:
    """Mean structural similarity: Gaussian windows of 11 x 11, sigma 1.5, population covariance, range 1.

    Source: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    return _similarity(original, decoded, valid)[0]


def ms_ssim(original: Pixels, decoded: Pixels, valid: Mask) -> float | None:
    """Multi-scale structural similarity of five scales; None where the smaller side is at most 160 px.

    Source: Z. Wang et al., "Multiscale structural similarity for image quality assessment", 2003. A scale halves the
    last by means of 2 x 2 pixels; a last odd row or column stands for two, and a mean is valid where all its pixels
    are. A negative mean at one scale counts as 0.
    """
    if min(original.shape) <= MS_SSIM_SIDE:
        return None
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            original, decoded = _halved(original, valid), _halved(decoded, valid)
            valid = _halved(valid, valid) == 1
        similarity, contrast = _similarity(original, decoded, valid)
        factor = similarity if scale == len(MS_SSIM_WEIGHTS) - 1 else contrast
        if factor is None:
            return None
        product *= max(factor, 0.0) ** weight
    return product


def enl_ratio(original: Pixels, decoded: Pixels, valid: Mask, decibel_range: tuple[float, float]) -> float | None:
    """Equivalent number of looks of the decoded image by that of the original: above 1 where speckle was smoothed.

    The number of looks of a homogeneous window is mean^2 / variance of its power, 10^(dB / 10). The image is cut into
    windows of 15 x 15 px from its first pixel on; of the valid ones that are not constant in the original, the tenth
    with the least coefficient of variation there (at least one) is used for both images. The looks of an image are the
    harmonic mean over them, so that one smooth window does not outweigh the rest. None where the decoded windows are
    all constant, which is infinitely many looks.
    """
    low, high = decibel_range
    found: list[Values] = []
    rows, columns = (side // ENL_WINDOW * ENL_WINDOW for side in original.shape)
    for start, stop in _strips((rows, columns), ENL_WINDOW):
        strip = np.s_[start:stop, :columns]
        whole = _tiles(valid[strip]).all(axis=(1, 3))
        pair = []
        for image in (original, decoded):
            # Power relative to that of the range's end: only ratios count, and no range overflows.
            power = _tiles(10 ** ((high - low) / 10 * (_filled(image[strip], valid[strip]) - 1)))
            variation = power.var(axis=(1, 3)) / power.mean(axis=(1, 3)) ** 2
            # The variance of equal numbers is not 0 where their mean is rounded.
            pair.append(np.where(np.ptp(power, axis=(1, 3)) > 0, variation, 0)[whole])
        found.append(np.stack(pair))
    variations = np.concatenate(found, axis=1) if found else np.empty((2, 0))
    variations = variations[:, variations[0] > 0]
    if not variations.size:
        return None
    kept = np.argsort(variations[0], kind="stable")[: math.ceil(ENL_SHARE * variations.shape[1])]
    of_original, of_decoded = variations[:, kept].mean(axis=1)
    return float(of_original / of_decoded) if of_decoded else None


def edge_preservation(original: Pixels, decoded: Pixels, valid: Mask) -> tuple[float | None, float | None]:
    """Edge preservation by Sobel gradient magnitudes g: their correlation, and the ratio of their sums.

    The correlation is sum(g_o g_d) / sqrt(sum(g_o^2) sum(g_d^2)), 0 to 1, without subtraction of means, as the system
    that this task follows computes its "EPI". The ratio, sum(g_d) / sum(g_o), is the usual index: below 1 where edges
    (and speckle) were smoothed, above 1 where there are artefacts. Both are None where the original has no gradient.
    """
    both = of_original = of_decoded = sum_original = sum_decoded = 0.0
    for start, stop in _strips(original.shape, 1, halo=1):
        inside = _windows_inside(valid[start:stop], 1)
        first, second = (
            np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))[1:-1, 1:-1][inside]
            for image in (_filled(each[start:stop], valid[start:stop]) for each in (original, decoded))
        )
        both += float(first @ second)
        of_original += float(first @ first)
        of_decoded += float(second @ second)
        sum_original += float(first.sum())
        sum_decoded += float(second.sum())
    if not of_original:
        return None, None
    correlation = both / math.sqrt(of_original * of_decoded) if of_decoded else 0.0
    return min(correlation, 1.0), sum_decoded / sum_original


def histogram_similarity(original: Pixels, decoded: Pixels, valid: Mask) -> tuple[float | None, float | None]:
    """Intersection and Bhattacharyya distance of histograms p, q of 64 bins over 0..1, values beyond in the end bins.

    The intersection is sum(min(p, q)), 1 for equal histograms. The distance is sqrt(1 - sum(sqrt(p q))), 0 for equal
    and 1 for disjoint ones (the bounded form, also called Hellinger's).
    """
    counts = np.zeros((2, HISTOGRAM_BINS), np.int64)
    for start, stop in _strips(original.shape, 1):
        for row, image in enumerate((original, decoded)):
            values = image[start:stop][valid[start:stop]]
            bins = np.clip(values * HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1).astype(np.intp)
            counts[row] += np.bincount(bins, minlength=HISTOGRAM_BINS)
    total = counts[0].sum()
    if not total:
        return None, None
    p, q = counts / total
    # Rounding may leave the coefficient of equal histograms a little off 1, and the root would magnify that.
    distance = 0.0 if (counts[0] == counts[1]).all() else math.sqrt(max(0.0, 1 - float(np.sqrt(p * q).sum())))
    return float(np.minimum(counts[0], counts[1]).sum() / total), distance


@dataclass(frozen=True)
class Paired:
    """A score of a model against that of a peer on the same images; of the score more is better."""

    n: int
    mean_difference: float | None
    """Model less peer."""
    wins: int
    """Images where the model's score is higher."""
    p_value: float | None


def paired(model: Sequence[float | None], peer: Sequence[float | None]) -> Paired:
    """Wilcoxon's signed-rank test, two-sided, over the images for which both have a score.

    Images with equal scores count in `n` and do not enter the test. `p_value` is None where fewer than 6 remain: not
    even a win on each of 5 images reaches 0.05.

    Raises:
        ValueError: The lengths differ.
    """
    pairs = [(a, b) for a, b in zip(model, peer, strict=True) if a is not None and b is not None]
    differences = np.array([a - b for a, b in pairs], np.float64)
    unequal = differences[differences != 0]
    return Paired(
        n=len(pairs),
        mean_difference=float(differences.mean()) if pairs else None,
        wins=int((differences > 0).sum()),
        p_value=float(stats.wilcoxon(unequal).pvalue) if len(unequal) >= MIN_PAIRS else None,
    )


def _strips(shape: tuple[int, ...], multiple: int, halo: int = 0) -> Iterator[tuple[int, int]]:
    """Ranges of rows: their inner rows, without `halo` at both ends, follow each other in multiples of `multiple`."""
    height, width = shape
    rows = max(1, STRIP_PX // max(1, width * multiple)) * multiple
    for start in range(0, height - 2 * halo, rows):
        yield start, min(start + rows + 2 * halo, height)


def _filled(image: Pixels, valid: Mask) -> Values:
    """Copy with 0 for invalid pixels, whose NaN would spread."""
    return np.where(valid, image, 0).astype(np.float64)


def _windows_inside(valid: Mask, radius: int) -> Mask:
    """Of all windows inside the array, (H - 2 radius, W - 2 radius), those without an invalid pixel."""
    if min(valid.shape) <= 2 * radius:
        return np.zeros([max(0, side - 2 * radius) for side in valid.shape], bool)
    size = 2 * radius + 1
    least = ndimage.minimum_filter(valid.view(np.uint8), size)[radius : -radius or None, radius : -radius or None]
    inside: Mask = least.astype(bool)
    return inside


def _mean_power(original: Pixels, decoded: Pixels, valid: Mask, power: int) -> float | None:
    """Mean of |decoded - original| ** power over the valid pixels.

    Raises:
        ValueError: A valid pixel is not finite.
    """
    total, count = 0.0, 0
    for start, stop in _strips(original.shape, 1):
        inside = valid[start:stop]
        difference = decoded[start:stop][inside].astype(np.float64) - original[start:stop][inside]
        total += float((np.abs(difference) ** power).sum())
        count += difference.size
    if not math.isfinite(total):
        raise ValueError("a valid pixel is not finite")
    return total / count if count else None


def _similarity(original: Pixels, decoded: Pixels, valid: Mask) -> tuple[float | None, float | None]:
    """Means of structural similarity and of its contrast-structure factor."""
    total = contrast_total = 0.0
    count = 0
    for start, stop in _strips(original.shape, 1, halo=SSIM_RADIUS):
        inside = _windows_inside(valid[start:stop], SSIM_RADIUS)
        if not inside.any():
            continue
        x, y = (_filled(each[start:stop], valid[start:stop]) for each in (original, decoded))
        mean_x, mean_y = _blurred(x)[inside], _blurred(y)[inside]
        # One strip's arrays live at a time; the blur of a product is needed once.
        covariance = _blurred(x * y)[inside] - mean_x * mean_y
        variances = _blurred(x * x + y * y)[inside] - mean_x**2 - mean_y**2
        contrast = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
        contrast_total += float(contrast.sum())
        total += float((contrast * (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)).sum())
        count += contrast.size
    return (total / count, contrast_total / count) if count else (None, None)


def _blurred(image: Values) -> Values:
    """Gaussian means of all windows inside the array."""
    blurred: Values = ndimage.gaussian_filter(image, SSIM_SIGMA, radius=SSIM_RADIUS)
    return blurred[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]


def _halved(image: NDArray[np.generic], valid: Mask) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels, invalid ones taken as 0; the last of an odd number of rows or columns stands for two."""
    height, width = image.shape
    half = np.empty(((height + 1) // 2, (width + 1) // 2), np.float32)
    for start, stop in _strips(image.shape, 2):
        strip = np.where(valid[start:stop], image[start:stop], 0).astype(np.float32)
        strip = np.pad(strip, ((0, strip.shape[0] % 2), (0, width % 2)), mode="edge")
        half[start // 2 : (stop + 1) // 2] = (
            strip[::2, ::2] + strip[::2, 1::2] + strip[1::2, ::2] + strip[1::2, 1::2]
        ) / 4
    return half


def _tiles(strip: NDArray[Number]) -> NDArray[Number]:
    """(H, W) as (rows of windows, ENL_WINDOW, columns of windows, ENL_WINDOW)."""
    height, width = strip.shape
    return strip.reshape(height // ENL_WINDOW, ENL_WINDOW, width // ENL_WINDOW, ENL_WINDOW)
