"""What a cell is made of, and what is usual for it in the training videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.errors import UserError
from millrace.keyframes.timeline import DEFAULTS
from millrace.keyframes.xml_events import MAX_MAGNITUDE

ACTIVE, ASSET, NUMBERS = 0, 1, 2
"""Places of a cell's features: active, asset, and from NUMBERS on the parameters."""

Cells = NDArray[np.float32]


@dataclass(frozen=True)
class Normalisation:
    """Mean and spread of each parameter over the active cells of the training videos.

    Attributes:
        parameters: Their names, in the order of a cell's features.
        mean: In the parameter's unit.
        spread: Standard deviation in that unit; 1 for a parameter that never varies.
    """

    parameters: tuple[str, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def fit(cls, parameters: tuple[str, ...], cells: Cells) -> Normalisation:
        """From active cells (N, features).

        Raises:
            UserError: There is none, or a number is none.
        """
        if not len(cells):
            raise UserError("No clip is active in the training videos, so there is nothing to learn from")
        if not np.isfinite(cells).all():
            raise UserError("A parameter of the training videos is no number. Run `dvc repro --force keyframes-parse`")
        numbers = cells[:, NUMBERS:].astype(np.float64)
        spread = numbers.std(axis=0)
        spread[spread < 1e-6] = 1.0
        return cls(parameters, tuple(map(float, numbers.mean(axis=0))), tuple(map(float, spread)))

    def as_dict(self) -> dict[str, Any]:
        return {"parameters": list(self.parameters), "mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Normalisation:
        """Of `as_dict`; raises KeyError, TypeError or ValueError where something is missing or of a wrong kind."""
        mean, spread = (tuple(float(value) for value in content[key]) for key in ("mean", "spread"))
        parameters = tuple(str(name) for name in content["parameters"])
        if not len(parameters) == len(mean) == len(spread):
            raise ValueError("parameters, mean and spread do not go together")
        if parameters not in (tuple(DEFAULTS)[:-2], tuple(DEFAULTS)):
            raise ValueError(f"parameters are {parameters}, not {tuple(DEFAULTS)} or all but the last two of them")
        if not all(0 < each < MAX_MAGNITUDE for each in spread) or not all(abs(each) < MAX_MAGNITUDE for each in mean):
            raise ValueError("mean or spread is no number, or an impossible one")
        return cls(parameters, mean, spread)


def empty_cell(parameters: Sequence[str]) -> Cells:
    """A cell in which nothing is shown (2 + P,), as the table has it."""
    return np.array([0, 0, *(DEFAULTS[name] for name in parameters)], np.float32)


def typical_row(cells: Cells, empty: Cells) -> Cells:
    """The usual cell of each track (tracks, 2 + P): active if it mostly is, the majority's class, mean numbers.

    Args:
        cells: Rows of the training videos (N, tracks, 2 + P).
        empty: The cell of a track that mostly shows nothing (2 + P,).
    """
    row = np.repeat(empty[None], cells.shape[1], axis=0)
    for track in range(cells.shape[1]):
        active = cells[:, track][cells[:, track, ACTIVE] > 0]
        if 2 * len(active) > len(cells):
            classes = np.bincount(active[:, ASSET].astype(np.int64))
            row[track] = [1, classes.argmax(), *active[:, NUMBERS:].mean(axis=0)]
    return row
