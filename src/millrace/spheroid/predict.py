"""Prediction on unlabelled files of any size and number."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import DTypeLike, NDArray
from tqdm import tqdm

from millrace.errors import ImageError, Problem, UserError
from millrace.files import write_csv
from millrace.imagery.mapped import give_back
from millrace.imagery.normalise import GreyScale
from millrace.imagery.pictures import outlines, write_png
from millrace.imagery.read import SUFFIXES, read_grey
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.measure import measure
from millrace.spheroid.model import CHANNELS
from millrace.spheroid.objects import find_objects
from millrace.spheroid.params import Preprocessing, Spheroid
from millrace.spheroid.reading import max_pixels, scale_of
from millrace.spheroid.segment import Segmenter

OVERLAY_PX = 2048
LARGE_PX = 16_000_000  # an image from here on gets a progress bar of its own
OUTLINE = (255, 0, 255)
STRIP_ROWS = 256


@dataclass(frozen=True)
class Prediction:
    """What the model found in one image. The arrays are memory-mapped files of a folder that the caller owns.

    Attributes:
        image: Raw grey values (H, W).
        scale: Their conversion to normalised grey.
        probabilities: Foreground and distance (2, H, W), float16.
        labels: Instance labels (H, W), int32.
        objects: One row an object, see `measure`.
    """

    image: NDArray[Any]
    scale: GreyScale
    probabilities: NDArray[np.float16]
    labels: NDArray[np.int32]
    objects: pd.DataFrame


class Predictor:
    """A trained model ready for image files.

    Args:
        folder: Model folder.
        params: `evaluate` gives tiles and thresholds, `predict` the pixel size, `prepare` the size limit.
        runtime: The machine.

    Raises:
        UserError: The folder holds no model of this task.
    """

    def __init__(self, folder: Path, params: Spheroid, runtime: Runtime) -> None:
        network, config = model.load(folder)
        self._preprocessing = Preprocessing(**config["preprocessing"])
        self._settings = params.evaluate
        self._pixel_size_um = params.predict.pixel_size_um
        self._max_pixels = max_pixels(params.prepare)
        self._progress = runtime.progress
        self._segmenter = Segmenter(network, params.evaluate, runtime)

    def predict(self, path: Path, scratch: Path) -> Prediction:
        """Find and measure the objects of one image file.

        Args:
            path: The image.
            scratch: Existing folder for the arrays, which may be larger than the memory.

        Raises:
            ImageError: The file cannot be used.
        """
        image = read_grey(path, page=self._preprocessing.page, max_pixels=self._max_pixels, spool=scratch)
        scale = scale_of(image, self._preprocessing)
        shape = (len(CHANNELS), *image.shape)
        probabilities = np.lib.format.open_memmap(scratch / "probabilities.npy", "w+", np.float16, shape)
        bar = self._progress and image.size >= LARGE_PX
        self._segmenter.probabilities(image, load=scale.apply, out=probabilities, progress=bar)
        give_back(image, probabilities)
        labels = np.lib.format.open_memmap(scratch / "labels.npy", "w+", np.int32, image.shape)
        find_objects(probabilities[0], probabilities[1], self._settings, out=labels)
        give_back(probabilities, labels)
        objects = measure(labels, image, self._pixel_size_um)
        return Prediction(image, scale, probabilities, labels, objects)


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Spheroid, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Predict image files and folders of them.

    Writes `masks/NAME_mask.tif` (label image), `overlays/NAME_overlay.png` (at most 2048 pixels a side),
    `probabilities/NAME_probabilities.tif` (float16, foreground and distance) on request, and `objects.csv` for all.

    Args:
        inputs: Files, or folders whose image files are taken.
        out: Folder for the results.
        folder: Model folder.
        params: The `spheroid` section.
        runtime: The machine.
        probabilities: Whether to write the model's own output.

    Returns:
        One problem for each file that failed; the others are complete.
    """
    files, problems = _input_files(inputs)
    if not files and not problems:
        raise UserError(f"No image file ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, inputs))}")
    predictor = Predictor(folder, params, runtime)
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for path in tqdm(files, desc="predict", disable=not runtime.progress):
        with tempfile.TemporaryDirectory(dir=out, prefix=".scratch-") as scratch:
            try:
                prediction = predictor.predict(path, Path(scratch))
                _write(prediction, path.stem, out, probabilities)
            except (ImageError, OSError, MemoryError) as error:
                problems.append(Problem(path, str(error) or type(error).__name__))
                continue
            tables.append(prediction.objects.assign(image=path.name))
    (out / "objects.csv").unlink(missing_ok=True)
    if tables:
        table = pd.concat(tables, ignore_index=True)
        write_csv(out / "objects.csv", table[["image", *(name for name in table.columns if name != "image")]])
    return sorted(problems)


def _input_files(inputs: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Files in the order given, those of a folder sorted; results are named by stem, so stems must differ."""
    files: dict[str, Path] = {}
    problems = []
    for path in _expanded(inputs):
        if not path.exists():
            problems.append(Problem(path, "does not exist"))
        elif path.stem in files:
            if files[path.stem].resolve() != path.resolve():
                problems.append(
                    Problem(path, f"has the same name as {files[path.stem]}; predict it into another folder")
                )
        else:
            files[path.stem] = path
    return list(files.values()), problems


def _expanded(inputs: Sequence[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _write(prediction: Prediction, name: str, out: Path, probabilities: bool) -> None:
    for folder in ("masks", "overlays", *(["probabilities"] if probabilities else [])):
        (out / folder).mkdir(exist_ok=True)
    dtype = np.uint16 if len(prediction.objects) <= np.iinfo(np.uint16).max else np.uint32
    write_tiff(out / "masks" / f"{name}_mask.tif", prediction.labels, dtype)
    if probabilities:
        write_tiff(out / "probabilities" / f"{name}_probabilities.tif", prediction.probabilities, np.float16)
    step = max(1, -(-max(prediction.image.shape) // OVERLAY_PX))
    grey = prediction.scale.apply(prediction.image[::step, ::step])
    write_png(out / "overlays" / f"{name}_overlay.png", outlines(grey, [(prediction.labels[::step, ::step], OUTLINE)]))


def write_tiff(path: Path, array: NDArray[Any], dtype: DTypeLike) -> None:
    """Write (H, W) or pages (N, H, W) strip by strip, so that no copy in the file's dtype is made of the whole."""
    pages = array.reshape(-1, *array.shape[-2:])
    strips = (page[top : top + STRIP_ROWS] for page in pages for top in range(0, len(page), STRIP_ROWS))
    packed = (zlib.compress(np.ascontiguousarray(strip, dtype).tobytes()) for strip in strips)
    partial = path.with_name(f".{path.name}.partial")
    tifffile.imwrite(
        partial,
        packed,
        shape=array.shape,
        dtype=dtype,
        photometric="minisblack",
        rowsperstrip=STRIP_ROWS,
        compression="zlib",
        metadata=None,
    )
    partial.replace(path)
