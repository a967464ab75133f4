"""Prepared images on disk: three flat arrays that are mapped into memory, and an index of where each image lies."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import UserError
from millrace.spheroid.targets import distance_target

PREPARED = Path("data/prepared/spheroid")
META = "meta.json"
ARRAYS = {"image": np.float32, "labels": np.int32, "distance": np.float16}


class StoreWriter:
    """Writes images one after the other into `image.npy`, `labels.npy` and `distance.npy`, all of `pixels` elements."""

    def __init__(self, folder: Path, pixels: int) -> None:
        self._arrays = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(pixels,))
            for name, dtype in ARRAYS.items()
        }
        self._end = 0

    def add(self, image: NDArray[np.float32], labels: NDArray[np.int32]) -> None:
        """Append a normalised image (H, W) and its instance labels (H, W)."""
        start, self._end = self._end, self._end + image.size
        arrays = {"image": image, "labels": labels, "distance": distance_target(labels)}
        for name, array in arrays.items():
            self._arrays[name][start : self._end] = array.ravel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for array in self._arrays.values():
            array.flush()
        if kind is None and any(array.size != self._end for array in self._arrays.values()):
            raise ValueError(f"{self._end} pixels were written, announced were {self._arrays['image'].size}")


class Store:
    """Prepared images, read by position.

    Attributes:
        index: One row an image: `name`, `height`, `width`, `split`, `fold`, in the order of the arrays.
        meta: How the images were made; `preprocessing` goes into the model folder.

    Raises:
        UserError: The folder is not there.
    """

    def __init__(self, folder: Path = PREPARED) -> None:
        if not (folder / META).is_file():
            raise UserError(f"{folder} holds no prepared data. Run `dvc repro spheroid-prepare`.")
        self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        self.index = pd.read_parquet(folder / "index.parquet")
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        sizes = self.index["height"].to_numpy() * self.index["width"].to_numpy()
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def __len__(self) -> int:
        return len(self.index)

    def array(self, name: str, position: int) -> NDArray[Any]:
        """`image` (float32, 0 to 1), `labels` (int32) or `distance` (float16, 0 to 1) of an image, (H, W)."""
        row = self.index.iloc[position]
        flat = self._arrays[name][self._starts[position] : self._starts[position + 1]]
        image: NDArray[Any] = flat.reshape(row["height"], row["width"])
        return image

    def positions(self, split: str) -> list[int]:
        """Positions of the images of `train`, `validation` or `test`."""
        return [int(position) for position in np.flatnonzero(self.index["split"] == split)]
