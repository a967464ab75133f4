"""Prepared tiles on disk: one folder a source, in it one flat array for the image and one for each thing labelled."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import UserError
from millrace.roof.scene import Labelled, Lines

PREPARED = Path("data/prepared/roof")
META = "meta.json"
INDEX = "index.parquet"
VECTORS = "vectors.parquet"
FIELDS = {
    "segments": np.uint8,
    "superstructures": np.uint8,
    "roof": np.uint8,
    "lines": np.uint8,
    "lines_known": np.uint8,
    "height": np.float32,
}
ENDS = ["row0", "column0", "row1", "column1"]


class StoreWriter:
    """Writes the tiles of one source, one after the other.

    Args:
        folder: An empty folder.
        pixels: Of all tiles together.
        fields: Those of `FIELDS` that the source labels; every tile has them.
    """

    def __init__(self, folder: Path, pixels: int, fields: list[str]) -> None:
        self._folder = folder
        self._arrays = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=FIELDS[name], shape=(pixels,))
            for name in fields
        }
        self._image = np.lib.format.open_memmap(folder / "image.npy", mode="w+", dtype=np.uint8, shape=(pixels, 3))
        self._vectors: list[pd.DataFrame] = []
        self._end = 0
        self._tiles = 0

    def add(self, tile: Labelled) -> None:
        """Append a tile; the caller keeps the index of what was added."""
        start, self._end = self._end, self._end + tile.image.shape[0] * tile.image.shape[1]
        self._image[start : self._end] = tile.image.reshape(-1, 3)
        for name, array in self._arrays.items():
            array[start : self._end] = getattr(tile, name).ravel()
        if tile.vectors is not None:
            table = pd.DataFrame(tile.vectors.ends, columns=ENDS)
            self._vectors.append(table.assign(tile=self._tiles, kind=tile.vectors.kinds))
        self._tiles += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for array in (self._image, *self._arrays.values()):
            array.flush()
        if kind is None:
            if len(self._image) != self._end:
                raise ValueError(f"{self._end} pixels were written, announced were {len(self._image)}")
            if self._vectors:
                pd.concat(self._vectors, ignore_index=True).to_parquet(self._folder / VECTORS, index=False)


class Store:
    """Prepared tiles of one source, read by position.

    Attributes:
        name: The source's key in params.yaml.
        index: One row a tile: `scene`, `side`, `top`, `left` (of the tile in its scene, in pixels as prepared),
            `height`, `width`, `pixel_size_m`, in the order of the arrays.
        meta: `azimuths`, `heads`, `fields`, `vector_kinds`, `format`, and class counts of the training tiles.

    Raises:
        UserError: The folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / META).is_file():
            raise UserError(f"{folder} holds no prepared data. Run `dvc repro roof-prepare`.")
        self.name = folder.name
        self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        self.index = pd.read_parquet(folder / INDEX)
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in self.meta["fields"]}
        self._image = np.load(folder / "image.npy", mmap_mode="r")
        path = folder / VECTORS
        self._vectors = pd.read_parquet(path) if path.is_file() else None
        sizes = self.index["height"].to_numpy() * self.index["width"].to_numpy()
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def __len__(self) -> int:
        return len(self.index)

    def tile(self, position: int) -> Labelled:
        """A tile; its arrays are views of the mapped files."""
        row = self.index.iloc[position]
        span, shape = slice(self._starts[position], self._starts[position + 1]), (row["height"], row["width"])
        fields = {name: array[span].reshape(shape) for name, array in self._arrays.items()}
        return Labelled(
            image=self._image[span].reshape(*shape, 3),
            azimuths=self.meta["azimuths"],
            vectors=self._lines(position),
            vector_kinds=self.meta["vector_kinds"],
            **fields,
        )

    def positions(self, side: str) -> list[int]:
        """Positions of the tiles of `train`, `validation` or `test`."""
        return [int(position) for position in np.flatnonzero(self.index["side"] == side)]

    def _lines(self, position: int) -> Lines | None:
        if not self.meta["vector_kinds"]:
            return None
        empty = pd.DataFrame(columns=["kind", *ENDS])
        own = empty if self._vectors is None else self._vectors[self._vectors["tile"] == position]
        ends: NDArray[np.float64] = own[ENDS].to_numpy(np.float64)
        return Lines(own["kind"].to_numpy(np.uint8), ends.reshape(-1, 4))


def stores(names: list[str], root: Path = PREPARED) -> list[Store]:
    """The prepared sources, in the order of their names.

    Raises:
        UserError: One is not there, or they have different azimuth classes.
    """
    found = [Store(root / name) for name in sorted(names)]
    azimuths = {store.name: store.meta["azimuths"] for store in found}
    if len(set(azimuths.values())) > 1:
        raise UserError(f"{root}: the sources have different azimuth classes: {azimuths}. Run `dvc repro` again.")
    return found
