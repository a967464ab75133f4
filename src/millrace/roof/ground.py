"""How far it is on the ground from one pixel to the next, and which way."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, inf, isfinite, radians, sin

from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as transform_points

from millrace.errors import ImageError
from millrace.roof.scene import Georeference

WGS84 = "EPSG:4326"
_MAJOR_AXIS_M, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014


@dataclass(frozen=True)
class Ground:
    """Metres on the ground, to the east and to the north, of a step of one column, and of one row."""

    column_m: tuple[float, float]
    row_m: tuple[float, float]

    @property
    def pixel_area_m2(self) -> float:
        return abs(self.column_m[0] * self.row_m[1] - self.column_m[1] * self.row_m[0])

    @property
    def pixel_size_m(self) -> float:
        """Side of a square of the same area."""
        return float(self.pixel_area_m2**0.5)

    @property
    def width_m(self) -> float:
        """Of a pixel."""
        return hypot(*self.column_m)

    @property
    def height_m(self) -> float:
        """Of a pixel."""
        return hypot(*self.row_m)

    def azimuth_deg(self, down: float, right: float) -> float:
        """Compass direction, from 0 to below 360, of so many pixels down and to the right."""
        east, north = (down * self.row_m[axis] + right * self.column_m[axis] for axis in (0, 1))
        return degrees(atan2(east, north)) % 360

    def resampled(self, down: float, right: float) -> Ground:
        """Of pixels that are so many times as high and as wide."""
        column, row = self.column_m, self.row_m
        return Ground((column[0] * right, column[1] * right), (row[0] * down, row[1] * down))


def square_ground(pixel_size_m: float) -> Ground:
    """Of an image whose upper edge is in the north."""
    return Ground((pixel_size_m, 0.0), (0.0, -pixel_size_m))


def ground_of(place: Georeference, height: int, width: int) -> Ground:
    """Of an image with a georeference, about its middle, on the WGS84 ellipsoid.

    It is what can be measured on the ground, in any coordinate system: one in degrees, in feet, or Web Mercator with
    its stretched metres.

    Args:
        place: Where it lies.
        height: Rows.
        width: Columns.

    Raises:
        ImageError: The georeference is of no place on earth.
    """
    a, b, c, d, e, f = place.transform
    pixels = [(width / 2, height / 2), (0, height / 2), (width, height / 2), (width / 2, 0), (width / 2, height)]
    x, y = ([p * u + q * v + r for u, v in pixels] for p, q, r in ((a, b, c), (d, e, f)))
    try:
        longitude, latitude = transform_points(crs_of(place.crs), CRS.from_string(WGS84), x, y)[:2]
    except CRSError as error:
        raise ImageError(f"its coordinate system cannot be used: {error}") from None
    except CPLE_BaseError:
        longitude, latitude = [inf], [inf]
    if not all(map(isfinite, [*longitude, *latitude])) or abs(latitude[0]) >= 90:
        raise ImageError(f"its georeference is no place on earth: x {x[0]:g}, y {y[0]:g} in {place.crs[:40]}")
    # Radii of curvature along the meridian and across it, Snyder 1987, Map Projections, equations 4-18 to 4-20.
    curvature = 1 - _ECCENTRICITY_2 * sin(radians(latitude[0])) ** 2
    north_m = radians(1) * _MAJOR_AXIS_M * (1 - _ECCENTRICITY_2) / curvature**1.5
    east_m = radians(1) * _MAJOR_AXIS_M * cos(radians(latitude[0])) / curvature**0.5
    steps = []
    for first, count in ((1, width), (3, height)):
        across = (longitude[first + 1] - longitude[first] + 180) % 360 - 180
        steps.append((across * east_m / count, (latitude[first + 1] - latitude[first]) * north_m / count))
    ground = Ground(*steps)
    if ground.pixel_area_m2 == 0:
        raise ImageError("its georeference gives its pixels no area")
    return ground


def crs_of(text: str) -> CRS:
    """Coordinate system of the text of a `Georeference`."""
    # Neither of the two takes a string for an address, as CRS.from_string may.
    return CRS.from_epsg(int(text.removeprefix("EPSG:"))) if text.startswith("EPSG:") else CRS.from_wkt(text)
