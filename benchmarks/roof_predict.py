"""How fast is `predict roof` on one very large GeoTIFF, the whole way from file to files, and in how much memory?

    python benchmarks/roof_predict.py [--side 10000] [--network painted | untrained] [--model models/roof]

Writes a GeoTIFF of side x side pixels, runs the prediction with vectors on it in a child process, and prints its
megapixels per second and its peak resident memory, of which pages of mapped files are a part.

Without --model the image is painted with hipped roofs, 25 on 1000 x 1000 pixels, and the network
reads its colours, so that there are as many planes and lines as in a town. With `untrained` it also runs the network of
params.yaml's defaults, for its time and memory. With --model it is a mosaic of prepared tiles (`dvc repro
roof-prepare` first) and the model of that folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "roof")]

from millrace.roof.store import PREPARED, stores  # noqa: E402  # after the path is set

STAMP_PX = 1000
PIXEL_SIZE_M = 0.2


def stamp() -> NDArray[np.uint8]:
    """A painted picture of 25 roofs."""
    painting = importlib.import_module("painted_roofs")
    generator = np.random.default_rng(0)
    roofs = [
        painting.hipped_roof((100 + 200 * row, 100 + 200 * column), 110, 60, float(generator.uniform(0, 360)))
        for row in range(5)
        for column in range(5)
    ]
    picture: NDArray[np.uint8] = painting.roof_image((STAMP_PX, STAMP_PX), roofs, slope_per_px=0.1)
    return picture


def mosaic() -> NDArray[np.uint8]:
    """Prepared tiles of all sources side by side."""
    names = sorted(path.name for path in (ROOT / PREPARED).iterdir())
    tiles = [store.tile(place).image for store in stores(names, ROOT / PREPARED) for place in range(len(store))]
    generator, side = np.random.default_rng(0), STAMP_PX
    picture = np.zeros((side, side, 3), np.uint8)
    step = min(min(tile.shape[:2]) for tile in tiles)
    for row in range(0, side, step):
        for column in range(0, side, step):
            tile = tiles[generator.integers(len(tiles))][: side - row, : side - column][:step, :step]
            picture[row : row + tile.shape[0], column : column + tile.shape[1]] = tile
    return picture


def write(path: Path, picture: NDArray[np.uint8], side: int, pixel_size_m: float) -> None:
    """A tiled GeoTIFF that repeats a picture."""
    transform = rasterio.Affine(pixel_size_m, 0, 500_000, 0, -pixel_size_m, 5_300_000)
    options = {"tiled": True, "compress": "deflate", "photometric": "RGB", "interleave": "pixel"}
    with rasterio.open(
        path, "w", "GTiff", side, side, 3, crs="EPSG:32633", transform=transform, dtype="uint8", **options
    ) as dataset:
        for top in range(0, side, STAMP_PX):
            for left in range(0, side, STAMP_PX):
                part = picture[: side - top, : side - left].transpose(2, 0, 1)
                dataset.write(part, window=Window(left, top, part.shape[2], part.shape[1]))


def predict_painted(image: Path, out: Path, untrained: bool) -> None:
    """The child: predict with a network that reads painted colours."""
    import torch

    from millrace.params import load
    from millrace.roof import model, predict
    from millrace.roof.params import Model

    painting = importlib.import_module("painted_roofs")

    class Painted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reader = painting.PaintedNetwork()
            self.network = model.build(Model(), painting.AZIMUTHS) if untrained else None

        def forward(self, tiles: torch.Tensor) -> Any:
            if self.network is not None:
                self.network(tiles)
            return self.reader(tiles)

    heads = ["segments", "superstructures", "roof", "lines", "height"]
    config = {"azimuths": painting.AZIMUTHS, "pixel_size_m": PIXEL_SIZE_M, "heads": heads}
    model.load = lambda _: (Painted(), config)  # type: ignore[assignment, return-value]  # a stand-in of the same calls
    parameters = load()
    problems = predict.predict_files([image], out, Path(), parameters.roof, parameters.runtime)
    if problems:
        raise SystemExit(str(problems[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--network", choices=("painted", "untrained"), default="untrained")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        image, out = options.child
        predict_painted(image, out, options.network == "untrained")
        return
    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder) / "large.tif", Path(folder) / "out"
        if options.model:
            pixel_size_m = json.loads((options.model / "config.json").read_text())["pixel_size_m"]
            write(image, mosaic(), options.side, pixel_size_m)
            command = [sys.executable, "src/millrace", "predict", "roof", image, "--model", options.model.resolve()]
            command += ["--out", out]
        else:
            write(image, stamp(), options.side, PIXEL_SIZE_M)
            command = [sys.executable, __file__, "--network", options.network, "--child", image, out]
        start = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.monotonic() - start
        counts = {
            kind: len(json.loads((out / kind / "large.geojson").read_text())["features"])
            for kind in ("planes", "lines")
        }
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, pixels = usage.ru_utime + usage.ru_stime, options.side**2 / 1e6
    print(f"{options.side} x {options.side}: {pixels / seconds:.2f} megapixels a second, {seconds:.0f} s")
    print(f"{pixels / cpu:.2f} megapixels a second of one core's time, {cpu:.0f} s")
    print(f"peak resident memory {usage.ru_maxrss / 2**20:.2f} GiB; {counts['planes']} planes, {counts['lines']} lines")


if __name__ == "__main__":
    main()
