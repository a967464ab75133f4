"""How many pixels of each class there are, and how many are labelled at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.roof.classes import HEADS, LINES, SUPERSTRUCTURES, segment_names
from millrace.roof.scene import Labelled

LINES_KNOWN = "lines_known"
"""Stands for a head where pixels count that are labelled for a kind of line, whether it is there or not."""


def columns(azimuths: int) -> list[tuple[str, str]]:
    """Head and class of each count."""
    classes = {
        "segments": segment_names(azimuths),
        "superstructures": SUPERSTRUCTURES,
        "roof": ("beside", "roof"),
        "lines": LINES,
        LINES_KNOWN: LINES,
        "height": ("known",),
    }
    return [(head, name) for head, names in classes.items() for name in names]


def counted(tile: Labelled) -> NDArray[np.int64]:
    """Pixels of a tile for each of `columns`."""
    sizes = {"segments": tile.azimuths + 2, "superstructures": len(SUPERSTRUCTURES), "roof": 2}
    counts = []
    for head, size in sizes.items():
        values = getattr(tile, head)
        counts.append(np.zeros(size, np.int64) if values is None else np.bincount(values.ravel(), minlength=256)[:size])
    known = np.zeros((), np.uint8) if tile.lines_known is None else tile.lines_known
    lines = known if tile.lines is None else tile.lines & known
    for bits in (lines, known):
        counts.append(np.array([np.count_nonzero(bits & (1 << bit)) for bit in range(len(LINES))]))
    counts.append(np.array([0 if tile.height is None else np.count_nonzero(np.isfinite(tile.height))]))
    return np.concatenate(counts)


def labelled_heads(counts: NDArray[np.int64], azimuths: int) -> list[str]:
    """Heads that have a labelled pixel."""
    of = dict.fromkeys(HEADS, 0)
    for (head, _), count in zip(columns(azimuths), counts.tolist(), strict=True):
        of["lines" if head == LINES_KNOWN else head] += count
    return [head for head in HEADS if of[head]]


def by_head(counts: NDArray[np.int64], azimuths: int) -> dict[str, list[int]]:
    """Counts of each head in the order of its classes: `segments`, `superstructures`, `roof`, `lines`, `lines_known`,
    `height`.
    """
    found: dict[str, list[int]] = {}
    for (head, _), count in zip(columns(azimuths), counts.tolist(), strict=True):
        found.setdefault(head, []).append(int(count))
    return found


def table(counts: NDArray[np.int64], azimuths: int, side: str) -> pd.DataFrame:
    """A row a class: `head`, `class`, `side`, `pixels`, and `share` of those that are labelled for the head, of a kind
    of line of those that are labelled for it.
    """
    rows = pd.DataFrame(columns(azimuths), columns=["head", "class"]).assign(side=side, pixels=counts)
    labelled = rows.groupby("head")["pixels"].transform("sum")
    is_line = (rows["head"] == "lines").to_numpy()
    known = rows.loc[rows["head"] == LINES_KNOWN, "pixels"].to_numpy()
    labelled[is_line] = known
    rows["share"] = rows["pixels"] / labelled.where(labelled > 0)
    return rows[~rows["head"].isin([LINES_KNOWN, "height"])]


def known_shares(counts: NDArray[np.int64], azimuths: int, pixels: int) -> dict[str, Any]:
    """Share of all pixels that are labelled, by head; of lines by kind."""
    of = by_head(counts, azimuths)
    kinds = dict(zip(LINES, (count / pixels for count in of[LINES_KNOWN]), strict=True))
    return {head: kinds if head == "lines" else sum(of[head]) / pixels for head in HEADS}
