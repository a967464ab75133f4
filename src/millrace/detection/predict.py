"""Prediction on images without annotations: files, folders of them, or patterns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from millrace.confinement import real_path
from millrace.detection.box_pictures import draw_boxes
from millrace.detection.boxes import Detections
from millrace.detection.finder import Finder
from millrace.detection.params import Detection
from millrace.detection.results import Found, write_results
from millrace.detection.tiles import find_in_tiles
from millrace.errors import ImageError, Problem
from millrace.imagery.colour import read_rgb
from millrace.imagery.inputs import InputImage, input_images
from millrace.settings import Runtime

OVERLAYS, CROPS = "overlays", "crops"
OVERLAY_PX = 2048
JPEG_QUALITY = 90
JPEG_SUFFIXES = (".jpg", ".jpeg")
CROP = re.compile(r"\d{3,}_.*\.png")
NAME_LETTERS = 40


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Detection, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Find objects in image files.

    Writes `results.json` (COCO results, with the category ids of the training data), `images.json` (a COCO file that
    says which image has which id), `boxes.csv`, `overlays/NAME` (JPEG of a JPEG, else PNG, at most 2048 pixels a side),
    and `crops/NAME/` where `predict.crops` is set. Images are named by their path from the folder that all inputs have
    in common, and numbered from 1 in the order of the inputs; one that fails keeps its number.

    Args:
        inputs: See `input_images`.
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
    images, problems = input_images(inputs, out)
    files, colliding = _with_own_overlays(images)
    problems += colliding
    floor = min(params.evaluate.score_floor, params.predict.score or 1.0)
    finder = Finder(folder, params.evaluate.model_copy(update={"score_floor": floor}), runtime)
    threshold = finder.score_threshold if params.predict.score is None else params.predict.score
    names = [str(category["name"]) for category in finder.categories]
    out.mkdir(parents=True, exist_ok=True)
    keep = {real_path(file.path) for file in files}
    found = []
    for number, file in enumerate(tqdm(files, desc="predict", disable=not runtime.progress), 1):
        try:
            picture = read_rgb(file.path, int(params.prepare.max_megapixels * 1e6))
            detections = _find(finder, picture, params)
            shown = detections.above(threshold)
            _write_overlay(out / OVERLAYS / _overlay(file), picture, shown, names, keep)
            if params.predict.crops:
                _write_crops(out / CROPS / _overlay(file), picture, shown, names, keep)
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


def _with_own_overlays(images: Sequence[InputImage]) -> tuple[list[InputImage], list[Problem]]:
    """Those whose overlay has a name of its own."""
    first: dict[str, InputImage] = {}
    problems = []
    for each in images:
        other = first.setdefault(_overlay(each), each)
        if other is not each and not each.path.samefile(other.path):
            problems.append(
                Problem(each.path, f"its overlay has the name of that of {other.path}; predict it into another folder")
            )
    return list(first.values()), problems


def _overlay(image: InputImage) -> str:
    """Name of its overlay."""
    return image.name if image.path.suffix.lower() in (*JPEG_SUFFIXES, ".png") else f"{image.name}.png"


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
            if CROP.fullmatch(path.name) and real_path(path) not in keep:
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
    if real_path(path) in keep:
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
