"""Transformer layers that look along the rows of a window, and across the tracks of a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millrace.keyframes.params import Model


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second of three axes.

    Source: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self._heads = settings.heads
        self.project = nn.Linear(settings.width, 3 * settings.width)
        self.join = nn.Linear(settings.width, settings.width)

    def _split(self, tokens: Tensor) -> list[Tensor]:
        """Query, key and value, each (B, heads, N, width / heads)."""
        count, length, width = tokens.shape
        parts = self.project(tokens).view(count, length, 3, self._heads, width // self._heads)
        return list(parts.permute(2, 0, 3, 1, 4).unbind(0))

    def forward(self, tokens: Tensor, allowed: Tensor | None) -> Tensor:
        """Args: tokens (B, N, width); allowed, bool (B, 1, 1, N), which may be looked at."""
        query, key, value = self._split(tokens)
        mixed = functional.scaled_dot_product_attention(query, key, value, allowed)
        joined: Tensor = self.join(mixed.transpose(1, 2).flatten(2))
        return joined

    def weights(self, tokens: Tensor, allowed: Tensor | None) -> Tensor:
        """What looks at what, mean over the heads (B, N, N); each row sums to 1."""
        query, key, _ = self._split(tokens)
        logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        return logits.softmax(-1).mean(1)


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each with a residual path around it, normalised before."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(settings.width)
        self.attention = SelfAttention(settings)
        self.before_forward = nn.LayerNorm(settings.width)
        self.feedforward = nn.Sequential(
            nn.Linear(settings.width, settings.feedforward),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.feedforward, settings.width),
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Args: tokens (B, N, width); valid, bool (B, N), which of them may be looked at; None is all."""
        tokens = tokens + self.dropout(self.attention(self.before_attention(tokens), _allowed(valid)))
        added: Tensor = tokens + self.dropout(self.feedforward(self.before_forward(tokens)))
        return added

    def maps(self, tokens: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        """What the first of some windows looks at, mean over heads (N, N)."""
        return {"along time": self.weights(tokens[:1], valid)[0]}

    def weights(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """See `SelfAttention.weights`."""
        return self.attention.weights(self.before_attention(tokens), _allowed(valid))


class CellLayer(nn.Module):
    """Looks along each track, then across the tracks of each row."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.along_time = Layer(settings)
        self.across_tracks = Layer(settings)

    def forward(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Args: cells (B, T, tracks, width); valid, bool (B, T), False for padding."""
        return _rows_of(self.across_tracks(self._along(cells, valid).flatten(0, 1)), cells)

    def maps(self, cells: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """What the first of some windows looks at: (T, T), mean over tracks, and (tracks, tracks), mean over rows."""
        cells, valid = cells[:1], valid[:1]
        own = valid.expand(cells.shape[2], -1)
        rows = self._along(cells, valid)[0, valid[0]]
        return {
            "along time": self.along_time.weights(cells[0].transpose(0, 1), own).mean(0),
            "across tracks": self.across_tracks.weights(rows).mean(0),
        }

    def _along(self, cells: Tensor, valid: Tensor) -> Tensor:
        tracks = cells.transpose(1, 2)
        along = self.along_time(tracks.flatten(0, 1), valid.repeat_interleave(cells.shape[2], 0))
        return _rows_of(along, tracks).transpose(1, 2)


def _allowed(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else valid[:, None, None]


def _rows_of(flat: Tensor, like: Tensor) -> Tensor:
    """Undo a flattening of the first two of four axes."""
    rows: Tensor = flat.unflatten(0, like.shape[:2])
    return rows


def sinusoids(rows: int, width: int) -> Tensor:
    """Positions (rows, width) as sines and cosines of falling frequency. Source: as above."""
    place = torch.arange(rows)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    positions = torch.zeros(rows, width)
    positions[:, 0::2] = torch.sin(place * frequency)
    positions[:, 1::2] = torch.cos(place * frequency)
    return positions
