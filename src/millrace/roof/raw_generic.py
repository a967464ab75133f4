"""The generic form of a data set of roofs: images, and beside them whatever is labelled, in folders by kind.

    images/            <name>.tif, .tiff: GeoTIFF or TIFF, grey or RGB, uint8; .png, .jpg, .jpeg, .bmp: pictures
    segments/          <name>.png, .tif: 0 (N) to 15 (NNW) clockwise, 16 flat, 17 background
    superstructures/   <name>.png, .tif: 0 pvmodule, 1 dormer, 2 window, 3 ladder, 4 chimney, 5 shadow, 6 tree,
                       7 unknown, 8 background
    roofs/             <name>.png, .tif: 0 beside roofs, 1 on them; or <name>.geojson: polygons of all roofs
    lines/             <name>.geojson: LineStrings, each with the property `kind`: ridge, valley, hip, eave, outline
    line_kinds.txt     the kinds that the lines have all of, one a line
    heights/           <name>.tif: metres above the ground, one band
    buildings.geojson  polygons of the roofs of all images that have no file in roofs/

Only `images/` and one of the others must be there, and an image needs one label. In masks 255, and a nodata value, say
that a pixel is not labelled. Masks have the pixels of their image. Heights may have pixels of their own: where grids
differ, both files need a georeference, and heights are warped. GeoJSON is in longitude and latitude unless its member
`crs` names another system by its EPSG number; for an image without a georeference x and y are its columns and rows,
(0, 0) being the outer corner of the first pixel. Without `line_kinds.txt`, the lines of an image are all that it has
of those kinds that occur among them; other kinds are unknown, not absent. What an image marks as invalid is labelled
by nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from millrace.errors import DataError, ImageError, Problem, UserError
from millrace.imagery.colour import Rgb, probe_rgb, read_rgb
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.roof.classes import HEADS, LINES, UNKNOWN
from millrace.roof.generic_folder import BUILDINGS, GEOJSON, IMAGES, find_groups, find_labels, listed_kinds
from millrace.roof.params import Generic, Prepare
from millrace.roof.raw_files import TIFF, files_by_stem, ground_size_m, place_of, rgb_bands
from millrace.roof.raw_geojson import LINE_STRINGS, POLYGONS, Shapes, in_pixels, read_shapes
from millrace.roof.raw_heights import check_heights, of_raster, read_heights
from millrace.roof.raw_masks import AZIMUTHS, HIGHEST, check_mask, check_unchanged, read_mask
from millrace.roof.scene import Labelled, Lines, Scan, Scene, Window

PICTURES = (*TIFF, ".png", ".jpg", ".jpeg", ".bmp")
_FOLLOWS = {"segments": ("roof", "lines"), "roof": ("lines",)}
_FIRST_TURNED = 5  # EXIF orientations from this on show a picture with its width upright
_LOST = "look at its crs, and at the order of coordinates: longitude, latitude"


def scan(root: Path, settings: Generic, limits: Prepare) -> Scan:
    """Look at all headers and all GeoJSON; of masks of roofs and of heights, at as much as shows that there are any.

    Raises:
        UserError: There is no image, or no label, or `groups` leaves the folder.
    """
    images, problems, notes = files_by_stem(root, root / IMAGES, PICTURES)
    if not images and not problems:
        raise UserError(f"{root / IMAGES} holds no image ({', '.join(PICTURES)})")
    labels, wrong, more = find_labels(root, images, settings.groups)
    problems, notes = problems + wrong, notes + more
    groups, wrong = find_groups(root, settings.groups, images)
    problems += wrong
    buildings = root / BUILDINGS
    unusable = _unusable(buildings) if any(buildings in files.values() for files in labels.values()) else None
    problems += [Problem(buildings, unusable)] if unusable else []
    max_pixels = int(limits.max_megapixels * 1e6)
    scenes: list[Scene] = []
    for stem, image in sorted(images.items()):
        if settings.groups is not None and stem not in groups:
            continue  # told of above
        own = {kind: files[stem] for kind, files in labels.items() if stem in files}
        try:
            if not own:
                raise ImageError("no label has its name")
            if unusable and buildings in own.values():
                raise ImageError(f"its roofs are in {BUILDINGS}, which cannot be used")
            scene = _scene(stem, groups.get(stem, stem), {"image": image, **own}, settings, max_pixels)
        except ImageError as error:
            problems.append(Problem(image, str(error)))
            continue
        wrong = []
        for kind, path in own.items():
            try:
                notes += [note for note in _check(path, kind, scene, max_pixels) if note not in notes]
            except ImageError as error:
                wrong.append(Problem(path, str(error) if path != buildings else f"for {image.name}: {error}"))
        problems += wrong
        if not wrong:
            scenes.append(scene)
    users = [scene for scene in scenes if scene.files.get("roof") == buildings]
    if users and not any(len(_on_image(buildings, POLYGONS, scene)[0]) for scene in users):
        problems.append(Problem(buildings, f"no polygon lies on an image; {_LOST}"))
        scenes = [scene for scene in scenes if scene not in users]
    labelled = {head for scene in scenes for kind in scene.files for head in (kind, *_FOLLOWS.get(kind, ()))}
    return Scan(tuple(scenes), tuple(sorted(problems)), tuple(notes), tuple(h for h in HEADS if h in labelled))


def read(root: Path, scene: Scene, settings: Generic, window: Window) -> Labelled:
    """Pixels of a window and all labels of it: masks as they are numbered, lines as vectors, heights on its pixels.

    Of GeoTIFFs and masks no more is decoded than is needed; of other pictures a process keeps the last one whole.

    Raises:
        DataError: A file is damaged or has changed since the scan, or a mask holds a value outside its map; the
            problem names the file, the value and the place.
    """
    with _blamed(scene, "image"):
        image, seen = _image(scene, window)
    masks: dict[str, NDArray[np.uint8]] = {}
    for kind in HIGHEST.keys() & scene.files.keys():
        with _blamed(scene, kind):
            path = scene.files[kind]
            mask = (
                _drawn(path, scene, window) if path.suffix.lower() in GEOJSON else read_mask(path, kind, scene, window)
            )
            masks[kind] = np.where(seen, mask, np.uint8(UNKNOWN))
    heights, lines, kinds = None, None, 0
    if "height" in scene.files:
        with _blamed(scene, "height"):
            heights = np.where(seen, read_heights(scene.files["height"], scene, window), np.float32(np.nan))
    if "lines" in scene.files:
        with _blamed(scene, "lines"):
            lines, kinds = _lines(root, scene, window)
    return Labelled(
        image,
        masks.get("segments"),
        AZIMUTHS,
        masks.get("superstructures"),
        masks.get("roof"),
        height=heights,
        vectors=lines,
        vector_kinds=kinds,
    )


@contextmanager
def _blamed(scene: Scene, kind: str) -> Iterator[None]:
    try:
        yield
    except (ImageError, OSError) as error:
        raise DataError(f"{scene.name} cannot be read", [Problem(scene.files[kind], str(error))]) from None


def _scene(stem: str, group: str, files: dict[str, Path], settings: Generic, max_pixels: int) -> Scene:
    path, place = files["image"], None
    if path.suffix.lower() in TIFF:
        with Raster(path, max_pixels=max_pixels) as raster:
            metadata = raster.metadata
        if metadata.dtype != "uint8":
            raise ImageError(
                f"its values are {metadata.dtype}: scale them as they are to be seen, and save it as uint8"
            )
        _bands(metadata)
        place = place_of(metadata)
        height, width = metadata.height, metadata.width
    else:
        info = probe_rgb(path, max_pixels)
        height, width = (info.width, info.height) if info.orientation >= _FIRST_TURNED else (info.height, info.width)
    size = settings.pixel_size_m
    if size is None and place is not None:
        size = ground_size_m(place, height, width)
    return Scene(stem, None, group, height, width, size, place, files)


def _unusable(buildings: Path) -> str | None:
    """Why no image can have the polygons of a file."""
    try:
        read_shapes(buildings, POLYGONS)
    except ImageError as error:
        return str(error)
    return None


def _check(path: Path, kind: str, scene: Scene, max_pixels: int) -> tuple[str, ...]:
    """Refuse a file of labels, as far as headers tell, and vectors as a whole.

    Returns:
        Notes.
    """
    if kind == "height":
        check_heights(path, scene, max_pixels)
        return ()
    if path.suffix.lower() not in GEOJSON:
        check_mask(path, kind, scene, max_pixels)
        return ()
    shapes = read_shapes(path, POLYGONS) if kind == "roof" else _line_shapes(path)
    if path.name == BUILDINGS and scene.georeference is None:
        raise ImageError("the image has no georeference (CRS and transform); give it its own file in roofs/, in pixels")
    near, _ = in_pixels(shapes, path, scene.georeference, scene.height, scene.width)
    if path.name != BUILDINGS and len(shapes.geometries) and not len(near):
        raise ImageError(f"nothing of it lies on its image; {_LOST}")
    return shapes.notes


def _image(scene: Scene, window: Window) -> tuple[Rgb, NDArray[np.bool_]]:
    """RGB (H, W, 3), and where there is an image (H, W)."""
    path = scene.files["image"]
    if path.suffix.lower() not in TIFF:
        status = path.stat()
        picture = _picture(path.absolute(), status.st_mtime_ns, status.st_size, scene.height * scene.width)
        check_unchanged(picture.shape[:2], scene)
        part = picture[window.top : window.top + window.height, window.left : window.left + window.width]
        return part.copy(), np.ones(part.shape[:2], bool)
    with Raster(path, max_pixels=sys.maxsize) as raster:
        check_unchanged((raster.metadata.height, raster.metadata.width), scene)
        read = [raster.read(band, of_raster(window)) for band in _bands(raster.metadata)]
    return np.stack([values for values, _ in read], axis=-1), np.any([valid for _, valid in read], axis=0)


def _bands(metadata: Metadata) -> tuple[int, ...]:
    """Red, green and blue, or a grey one three times."""
    grey = len(metadata.image_bands) < 3
    return metadata.image_bands[:1] * 3 if grey else rgb_bands(metadata)


@lru_cache(maxsize=1)
def _picture(path: Path, mtime_ns: int, size: int, max_pixels: int) -> Rgb:
    return read_rgb(path, max_pixels)


def _drawn(path: Path, scene: Scene, window: Window) -> NDArray[np.uint8]:
    """Mask of the pixels whose centres are in a polygon."""
    polygons, _ = _on_image(path, POLYGONS, scene)
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    right, bottom = window.left + window.width, window.top + window.height
    here = (bounds[:, :2] < (right, bottom)).all(axis=1) & (bounds[:, 2:] > (window.left, window.top)).all(axis=1)
    mask = np.zeros((window.height, window.width), np.uint8)
    if here.any():
        rasterize(polygons[here], out=mask, transform=Affine.translation(window.left, window.top), default_value=1)
    return mask


def _on_image(path: Path, kinds: tuple[str, ...], scene: Scene) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    return in_pixels(read_shapes(path, kinds), path, scene.georeference, scene.height, scene.width)


def _line_shapes(path: Path) -> Shapes:
    shapes = read_shapes(path, LINE_STRINGS, "kind")
    wrong = [place for place, kind in enumerate(shapes.properties) if kind not in LINES]
    if wrong:
        kind = shapes.properties[wrong[0]]
        what = "has no property 'kind'" if kind is None else f"has the kind {str(kind)[:40]!r}"
        raise ImageError(
            f"{len(wrong)} line(s) are of no known kind; the first, number {wrong[0]}, {what}. Known are "
            f"{', '.join(LINES)}"
        )
    return shapes


def _lines(root: Path, scene: Scene, window: Window) -> tuple[Lines, int]:
    """Straight pieces that touch a window, and the bits of the kinds that are all there."""
    path = scene.files["lines"]
    shapes = _line_shapes(path)
    lines, places = in_pixels(shapes, path, scene.georeference, scene.height, scene.width)
    parts, line_of_part = shapely.get_parts(lines, return_index=True)
    points, part = shapely.get_coordinates(parts, return_index=True)
    same = part[:-1] == part[1:]
    ends = np.hstack([points[:-1, ::-1], points[1:, ::-1]])[same] - (window.top, window.left) * 2
    kind_of_line = np.array([LINES.index(shapes.properties[place]) for place in places], np.uint8)
    kinds = kind_of_line[line_of_part[part[:-1][same]]]
    low, high = np.minimum(ends[:, :2], ends[:, 2:]), np.maximum(ends[:, :2], ends[:, 2:])
    here = (high >= 0).all(axis=1) & (low <= (window.height, window.width)).all(axis=1) & (low != high).any(axis=1)
    return Lines(kinds[here], ends[here]), _complete_kinds(root, shapes)


def _complete_kinds(root: Path, shapes: Shapes) -> int:
    listed = listed_kinds(root)
    return sum(1 << LINES.index(kind) for kind in set(shapes.properties if listed is None else listed))
