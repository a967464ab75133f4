"""Copying from where a window repeats itself: editing has a rhythm, and layouts come back in it.

For each lag the known rows are compared with those that many rows before. A small network turns how well they agree,
on the track and on all of them, into how much a cell should trust the one that lies a lag before (or after) it; beside
that, each cell may look for others like itself, and for the nearest known one. What is copied are whole cells, so a
recalled layout is one that somebody made. Sources: auto-correlation of Wu et al., Autoformer, 2021; copying of Vinyals
et al., Pointer Networks, 2015, and its mixture with what is generated of See et al., Get To The Point, 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millrace.keyframes.params import Model

HIDDEN = 32
LEAST = 1e-4
RECENT = 20
"""Rows before the first unknown one whose agreement is also looked at by itself."""


class Recall(nn.Module):
    """Where each cell of a track copies from."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.trust = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))
        self.query = nn.Linear(settings.width, settings.width)
        self.key = nn.Linear(settings.width, settings.width, bias=False)
        self.nearest = nn.Linear(settings.width, 2)

    def forward(self, states: Tensor, content: Tensor, known: Tensor, asked: Tensor) -> Tensor:
        """Weights of what is copied.

        Args:
            states: Of all cells (B, T, tracks, width).
            content: What the cells hold, 0 where unknown (B, T, tracks, C).
            known: Which may be copied, bool (B, T, tracks).
            asked: Rows that copy, int64 (R,).

        Returns:
            (B, tracks, R, T): how much each asked cell takes from each other one of its track. Rows sum to 1, or to 0
            where nothing is known.
        """
        states, content, known = (each.transpose(1, 2) for each in (states, content, known))
        rows = states.shape[2]
        place = torch.arange(rows, device=states.device)
        lag = asked[:, None] - place
        trust = self.trust(lag_features(content, known)).squeeze(-1)
        logits = trust[:, :, (lag + rows - 1).flatten()].unflatten(-1, lag.shape)
        similar = self.query(states[:, :, asked]) @ self.key(states).transpose(-2, -1)
        logits = logits + similar / math.sqrt(states.shape[-1])
        before, after = self.nearest(states[:, :, asked]).unbind(-1)
        for nearest, bias in ((nearest_known(known), before), (nearest_known(known.flip(2)).flip(2, 3), after)):
            logits = logits + nearest[:, :, asked] * bias[..., None]
        source = known[:, :, None] & (lag != 0)
        # Not -inf: a row without any source would become NaN.
        weights: Tensor = logits.masked_fill(~source, -1e9).softmax(-1) * source
        return weights


def nearest_known(known: Tensor) -> Tensor:
    """For each place the last known one before it: float (B, tracks, T, T) of 0 and 1."""
    rows = known.shape[-1]
    place = torch.arange(rows, device=known.device)
    seen = torch.where(known, place, -1)
    last = functional.pad(seen, (1, 0), value=-1)[..., :-1].cummax(-1).values
    return (last[..., None] == place).float() * (last >= 0)[..., None]


FEATURES = 8


@torch.no_grad()
def lag_features(content: Tensor, known: Tensor) -> Tensor:
    """How well a window agrees with itself at each lag.

    Args:
        content: (B, tracks, T, C).
        known: Bool (B, tracks, T).

    Returns:
        (B, tracks, 2 T - 1, FEATURES), for lags from -(T - 1) to T - 1.
    """
    content = content * known[..., None]
    squares = content.square().sum(-1)
    distance = squares[..., None] + squares[..., None, :] - 2 * content @ content.transpose(-2, -1)
    # Beyond 1 two cells are simply different, whichever numbers differ by how much.
    distance = distance.clamp(0, 1)
    known_numbers = known.to(distance.dtype)
    pairs = known_numbers[..., None] * known_numbers[..., None, :]
    rows = known.shape[-1]
    # Nothing is known after a forecast's origin; with masked spans this is the last known row.
    place = torch.arange(rows, device=known.device)
    end = torch.where(known.any(1), place, -1).amax(-1)
    recent = (place > (end - RECENT)[:, None]).to(distance.dtype)[:, None, :, None]
    own, count = diagonals(distance * pairs), diagonals(pairs)
    near, near_count = diagonals(distance * pairs * recent), diagonals(pairs * recent)
    all_own, all_count = own.sum(1, keepdim=True), count.sum(1, keepdim=True)
    all_near, all_near_count = near.sum(1, keepdim=True), near_count.sum(1, keepdim=True)
    ratios = [
        (a / b.clamp(min=1)).expand_as(own)
        for a, b in ((own, count), (near, near_count), (all_own, all_count), (all_near, all_near_count))
    ]
    lags = torch.arange(rows, device=known.device, dtype=distance.dtype).expand_as(own)
    seen = (all_count / all_count[..., :1].clamp(min=1)).expand_as(own)
    # A lag of a few rows agrees for any slow signal; one that agrees better than those around it is a period.
    relative = ratios[2] / ratios[2].mean(-1, keepdim=True).clamp(min=LEAST)
    features = torch.stack([*((ratio + LEAST).log() / 4 for ratio in ratios), relative, seen, lags / rows], -1)
    both = torch.cat([features.flip(2)[:, :, :-1], features], 2)
    direction = torch.ones_like(both[..., :1])
    direction[:, :, : rows - 1] = -1
    return torch.cat([both, direction], -1)


def diagonals(pairs: Tensor) -> Tensor:
    """Sums along the diagonals below the main one: (..., T, T) to (..., T), element p that of (t, t - p)."""
    rows = pairs.shape[-1]
    # Row t shifted right by T - 1 - t brings equal lags under each other (the skewing of the Music Transformer).
    flat = functional.pad(pairs.flip(-2), (0, rows)).flatten(-2)[..., : rows * (2 * rows - 1)]
    skewed = flat.unflatten(-1, (rows, 2 * rows - 1))
    sums: Tensor = skewed.sum(-2)[..., :rows].flip(-1)
    return sums
