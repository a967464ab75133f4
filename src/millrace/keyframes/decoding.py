"""From the network's numbers to layouts in real units."""

from __future__ import annotations

import torch
from torch import Tensor

from millrace.keyframes.model import Heads
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS, Normalisation, empty_cell

RANGES = {"scale": (0.0, torch.inf), "opacity": (0.0, 100.0)} | dict.fromkeys(
    ("crop_l", "crop_r", "crop_t", "crop_b"), (0.0, 100.0)
)
"""Values outside are impossible and cut off."""


def layout_of(heads: Heads, normalisation: Normalisation) -> Tensor:
    """The most likely layout: cells (B, T, tracks, 2 + P) in real units, defaults where nothing is shown."""
    active, asset, numbers = (each.float().cpu() for each in heads)
    return in_units(torch.cat([active.argmax(-1)[..., None], asset.argmax(-1)[..., None], numbers], -1), normalisation)


def in_units(cells: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised cells (..., 2 + P) in real units; what cannot be is cut off, where nothing is shown are defaults."""
    mean, spread = (torch.tensor(each) for each in (normalisation.mean, normalisation.spread))
    ranges = [RANGES.get(name, (-torch.inf, torch.inf)) for name in normalisation.parameters]
    low, high = (torch.tensor(each) for each in zip(*ranges, strict=True))
    values = (cells[..., NUMBERS:] * spread + mean).clamp(low, high)
    shown = cells[..., ACTIVE : ACTIVE + 1] > 0
    layout = torch.cat([shown, cells[..., ASSET : ASSET + 1], values], -1)
    return torch.where(shown, layout, torch.from_numpy(empty_cell(normalisation.parameters)))
