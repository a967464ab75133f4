"""The network: a window of cells, some of them unknown, to what each cell shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional

from millrace.errors import UserError
from millrace.keyframes.attention import CellLayer, Layer, sinusoids
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS, Cells, Normalisation
from millrace.keyframes.params import ASSETS, Model, Train
from millrace.keyframes.recall import Recall
from millrace.keyframes.table import TRACKS
from millrace.keyframes.window_store import WindowStore
from millrace.training import model_folder

TASK = "keyframes"
UNKNOWN = -1.0
"""What stands for `active` of a cell that is not known."""

LEAST_PROBABILITY = 1e-6
Input = dict[str, Tensor]


class Heads(NamedTuple):
    """What the network says of each cell.

    Attributes:
        active: Logits (B, T, tracks, 2) of nothing and something.
        asset: Logits (B, T, tracks, 10).
        numbers: Normalised parameters (B, T, tracks, P).
    """

    active: Tensor
    asset: Tensor
    numbers: Tensor


class MultiTrackTransformer(nn.Module):
    """Transformer over the rows and tracks of a window, with a head for each thing that a cell says.

    With `attention: time` a row is one token and tracks are told apart after the transformer, by a learned embedding
    each: the source system's network, parameter for parameter. With `time_and_tracks` every cell is a token.

    Args:
        settings: Size and kind.
        numbers: Parameters of a cell; 7, or 9 with rotation and opacity.
        rows: Rows of the longest window.
    """

    def __init__(self, settings: Model, numbers: int, rows: int) -> None:
        super().__init__()
        width = settings.width
        self.by_cell = settings.attention == "time_and_tracks"
        inputs = cell_features(numbers) if self.by_cell else TRACKS * (NUMBERS + numbers)
        self.embed = nn.Linear(inputs, width)
        self.register_buffer("positions", sinusoids(rows, width), persistent=False)
        kind = CellLayer if self.by_cell else Layer
        self.layers = nn.ModuleList([kind(settings) for _ in range(settings.layers)])
        self.track = nn.Parameter(torch.randn(TRACKS, width) * 0.02)
        self.state = nn.Linear(width, width)
        self.active = nn.Linear(width, 2)
        self.asset = nn.Linear(width, ASSETS)
        self.numbers = nn.ModuleList([nn.Linear(width, 1) for _ in range(numbers)])
        self.recall = Recall(settings) if settings.recall else None
        if settings.recall:
            self.copy = nn.Linear(width, 2 + numbers)  # how much each head relies on the copy

    def forward(self, window: Input) -> Heads:
        """Predict all cells of windows.

        Args:
            window: `cells` (B, T, tracks, 2 + P): active, asset and normalised parameters, float32; `known`, bool
                (B, T, tracks), which of them may be looked at: the others' content has no influence; `valid`, bool
                (B, T), False for padding.
        """
        cells, known = window["cells"], window["known"] & window["valid"][..., None]
        states = self.states(cells, known, window["valid"])
        heads = Heads(
            self.active(states), self.asset(states), torch.cat([number(states) for number in self.numbers], -1)
        )
        asked = _asked(known, window["valid"])
        return heads if self.recall is None or not len(asked) else self._with_copies(heads, states, cells, known, asked)

    def states(self, cells: Tensor, known: Tensor, valid: Tensor, maps: dict[str, Tensor] | None = None) -> Tensor:
        """State of each cell (B, T, tracks, width); `maps` takes what each layer looks at."""
        if self.by_cell:
            tokens = self.embed(described(cells, known)) + self._positions(cells)[:, None] + self.track
        else:
            tokens = self.embed(hidden(cells, known).flatten(2)) + self._positions(cells)
        for number, layer in enumerate(self.layers, start=1):
            if maps is not None:
                looked = layer.maps(tokens, valid)  # type: ignore[operator]  # a method, which nn.Module types as Tensor
                maps |= {f"layer {number}, {name}": weights for name, weights in looked.items()}
            tokens = layer(tokens, valid)
        if not self.by_cell:
            tokens = tokens[:, :, None] + self.track
        return functional.gelu(self.state(functional.layer_norm(tokens, tokens.shape[-1:])))

    @torch.inference_mode()
    def maps(self, window: Input) -> dict[str, Tensor]:
        """What looks at what in the first of some windows, for pictures; rows of each map sum to 1.

        Returns:
            For each layer, by name: along time (T, T), mean over tracks, and across tracks (tracks, tracks), mean over
            rows; and `copied from`, (tracks, R, T), for the R asked rows of a network with recall.
        """
        cells, valid = window["cells"][:1], window["valid"][:1]
        known = window["known"][:1] & valid[..., None]
        found: dict[str, Tensor] = {}
        states = self.states(cells, known, valid, found)
        asked = _asked(known, valid)
        if self.recall is not None and len(asked):
            found["copied from"] = self.recall(states, one_hot_cells(cells, known), known, asked)[0]
        return found

    def _positions(self, cells: Tensor) -> Tensor:
        return self.positions[: cells.shape[1]]  # type: ignore[index]  # a buffer, which nn.Module types as Tensor | Module

    def _with_copies(self, heads: Heads, states: Tensor, cells: Tensor, known: Tensor, asked: Tensor) -> Heads:
        """Heads whose asked rows are mixed with what is recalled."""
        assert self.recall is not None
        content = one_hot_cells(cells, known)
        weights = self.recall(states, content, known, asked)
        copied = (weights @ content.transpose(1, 2)).transpose(1, 2)
        active = copied[..., :1]
        found = weights.sum(-1).transpose(1, 2)[..., None]  # 0 where nothing is known
        gates = self.copy(states[:, asked]).sigmoid() * found
        share = active.clamp(min=LEAST_PROBABILITY)
        asset = copied[..., 1 : 1 + ASSETS] / share
        # Where nothing active is copied there is no number to take.
        number_gates = gates[..., 2:] * (active > LEAST_PROBABILITY)
        if self.training:
            numbers = copied[..., 1 + ASSETS :] / share
        else:
            # One whole cell that somebody laid out: between two of them lies what nobody would make.
            numbers = _most_trusted(weights, content)[..., 1 + ASSETS :]
            number_gates = number_gates.round()
        return Heads(
            _mixed(heads.active, torch.cat([1 - active, active], -1), gates[..., :1], asked),
            _mixed(heads.asset, asset, gates[..., 1:2] * (active > LEAST_PROBABILITY), asked),
            heads.numbers.index_copy(1, asked, torch.lerp(heads.numbers[:, asked], numbers, number_gates)),
        )


def _most_trusted(weights: Tensor, content: Tensor) -> Tensor:
    """The active cell that each asked one copies most from: (B, R, tracks, C)."""
    tracks = content.transpose(1, 2)
    source = (weights * tracks[..., 0][:, :, None]).argmax(-1, keepdim=True)
    picked = tracks.gather(2, source.expand(-1, -1, -1, content.shape[-1]))
    return picked.transpose(1, 2)


def _asked(known: Tensor, valid: Tensor) -> Tensor:
    """Rows in which any cell of any window is unknown, int64 (R,)."""
    return (~known & valid[..., None]).any(2).any(0).nonzero().flatten()


def _mixed(logits: Tensor, copied: Tensor, gate: Tensor, asked: Tensor) -> Tensor:
    """Logits whose asked rows are logarithms of a mixture with the copied distribution."""
    probabilities = torch.lerp(logits[:, asked].softmax(-1), copied, gate)
    return logits.index_copy(1, asked, probabilities.clamp(min=LEAST_PROBABILITY).log())


def hidden(cells: Tensor, known: Tensor) -> Tensor:
    """Cells with what is unknown taken out."""
    shown = cells * known[..., None]
    return torch.cat([torch.where(known, shown[..., ACTIVE], UNKNOWN)[..., None], shown[..., 1:]], -1)


def one_hot_cells(cells: Tensor, known: Tensor) -> Tensor:
    """(..., 1 + ASSETS + P): active, its asset class as a vector, and its parameters; 0 where unknown or inactive."""
    active = cells[..., ACTIVE] * known
    asset = functional.one_hot(cells[..., ASSET].long(), ASSETS)
    return torch.cat([active[..., None], asset * active[..., None], cells[..., NUMBERS:] * active[..., None]], -1)


EVENTS = 4


def cell_features(numbers: int) -> int:
    """Numbers that describe a cell."""
    return 1 + 1 + ASSETS + numbers + EVENTS


def described(cells: Tensor, known: Tensor) -> Tensor:
    """Cells (B, T, tracks, cell_features): known or not, content, and when something happened near.

    Events are, for each cell, how long ago its track changed, how far away the last and the next known row is, and
    whether it changed just now: as logarithms, so that the nearest rows are told apart best.
    """
    content = one_hot_cells(cells, known)
    rows = known.shape[1]
    place = torch.arange(rows, device=cells.device)[:, None]
    both = known[:, 1:] & known[:, :-1]
    changed = (cells[:, 1:] != cells[:, :-1]).any(-1) & both
    changed = functional.pad(changed, (0, 0, 1, 0))

    def since(event: Tensor) -> Tensor:
        last = torch.where(event, place, -rows).cummax(1).values
        return torch.log1p((place - last).float()) / 4

    backwards = since(known.flip(1)).flip(1)
    events = torch.stack([changed.float(), since(changed), since(known), backwards], -1)
    return torch.cat([content, ~known[..., None], events], -1)


def config_of(settings: Train, store: WindowStore) -> dict[str, Any]:
    """What the model folder keeps beside the weights."""
    return {
        "task": TASK,
        "model": settings.network.model_dump(),
        "objective": settings.objective,
        "horizon": settings.horizon,
        "length": store.length,
        "rate": store.meta["rate"],
        "normalisation": store.normalisation.as_dict(),
        "typical_row": store.meta["typical_row"],
    }


@dataclass(frozen=True)
class Trained:
    """A network and what it was trained for.

    Attributes:
        network: In evaluation mode.
        normalisation: Of its inputs and outputs.
        objective: `forecast`, `infill` or `reconstruct`.
        horizon: Most rows that it predicts at once.
        length: Rows of a window, known and unknown.
        rate: Rows a second.
        typical_row: Usual cell of each track in the training videos (tracks, 2 + P), float32: a baseline.
    """

    network: MultiTrackTransformer
    normalisation: Normalisation
    objective: str
    horizon: int
    length: int
    rate: float
    typical_row: Cells


class _Stored(BaseModel):
    """What `config_of` wrote, checked."""

    model: Model
    objective: Literal["forecast", "infill", "reconstruct"]
    horizon: int = Field(ge=1)
    length: int = Field(ge=2, le=10_000)
    rate: float = Field(gt=0, le=1000)
    normalisation: dict[str, Any]
    typical_row: list[list[float]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.horizon > self.length // 2:
            raise ValueError(f"horizon {self.horizon} is more than half of length {self.length}")
        return self


def load(folder: Path) -> Trained:
    """Trained network and its configuration.

    Raises:
        UserError: The folder holds no model of this task, or a damaged one.
    """
    config = model_folder.load_config(folder, TASK)
    try:
        stored = _Stored.model_validate(config)
        normalisation = Normalisation.from_dict(stored.normalisation)
        typical_row = np.array(stored.typical_row, np.float32)
        cells = NUMBERS + len(normalisation.parameters)
        if typical_row.shape != (TRACKS, cells) or not np.isfinite(typical_row).all():
            raise ValueError(f"typical_row is not {TRACKS} rows of {cells} numbers")
        network = MultiTrackTransformer(stored.model, len(normalisation.parameters), stored.length)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UserError(f"{folder / model_folder.CONFIG} does not describe a model: {reasons}") from None
    except (KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{folder / model_folder.CONFIG} does not describe a model: {error}") from None
    model_folder.load_weights(network, folder)
    return Trained(
        network.eval(), normalisation, stored.objective, stored.horizon, stored.length, stored.rate, typical_row
    )
