"""Files of a data set's folder: names, lists, headers, and windows of images and masks."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import windows
from rasterio.transform import Affine

from millrace.confinement import is_text, stays_inside
from millrace.errors import DataError, ImageError, Problem
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.roof.ground import ground_of
from millrace.roof.raw_heights import SAME_MASK_PX, same_grid
from millrace.roof.scene import Georeference, Scene, Window

TIFF = (".tif", ".tiff")

_LISTED = 10
_MAX_LIST_BYTES = 1 << 24
_MAX_STRETCH = 1.05
_KEPT_OPEN = 4
_opened = threading.local()


def some(names: Iterable[str]) -> str:
    """The first few of many names."""
    names = list(names)
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def composed(name: str) -> str:
    """A name with its accents as one letter each: some systems take them apart, and others then see another name."""
    return unicodedata.normalize("NFC", name)


def contents(folder: Path) -> str:
    """In words, for a message about what it lacks."""
    if not folder.is_dir():
        return "there is no such folder"
    return f"it holds {some(sorted(path.name for path in folder.iterdir())) or 'nothing'}"


def files_by_stem(
    root: Path, folder: Path, endings: tuple[str, ...]
) -> tuple[dict[str, Path], list[Problem], list[str]]:
    """Files of a folder that have one of the endings (in lower case), by name without it; hidden ones do not count.

    Returns:
        The files, what is wrong with others, and a note where files with other endings are passed over.
    """
    if not folder.is_dir():
        return {}, [Problem(folder, f"is no folder; {contents(folder.parent)}")], []
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    passed: list[str] = []
    subfolders: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            subfolders.append(path.name)
        elif path.suffix.lower() not in endings:
            passed.append(path.name)
        elif not stays_inside(root, path):
            problems.append(Problem(path, f"is a link that leaves {root}; put the file itself there"))
        elif not is_text(path.name):
            problems.append(Problem(path, "its name is not valid UTF-8; rename it"))
        elif (stem := composed(path.stem)) in files:
            problems.append(Problem(path, f"has the same name as {files[stem].name}"))
        else:
            files[stem] = path
    notes = []
    if passed:
        notes.append(
            f"{folder}: {len(passed)} file(s) are not {' or '.join(endings)} and are passed over: {some(passed)}"
        )
    if subfolders:
        notes.append(f"{folder}: its {len(subfolders)} folder(s) are not looked into: {some(subfolders)}")
    return files, problems, notes


def read_list(root: Path, path: Path) -> list[str]:
    """Lines of a text file that are not empty, without the blanks around them.

    Raises:
        ImageError: See `read_text`.
    """
    return [line.strip() for line in read_text(root, path).splitlines() if line.strip()]


def read_text(root: Path, path: Path) -> str:
    """A small text file of a data set.

    Raises:
        ImageError: It cannot be read as such; the message does not name the file.
    """
    try:
        if not stays_inside(root, path):
            raise ImageError(f"is a link that leaves {root}; put the file itself there")
        if path.exists() and not path.is_file():
            raise ImageError("is no file")
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise ImageError(f"has more than {_MAX_LIST_BYTES} bytes, which no list of images needs")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ImageError("is no UTF-8 text") from None


def new_scene(name: str, side: str | None, files: dict[str, Path], pixel_size_m: float | None, limit: int) -> Scene:
    """A scene whose files agree, as far as headers tell.

    Args:
        name: Of the scene.
        side: Of the split.
        files: `image`, RGB, and any masks of one band.
        pixel_size_m: From the settings; it overrules the file's.
        limit: Largest height x width that is accepted.

    Raises:
        ImageError: A file cannot be used; the message names it unless it is the image.
    """
    image = _header(files["image"], limit)
    rgb_bands(image)
    place = place_of(image)
    if pixel_size_m is None and place is not None:
        pixel_size_m = ground_size_m(place, image.height, image.width)
    for kind, path in files.items():
        if kind == "image":
            continue
        try:
            mask = _header(path, limit)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
        if (mask.height, mask.width) != (image.height, image.width):
            raise ImageError(
                f"it has {image.width} x {image.height} pixels, but {path} has {mask.width} x {mask.height}"
            )
        if place is not None and mask.crs and mask.transform and not same_grid(mask, place, SAME_MASK_PX):
            raise ImageError(f"{path} has the georeference of another place; it was perhaps mixed up with another file")
    return Scene(name, side, name, image.height, image.width, pixel_size_m, place, files)


def place_of(metadata: Metadata) -> Georeference | None:
    """Where an image lies, as far as its header says it.

    Raises:
        ImageError: It lies nowhere: its transform takes all pixels to a line or a point.
    """
    if metadata.crs is None or metadata.transform is None:
        return None
    if Affine(*metadata.transform).is_degenerate:
        raise ImageError("its transform gives its pixels no area; correct its georeference")
    return Georeference(metadata.crs, metadata.transform)


def rgb_bands(metadata: Metadata) -> tuple[int, ...]:
    """Numbers of the red, green and blue band: as the file names them, else three beside alpha.

    Raises:
        ImageError: Which they are cannot be told, or they have not 8 bits.
    """
    if metadata.dtype != "uint8":
        raise ImageError(
            f"its values are {metadata.dtype}; scale them to 8 bits as they are to be seen "
            f"(gdal_translate -ot Byte -scale)"
        )
    colours = metadata.colours or ()
    if {"red", "green", "blue"} <= set(colours):
        return tuple(colours.index(name) + 1 for name in ("red", "green", "blue"))
    if len(metadata.image_bands) != 3:
        raise ImageError(
            f"it has {len(metadata.image_bands)} band(s) besides alpha, needed are red, green and blue; "
            f"pick them (gdal_translate -b 1 -b 2 -b 3)"
        )
    return metadata.image_bands


def _header(path: Path, max_pixels: int) -> Metadata:
    with Raster(path, max_pixels=max_pixels) as raster:
        if raster.metadata.dtype != "uint8":
            raise ImageError(f"its values are {raster.metadata.dtype}, not uint8")
        return raster.metadata


def ground_size_m(place: Georeference, height: int, width: int) -> float:
    """Side of a square that covers as much ground as a pixel does on average, in metres.

    It has four digits: the scale of a projection changes from tile to tile, beyond them.

    Raises:
        ImageError: The georeference is of no place on earth, or the pixels are not about square there.
    """
    ground = ground_of(place, height, width)
    if max(ground.width_m, ground.height_m) > _MAX_STRETCH * min(ground.width_m, ground.height_m):
        raise ImageError(
            f"its pixels are {ground.width_m:.4g} m wide and {ground.height_m:.4g} m high on the ground; "
            "warp it to square ones"
        )
    return float(f"{(ground.width_m * ground.height_m) ** 0.5:.4g}")


def read_rgb(scene: Scene, window: Window) -> NDArray[np.uint8]:
    """A window of a scene's image, (H, W, 3).

    Raises:
        DataError: The file is damaged, or no longer what the scan saw.
    """
    path = scene.files["image"]
    try:
        raster = _raster(path, scene)
        return np.stack([_read_band(raster, band, window) for band in rgb_bands(raster.metadata)], axis=-1)
    except ImageError as error:
        raise DataError(f"{scene.name} cannot be read", [Problem(path, str(error))]) from None


def read_labels(
    scene: Scene, kind: str, window: Window, highest: int, meaning: str, also: dict[int, int] | None = None
) -> NDArray[np.uint8]:
    """A window of one of a scene's masks, (H, W).

    Args:
        scene: The scene.
        kind: Key of its `files`.
        window: Part of it.
        highest: Labels are 0 to this.
        meaning: Of the labels, for messages.
        also: Values that stand for labels.

    Raises:
        DataError: The file is damaged, or a value is no label; the problem names it and the place of its first pixel.
    """
    path = scene.files[kind]
    try:
        raster = _raster(path, scene)
        values = _read_band(raster, 1, window)
        for band in raster.metadata.image_bands[1:]:
            if (_read_band(raster, band, window) != values).any():
                raise ImageError("it is coded by colour; save the labels as one band")
        for value, label in (also or {}).items():
            values[values == value] = label
        if (values > highest).any():
            row, column = np.argwhere(values > highest)[0]
            place = f"row {window.top + row}, column {window.left + column}"
            raise ImageError(f"{place} holds {values[row, column]}; labels are {meaning}")
    except ImageError as error:
        raise DataError(f"{scene.name} cannot be read", [Problem(path, str(error))]) from None
    return values


def _read_band(raster: Raster, band: int, window: Window) -> NDArray[np.uint8]:
    # What a file calls invalid is still a picture; of masks the labels say all.
    values: NDArray[np.uint8]
    values, _ = raster.read(band, windows.Window(window.left, window.top, window.width, window.height))
    return values


def _raster(path: Path, scene: Scene) -> Raster:
    """An opened file of a scene. The last few stay open, one set a thread: opening a tile of 10,000 rows takes longer
    than reading a window of it, and what was decoded beside the window is needed for the next.
    """
    rasters: dict[tuple[Path, int, int], Raster] = _opened.__dict__.setdefault("rasters", {})
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror}") from None
    key = path.absolute(), status.st_mtime_ns, status.st_size
    if key not in rasters:
        while len(rasters) >= _KEPT_OPEN:
            rasters.pop(next(iter(rasters))).close()
        rasters[key] = Raster(path, max_pixels=scene.height * scene.width)
    raster = rasters[key]
    if (raster.metadata.height, raster.metadata.width) != (scene.height, scene.width):
        raise ImageError(f"it is no longer {scene.width} x {scene.height} pixels; it has changed since it was checked")
    return raster
