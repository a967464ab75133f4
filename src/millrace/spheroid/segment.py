"""A trained network applied to whole images of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.imagery.tiling import predict_tiled
from millrace.settings import Runtime
from millrace.spheroid.model import CHANNELS
from millrace.spheroid.objects import find_objects
from millrace.spheroid.params import Evaluate

TILE_MULTIPLE = 32
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))


class Segmenter:
    """Normalised grey images to instance labels.

    Args:
        network: Gives probabilities (N, 2, H, W) of `CHANNELS` for (N, 1, H, W).
        settings: Tiles, thresholds, test-time flips.
        runtime: `accelerator` and `threads` are used.
    """

    def __init__(self, network: nn.Module, settings: Evaluate, runtime: Runtime) -> None:
        use_gpu = runtime.accelerator == "gpu" or (runtime.accelerator == "auto" and torch.cuda.is_available())
        self._device = torch.device("cuda" if use_gpu else "cpu")
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        self._network = network.to(self._device).eval()
        self._settings = settings

    def probabilities(
        self,
        image: NDArray[Any],
        load: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None,
        out: NDArray[Any] | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Foreground and distance (2, H, W) of an image (H, W), tile by tile.

        Args:
            image: Normalised grey, or anything that `load` turns into it window by window.
            load: The conversion; None where the image is normalised already.
            out: Array to write into, such as a memory-mapped file.
            progress: Show a progress bar over the tiles.
        """
        settings = self._settings
        # An image smaller than a tile is continued by reflection, and what stands in its corners can then look
        # like an object: a smaller tile leaves less to make up.
        tile = min(settings.tile_px, -(-min(image.shape) // TILE_MULTIPLE) * TILE_MULTIPLE)
        options: dict[str, Any] = {} if load is None else {"load": load}
        return predict_tiled(
            self._predict,
            image,
            channels=len(CHANNELS),
            tile=tile,
            overlap=settings.overlap,
            batch_size=settings.batch_size,
            out=out,
            progress=progress,
            **options,
        )

    def labels(self, image: NDArray[np.float32]) -> NDArray[np.int32]:
        """Instance labels (H, W) of a normalised image (H, W); 0 is background."""
        foreground, distance = self.probabilities(image)
        return find_objects(foreground, distance, self._settings)

    def _predict(self, tiles: Tensor) -> Tensor:
        tiles = tiles.to(self._device)
        if not self._settings.flips:
            probabilities: Tensor = self._network(tiles)
            return probabilities
        flipped = [self._network(tiles.flip(axes)).flip(axes) for axes in FLIPS]
        return torch.stack(flipped).mean(0)
