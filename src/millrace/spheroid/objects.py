"""From the model's two channels to numbered objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from millrace.spheroid.params import Postprocess

EIGHT_CONNECTED = np.ones((3, 3), bool)
STRIP_PX = 2**20
"""Pixels worked on at once where an operation would otherwise copy the whole image."""

Channel = NDArray[np.float16] | NDArray[np.float32]
Box = tuple[slice, ...]


def find_objects(
    foreground: Channel, distance: Channel, settings: Postprocess, out: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Objects of an image, touching ones separated.

    1. Pixels whose foreground probability reaches `threshold` form 8-connected components.
    2. In each component the distance channel is smoothed by a Gaussian that sees this component's pixels only, and is
       the wider the thicker the component. Peaks that rise by `seed_height` above the way to any higher one are seeds
       (the regional maxima of the h-maxima transform, Soille 2003, 6.3.4); two or more of them split the component by
       a watershed.
    3. With `fill_holes`, background enclosed by one object becomes part of it; another object in the hole stays.
       Specks, below `min_area_px` even when filled themselves, are removed first and so keep no hole open.
    4. Objects below `min_area_px` are dropped, the others numbered 1..N in the raster order of their first pixel.

    Each component is split by its own pixels alone, so the result is the same wherever it lies and however large the
    image is. Beside the inputs and `out` this takes one byte a pixel of the image, or some 100 a pixel of
    the largest component's bounding box.

    Args:
        foreground: Probability of belonging to any object, shape (H, W), 0..1; may be memory-mapped.
        distance: Predicted `targets.distance_target`, shape (H, W); may be memory-mapped.
        settings: Thresholds and sizes.
        out: Array of shape (H, W) that takes the result, for one that is memory-mapped.

    Returns:
        Object ids, shape (H, W), 0 on background; `out` where it was given.
    """
    labels = np.empty(foreground.shape, np.int32) if out is None else out
    ndimage.label(foreground >= settings.threshold, structure=EIGHT_CONNECTED, output=labels)
    _split_components(labels, distance, settings)
    if settings.fill_holes:
        _fill_holes(labels, settings.min_area_px)
    keep_large(labels, settings.min_area_px)
    return labels


def keep_large(labels: NDArray[np.int32], min_area_px: int) -> None:
    """Remove objects below `min_area_px` in place; number the others 1..N in the raster order of their first pixel."""
    boxes: Sequence[Box | None] = ndimage.find_objects(labels)
    areas = np.zeros(len(boxes) + 1, np.int64)
    for rows in row_strips(labels.shape):
        areas += np.bincount(labels[rows].ravel(), minlength=len(areas))
    first_pixels = []
    for label, box in enumerate(boxes, start=1):
        if box is not None and areas[label] >= min_area_px:
            top, columns = box[0].start, box[1]
            first_pixels.append((top, columns.start + int(np.argmax(labels[top, columns] == label)), label))
    numbers = np.zeros(len(areas), np.int32)
    for number, (_, _, label) in enumerate(sorted(first_pixels), start=1):
        numbers[label] = number
    for rows in row_strips(labels.shape):
        labels[rows] = numbers[labels[rows]]


def row_strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Row ranges of about `STRIP_PX` pixels that together cover an image of shape (H, W)."""
    height, width = shape
    rows = max(1, STRIP_PX // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, top + rows)


def _split_components(labels: NDArray[np.int32], distance: Channel, settings: Postprocess) -> None:
    """Split components in place where the distance channel says so; the parts' ids go on after the last component's."""
    boxes = ndimage.find_objects(labels)
    objects = len(boxes)
    for component, box in enumerate(boxes, start=1):
        crop = labels[box]
        mask = crop == component
        radius_px = float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())
        sigma_px = max(settings.smoothing_px, settings.smoothing_share * radius_px)
        smoothed = _smoothed_within(mask, distance[box], sigma_px)
        seeds, count = _peaks(smoothed, mask, settings.seed_height)
        if count < 2:
            continue
        parts = watershed(-smoothed, seeds, mask=mask, connectivity=2)
        crop[parts > 1] = parts[parts > 1] + (objects - 1)
        objects += count - 1


def _peaks(
    smoothed: NDArray[np.float32], mask: NDArray[np.bool_], height: float
) -> tuple[NDArray[np.signedinteger], int]:
    """Numbered 8-connected peaks within the mask, and their number."""
    relief = np.where(mask, smoothed, np.float32(-1))  # outside lower than all, so that no peak reaches over it
    lowered = reconstruction(relief - np.float32(height), relief)
    peaks = local_maxima(lowered, connectivity=2) & mask
    seeds, count = ndimage.label(peaks, structure=EIGHT_CONNECTED)
    return seeds, count


def _smoothed_within(mask: NDArray[np.bool_], values: Channel, sigma_px: float) -> NDArray[np.float32]:
    """Gaussian mean of `values` over the mask's own pixels, 0 outside the mask."""
    weights = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px, mode="constant")
    sums = ndimage.gaussian_filter(np.where(mask, values, 0).astype(np.float32), sigma_px, mode="constant")
    return np.divide(sums, weights, out=np.zeros_like(sums), where=mask)


def _fill_holes(labels: NDArray[np.int32], min_area_px: int) -> None:
    """Fill holes in place, after removing what is below `min_area_px` with its holes filled."""
    with_holes: list[tuple[int, Box]] = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        crop = labels[box]
        mask = crop == label
        filled_area = np.count_nonzero(ndimage.binary_fill_holes(mask))
        if filled_area < min_area_px:
            crop[mask] = 0
        elif filled_area > np.count_nonzero(mask):
            with_holes.append((label, box))
    for label, box in with_holes:
        crop = labels[box]
        mask = crop == label
        holes = ndimage.binary_fill_holes(mask) & (crop == 0)
        # Spreading from the object leaves alone what other objects in the hole enclose.
        crop[ndimage.binary_propagation(mask, mask=mask | holes)] = label
