"""Prediction on images without annotations: files, folders of them, or patterns."""

from __future__ import annotations

import glob
import itertools
import math
import os
import re
from collections.abc import Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from millrace.detection.box_pictures import draw_boxes
from millrace.detection.boxes import Detections
from millrace.detection.finder import Finder
from millrace.detection.params import Detection
from millrace.detection.results import Found, write_results
from millrace.detection.tiles import find_in_tiles
from millrace.errors import ImageError, Problem, UserError
from millrace.imagery.colour import read_rgb
from millrace.imagery.read import SUFFIXES
from millrace.settings import Runtime

OVERLAYS, CROPS = "overlays", "crops"
OVERLAY_PX = 2048
JPEG_QUALITY = 90
JPEG_SUFFIXES = (".jpg", ".jpeg")
CROP = re.compile(r"\d{3,}_.*\.png")
NAME_LETTERS = 40


class _Input(NamedTuple):
    """A file, and its path from the folder that all inputs have in common, with slashes."""

    name: str
    path: Path

    @property
    def overlay(self) -> str:
        """Name of its overlay."""
        return self.name if self.path.suffix.lower() in (*JPEG_SUFFIXES, ".png") else f"{self.name}.png"


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Detection, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Find objects in image files.

    Writes `results.json` (COCO results, with the category ids of the training data), `images.json` (a COCO file that
    says which image has which id), `boxes.csv`, `overlays/NAME` (JPEG of a JPEG, else PNG, at most 2048 pixels a side),
    and `crops/NAME/` where `predict.crops` is set. Images are named by their path from the folder that all inputs have
    in common, and numbered from 1 in the order of the inputs; one that fails keeps its number.

    Args:
        inputs: Files; folders, whose image files are taken, and those of the folders in them; or patterns for names
            (`photos/**/*.jpg`). Hidden files and what lies in `out` do not count.
        out: Folder for the results.
        folder: Model folder.
        params: `predict` gives the least score and the tiles, `evaluate` what the network's boxes go through,
            `prepare` the size limit. An image is decoded whole, also where it is searched tile by tile.
        runtime: The machine.
        probabilities: Whether the files list boxes below the least score too, down to `evaluate.score_floor`; the
            pictures never show these.

    Returns:
        One problem for each file that failed; the others are complete.

    Raises:
        UserError: There is no image, `out` is one of the folders to read, or the model cannot be used.
    """
    files, problems = _input_files(inputs, out)
    if not files and not problems:
        raise UserError(f"No image file ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, inputs))}")
    floor = min(params.evaluate.score_floor, params.predict.score or 1.0)
    finder = Finder(folder, params.evaluate.model_copy(update={"score_floor": floor}), runtime)
    threshold = finder.score_threshold if params.predict.score is None else params.predict.score
    names = [str(category["name"]) for category in finder.categories]
    out.mkdir(parents=True, exist_ok=True)
    keep = {_real(file.path) for file in files}
    found = []
    for number, file in enumerate(tqdm(files, desc="predict", disable=not runtime.progress), 1):
        try:
            picture = read_rgb(file.path, int(params.prepare.max_megapixels * 1e6))
            detections = _find(finder, picture, params)
            shown = detections.above(threshold)
            _write_overlay(out / OVERLAYS / file.overlay, picture, shown, names, keep)
            if params.predict.crops:
                _write_crops(out / CROPS / file.overlay, picture, shown, names, keep)
        except (ImageError, OSError, MemoryError) as error:
            problems.append(Problem(file.path, str(error) or type(error).__name__))
            continue
        height, width = picture.shape[:2]
        found.append(Found(number, file.name, width, height, detections if probabilities else shown))
    write_results(out, found, finder.categories)
    return sorted(problems)


def _find(finder: Finder, picture: NDArray[np.uint8], params: Detection) -> Detections:
    settings = params.evaluate
    if params.predict.tile_px is None:
        return finder.find([picture])[0]
    return find_in_tiles(
        finder.find,
        picture,
        tile_px=params.predict.tile_px,
        overlap=params.predict.overlap,
        nms_iou=settings.nms_iou,
        batch_size=settings.batch_size,
    )


def _input_files(inputs: Sequence[Path], out: Path) -> tuple[list[_Input], list[Problem]]:
    """Files in the order given, those of a folder or a pattern sorted, each once."""
    files: dict[Path, None] = {}
    roots, problems = [], []
    for given in inputs:
        root, paths, own = _expanded(given.absolute(), _real(out))
        files |= dict.fromkeys(paths)
        roots += [root] if paths else []
        problems += own
    base = os.path.commonpath([os.path.normpath(root) for root in roots]) if roots else ""
    named: dict[str, _Input] = {}
    for path in files:
        each = _Input(os.path.relpath(path, base).replace(os.sep, "/"), path)
        if not _is_text(each.name):
            problems.append(Problem(path, "its name is not valid UTF-8; rename it"))
        elif each.overlay not in named:
            named[each.overlay] = each
        elif not path.samefile(other := named[each.overlay].path):
            problems.append(
                Problem(path, f"its overlay has the name of that of {other}; predict it into another folder")
            )
    return list(named.values()), problems


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expanded(given: Path, out: Path) -> tuple[Path, list[Path], list[Problem]]:
    """The folder that names are relative to, its image files, and what is wrong."""
    if given.is_dir():
        if _real(given) == out:
            raise UserError(f"--out is {given}, a folder to read; name another, which may lie in it")
        return given, *_walk(given, out)
    if given.exists() or not glob.has_magic(str(given)):
        return given.parent, *(([given], []) if given.exists() else ([], [Problem(given, "does not exist")]))
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), given.parts)
    matches = (Path(path) for path in sorted(glob.glob(str(given), recursive=True)))  # noqa: PTH207  Path.glob takes hidden files
    paths = [path for path in matches if _is_image(path) and not _real(path).is_relative_to(out)]
    return Path(*parts), paths, [] if paths else [Problem(given, "no image file has such a name")]


def _walk(folder: Path, out: Path) -> tuple[list[Path], list[Problem]]:
    paths, problems = [], []
    inside = _real(folder)
    for here, subfolders, names in os.walk(folder):
        visible = [Path(here, name) for name in subfolders if not name.startswith(".")]
        problems += [
            Problem(path, "is a link to a folder, which is not followed") for path in visible if path.is_symlink()
        ]
        subfolders[:] = [path.name for path in visible if _real(path) != out]
        for path in (Path(here, name) for name in names):
            if not _is_image(path):
                continue
            if _real(path).is_relative_to(inside):
                paths.append(path)
            else:
                problems.append(Problem(path, f"is a link that leaves the folder {folder}"))
    return sorted(paths), problems


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises an error for links in a circle


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def _write_overlay(
    path: Path, picture: NDArray[np.uint8], shown: Detections, names: Sequence[str], keep: Set[Path]
) -> None:
    larger = max(picture.shape) > OVERLAY_PX
    # The best boxes are drawn last, on top.
    boxes, labels, scores = (part[::-1] for part in shown)
    overlay = draw_boxes(picture, boxes, labels, names, scores, shown_px=OVERLAY_PX if larger else None)
    _write_picture(path, overlay, keep)


def _write_crops(
    folder: Path, picture: NDArray[np.uint8], shown: Detections, names: Sequence[str], keep: Set[Path]
) -> None:
    """Write a picture of each box, numbered as they are in the table, and remove those of an earlier run."""
    if folder.is_dir():
        for path in folder.iterdir():
            if CROP.fullmatch(path.name) and _real(path) not in keep:
                path.unlink()
    height, width = picture.shape[:2]
    for number, (box, label) in enumerate(zip(shown.boxes, shown.labels, strict=True), 1):
        left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
        right, bottom = max(left + 1, math.ceil(box[2])), max(top + 1, math.ceil(box[3]))
        category = re.sub(r"[^\w-]+", "_", names[int(label)])[:NAME_LETTERS]
        _write_picture(folder / f"{number:03d}_{category}.png", picture[top:bottom, left:right], keep)


def _write_picture(path: Path, picture: NDArray[np.uint8], keep: Set[Path]) -> None:
    """Write a JPEG or PNG, by its name, that takes the place of `path` only when it is whole.

    Raises:
        ImageError: That is one of the files to keep.
    """
    if _real(path) in keep:
        raise ImageError(f"a result would take the place of the image {path}; predict into another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(".picture.partial")
    try:
        if path.suffix.lower() in JPEG_SUFFIXES:
            Image.fromarray(picture).save(partial, "JPEG", quality=JPEG_QUALITY)
        else:
            Image.fromarray(picture).save(partial, "PNG")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
