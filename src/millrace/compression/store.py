"""Prepared scenes on disk: patches to train on, whole bands to score, mapped into memory, and what each of them is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.errors import UserError

PREPARED = Path("data/prepared/compression")
META = "meta.json"
LEVELS = 65535
"""A normalised 1 as it is stored, in uint16."""

_ARRAYS: dict[str, type[np.generic]] = {
    "patches": np.uint16,
    "patches_valid": np.uint8,
    "scenes": np.uint16,
    "scenes_valid": np.uint8,
}
_PATCH_COLUMNS = {"scene", "band", "side", "y", "x", "valid_share"}
_SCENE_COLUMNS = {"scene", "band", "side", "height", "width", "offset", "valid_offset", "low", "high", "enl"}

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Store:
    """What `compression-prepare` wrote, read by side.

    Normalised values are 0..1, invalid pixels filled smoothly.

    Attributes:
        meta: `values`, `clip` and `patch_px`, as they were set.
        patch_table: One row a patch, in the order of the arrays: `scene`, `band`, `side`, `y`, `x`, `valid_share`.
        scene_table: One row a band of a scene: `scene`, `band`, `description`, `side`, `dtype`, `height`, `width`,
            `low` and `high` (what became 0 and 1, in decibels), `valid_share`, `enl`, and where it lies.

    Raises:
        UserError: The folder is missing, or something in it is damaged.
    """

    def __init__(self, folder: Path = PREPARED) -> None:
        if not (folder / META).is_file():
            raise UserError(f"{folder} holds no prepared scenes. Run `dvc repro compression-prepare`.")
        try:
            self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
            self.patch_px = int(self.meta["patch_px"])
            self.patch_table = pd.read_parquet(folder / "patches.parquet")
            self.scene_table = pd.read_parquet(folder / "scenes.parquet")
            self._arrays = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS
            }
            self._check()
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise UserError(f"{folder} is damaged ({error}). Run `dvc repro --force compression-prepare`.") from None

    def patches(self, side: str) -> pd.DataFrame:
        """Rows of `patch_table` of `train` or `validation`; their index is the number that `patch` takes."""
        return self.patch_table[self.patch_table["side"] == side]

    def patch(self, number: int) -> tuple[Image, Mask]:
        """Normalised values and valid pixels of a patch, both (patch_px, patch_px)."""
        values = self._arrays["patches"][number].astype(np.float32) / np.float32(LEVELS)
        return values, _unpacked(self._arrays["patches_valid"][number], self.patch_px)

    def scenes(self, side: str) -> Iterator[tuple[str, Image, Mask, dict[str, Any]]]:
        """Name (`file.tif#1` for its band 1), normalised values (H, W), valid pixels (H, W) and row of each band.

        The bands of `validation` and `test`, one after the other; those of `train` are stored as patches only.
        """
        for row in self.scene_table[self.scene_table["side"] == side].to_dict("records"):
            height, width = row["height"], row["width"]
            if row["offset"] < 0:
                raise ValueError(f"whole scenes of {side} are not stored")
            flat = self._arrays["scenes"][row["offset"] : row["offset"] + height * width]
            bits = self._arrays["scenes_valid"][row["valid_offset"] : row["valid_offset"] + height * -(-width // 8)]
            values = flat.reshape(height, width).astype(np.float32) / np.float32(LEVELS)
            name = f"{row['scene']}#{row['band']}"
            yield name, values, _unpacked(bits.reshape(height, -1), width), {str(key): row[key] for key in row}

    def _check(self) -> None:
        """Whether the parts belong together.

        Raises:
            ValueError: They do not.
            KeyError: Something is missing.
        """
        for table, columns in ((self.patch_table, _PATCH_COLUMNS), (self.scene_table, _SCENE_COLUMNS)):
            if missing := columns - {*table}:
                raise KeyError(f"no column {', '.join(sorted(missing))}")
        count, side = len(self.patch_table), self.patch_px
        whole = self.scene_table[self.scene_table["offset"] >= 0]
        pixels = int((whole["height"] * whole["width"]).sum())
        bits = int((whole["height"] * -(-whole["width"] // 8)).sum())
        shapes = [(count, side, side), (count, side, side // 8), (pixels,), (bits,)]
        for (name, array), shape in zip(self._arrays.items(), shapes, strict=True):
            if array.shape != shape or array.dtype != _ARRAYS[name]:
                raise ValueError(f"{name}.npy is {array.dtype} {array.shape}, not {np.dtype(_ARRAYS[name])} {shape}")


class StoreWriter:
    """Writes patches and whole bands one after the other; nothing but tables of them stays in memory."""

    def __init__(self, folder: Path, patch_px: int) -> None:
        items: dict[str, tuple[int, ...]] = {
            "patches": (patch_px, patch_px),
            "patches_valid": (patch_px, patch_px // 8),
            "scenes": (),
            "scenes_valid": (),
        }
        self._files = {name: _GrowingArray(folder / f"{name}.npy", _ARRAYS[name], items[name]) for name in items}
        self._folder = folder
        self.patches: list[dict[str, Any]] = []
        self.scenes: list[dict[str, Any]] = []

    def add_patch(self, normalised: Image, valid: Mask, row: dict[str, Any]) -> None:
        """Append a patch (patch_px, patch_px) that has no pixel without a value."""
        self._files["patches"].append(_levels(normalised)[None])
        self._files["patches_valid"].append(np.packbits(valid, axis=1)[None])
        self.patches.append(row)

    def add_scene(self, normalised: Image, valid: Mask, row: dict[str, Any]) -> None:
        """Append a band (H, W)."""
        places = {"offset": self._files["scenes"].length, "valid_offset": self._files["scenes_valid"].length}
        self._files["scenes"].append(_levels(normalised).ravel())
        self._files["scenes_valid"].append(np.packbits(valid, axis=1).ravel())
        self.scenes.append(row | places)

    def add_row(self, row: dict[str, Any]) -> None:
        """Note a band of which no pixels are stored but in patches."""
        self.scenes.append(row | {"offset": -1, "valid_offset": -1})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        if kind is None:
            patches = pd.DataFrame(self.patches, columns=["scene", "band", "side", "y", "x", "valid_share"])
            patches.to_parquet(self._folder / "patches.parquet", index=False)
            pd.DataFrame(self.scenes).to_parquet(self._folder / "scenes.parquet", index=False)


class _GrowingArray:
    """A `.npy` file that items are appended to."""

    def __init__(self, path: Path, dtype: type[np.generic], item: tuple[int, ...]) -> None:
        self._dtype, self._item = np.dtype(dtype), item
        self.length = 0
        self._stream = path.open("wb")
        self._write_header()

    def append(self, items: NDArray[Any]) -> None:
        assert items.shape[1:] == self._item
        assert items.dtype == self._dtype
        np.ascontiguousarray(items).tofile(self._stream)
        self.length += len(items)

    def close(self) -> None:
        """Write the length into the header, in which NumPy keeps room for any."""
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.length, *self._item)}
        np.lib.format.write_array_header_1_0(self._stream, header)


def _levels(normalised: Image) -> NDArray[np.uint16]:
    levels: NDArray[np.uint16] = np.rint(normalised * np.float32(LEVELS)).astype(np.uint16)
    return levels


def _unpacked(bits: NDArray[np.uint8], width: int) -> Mask:
    return np.unpackbits(bits, axis=1, count=width).astype(bool)
