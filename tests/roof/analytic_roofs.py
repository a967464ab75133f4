"""Hipped roofs given by a formula, and prepared sources made of them that each label only some heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from millrace.files import write_json
from millrace.roof.class_counts import by_head, columns, counted, labelled_heads
from millrace.roof.classes import ALL_LINES, LINES, NO_SUPERSTRUCTURE, SUPERSTRUCTURES, background_class, flat_class
from millrace.roof.scene import Labelled
from millrace.roof.store import INDEX, META, Store, StoreWriter

EAVE_M, PITCH_M = 3.0, 0.2
OUTLINE, RIDGE = (1 << LINES.index(kind) for kind in ("outline", "ridge"))
HEADS_OF = {
    "planes": ("segments", "superstructures"),
    "heights": ("lines", "height"),
    "masks": ("roof", "outline"),
    "all": ("segments", "superstructures", "lines", "roof", "height", "outline"),
}


def hipped(side: int, centre: tuple[float, float], half: tuple[float, float], turn_deg: float = 0) -> np.ndarray:
    """Heights (side, side) float32 of one hipped roof on flat ground; `half` are its half lengths in pixels."""
    rows, cols = np.mgrid[:side, :side] + 0.5
    south, east = rows - centre[0], cols - centre[1]
    angle = np.deg2rad(turn_deg)
    along, across = east * np.cos(angle) + south * np.sin(angle), south * np.cos(angle) - east * np.sin(angle)
    inside = np.minimum(half[0] - abs(along), half[1] - abs(across))
    return np.where(inside > 0, EAVE_M + PITCH_M * inside, 0).astype(np.float32)


def downslope_classes(height: np.ndarray, azimuths: int) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth class of each pixel by the gradient of the heights, and where it has one and its neighbours too."""
    south, east = np.gradient(height.astype(np.float64))
    steep = np.hypot(south, east)
    compass = np.rad2deg(np.arctan2(-east, south)) % 360
    classes = np.round(compass * azimuths / 360).astype(int) % azimuths
    return classes.astype(np.uint8), (height > EAVE_M) & (abs(steep - PITCH_M) < 1e-3)


def labelled(height: np.ndarray, azimuths: int, heads: tuple[str, ...], seed: int = 0) -> Labelled:
    """A tile whose picture shows the planes, a window on the roof, the eaves and the ridge."""
    rng = np.random.default_rng(seed)
    roof = height > 0
    classes, sloped = downslope_classes(height, azimuths)
    segments = np.where(roof, flat_class(azimuths), background_class(azimuths)).astype(np.uint8)
    segments[sloped] = classes[sloped]
    things = np.full(height.shape, NO_SUPERSTRUCTURE, np.uint8)
    place = np.argwhere(roof)[rng.integers(roof.sum())]
    things[place[0] : place[0] + 5, place[1] : place[1] + 5] = SUPERSTRUCTURES.index("window")
    padded = np.pad(roof, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    lines = np.where(roof & ~inner, OUTLINE, 0) | np.where(roof & (height > height.max() - PITCH_M), RIDGE, 0)
    image = np.full((*height.shape, 3), (60, 110, 50), float)
    angle = classes * 2 * np.pi / azimuths
    image[roof] = 150
    image[..., 0] += np.where(sloped, 70 * np.cos(angle), 0)
    image[..., 2] += np.where(sloped, 70 * np.sin(angle), 0)
    image[things != NO_SUPERSTRUCTURE] = 20
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    known = (ALL_LINES & ~OUTLINE if "lines" in heads else 0) | (OUTLINE if "outline" in heads else 0)
    has_lines = known > 0
    return Labelled(
        image=image,
        segments=segments if "segments" in heads else None,
        azimuths=azimuths,
        superstructures=things if "superstructures" in heads else None,
        roof=roof.astype(np.uint8) if "roof" in heads else None,
        lines=(lines & known).astype(np.uint8) if has_lines else None,
        lines_known=np.full(height.shape, known, np.uint8) if has_lines else None,
        height=height if "height" in heads else None,
    )


def write_source(root: Path, name: str, tiles: list[Labelled], sides: list[str]) -> Store:
    """A prepared source of some tiles, and the side of each."""
    folder = root / name
    folder.mkdir(parents=True)
    first = tiles[0]
    fields = [
        field
        for field in ("segments", "superstructures", "roof", "lines", "lines_known", "height")
        if getattr(first, field) is not None
    ]
    with StoreWriter(folder, sum(tile.image.shape[0] * tile.image.shape[1] for tile in tiles), fields) as store:
        for tile in tiles:
            store.add(tile)
    rows = [
        {"scene": f"s{number}", "side": side, "top": 0, "left": 0, "height": tile.image.shape[0],
         "width": tile.image.shape[1], "pixel_size_m": 0.2}
        for number, (tile, side) in enumerate(zip(tiles, sides, strict=True))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / INDEX, index=False)
    counts = np.zeros(len(columns(first.azimuths)), np.int64)
    for tile, side in zip(tiles, sides, strict=True):
        counts += counted(tile) * (side == "train")
    heads = labelled_heads(sum(counted(tile) for tile in tiles), first.azimuths)
    meta = {"format": "generic", "azimuths": first.azimuths, "heads": heads, "fields": fields, "vector_kinds": 0}
    write_json(folder / META, {**meta, "class_counts": by_head(counts, first.azimuths)})
    return Store(folder)


def partial_source(root: Path, name: str, train: int, validation: int, side: int = 80, seed: int = 0) -> Store:
    """A source that labels what `HEADS_OF` says of its name, with one roof a tile."""
    rng = np.random.default_rng((seed, *name.encode()))
    tiles = []
    for number in range(train + validation):
        centre = tuple(rng.uniform(0.4 * side, 0.6 * side, 2))
        height = hipped(side, centre, (rng.uniform(20, 30), rng.uniform(12, 18)), rng.uniform(0, 180))
        tiles.append(labelled(height, 8, HEADS_OF[name], seed + number))
    return write_source(root, name, tiles, ["train"] * train + ["validation"] * validation)
