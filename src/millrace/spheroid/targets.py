"""What the model learns beside the foreground: how deep inside its object a pixel lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def distance_target(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Distance of each pixel to the outside of its object, as a share of that object's largest distance.

    The distance is the exact Euclidean one between pixel centres, to the nearest pixel that is not of the same object:
    background and touching neighbours are outside alike, what lies beyond the image is not. An object that fills the
    image has no outside and is 1 throughout.

    Args:
        labels: Object ids, shape (H, W); 0 is background.

    Returns:
        Shape (H, W), 0 on background, above 0 and at most 1 on objects.
    """
    target = np.zeros(labels.shape, np.float32)
    boxes: Sequence[tuple[slice, ...] | None] = ndimage.find_objects(labels)
    for label, box in enumerate(boxes, start=1):
        if box is None:
            continue
        # The box grown by one holds a nearest outside pixel: no pixel beyond it is nearer than the one straight ahead.
        grown = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        inside = labels[grown] == label
        if inside.all():
            target[grown] = 1
            continue
        distance = ndimage.distance_transform_edt(inside)
        target[grown][inside] = distance[inside] / distance.max()
    return target
