"""What a model finds in one aerial image."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from millrace.errors import ImageError
from millrace.roof import model
from millrace.roof.aerial_image import AerialImage, read_aerial, resampled_image, resampled_rows, strips
from millrace.roof.classes import UNKNOWN, background_class
from millrace.roof.ground import Ground, square_ground
from millrace.roof.infer import Mapper, Maps, new_maps
from millrace.roof.overlay import draw_overlay
from millrace.roof.params import Roof
from millrace.roof.planes import Plane, find_planes
from millrace.roof.resample import MAX_ENLARGEMENT
from millrace.roof.vector_lines import VectorLines, vectorise_lines
from millrace.settings import Runtime

TOLERANCE = 0.1
"""A pixel that differs from the model's by no more than this share of its side is taken as it is."""
OVERLAY_PX = 2048


@dataclass(frozen=True)
class Analysis:
    """What a model found in one image. The arrays are memory-mapped files of a folder that the caller owns.

    Attributes:
        image: The image and where it lies.
        ground: How large its pixels are, taken from its georeference or else from the parameters or the model.
        azimuths: Number of azimuth classes.
        heads: Those that the model was trained for; what maps say of others means nothing.
        maps: What it says of each pixel of the image; where that has no data, classes are UNKNOWN, probabilities 0 and
            heights NaN.
        lines: Roof lines, in pixels of the image; none without the head `lines`.
        planes: Roof planes, in pixels of the image. Without the head `segments` they are whole roofs that face nobody
            knows where; none without the head `roof` either.
    """

    image: AerialImage
    ground: Ground
    azimuths: int
    heads: tuple[str, ...]
    maps: Maps
    lines: VectorLines
    planes: list[Plane]

    @property
    def segments(self) -> NDArray[np.uint8]:
        """Places in `classes.segment_names(azimuths)`, (H, W)."""
        return self.maps.segments

    @property
    def height(self) -> NDArray[np.float32]:
        """Metres above the ground, (H, W)."""
        return self.maps.height

    def picture(self, largest_px: int = OVERLAY_PX) -> NDArray[np.uint8]:
        """The image, reduced to a side, with planes coloured by where they face, superstructures, and lines on it."""
        superstructures = self.maps.superstructures if "superstructures" in self.heads else None
        return draw_overlay(self.image.pixels, self.planes, self.lines, superstructures, self.azimuths, largest_px)


class Analyzer:
    """A trained model ready for image files.

    Args:
        folder: Model folder.
        params: `evaluate` gives tiles and thresholds, `predict` the pixel size of images that do not say it, `prepare`
            the size limit.
        runtime: The machine.

    Raises:
        UserError: The folder holds no model of this task.
    """

    def __init__(self, folder: Path, params: Roof, runtime: Runtime) -> None:
        network, config = model.load(folder)
        self._azimuths = int(config["azimuths"])
        self._pixel_size_m = float(config["pixel_size_m"])
        self._heads = tuple(config["heads"])
        self._assumed = square_ground(params.predict.pixel_size_m or self._pixel_size_m)
        self._settings = params.evaluate.vectorise
        self._max_pixels = int(params.prepare.max_megapixels * 1e6)
        self._progress = runtime.progress
        self._mapper = Mapper(network, config, params.evaluate, runtime)

    def analyze(self, path: Path, scratch: Path) -> Analysis:
        """Find roof planes, lines and heights in one image file.

        An image whose pixels are not of the size that the model was trained on is resampled, and what is found is
        brought back to its own pixels: classes and probabilities of the nearest one, heights interpolated.

        Args:
            path: GeoTIFF of any size, or a picture.
            scratch: Existing folder, in which a new one takes the arrays, which may be larger than the memory: about
                25 bytes a pixel. It is the caller's to delete.

        Raises:
            ImageError: The file cannot be used; the message says why and does not name the file.
        """
        scratch = Path(tempfile.mkdtemp(dir=scratch))
        image = read_aerial(path, scratch, self._max_pixels)
        ground = image.ground or self._assumed
        shape = image.pixels.shape[:2]
        grid = self._grid(shape, ground)
        seen = image.pixels if grid == shape else resampled_image(image.pixels, grid, scratch)
        folder = scratch / "maps"
        folder.mkdir()
        maps = self._mapper.maps(seen, folder, self._progress)
        down, right = shape[0] / grid[0], shape[1] / grid[1]
        if image.valid is not None:
            _blank(maps, image.valid, shape)
        lines, planes = self._vectors(maps, ground.resampled(down, right))
        if grid != shape:
            lines = replace(lines, ends=lines.ends * [down, right, down, right])
            planes = [
                replace(each, polygon=shapely.transform(each.polygon, lambda points: points * [right, down]))
                for each in planes
            ]
            maps = _at_size(maps, shape, scratch)
        maps.give_back()
        return Analysis(image, ground, self._azimuths, self._heads, maps, lines, planes)

    def _grid(self, shape: tuple[int, int], ground: Ground) -> tuple[int, int]:
        """Rows and columns of the image at the model's resolution."""
        factors = ground.height_m / self._pixel_size_m, ground.width_m / self._pixel_size_m
        if all(1 / (1 + TOLERANCE) <= factor <= 1 + TOLERANCE for factor in factors):
            return shape
        rows, columns = (max(1, round(side * factor)) for side, factor in zip(shape, factors, strict=True))
        here = f"its pixels are {ground.width_m:.3g} m wide and {ground.height_m:.3g} m high"
        if max(factors) > MAX_ENLARGEMENT:
            raise ImageError(
                f"{here}, those that the model was trained on {self._pixel_size_m:.3g} m: it is too coarse, more than "
                f"{MAX_ENLARGEMENT:g} times. Correct its georeference if that is wrong, or train on such images"
            )
        if rows * columns > self._max_pixels:
            raise ImageError(
                f"{here}; at the {self._pixel_size_m:.3g} m of the model it has {columns} x {rows} pixels, more than "
                f"the {self._max_pixels} of roof.prepare.max_megapixels. Cut it into parts"
            )
        return rows, columns

    def _vectors(self, maps: Maps, ground: Ground) -> tuple[VectorLines, list[Plane]]:
        lines = VectorLines(np.zeros(0, np.uint8), np.zeros((0, 4)), np.zeros(0))
        if "lines" in self._heads:
            lines = vectorise_lines(maps.lines, self._settings, ground.pixel_size_m)
            maps.give_back()
        if not {"segments", "roof"} & set(self._heads):
            return lines, []
        classes = self._plane_classes(maps)
        height = maps.height if "height" in self._heads else None
        confidence = maps.confidence if "segments" in self._heads else maps.roof
        planes = find_planes(classes, confidence, height, self._azimuths, ground, self._settings)
        maps.give_back()
        return lines, planes

    def _plane_classes(self, maps: Maps) -> NDArray[np.uint8]:
        """Segments where there is a roof, and background elsewhere."""
        background = np.uint8(background_class(self._azimuths))
        classes = np.empty(maps.segments.shape, np.uint8)
        for rows in strips(len(classes)):
            known = maps.segments[rows] != UNKNOWN
            segments = maps.segments[rows] if "segments" in self._heads else np.uint8(UNKNOWN)
            if "roof" in self._heads:
                known &= maps.roof[rows] >= self._settings.roof_threshold
            classes[rows] = np.where(known, segments, background)
        return classes


def _blank(maps: Maps, valid: NDArray[np.bool_], shape: tuple[int, int]) -> None:
    """Take out of maps what they say where the image, of the given shape, has no data."""
    height, width = maps.segments.shape
    columns = _nearest(width, shape[1])
    for rows in strips(height):
        empty = ~valid[_nearest(height, shape[0])[rows]][:, columns]
        for field in fields(maps):
            array = getattr(maps, field.name)
            blank = np.nan if field.name == "height" else UNKNOWN if array.dtype == np.uint8 else 0
            array[..., rows, :][..., empty] = blank
    maps.give_back()


def _at_size(maps: Maps, shape: tuple[int, int], scratch: Path) -> Maps:
    """Maps with the rows and columns of the image."""
    found = new_maps(*shape, scratch)
    height, width = maps.segments.shape
    nearest, columns = _nearest(shape[0], height), _nearest(shape[1], width)
    for rows in strips(shape[0]):
        first, last = nearest[rows][0], nearest[rows][-1] + 1
        for field in fields(maps):
            values = getattr(maps, field.name)[..., first:last, :]
            getattr(found, field.name)[..., rows, :] = values[..., nearest[rows] - first, :][..., columns]
        found.height[rows] = resampled_rows(maps.height, shape, rows, "bilinear")
        maps.give_back()
        found.give_back()
    return found


def _nearest(new: int, old: int) -> NDArray[np.int64]:
    """Of `old` pixels, those that are nearest to the middles of `new` ones."""
    return ((np.arange(new) + 0.5) * old / new).astype(np.int64)
