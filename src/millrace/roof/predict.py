"""Prediction on aerial images of any size and number: rasters, vectors and pictures."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.confinement import real_path
from millrace.errors import ImageError, Problem
from millrace.files import write_csv
from millrace.imagery.inputs import InputImage, input_images
from millrace.imagery.mapped import give_back
from millrace.imagery.metadata import DType, Metadata
from millrace.imagery.pictures import write_png
from millrace.imagery.raster_writer import Strip, write_raster
from millrace.roof.aerial_image import strips
from millrace.roof.analysis import Analysis, Analyzer
from millrace.roof.classes import LINES, SUPERSTRUCTURES, UNKNOWN, segment_names
from millrace.roof.geojson import line_features, plane_features, write_geojson
from millrace.roof.params import Roof
from millrace.settings import Runtime

log = logging.getLogger(__name__)
TABLE = "planes.csv"
ENDINGS = {
    "segments": ".tif",
    "superstructures": ".tif",
    "heights": ".tif",
    "lines": ".geojson",
    "planes": ".geojson",
    "overlays": ".png",
    "probabilities": ".tif",
}
"""Folders of results, and how the files in them end."""


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Roof, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Find roof planes, lines, superstructures and heights in aerial images.

    Writes for an image NAME `segments/NAME.tif` (azimuth classes), `superstructures/NAME.tif`, `heights/NAME.tif`
    (metres above the ground), `lines/NAME.geojson`, `planes/NAME.geojson`, `overlays/NAME.png` (at most 2048 pixels a
    side), on request `probabilities/NAME.tif`, and `planes.csv` for all images. Rasters have the pixels and the
    georeference of their image. What the model was not trained for is not written.

    Args:
        inputs: See `input_images`. NAME is a file's path from the folder that all of them have in common.
        out: Folder for the results.
        folder: Model folder.
        params: The `roof` section, see `Analyzer`.
        runtime: The machine.
        probabilities: Whether to write the probabilities of the chosen classes, of roofs, and of each kind of line.

    Returns:
        One problem for each file that failed; the others are complete.

    Raises:
        UserError: There is no image, or the model cannot be used.
    """
    images, problems = input_images(inputs, out)
    files, colliding = _with_own_results(images, out)
    problems += colliding
    analyzer = Analyzer(folder, params, runtime)
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for image in tqdm(files, desc="predict", disable=not runtime.progress):
        with tempfile.TemporaryDirectory(dir=out, prefix=".scratch-") as scratch:
            try:
                analysis = analyzer.analyze(image.path, Path(scratch))
                _write(analysis, _results(out, image), probabilities)
            except (ImageError, OSError, MemoryError) as error:
                _forget(_results(out, image))
                problems.append(Problem(image.path, str(error) or type(error).__name__))
                continue
            if analysis.image.ground is None:
                log.warning(
                    "%s does not say how large its pixels are; taken as %g m", image.path, analysis.ground.width_m
                )
            table = pd.DataFrame([feature.properties for feature in plane_features(analysis.planes)])
            tables.append(table.assign(image=image.name))
    (out / TABLE).unlink(missing_ok=True)
    if any(map(len, tables)):
        table = pd.concat([each for each in tables if len(each)], ignore_index=True)
        write_csv(out / TABLE, table[["image", *(name for name in table.columns if name != "image")]])
    return sorted(problems)


def _write(analysis: Analysis, paths: Mapping[str, Path], probabilities: bool) -> None:
    """Write the results of one image."""
    heads, maps, metadata = set(analysis.heads), analysis.maps, analysis.image.metadata
    if "segments" in heads:
        _write_classes(paths["segments"], maps.segments, segment_names(analysis.azimuths), metadata)
    if "superstructures" in heads:
        _write_classes(paths["superstructures"], maps.superstructures, SUPERSTRUCTURES, metadata)
    if "height" in heads:
        write_raster(
            paths["heights"], _like(metadata, 1, "float32", nodata="nan", units=("m",)), _strips([maps.height])
        )
    if "lines" in heads:
        features = line_features(analysis.lines, analysis.ground)
        write_geojson(paths["lines"], features, metadata.crs, metadata.transform)
    if {"segments", "roof"} & heads:
        write_geojson(paths["planes"], plane_features(analysis.planes), metadata.crs, metadata.transform)
    if probabilities:
        bands = _probabilities(analysis)
        described = _like(metadata, len(bands), "float32", descriptions=tuple(bands))
        write_raster(paths["probabilities"], described, _strips(list(bands.values())))
    write_png(paths["overlays"], analysis.picture())


def _write_classes(path: Path, classes: NDArray[np.uint8], names: Sequence[str], metadata: Metadata) -> None:
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    write_raster(path, _like(metadata, 1, "uint8", nodata=UNKNOWN, tags={"CLASSES": meaning}), _strips([classes]))


def _probabilities(analysis: Analysis) -> dict[str, NDArray[Any]]:
    """Bands by name, of the heads that were trained."""
    maps = analysis.maps
    bands = {
        "segments": {"segment": maps.confidence},
        "superstructures": {"superstructure": maps.superstructure_confidence},
        "roof": {"roof": maps.roof},
        "lines": dict(zip(LINES, maps.lines, strict=True)),
    }
    return {name: band for head, own in bands.items() if head in analysis.heads for name, band in own.items()}


def _like(metadata: Metadata, count: int, dtype: DType, **others: Any) -> Metadata:
    """Of a raster that lies where another one does."""
    names = ("width", "height", "crs", "transform", "gcps", "gcp_crs")
    return Metadata(count=count, dtype=dtype, **{name: getattr(metadata, name) for name in names}, **others)


def _strips(bands: Sequence[NDArray[Any]]) -> Iterator[Strip]:
    for rows in strips(len(bands[0])):
        values = np.stack([band[rows] for band in bands])
        yield values, np.ones(values.shape, bool)
        give_back(*bands)


def _with_own_results(images: Sequence[InputImage], out: Path) -> tuple[list[InputImage], list[Problem]]:
    """Those whose results have a name of their own, and take the place of no image."""
    first: dict[str, InputImage] = {}
    problems = []
    inputs = {real_path(image.path) for image in images}
    for each in images:
        if any(real_path(path) in inputs for path in _results(out, each).values()):
            problems.append(
                Problem(each.path, "a result would take the place of an image; predict into another folder")
            )
            continue
        other = first.setdefault(_stem(each), each)
        if other is not each and not each.path.samefile(other.path):
            problems.append(Problem(each.path, f"has the same name as {other.path}; predict it into another folder"))
    return list(first.values()), problems


def _forget(paths: Mapping[str, Path]) -> None:
    """Leave no part of the results of an image that failed."""
    for path in paths.values():
        with suppress(OSError):  # such as a name that is too long, which is why it failed
            path.unlink(missing_ok=True)


def _stem(image: InputImage) -> str:
    return str(PurePosixPath(image.name).with_suffix(""))


def _results(out: Path, image: InputImage) -> dict[str, Path]:
    """Files of results, by their kind."""
    return {kind: out / kind / f"{_stem(image)}{ending}" for kind, ending in ENDINGS.items()}
