"""Roofline-Extraction (Alidoost, Arefi, Tombari 2019, Remote Sensing 11:2219): crops, heights and lines in imdb.mat.

The struct `imdb` holds `images` (N, 3, 224, 224) from 0 to 255, `depths` (N, 224, 224), which are heights above the
ground in metres, and `elements` (N, 3, 224, 224), which are drawn lines: red eaves, green ridges, blue hips. This is
their shape as HDF5 has it; MATLAB, which counts axes the other way round, shows (224, 224, 3, N), and so each picture
comes with rows and columns exchanged. Valleys and outlines are not drawn, which does not mean that there are none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from millrace.errors import DataError, ImageError, Problem, UserError
from millrace.roof.classes import LINES
from millrace.roof.matlab_file import check_chunks, matlab_arrays
from millrace.roof.params import Prepare, Roofline
from millrace.roof.scene import Labelled, Scan, Scene, Window
from millrace.splitting import connected

FILE = "imdb.mat"
KINDS = ("eave", "ridge", "hip")
"""What the channels of `elements` are, by the authors' README."""
HEADS = ("lines", "height")
_STRUCT, _FIELDS = "imdb", ("images", "depths", "elements")
_EXPECTED = "images and elements (N, 3, 224, 224), depths (N, 224, 224)"
_ORDERS = ("cyxn", "ncyx", "yxcn", "nyxc")
"""Order of axes (crop, channel, row, column) by the place of the channels."""
_MIN_SIDE = 16
_MAX_CROPS = 1_000_000
_LOOKED_AT = 16
_MAX_LINE_SHARE = 0.5


@dataclass(frozen=True)
class _Crops:
    """The three datasets; `axes` names those of the first, one letter each."""

    images: h5py.Dataset
    depths: h5py.Dataset
    elements: h5py.Dataset
    axes: str

    def length(self, axis: str) -> int:
        return int(self.images.shape[self.axes.index(axis)])

    def block(self, dataset: h5py.Dataset, position: int, window: Window) -> NDArray[Any]:
        """A part of one crop (rows, columns, channels); nothing else is read."""
        spans = {
            "n": position,
            "y": slice(window.top, window.top + window.height),
            "x": slice(window.left, window.left + window.width),
            "c": slice(None),
        }
        axes = self.axes if dataset.ndim == len(self.axes) else self.axes.replace("c", "")
        stored = dataset[tuple(spans[axis] for axis in axes)]
        rest = axes.replace("n", "")
        return np.transpose(stored, [rest.index(axis) for axis in "yxc" if axis in rest])


def scan(root: Path, settings: Roofline, limits: Prepare) -> Scan:
    """Check the file, and read the images once to find crops that are the same.

    Groups, of which none may stand on two sides, are made of crops that follow each other in the file, `scene_block`
    of them, because they are cut from one scene; and of crops that are the same picture, also flipped or turned.

    Args:
        root: The folder with imdb.mat, or the file itself.
        settings: `axes` says whether the file has columns before rows.
        limits: `max_megapixels` of one crop.

    Raises:
        UserError: There is no such file.
    """
    path = _path(root)
    if not path.is_file():
        raise UserError(f"{path} does not exist. Roofline-Extraction is one file {FILE}; see docs/roof.md.")
    inside = root if root.is_dir() else path.parent
    if root.is_dir() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(inside)):
        return _refused(Problem(path, "is a link that leaves the folder; put the file itself there"))
    try:
        with _crops(path, settings) as crops:
            for name, dataset in zip(_FIELDS, (crops.images, crops.depths, crops.elements), strict=True):
                check_chunks(name, dataset, path.stat().st_size)
            height, width, count = (crops.length(axis) for axis in "yxn")
            if count > _MAX_CROPS or height * width > limits.max_megapixels * 1e6:
                raise ImageError(f"it has {count} crops of {width} x {height} pixels, more than are allowed")
            return _scenes(path, crops, settings)
    except ImageError as error:
        return _refused(Problem(path, str(error)))


def read(root: Path, scene: Scene, settings: Roofline, window: Window) -> Labelled:
    """A part of a crop with its lines (eaves, ridges and hips are labelled) and heights.

    Raises:
        DataError: The file is damaged there, or values are not what this data set has.
    """
    path = scene.files["image"]
    try:
        with _crops(path, settings) as crops:
            blocks = (crops.images, crops.depths, crops.elements)
            image, depth, elements = (crops.block(dataset, scene.position, window) for dataset in blocks)
        depth = depth.reshape(depth.shape[:2]).astype(np.float32)
        lines = _lines(elements)
        return Labelled(
            image=_rgb(image),
            lines=lines,
            lines_known=np.full_like(lines, sum(1 << LINES.index(kind) for kind in KINDS)),
            height=np.where(np.isfinite(depth), depth, np.float32(np.nan)),
        )
    except ImageError as error:
        problem = Problem(path, f"crop {scene.position}: {error}")
        raise DataError(f"{path} cannot be used:", [problem]) from None


def _path(root: Path) -> Path:
    return root / FILE if root.is_dir() else root


def _refused(problem: Problem) -> Scan:
    return Scan((), (problem,), (), HEADS)


@contextmanager
def _crops(path: Path, settings: Roofline) -> Iterator[_Crops]:
    with matlab_arrays(path, _STRUCT, _FIELDS) as (images, depths, elements):
        axes = _axes(images.shape)
        without_channels = tuple(length for axis, length in zip(axes, images.shape, strict=True) if axis != "c")
        one_channel = tuple(1 if axis == "c" else length for axis, length in zip(axes, images.shape, strict=True))
        if elements.shape != images.shape or depths.shape not in (without_channels, one_channel):
            shapes = f"images {images.shape}, depths {depths.shape}, elements {elements.shape}"
            raise ImageError(f"its datasets do not belong together: found are {shapes}, expected {_EXPECTED}")
        if 0 in images.shape:
            raise ImageError(f"images has the shape {images.shape}: there is no crop")
        swapped = axes.translate(str.maketrans("xy", "yx")) if settings.axes == "swapped" else axes
        yield _Crops(images, depths, elements, swapped)


def _axes(shape: tuple[int, ...]) -> str:
    """Order of the axes of `images`, where only one makes square pictures of three channels."""
    possible = []
    for order in _ORDERS:
        sizes = dict(zip(order, shape, strict=False))
        if len(shape) == len(order) and sizes["c"] == len(KINDS) and sizes["y"] == sizes["x"] >= _MIN_SIDE:
            possible.append(order)
    if len(possible) != 1:
        what = "may be in the orders " + " and ".join(possible) if possible else "is not that of square RGB pictures"
        raise ImageError(f"the shape of images, {shape}, {what}; expected are {_EXPECTED}")
    return possible[0]


def _scenes(path: Path, crops: _Crops, settings: Roofline) -> Scan:
    height, width, count = (crops.length(axis) for axis in "yxn")
    whole = Window(0, 0, height, width)
    for position in range(0, count, max(1, count // _LOOKED_AT)):
        _check_drawn(crops.block(crops.elements, position, whole), position)
    names = [f"{position:0{len(str(count - 1))}d}" for position in range(count)]
    problems: dict[int, Problem] = {}
    keys: list[list[tuple[str, object]]] = []
    brightest = 0
    for position in range(count):
        keys.append([("block", position // settings.scene_block)])
        try:
            image = _rgb(crops.block(crops.images, position, whole))
            brightest = max(brightest, int(image.max()))
            content = _content(image)
            keys[-1] += [("content", content)] if content else []
        except (OSError, ImageError) as error:
            problems[position] = Problem(path, f"crop {position}: {error}")
    if len(problems) == count:
        raise ImageError(f"no crop can be used; {problems[0].reason}")
    if brightest <= 1:
        raise ImageError("no value of images is above 1; published are values from 0 to 255")
    contents = [key for own in keys for key in own if key[0] == "content"]
    notes = []
    if len(contents) > len(set(contents)):
        notes.append(f"{len(contents) - len(set(contents))} crops repeat others, perhaps turned: each has their group")
    if crops.axes.replace("x", "y") != "ncyy":
        shape = crops.images.shape
        notes.append(f"the shape of images is {shape}, not (N, 3, 224, 224): look whether `axes: {settings.axes}` fits")
    scenes = [
        Scene(names[position], None, names[unit], height, width, settings.pixel_size_m, None, {"image": path}, position)
        for position, unit in enumerate(connected(keys))
        if position not in problems
    ]
    return Scan(tuple(scenes), tuple(problems.values()), tuple(notes), HEADS)


def _content(image: NDArray[np.uint8]) -> str:
    """Hash of a picture that is the same for all eight turned and flipped copies; none of a picture of one colour."""
    if (image == image[0, 0]).all():
        return ""
    copies = [np.rot90(base, turns) for base in (image, image.transpose(1, 0, 2)) for turns in range(4)]
    return min(hashlib.sha256(copy.tobytes()).hexdigest() for copy in copies)


def _rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        _check_range("images", image)
        image = np.rint(image)
    return np.ascontiguousarray(image, np.uint8)


def _lines(elements: NDArray[Any]) -> NDArray[np.uint8]:
    """Bits of the drawn kinds (H, W), of channels (H, W, 3) from 0 to 1 or from 0 to 255."""
    _check_range("elements", elements)
    drawn = elements > (127 if elements.max() > 1 else 0.5)
    bits = np.array([1 << LINES.index(kind) for kind in KINDS], np.uint8)
    lines: NDArray[np.uint8] = (drawn * bits).sum(axis=-1, dtype=np.uint8)
    return lines


def _check_range(name: str, values: NDArray[Any]) -> None:
    least, largest = values.min(), values.max()
    if not (least >= 0 and largest <= 255):  # nor where one is NaN
        raise ImageError(f"values of {name} are from {least} to {largest}, not from 0 to 255 as published")


def _check_drawn(elements: NDArray[Any], position: int) -> None:
    shares = np.mean(_lines(elements)[..., None] & [1 << LINES.index(kind) for kind in KINDS] != 0, axis=(0, 1))
    if shares.max() > _MAX_LINE_SHARE:
        kind = KINDS[int(shares.argmax())]
        raise ImageError(
            f"crop {position}: {kind} covers {shares.max():.0%} of it; lines must be bright on black, red eaves, green "
            f"ridges, blue hips"
        )
