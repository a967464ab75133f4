"""Roof planes: polygons of the class raster, and how each lies in space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import sieve
from scipy import ndimage

from millrace.roof.classes import UNKNOWN, background_class, flat_class, segment_names
from millrace.roof.ground import Ground
from millrace.roof.outlines import Region, regions
from millrace.roof.params import Vectorise

MIN_FIT_PX = 25
MIN_FIT_SLOPE_DEG = 10.0
MIN_FIT_R2 = 0.9


@dataclass(frozen=True)
class Plane:
    """A part of a roof that faces one way.

    Attributes:
        polygon: Valid, with holes; x are columns and y rows of the image, (0, 0) the outer corner of the first pixel.
        facing: One of `classes.segment_names` but `background`, None where only the roof is known.
        azimuth_deg: Compass direction that it faces; None where it is flat or that is unknown.
        azimuth_from: Whether that is the middle of the `class` or where the `height` falls to.
        slope_deg: Angle to the horizontal of the plane that fits the heights; None without heights, or too few.
        height_m: Mean above the ground, away from its border.
        area_m2: Of the polygon, as seen from above.
        confidence: Mean probability of the class.
    """

    polygon: shapely.Polygon
    facing: str | None
    azimuth_deg: float | None
    azimuth_from: Literal["class", "height"] | None
    slope_deg: float | None
    height_m: float | None
    area_m2: float
    confidence: float


class _Fit(NamedTuple):
    """The plane nearest to heights: mean, slope, compass direction of the fall, share of the variance it explains."""

    mean_m: float
    slope_deg: float
    azimuth_deg: float
    r2: float


def find_planes(
    classes: NDArray[np.uint8],
    confidence: NDArray[np.floating],
    height: NDArray[np.float32] | None,
    azimuths: int,
    ground: Ground,
    settings: Vectorise,
) -> list[Plane]:
    """Planes of an image: pixels of one class that are joined by their sides, as polygons with common borders.

    Groups of pixels below `min_plane_m2` go to the largest group beside them. A plane's azimuth is the middle of its
    class, or where its heights fall to if these can tell: the plane that fits them, away from the border, slopes by at
    least 10 degrees, explains at least 90 % of their variance, and falls in a direction within one class of its own.

    Args:
        classes: Places in `segment_names`, (H, W); UNKNOWN is a roof that faces nobody knows where.
        confidence: Probability of the class, (H, W).
        height: Metres above the ground (H, W), or None.
        azimuths: Number of azimuth classes.
        ground: Of the image.
        settings: `min_plane_m2` and `simplify_m` are used.

    Returns:
        The planes, in the order in which their last rows come.
    """
    background = background_class(azimuths)
    least_px = math.ceil(settings.min_plane_m2 / ground.pixel_area_m2)
    if least_px > classes.size:
        return []
    kept = sieve(classes, least_px, connectivity=4) if least_px > 1 else np.asarray(classes)
    found = regions(kept, background, settings.simplify_m / ground.pixel_size_m)
    # What the sieve could not give to a larger group.
    return [_plane(each, kept, confidence, height, azimuths, ground) for each in found if each.pixels.area >= least_px]


def _plane(
    region: Region,
    classes: NDArray[np.uint8],
    confidence: NDArray[np.floating],
    height: NDArray[np.float32] | None,
    azimuths: int,
    ground: Ground,
) -> Plane:
    window, inside = _pixels(region, classes)
    fit = None if height is None else _fit(height[window], inside, ground)
    azimuth: float | None = None
    azimuth_from: Literal["class", "height"] | None = None
    if region.value < flat_class(azimuths):
        angle = math.radians(region.value * 360 / azimuths)
        azimuth, azimuth_from = ground.azimuth_deg(-math.cos(angle), math.sin(angle)), "class"
        if fit is not None and _tells(fit, azimuth, 360 / azimuths):
            azimuth, azimuth_from = fit.azimuth_deg, "height"
    return Plane(
        polygon=region.polygon,
        facing=None if region.value == UNKNOWN else segment_names(azimuths)[region.value],
        azimuth_deg=azimuth,
        azimuth_from=azimuth_from,
        slope_deg=None if fit is None else fit.slope_deg,
        height_m=None if fit is None else fit.mean_m,
        area_m2=float(region.polygon.area) * ground.pixel_area_m2,
        confidence=float(confidence[window][inside].mean(dtype=np.float64)),
    )


def _pixels(region: Region, classes: NDArray[np.uint8]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Rows and columns of a region, and its pixels there: much sooner than a polygon is drawn."""
    left, top, right, bottom = map(int, region.pixels.bounds)
    window = slice(top, bottom), slice(left, right)
    groups, _ = ndimage.label(classes[window] == region.value)
    corners = shapely.get_coordinates(region.pixels.exterior)
    first = int(np.flatnonzero((corners[:-1, 1] == top) & (corners[1:, 1] == top))[0])  # a side along the top
    return window, groups == groups[0, int(corners[first : first + 2, 0].min()) - left]


def _fit(height: NDArray[np.float32], inside: NDArray[np.bool_], ground: Ground) -> _Fit | None:
    """Plane through the heights of some pixels; those at the border, where heights jump, count only if few are left."""
    known = inside & np.isfinite(height)
    inner = ndimage.binary_erosion(known, np.ones((3, 3), bool))
    used = inner if inner.sum() >= MIN_FIT_PX else known
    rows, columns = np.nonzero(used)
    if len(rows) < MIN_FIT_PX:
        return None
    values = height[used].astype(np.float64)
    steps = np.stack([rows - rows.mean(), columns - columns.mean()], axis=1)
    metres = steps @ [ground.row_m, ground.column_m]
    away = values - values.mean()
    (east, north), _, rank, _ = np.linalg.lstsq(metres, away, rcond=None)
    if rank < 2:  # pixels in one row
        return None
    residual = float(((away - metres @ [east, north]) ** 2).sum())
    spread = float((away**2).sum())
    return _Fit(
        mean_m=float(values.mean()),
        slope_deg=math.degrees(math.atan(math.hypot(east, north))),
        azimuth_deg=math.degrees(math.atan2(-east, -north)) % 360,
        r2=1 - residual / spread if spread else 0.0,
    )


def _tells(fit: _Fit, azimuth: float, class_width: float) -> bool:
    """Whether heights are reliable enough to say more of an azimuth than its class."""
    apart = abs((fit.azimuth_deg - azimuth + 180) % 360 - 180)
    return fit.slope_deg >= MIN_FIT_SLOPE_DEG and fit.r2 >= MIN_FIT_R2 and apart <= class_width
