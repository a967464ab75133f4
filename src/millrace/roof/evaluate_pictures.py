"""Pictures of an evaluation: tiles of each source and the worst ones, a row of truth above a row of prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from millrace.roof.classes import ALL_LINES, LINES
from millrace.roof.data_pictures import CELL_PX, LINE_COLOURS, write_sheet
from millrace.roof.params import Vectorise
from millrace.roof.scene import Labelled

if TYPE_CHECKING:
    from millrace.roof.evaluate import Predict, Tile
    from millrace.roof.infer import Maps
    from millrace.roof.scored import Scored
    from millrace.roof.vector_lines import VectorLines

TILES_A_SOURCE, WORST_TILES = 2, 3


def write_pictures(
    folder: Path,
    tiles: Callable[[], Iterable[Tile]],
    predict: Predict,
    scored: Scored,
    heads: Sequence[str],
    settings: Vectorise,
) -> None:
    """Write overlays.png, with tiles of each source from its best to its worst, and worst.png.

    Each tile has a row of truth, hatched where it is unknown, and a row of prediction, whose image shows the lines as
    vectors.

    Args:
        folder: To write to.
        tiles: Gives all tiles, in the order in which they were scored.
        predict: The method.
        scored: Its scores.
        heads: Those of `classes.HEADS` to show.
        settings: Thresholds.
    """
    table = scored.per_tile()
    ranked = table.sort_values(["score", "source", "tile"], na_position="last")
    spread: list[int] = []
    for source in scored.sources:
        own = ranked.index[ranked["source"] == source][::-1]
        places = np.linspace(0, len(own) - 1, min(TILES_A_SOURCE, len(own))).round().astype(int)
        spread += [int(own[place]) for place in places]
    worst = [int(place) for place in ranked.index[:WORST_TILES]]
    rows: dict[int, list[Labelled]] = {}
    captions: dict[int, list[str]] = {}
    for place, tile in enumerate(tiles()):
        if place in {*spread, *worst}:
            maps, lines = predict(tile.labels.image, tile.pixel_size_m)
            rows[place] = [tile.labels, _as_labels(tile.labels.image, maps, lines, scored.azimuths, settings)]
            captions[place] = [f"{tile.source} {tile.name}", f"predicted: {table['score'][place]:.2f}"]
    for name, chosen in (("overlays.png", spread), ("worst.png", worst)):
        pictures = [row for place in chosen for row in rows[place]]
        write_sheet(folder / name, pictures, [text for place in chosen for text in captions[place]], heads)


def _as_labels(
    image: NDArray[np.uint8], maps: Maps, lines: VectorLines, azimuths: int, settings: Vectorise
) -> Labelled:
    """A prediction in the form of labels, with its lines drawn on the image."""
    canvas = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(canvas)
    width = max(1, round(max(image.shape) / CELL_PX))
    for kind in reversed(range(len(LINES))):
        for row0, column0, row1, column1 in lines.ends[lines.kinds == kind].tolist():
            draw.line((column0, row0, column1, row1), fill=LINE_COLOURS[kind], width=width)
    said = np.asarray(maps.lines) >= settings.line_threshold
    bits = np.zeros(image.shape[:2], np.uint8)
    for kind in range(len(LINES)):
        bits |= said[kind] * np.uint8(1 << kind)
    return Labelled(
        image=np.asarray(canvas),
        segments=maps.segments,
        azimuths=azimuths,
        superstructures=maps.superstructures,
        roof=(np.asarray(maps.roof) >= settings.roof_threshold).astype(np.uint8),
        lines=bits,
        lines_known=np.full(image.shape[:2], ALL_LINES, np.uint8),
        height=maps.height,
    )
