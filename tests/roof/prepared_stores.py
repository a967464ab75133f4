"""Small prepared sources with a house on a lawn, and predictions that are exactly their labels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from millrace.roof.classes import ALL_LINES, LINES, NO_SUPERSTRUCTURE, background_class
from millrace.roof.derive import complete
from millrace.roof.infer import Maps, new_maps
from millrace.roof.scene import Labelled, Lines
from millrace.roof.store import FIELDS, INDEX, META, StoreWriter
from millrace.roof.vector_lines import VectorLines

AZIMUTHS = 8
NORTH, SOUTH = 0, 4
RIDGE, EAVE = LINES.index("ridge"), LINES.index("eave")
SIDE = 64
ROOF_M, PIXEL_M = 5.0, 0.25
GRASS, BRIGHT = (60, 140, 50), (200, 170, 160)


def house(seed=0, roof=BRIGHT, top=16, left=12):
    """A gable roof on grass with everything labelled, (64, 64): planes to the north and south, a window, two eaves."""
    noise = np.random.default_rng(seed).integers(-8, 9, (SIDE, SIDE, 3))
    rows, columns, middle = slice(top, top + 30), slice(left, left + 40), top + 15
    image = np.full((SIDE, SIDE, 3), GRASS)
    image[rows, columns] = roof
    segments = np.full((SIDE, SIDE), background_class(AZIMUTHS), np.uint8)
    segments[top:middle, columns], segments[middle : top + 30, columns] = NORTH, SOUTH
    superstructures = np.full((SIDE, SIDE), NO_SUPERSTRUCTURE, np.uint8)
    superstructures[top + 3 : top + 7, left + 5 : left + 15] = 2
    ends = [[line, left, line, left + 40] for line in (middle, top, top + 30)]
    given = Labelled(
        image=np.clip(image + noise, 0, 255).astype(np.uint8),
        segments=segments,
        azimuths=AZIMUTHS,
        superstructures=superstructures,
        height=np.where(segments <= AZIMUTHS, ROOF_M, 0).astype(np.float32),
        vectors=Lines(np.array([RIDGE, EAVE, EAVE], np.uint8), np.array(ends, np.float64)),
        vector_kinds=1 << RIDGE | 1 << EAVE,
    )
    return complete(given, AZIMUTHS, 1.0)


def perfect(labels, azimuths=AZIMUTHS):
    """Maps that say what the labels say, and nothing where they say nothing."""
    maps = new_maps(*labels.image.shape[:2])
    maps.segments[:] = background_class(azimuths)
    if labels.segments is not None:
        maps.segments[:] = np.where(labels.segments <= azimuths + 1, labels.segments, azimuths + 1)
    maps.superstructures[:] = NO_SUPERSTRUCTURE
    if labels.superstructures is not None:
        maps.superstructures[:] = np.minimum(labels.superstructures, NO_SUPERSTRUCTURE)
    maps.confidence[:] = maps.superstructure_confidence[:] = 1
    if labels.roof is not None:
        maps.roof[:] = labels.roof == 1
    if labels.lines is not None:
        maps.lines[:] = np.stack([labels.lines >> kind & 1 for kind in range(len(LINES))])
    if labels.height is not None:
        maps.height[:] = np.nan_to_num(labels.height)
    return maps


def perfect_lines(labels):
    lines = labels.vectors or Lines(np.zeros(0, np.uint8), np.zeros((0, 4)))
    return VectorLines(lines.kinds, lines.ends, np.full(len(lines.kinds), 0.9))


class Oracle:
    """Knows the labels of images by their pixels; stands in for `Mapper`."""

    def __init__(self, tiles):
        self._maps = {tile.image.tobytes(): perfect(tile) for tile in tiles}

    def maps(self, image, out=None, progress=False) -> Maps:
        return self._maps[np.ascontiguousarray(image).tobytes()]


def only(tile, *heads):
    """A tile of a source that labels no more than some heads."""
    names = {"segments", "superstructures", "roof", "height"} - set(heads)
    tile = replace(tile, **dict.fromkeys(names))
    return tile if "lines" in heads else replace(tile, lines=None, lines_known=None, vectors=None, vector_kinds=0)


def write_source(folder, sides, pixel_size_m=PIXEL_M):
    """Write a prepared source; tiles are named by side and number.

    Args:
        folder: A new one; its name is the source's.
        sides: Tiles of each side, which label all the same fields.
        pixel_size_m: Of each tile.
    """
    folder.mkdir(parents=True)
    tiles = [(side, tile) for side, tiles in sides.items() for tile in tiles]
    fields = [field for field in FIELDS if getattr(tiles[0][1], field) is not None]
    with StoreWriter(folder, sum(tile.image[..., 0].size for _, tile in tiles), fields) as store:
        for _, tile in tiles:
            store.add(tile)
    rows = [
        {"scene": f"{side}_{number}", "side": side, "top": 0, "left": 0, "height": SIDE, "width": SIDE}
        for number, (side, _) in enumerate(tiles)
    ]
    pd.DataFrame(rows).assign(pixel_size_m=pixel_size_m).to_parquet(folder / INDEX, index=False)
    meta = {"azimuths": AZIMUTHS, "fields": fields, "vector_kinds": tiles[0][1].vector_kinds & ALL_LINES}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")
