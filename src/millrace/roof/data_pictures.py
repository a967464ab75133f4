"""Pictures of tiles: the image, and beside it what each head is told."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from millrace.imagery.pictures import Colour, sheet, write_png
from millrace.roof.classes import (
    LINES,
    NO_SUPERSTRUCTURE,
    SUPERSTRUCTURES,
    UNKNOWN,
    background_class,
    flat_class,
    segment_names,
)
from millrace.roof.scene import Labelled

SHEET_COLOURS = 256  # pages are kept in git, run by run
CELL_PX, LEGEND_PX, SWATCH_PX = 170, 78, 12
LINE_COLOURS: tuple[Colour, ...] = ((255, 40, 40), (60, 120, 255), (255, 220, 0), (0, 230, 120), (255, 255, 255))
"""Of `classes.LINES`; later kinds are drawn below earlier ones."""
SUPERSTRUCTURE_COLOURS: tuple[Colour, ...] = (
    (40, 90, 255),
    (255, 140, 0),
    (0, 220, 255),
    (200, 120, 60),
    (255, 40, 40),
    (120, 60, 160),
    (40, 200, 60),
    (240, 240, 120),
)
_FLAT: Colour = (235, 235, 235)
_ROOF: Colour = (255, 120, 40)
_HATCH: tuple[Colour, Colour] = ((90, 90, 90), (150, 150, 150))
_HATCH_PX = 6
_DIMMED, _TINTED = 0.35, 0.55
_LOW, _HIGH = np.array([20, 20, 80]), np.array([255, 250, 170])


def azimuth_colour(number: int, azimuths: int) -> Colour:
    """Colour of an azimuth class: hues go round as the compass does, north is red."""
    red, green, blue = colorsys.hsv_to_rgb(number / azimuths, 0.85, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def head_picture(tile: Labelled, head: str) -> NDArray[np.uint8]:
    """What a tile is labelled with for one head; RGB (H, W, 3) uint8.

    Background is the darkened image, what is unknown is hatched. Heights go from dark blue, the lowest of the tile, to
    yellow, the highest.

    Args:
        tile: One that has labels for that head.
        head: One of `classes.HEADS`.
    """
    values: NDArray[Any] = getattr(tile, "lines_known" if head == "lines" else head)
    dimmed = (tile.image * _DIMMED).astype(np.uint8)
    if head == "height":
        return _hatched(_graded(values), ~np.isfinite(values))
    if head == "lines":
        lines: NDArray[Any] = np.zeros_like(values) if tile.lines is None else tile.lines
        picture, width = dimmed, 2 * (max(values.shape) // (2 * CELL_PX)) + 1
        for bit in reversed(range(len(LINES))):
            on = (lines & values & (1 << bit)) != 0
            picture[ndimage.maximum_filter(on, width)] = LINE_COLOURS[bit]
        return _hatched(picture, values == 0)
    if head == "roof":
        colours, shown = np.array([(0, 0, 0), _ROOF]), values == 1
    elif head == "segments":
        azimuths = [azimuth_colour(number, tile.azimuths) for number in range(tile.azimuths)]
        colours, shown = np.array([*azimuths, _FLAT]), values <= flat_class(tile.azimuths)
    else:
        colours, shown = np.array(SUPERSTRUCTURE_COLOURS), values < NO_SUPERSTRUCTURE
    picture = dimmed
    picture[shown] = tile.image[shown] * (1 - _TINTED) + colours[values[shown]] * _TINTED
    return _hatched(picture, values == UNKNOWN)


def write_sheet(path: Path, tiles: Sequence[Labelled], captions: Sequence[str], heads: Sequence[str]) -> None:
    """Write a page with a row a tile, the image and then each head, and the meaning of the colours below.

    Args:
        path: PNG file.
        tiles: At least one.
        captions: One a tile.
        heads: Those to show; a tile that has nothing for one gets a hatched picture.
    """
    pictures, texts = [], []
    for tile, caption in zip(tiles, captions, strict=True):
        pictures.append(tile.image)
        texts.append(caption)
        for head in heads:
            has = getattr(tile, head) is not None
            blank = np.zeros_like(tile.image)
            pictures.append(head_picture(tile, head) if has else _hatched(blank, np.ones(blank.shape[:2], bool)))
            texts.append(_text(tile, head))
    page = sheet(pictures, texts, 1 + len(heads), CELL_PX)
    for legend in _legends(heads, tiles[0].azimuths):
        swatches = [np.full((SWATCH_PX, LEGEND_PX, 3), colour, np.uint8) for _, colour in legend]
        columns = max(1, page.shape[1] // (LEGEND_PX + SWATCH_PX))
        page = _below(page, sheet(swatches, [name for name, _ in legend], columns, LEGEND_PX))
    write_png(path, page, SHEET_COLOURS)


def _text(tile: Labelled, head: str) -> str:
    if head != "height" or tile.height is None or not np.isfinite(tile.height).any():
        return head
    return f"height {np.nanmin(tile.height):.1f} to {np.nanmax(tile.height):.1f} m"


def _legends(heads: Sequence[str], azimuths: int) -> list[list[tuple[str, Colour]]]:
    legends = []
    if "segments" in heads:
        names = segment_names(azimuths)[: background_class(azimuths)]
        colours = [*(azimuth_colour(number, azimuths) for number in range(azimuths)), _FLAT]
        legends.append(list(zip(names, colours, strict=True)))
    if "superstructures" in heads:
        legends.append(list(zip(SUPERSTRUCTURES[:NO_SUPERSTRUCTURE], SUPERSTRUCTURE_COLOURS, strict=True)))
    if "lines" in heads:
        # The outline is white as the page.
        legends.append([(name, colour) for name, colour in zip(LINES, LINE_COLOURS, strict=True) if name != "outline"])
    return legends


def _hatched(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    rows, columns = np.nonzero(where)
    period = _HATCH_PX * max(1, max(where.shape) // CELL_PX)
    picture[where] = np.array(_HATCH, np.uint8)[(rows + columns) // period % 2]
    return picture


def _graded(height: NDArray[np.float32]) -> NDArray[np.uint8]:
    known = height[np.isfinite(height)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    part = np.nan_to_num((height - low) / max(high - low, 1e-6))[..., None]
    colours: NDArray[np.uint8] = (_LOW * (1 - part) + _HIGH * part).astype(np.uint8)
    return colours


def _below(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture below the other, on white."""
    width = max(upper.shape[1], lower.shape[1])
    padded = [
        np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in (upper, lower)
    ]
    return np.concatenate(padded)
