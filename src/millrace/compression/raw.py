"""The raw folder of the compression task: which files are scenes, which belong together, and how they are read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from millrace.compression.decibels import Scaling, with_logarithm
from millrace.errors import Problem, UserError
from millrace.imagery.raster import SUFFIXES, Raster

STRIP_PIXELS = 1 << 22
_POLARISATION = re.compile(r"(?<![a-z0-9])(vv|vh|hv|hh)(?![a-z0-9])")
_NUMBER_OF_SAFE = re.compile(r"-\d{3}$")


@dataclass(frozen=True)
class Scene:
    """A raster file; `name` is its path inside the raw folder, with slashes."""

    name: str
    path: Path


def find_scenes(raw: Path) -> tuple[list[Scene], list[Problem]]:
    """GeoTIFF, TIFF and PNG files of a folder and the folders in it, by name; hidden ones do not count.

    Nor do files of other kinds, or the quick-looks of a Sentinel-1 product (`*.SAFE/preview`).

    Returns:
        Scenes, and a problem for each link to a file outside the folder, or to a folder.

    Raises:
        UserError: The folder is missing or holds no scene.
    """
    if not raw.is_dir():
        raise UserError(f"Raw folder {raw} does not exist. Set compression.raw in params.yaml to your folder.")
    scenes, problems = [], []
    inside = raw.resolve()
    for folder, subfolders, files in os.walk(raw):
        here = Path(folder)
        links = [name for name in subfolders if (here / name).is_symlink() and not name.startswith(".")]
        problems += [Problem(here / name, "is a link to a folder, which is not followed") for name in links]
        subfolders[:] = [name for name in subfolders if not (name.startswith(".") or _is_preview(here, name))]
        for path in (here / name for name in files):
            if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if not path.resolve().is_relative_to(inside):
                problems.append(Problem(path, f"is a link that leaves the raw folder {raw}"))
            else:
                scenes.append(Scene(path.relative_to(raw).as_posix(), path))
    if not scenes and not problems:
        raise UserError(f"{raw} holds no scene ({', '.join(sorted(SUFFIXES))})")
    return sorted(scenes, key=lambda scene: scene.name), sorted(problems)


def product_of(name: str) -> str:
    """What files of one acquisition have in common: their SAFE folder, or their name without the polarisation."""
    path = PurePosixPath(name.lower())
    for number, part in enumerate(path.parts):
        if part.endswith(".safe"):
            return str(PurePosixPath(*path.parts[: number + 1]))
    stem, found = _POLARISATION.subn("*", path.stem)
    return str(path.with_name(_NUMBER_OF_SAFE.sub("", stem))) if found else str(path)


def strip_rows(raster: Raster, multiple: int = 1) -> int:
    """Rows of strips of about four million pixels, a multiple of `multiple`."""
    return max(1, STRIP_PIXELS // raster.metadata.width // multiple) * multiple


def read_normalised(raster: Raster, band: int, scaling: Scaling) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A whole band as the codec takes it: 0..1 (H, W), and which pixels are valid (H, W); the others are not filled.

    Raises:
        ImageError: The file is damaged.
    """
    shape = raster.metadata.height, raster.metadata.width
    normalised, valid = np.empty(shape, np.float32), np.empty(shape, bool)
    for window in raster.strips(strip_rows(raster)):
        rows = slice(window.row_off, window.row_off + window.height)
        values, readable = raster.read(band, window)
        normalised[rows], valid[rows] = scaling.normalise(values), with_logarithm(values, readable, scaling.values)
    return normalised, valid


def _is_preview(folder: Path, name: str) -> bool:
    return name.lower() == "preview" and folder.suffix.lower() == ".safe"
