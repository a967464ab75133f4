"""Prediction on aerial images of any size and number: rasters, vectors and pictures."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import ImageError, Problem, UserError
from millrace.files import write_csv
from millrace.imagery.mapped import give_back
from millrace.imagery.metadata import DType, Metadata
from millrace.imagery.pictures import write_png
from millrace.imagery.raster_writer import Strip, write_raster
from millrace.imagery.read import SUFFIXES
from millrace.roof.aerial_image import strips
from millrace.roof.analysis import Analysis, Analyzer
from millrace.roof.classes import LINES, SUPERSTRUCTURES, UNKNOWN, segment_names
from millrace.roof.geojson import line_features, plane_features, write_geojson
from millrace.roof.params import Roof
from millrace.settings import Runtime

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
        inputs: Files; folders, whose image files are taken; or patterns for names (`tiles/**/*.tif`).
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
    files, problems = _input_files(inputs, out)
    if not files and not problems:
        raise UserError(f"No image file ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, inputs))}")
    analyzer = Analyzer(folder, params, runtime)
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for path in tqdm(files, desc="predict", disable=not runtime.progress):
        with tempfile.TemporaryDirectory(dir=out, prefix=".scratch-") as scratch:
            try:
                analysis = analyzer.analyze(path, Path(scratch))
                _write(analysis, path.stem, out, probabilities)
            except (ImageError, OSError, MemoryError) as error:
                problems.append(Problem(path, str(error) or type(error).__name__))
                continue
            table = pd.DataFrame([feature.properties for feature in plane_features(analysis.planes)])
            tables.append(table.assign(image=path.name))
    (out / TABLE).unlink(missing_ok=True)
    if any(map(len, tables)):
        table = pd.concat([each for each in tables if len(each)], ignore_index=True)
        write_csv(out / TABLE, table[["image", *(name for name in table.columns if name != "image")]])
    return sorted(problems)


def _write(analysis: Analysis, name: str, out: Path, probabilities: bool) -> None:
    """Write the results of one image."""
    heads, maps, metadata = set(analysis.heads), analysis.maps, analysis.image.metadata
    paths = {kind: out / kind / f"{name}{ending}" for kind, ending in ENDINGS.items()}
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


def _input_files(inputs: Sequence[Path], out: Path) -> tuple[list[Path], list[Problem]]:
    """Files in the order given, those of a folder or pattern sorted; results are named by stem: stems must differ."""
    files: dict[str, Path] = {}
    problems = []
    for given in inputs:
        paths = _expanded(given)
        if not paths and not given.is_dir():
            problems.append(Problem(given, "does not exist"))
        for path in paths:
            if path.stem in files:
                if not files[path.stem].samefile(path):
                    problems.append(
                        Problem(path, f"has the same name as {files[path.stem]}; predict it into another folder")
                    )
            elif any(
                (out / kind / f"{path.stem}{ending}").resolve() == path.resolve() for kind, ending in ENDINGS.items()
            ):
                problems.append(Problem(path, "a result would take its place; predict into another folder"))
            else:
                files[path.stem] = path
    return list(files.values()), problems


def _expanded(given: Path) -> list[Path]:
    if given.is_dir():
        return sorted(path for path in given.iterdir() if _is_image(path))
    if given.exists():
        return [given]
    return sorted(path for path in map(Path, glob.glob(str(given), recursive=True)) if _is_image(path))  # noqa: PTH207  Path.glob takes hidden files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
