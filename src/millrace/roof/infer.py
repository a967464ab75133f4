"""The network applied to whole images: one map a head, in memory that does not grow with the image's height."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.imagery.mapped import give_back, new_mapped
from millrace.imagery.tiling import predicted_bands
from millrace.roof.classes import LINES, SUPERSTRUCTURES, segment_names
from millrace.roof.params import Evaluate
from millrace.settings import Runtime

TILE_MULTIPLE = 32
CHUNK_ROWS = 32


@dataclass(frozen=True)
class Maps:
    """What the network says of each pixel of an image; classes with the probability of the one that is chosen.

    Attributes:
        segments: Places in `classes.segment_names`, (H, W) uint8.
        confidence: Probability of that segment class, (H, W) float16.
        superstructures: Places in `classes.SUPERSTRUCTURES`, (H, W) uint8.
        superstructure_confidence: Probability of that superstructure, (H, W) float16.
        roof: Probability of a roof, (H, W) float16.
        lines: Probabilities of `classes.LINES`, (5, H, W) float16.
        height: Metres above the ground, (H, W) float32.
    """

    segments: NDArray[np.uint8]
    confidence: NDArray[np.float16]
    superstructures: NDArray[np.uint8]
    superstructure_confidence: NDArray[np.float16]
    roof: NDArray[np.float16]
    lines: NDArray[np.float16]
    height: NDArray[np.float32]

    def give_back(self) -> None:
        """Let go of the memory that mapped files take; they stay as they are."""
        give_back(*(getattr(self, field.name) for field in fields(self)))


_DTYPES: dict[str, type[np.generic]] = {
    "segments": np.uint8,
    "confidence": np.float16,
    "superstructures": np.uint8,
    "superstructure_confidence": np.float16,
    "roof": np.float16,
    "lines": np.float16,
    "height": np.float32,
}


def new_maps(height: int, width: int, out: Path | None = None) -> Maps:
    """Maps full of zeros, in memory or, where `out` names a folder, in files there.

    Raises:
        ImageError: The disk has no room for them.
    """
    arrays: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        shape = (len(LINES), height, width) if name == "lines" else (height, width)
        arrays[name] = np.zeros(shape, dtype) if out is None else new_mapped(out / f"{name}.npy", dtype, shape)
    return Maps(**arrays)


class Mapper:
    """Images of any size to maps.

    Probabilities of overlapping tiles are averaged, and only then is a class chosen.

    Args:
        network: RGB (N, 3, H, W), float32 from 0 to 1, to logits by head, see `model.build`.
        config: Of the model folder; `azimuths` is used.
        settings: Tiles and batch size.
        runtime: `accelerator` and `threads` are used.
    """

    def __init__(self, network: nn.Module, config: Mapping[str, Any], settings: Evaluate, runtime: Runtime) -> None:
        use_gpu = runtime.accelerator == "gpu" or (runtime.accelerator == "auto" and torch.cuda.is_available())
        self._device = torch.device("cuda" if use_gpu else "cpu")
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        self._network = network.to(self._device).eval()
        self._settings = settings
        self._segments = len(segment_names(config["azimuths"]))

    def maps(self, image: NDArray[np.uint8], out: Path | None = None, progress: bool = False) -> Maps:
        """Maps of an image.

        Args:
            image: RGB (H, W, 3) uint8, or what has such a shape and gives arrays when it is sliced.
            out: Existing folder in which the maps become memory-mapped files; None keeps them in memory.
            progress: Show a progress bar over the tiles.

        Raises:
            ImageError: The image has no pixels, or the disk no room for the maps.
        """
        height, width = image.shape[:2]
        maps = new_maps(height, width, out)
        # What stands beyond the edge of a small image is made up: a smaller tile leaves less of it.
        tile = min(self._settings.tile_px, -(-min(height, width) // TILE_MULTIPLE) * TILE_MULTIPLE)
        bands = predicted_bands(
            self._predict,
            image,
            channels=self._segments + len(SUPERSTRUCTURES) + 1 + len(LINES) + 1,
            tile=tile,
            overlap=self._settings.overlap,
            batch_size=self._settings.batch_size,
            load=_from_bytes,
            progress=progress,
        )
        for top, means in bands:
            # In pieces: the temporary copies would be as large as the band.
            for first in range(0, means.shape[1], CHUNK_ROWS):
                self._reduce(means[:, first : first + CHUNK_ROWS], maps, top + first)
            maps.give_back()
        return maps

    def _predict(self, tiles: Tensor) -> Tensor:
        """Tiles to what is averaged: probabilities, and heights."""
        logits = self._network(tiles.to(self._device))
        heads = [
            logits["segments"].float().softmax(1),
            logits["superstructures"].float().softmax(1),
            logits["roof"].float().sigmoid(),
            logits["lines"].float().sigmoid(),
            logits["height"].float(),
        ]
        return torch.cat(heads, dim=1)

    def _reduce(self, means: NDArray[np.float32], maps: Maps, top: int) -> None:
        rows = slice(top, top + means.shape[1])
        segments, superstructures, roof, lines, height = np.split(
            means, np.cumsum([self._segments, len(SUPERSTRUCTURES), 1, len(LINES)])
        )
        maps.confidence[rows], maps.segments[rows] = _most_likely(segments)
        maps.superstructure_confidence[rows], maps.superstructures[rows] = _most_likely(superstructures)
        maps.roof[rows], maps.lines[:, rows], maps.height[rows] = roof[0], lines, height[0]


def _from_bytes(window: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.multiply(window, 1 / 255, dtype=np.float32)


def _most_likely(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Largest of the probabilities (C, H, W), and its place; the first of equal ones."""
    values, places = torch.from_numpy(probabilities).max(dim=0)
    return values.numpy(), places.numpy()
