"""Mask files as instance labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from millrace.errors import ImageError
from millrace.imagery.read import read_stored


def read_mask(path: Path, *, max_pixels: int) -> NDArray[np.int32]:
    """Read a mask, binary or of instance ids, as instance labels.

    Values are taken as stored, whatever a TIFF's colour table or "zero is white" makes of them in a viewer. A mask with
    0 and at most one other value is binary: its 8-connected components are the objects. In any other mask each value
    above 0 is one object, also where its pixels are apart.

    Args:
        path: File of a format without loss, with one page.
        max_pixels: Largest width x height that is accepted.

    Returns:
        (H, W) labels: 0 is background, objects are 1..N, in ascending order of id or, if binary, in reading order.

    Raises:
        ImageError: The file cannot be read, or its values are no labels; the message does not name the file.
    """
    stored = read_stored(path, max_pixels=max_pixels)
    if stored.lossy:
        raise ImageError("JPEG compression has changed the values of this mask; save it as PNG or as TIFF with Deflate")
    if stored.pages > 1:
        raise ImageError(f"a mask is one page, this file has {stored.pages}; save the page of the image by itself")
    plane = _plane(stored.samples)
    ids = np.unique(plane)
    _check_ids(ids)
    if len(ids) <= 2 and ids[0] == 0:
        components: NDArray[np.int32] = label(plane != 0, connectivity=2).astype(np.int32)
        return components
    first = 0 if ids[0] == 0 else 1
    labels = np.empty(plane.shape, np.int32)
    for row, values in enumerate(plane):
        labels[row] = np.searchsorted(ids, values) + first
    return labels


def _plane(samples: NDArray[Any]) -> NDArray[Any]:
    """The one channel of a mask (H, W, channels); alpha is ignored, equal colour channels count as one."""
    plane: NDArray[Any] = samples[..., 0]
    if samples.shape[2] > 2 and any((samples[..., channel] != plane).any() for channel in (1, 2)):
        raise ImageError("it is coded by colour; save it as a grey image with 0 for background and one value an object")
    return plane


def _check_ids(ids: NDArray[Any]) -> None:
    """Refuse distinct values (sorted) that are not whole numbers from 0."""
    if ids.dtype.kind == "f" and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ImageError("it holds values that are not whole numbers; a mask holds 0 and object ids")
    if ids[0] < 0:
        raise ImageError(f"it holds the negative value {ids[0]:g}; a mask holds 0 and object ids")
