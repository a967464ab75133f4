"""Images whose colours say what is where, and a network that reads them: a model that is always right."""

from __future__ import annotations

import numpy as np
import rasterio
import shapely
import torch
from rasterio.features import rasterize
from rasterio.transform import Affine
from torch import nn

from millrace.roof.classes import LINES, NO_SUPERSTRUCTURE, SUPERSTRUCTURES, background_class
from millrace.roof.line_drawing import drawn
from millrace.roof.scene import Lines

AZIMUTHS = 8
BACKGROUND = background_class(AZIMUTHS)
SEGMENT_STEP, LINE_STEP, HEIGHT_STEP = 20, 8, 10
SURE = 12.0


class PaintedNetwork(nn.Module):
    """Logits of what the colours say, see `painted`."""

    def forward(self, image):
        red, green, blue = (image * 255).round().long().unbind(1)
        segments, superstructures, bits = red // SEGMENT_STEP, red % SEGMENT_STEP, green // LINE_STEP
        lines = torch.stack([bits >> kind & 1 for kind in range(len(LINES))], 1)
        return {
            "segments": SURE
            * nn.functional.one_hot(segments.clamp(0, BACKGROUND), BACKGROUND + 1).movedim(-1, 1).float(),
            "superstructures": SURE
            * nn.functional.one_hot(superstructures.clamp(0, NO_SUPERSTRUCTURE), len(SUPERSTRUCTURES))
            .movedim(-1, 1)
            .float(),
            "roof": SURE * (2 * (segments != BACKGROUND)[:, None].float() - 1),
            "lines": SURE * (2 * lines.float() - 1),
            "height": blue[:, None].float() / HEIGHT_STEP,
        }


def painted(segments, superstructures=None, bits=None, height=None):
    """RGB (H, W, 3) uint8: red is segment x 20 + superstructure, green line bits x 8, blue decimetres."""
    shape = segments.shape
    superstructures = np.full(shape, NO_SUPERSTRUCTURE, np.uint8) if superstructures is None else superstructures
    bits = np.zeros(shape, np.uint8) if bits is None else bits
    height = np.zeros(shape) if height is None else height
    return np.stack(
        [segments * SEGMENT_STEP + superstructures, bits * LINE_STEP, np.rint(height * HEIGHT_STEP).astype(np.uint8)],
        -1,
    ).astype(np.uint8)


def hipped_roof(middle, length, width, turn_deg):
    """A hipped roof whose ridge runs along the columns before it is turned clockwise, as seen in the image.

    Returns the polygons of its planes with their directions in the image (0 up, 90 right), and its lines; everything in
    pixels.
    """
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of (row, column)
    corners = np.array([(-width, -length), (-width, length), (width, length), (width, -length)]) / 2 @ turn.T + middle
    ridge = np.array([(0, width - length), (0, length - width)]) / 2 @ turn.T + middle
    a, b, c, d, left, right = *corners, *ridge
    planes = [((a, b, right, left), 0), ((b, c, right), 90), ((c, d, left, right), 180), ((d, a, left), 270)]
    polygons = [
        (shapely.Polygon([(column, row) for row, column in points]), (direction + turn_deg) % 360)
        for points, direction in planes
    ]
    pieces = [("ridge", left, right), ("hip", a, left), ("hip", d, left), ("hip", b, right), ("hip", c, right)]
    pieces += [(kind, *side) for kind in ("eave", "outline") for side in ((a, b), (b, c), (c, d), (d, a))]
    kinds = np.array([LINES.index(kind) for kind, _, _ in pieces], np.uint8)
    return polygons, Lines(kinds, np.array([np.concatenate(ends) for _, *ends in pieces]))


def azimuth_class(direction_deg):
    return round(direction_deg / (360 / AZIMUTHS)) % AZIMUTHS


def roof_image(shape, roofs, slope_per_px=0.0, eave_m=4.0, width_px=3.0):
    """Image of roofs of `hipped_roof`, painted."""
    segments = np.full(shape, BACKGROUND, np.uint8)
    height = np.zeros(shape)
    rows, columns = np.indices(shape) + 0.5
    bits = np.zeros(shape, np.uint8)
    for polygons, lines in roofs:
        for polygon, direction in polygons:
            inside = rasterize([polygon], shape).astype(bool)
            segments[inside] = azimuth_class(direction)
            out = np.array([-np.cos(np.radians(direction)), np.sin(np.radians(direction))])
            along = rows * out[0] + columns * out[1]
            eave = max(y * out[0] + x * out[1] for x, y in polygon.exterior.coords)
            height[inside] = (eave_m + slope_per_px * (eave - along))[inside]
        bits |= drawn(lines, shape, width_px)
    return painted(segments, bits=bits, height=np.minimum(height, 25))


def write_geotiff(path, image, crs="EPSG:25832", transform=None, **options):
    """GeoTIFF of an image (H, W, bands)."""
    transform = transform or Affine(0.2, 0, 690_000, 0, -0.2, 5_335_000)
    with rasterio.open(
        path, "w", driver="GTiff", height=image.shape[0], width=image.shape[1], count=image.shape[2],
        dtype=image.dtype, crs=crs, transform=transform, **options,
    ) as dataset:  # fmt: skip
        dataset.write(image.transpose(2, 0, 1))
    return path
