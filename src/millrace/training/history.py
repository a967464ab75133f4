"""The record of a training: one row of metrics an epoch, written to dvclive and TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dvclive import Live

from millrace.files import rounded


class History:
    """Metrics by epoch.

    They travel in the checkpoint and are replayed into an empty dvclive folder when a training is resumed: DVC deletes
    a stage's outs before it runs the stage again, and the result has to be that of an undisturbed run.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._live: Live | None = None

    def open(self, folder: Path) -> None:
        """Start writing to `folder`, beginning with the epochs recorded so far. On one process only, and once."""
        if self._live is not None:
            return
        self._live = Live(
            str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False, cache_images=False
        )
        for metrics in self.epochs:
            self._write(metrics)

    def record(self, metrics: dict[str, float]) -> None:
        self.epochs.append(metrics)
        if self._live is not None:
            self._write(metrics)

    def close(self, summary: dict[str, Any]) -> None:
        """Write the final summary beside the last epoch's metrics."""
        if self._live is not None:
            self._live.summary.update(rounded(summary))
            self._live.make_summary()
            self._live.end()

    def _write(self, metrics: dict[str, float]) -> None:
        assert self._live is not None
        for name, value in sorted(metrics.items()):
            if math.isfinite(value):  # an epoch whose steps were all skipped has no gradient norm
                self._live.log_metric(name, rounded(value))
        self._live.next_step()
