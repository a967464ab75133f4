"""The classical method that a model has to beat: Otsu's threshold and a watershed on the distance transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from millrace.spheroid.objects import EIGHT_CONNECTED, keep_large


def otsu_watershed(grey: NDArray[np.float32], min_area_px: int) -> NDArray[np.int32]:
    """Objects above Otsu's threshold (Otsu 1979), touching ones separated where their distance to the background dips.

    The grey image is smoothed by 1 px (standard deviation) before the threshold, and holes are filled. Each component
    is flooded from the peaks of its distance transform, itself smoothed by 1 px. Two peaks must lie a typical radius
    apart: the median, over the image's components, of the largest distance to the background. Nothing else is set, and
    nothing is fitted to any data.

    Args:
        grey: Normalised grey values with bright objects, shape (H, W).
        min_area_px: Smaller components, and smaller parts of a separated one, are dropped.

    Returns:
        Object ids 1..N in raster order, shape (H, W), 0 on background; no object in a constant image.
    """
    smoothed = ndimage.gaussian_filter(grey, 1)
    mask = ndimage.binary_fill_holes(smoothed > threshold_otsu(smoothed))
    components = np.empty(grey.shape, np.int32)
    ndimage.label(mask, structure=EIGHT_CONNECTED, output=components)
    keep_large(components, min_area_px)
    count = int(components.max())
    if count == 0:
        return components
    depth = ndimage.distance_transform_edt(components > 0)
    radius = np.median(ndimage.maximum(depth, components, np.arange(1, count + 1)))
    depth = ndimage.gaussian_filter(depth, 1)
    peaks = peak_local_max(depth, min_distance=max(1, round(radius)), labels=components, exclude_border=False)
    seeds = np.zeros(grey.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    objects: NDArray[np.int32] = watershed(-depth, seeds, mask=components > 0, connectivity=2)
    keep_large(objects, min_area_px)
    return objects
