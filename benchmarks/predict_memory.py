"""Peak resident memory of `predict` on one very large image, the whole way from file to files.

    python benchmarks/predict_memory.py [--side 10000]

Writes a 16-bit TIFF of side x side pixels (the sample's wells, repeated), runs the command line on it with the model
in models/spheroid (`dvc repro spheroid-train` first), and prints the child's peak resident memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from millrace.spheroid.store import Store  # noqa: E402  # after the path is set


def mosaic(side: int) -> np.ndarray:
    """Prepared sample images side by side, as uint16."""
    store = Store()
    images = [np.array(store.array("image", position)) for position in range(len(store))]
    step = images[0].shape[0]
    count = -(-side // step)
    rng = np.random.default_rng(0)
    rows = [np.hstack([images[pick] for pick in rng.integers(len(images), size=count)])[:, :side] for _ in range(count)]
    return (np.vstack(rows)[:side] * 60_000).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "large.tif"
        tifffile.imwrite(image, mosaic(side), tile=(256, 256), compression="zlib")
        start = time.monotonic()
        command = [sys.executable, "src/millrace", "predict", "spheroid", str(image), "--out", f"{folder}/out"]
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.monotonic() - start
        objects = len(pd.read_csv(f"{folder}/out/objects.csv"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{side} x {side} uint16: peak resident memory {peak:.2f} GiB, {objects} objects, {seconds:.0f} s")


if __name__ == "__main__":
    main()
