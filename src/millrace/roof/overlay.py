"""A picture of an image with what was found on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.features import rasterize

from millrace.roof.classes import LINES, NO_SUPERSTRUCTURE, segment_names
from millrace.roof.data_pictures import LINE_COLOURS, SUPERSTRUCTURE_COLOURS, azimuth_colour
from millrace.roof.planes import Plane
from millrace.roof.vector_lines import VectorLines

TINT = 0.4
LINE_SHARE = 600
"""A line is as wide as this share of the picture's side."""
FLAT = (235, 235, 235)
UNKNOWN_FACING = (255, 120, 40)


def draw_overlay(
    pixels: NDArray[np.uint8],
    planes: Sequence[Plane],
    lines: VectorLines,
    superstructures: NDArray[np.uint8] | None,
    azimuths: int,
    largest_px: int,
) -> NDArray[np.uint8]:
    """Image with planes tinted by where they face, superstructures, and lines.

    Args:
        pixels: RGB (H, W, 3) uint8; it may be a memory-mapped file.
        planes: In its pixels.
        lines: Likewise.
        superstructures: Their classes (H, W), or None.
        azimuths: Number of azimuth classes.
        largest_px: Longest side of the picture; a larger image is reduced.

    Returns:
        RGB (h, w, 3) uint8.
    """
    step = max(1, -(-max(pixels.shape[:2]) // largest_px))
    picture = np.array(pixels[::step, ::step])
    names = segment_names(azimuths)[:-1]
    colours = {None: UNKNOWN_FACING, names[-1]: FLAT}
    colours |= {name: azimuth_colour(number, azimuths) for number, name in enumerate(names[:-1])}
    if planes:
        shapes = [
            (shapely.transform(each.polygon, lambda points: points / step), place)
            for place, each in enumerate(planes, 1)
        ]
        numbers = rasterize(shapes, picture.shape[:2], dtype=np.int32)
        of_planes = np.array([(0, 0, 0), *(colours[each.facing] for each in planes)])
        _tint(picture, numbers > 0, of_planes[numbers])
    if superstructures is not None:
        found = np.asarray(superstructures[::step, ::step])
        of_classes = np.array([*SUPERSTRUCTURE_COLOURS, (0, 0, 0)])
        _tint(picture, found < NO_SUPERSTRUCTURE, of_classes[np.minimum(found, NO_SUPERSTRUCTURE)])
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    width = max(1, round(max(picture.shape) / LINE_SHARE))
    for kind in reversed(range(len(LINES))):
        for row0, column0, row1, column1 in (lines.ends[lines.kinds == kind] / step).tolist():
            draw.line((column0, row0, column1, row1), fill=LINE_COLOURS[kind], width=width)
    return np.asarray(canvas)


def _tint(picture: NDArray[np.uint8], where: NDArray[np.bool_], colours: NDArray[np.int64]) -> None:
    picture[where] = picture[where] * (1 - TINT) + colours[where] * TINT
