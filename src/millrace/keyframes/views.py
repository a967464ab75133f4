"""Pictures of what the network looks at."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from millrace.imagery.pictures import sheet

PANEL_PX = 300
COLUMNS = 3
MOST_TRACKS = 3
PALE, DEEP = (250, 250, 247), (20, 50, 110)


def attention_sheet(maps: dict[str, Tensor], tracks: list[int]) -> NDArray[np.uint8]:
    """One panel a map, rows look at columns, the darker the more.

    Args:
        maps: From `MultiTrackTransformer.maps`.
        tracks: Tracks (from 0) whose copies are shown, each in a panel of its own.

    Returns:
        RGB picture.
    """
    panels = {name: weights for name, weights in maps.items() if weights.ndim == 2}
    copies = maps.get("copied from")
    if copies is not None:
        panels |= {f"V{track + 1} copied from": copies[track] for track in tracks[:MOST_TRACKS]}
    return sheet([_panel(weights) for weights in panels.values()], list(panels), COLUMNS, PANEL_PX)


def _panel(weights: Tensor) -> NDArray[np.uint8]:
    """A map (R, N) as a picture at least PANEL_PX high and wide, darkest at its largest weight."""
    share = (weights / weights.amax().clamp(min=torch.finfo(weights.dtype).tiny)).cpu().numpy()[..., None]
    colours = np.rint(np.array(PALE) * (1 - share) + np.array(DEEP) * share).astype(np.uint8)
    return np.asarray(Image.fromarray(colours).resize((PANEL_PX, PANEL_PX), Image.Resampling.NEAREST))
