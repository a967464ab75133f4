"""A trained network as what it is for: known cells in, cells in real units out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from millrace.errors import UserError
from millrace.keyframes.data import as_sample
from millrace.keyframes.decoding import layout_of
from millrace.keyframes.masking import Mask, forecast_target
from millrace.keyframes.model import Trained
from millrace.keyframes.normalisation import Cells
from millrace.settings import Runtime


class Forecaster:
    """Predicts cells.

    Args:
        trained: From `model.load`.
        runtime: `accelerator` and `threads` are used.
        batch_size: Windows a forward pass.
    """

    def __init__(self, trained: Trained, runtime: Runtime, batch_size: int) -> None:
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        gpu = torch.cuda.is_available() and runtime.accelerator != "cpu"
        if runtime.accelerator == "gpu" and not gpu:
            raise UserError("runtime.accelerator is gpu, but PyTorch sees no GPU here")
        self.trained = trained
        self._device = torch.device("cuda" if gpu else "cpu")
        self._network = trained.network.to(self._device)
        self._batch_size = batch_size

    def fill(self, windows: Sequence[tuple[Cells, Mask]]) -> list[Cells]:
        """Predict the asked cells of windows.

        Args:
            windows: Cells (R, tracks, 2 + P) in real units, at most `length` rows, and which of them are asked for,
                bool (R, tracks). What they hold there has no influence, unless the objective is `reconstruct`.

        Returns:
            Cells of each window, the asked ones replaced: whole layouts, so a cell in which nothing is shown has class
            0 and default parameters.
        """
        filled = []
        for start in range(0, len(windows), self._batch_size):
            batch = windows[start : start + self._batch_size]
            for (window, target), layout in zip(batch, self._layouts(batch), strict=True):
                filled.append(np.where(target[..., None], layout[: len(window)], window))
        return filled

    def continue_(self, history: Cells, rows: int) -> Cells:
        """The rows (rows, tracks, 2 + P) that follow a history; beyond the horizon each step builds on the last one."""
        horizon, kept = self.trained.horizon, self.trained.length - self.trained.horizon
        seen, made = history[-kept:], history[:0]
        while len(made) < rows:
            # A forecast reaches at most as far as it looks back.
            step = min(horizon, len(seen))
            window = np.concatenate([seen, np.zeros((step, *seen.shape[1:]), np.float32)])
            (filled,) = self.fill([(window, forecast_target(len(window), window.shape[1], step))])
            made = np.concatenate([made, filled[len(seen) :]])
            seen = filled[-kept:]
        return made[:rows]

    def maps(self, window: Cells, target: Mask) -> dict[str, Tensor]:
        """What the network looks at in a window, see `MultiTrackTransformer.maps`."""
        return self._network.maps(self._inputs([(window, target)]))

    def _inputs(self, windows: Sequence[tuple[Cells, Mask]]) -> dict[str, Tensor]:
        trained = self.trained
        samples = [
            as_sample(window, target, trained.length, trained.normalisation, trained.objective)["input"]
            for window, target in windows
        ]
        return {name: each.to(self._device) for name, each in default_collate(samples).items()}

    @torch.inference_mode()
    def _layouts(self, windows: Sequence[tuple[Cells, Mask]]) -> Cells:
        """All cells of some windows (B, length, tracks, 2 + P), known ones as the network repeats them."""
        whole: Cells = layout_of(self._network(self._inputs(windows)), self.trained.normalisation).numpy()
        return whole
