"""Pictures for people: outlines drawn on images, contact sheets, PNG files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Colour = tuple[int, int, int]

COINCIDENT: Colour = (255, 255, 0)
CAPTION_PX = 14
GAP_PX = 6


def outlines(
    grey: NDArray[np.float32], layers: Sequence[tuple[NDArray[np.int32], Colour]], line_px: int = 1
) -> NDArray[np.uint8]:
    """Image with the outlines of objects drawn on it.

    Args:
        grey: Normalised grey values 0..1, shape (H, W).
        layers: Object ids, shape (H, W), 0 is background, and the RGB colour of their outlines: one layer, or truth and
            prediction. Where outlines of two layers coincide they are yellow.
        line_px: Width of a line, for pictures that will be reduced. A line runs inside its object, so that touching
            objects each show theirs, and not along the image's edge.

    Returns:
        RGB picture, shape (H, W, 3).
    """
    values = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    picture = np.repeat(values[..., None], 3, axis=2)
    drawn = np.zeros(grey.shape, bool)
    for labels, colour in layers:
        borders = _inner_borders(labels, line_px)
        picture[borders] = colour
        picture[borders & drawn] = COINCIDENT
        drawn |= borders
    return picture


def sheet(
    pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int, cell_px: int
) -> NDArray[np.uint8]:
    """Contact sheet: pictures in rows of `columns`, each with its caption below.

    Args:
        pictures: RGB pictures, at least one, each of shape (h, w, 3). Larger ones are reduced to fit `cell_px`, none is
            enlarged.
        captions: One a picture; of one that is too long the middle is left out.
        columns: Pictures a row.
        cell_px: Width and greatest height of a cell.

    Returns:
        RGB picture.
    """
    font = ImageFont.load_default(CAPTION_PX)
    images = [Image.fromarray(picture) for picture in pictures]
    for image in images:
        image.thumbnail((cell_px, cell_px), Image.Resampling.LANCZOS)
    columns = min(columns, len(images))
    bottoms, height = [], 0
    for start in range(0, len(images), columns):
        bottoms.append(height + GAP_PX + max(image.height for image in images[start : start + columns]))
        height = bottoms[-1] + CAPTION_PX + 2 * GAP_PX
    page = Image.new("RGB", (GAP_PX + columns * (cell_px + GAP_PX), height), "white")
    draw = ImageDraw.Draw(page)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        bottom = bottoms[index // columns]
        middle = GAP_PX + index % columns * (cell_px + GAP_PX) + cell_px // 2
        page.paste(image, (middle - image.width // 2, bottom - image.height))
        text = _shortened(caption, font, cell_px)
        draw.text((middle, bottom + GAP_PX // 2), text, fill="black", font=font, anchor="ma")
    return np.asarray(page)


def write_png(path: Path, picture: NDArray[np.uint8], colours: int | None = None) -> None:
    """Write an RGB or grey picture; equal pictures are equal bytes.

    Args:
        path: The file.
        picture: (H, W, 3) or (H, W).
        colours: At most 256 colours near to the picture's, for a smaller file; None keeps all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture)
    (image if colours is None else image.quantize(colours)).save(path, format="PNG")


def _inner_borders(labels: NDArray[np.int32], line_px: int) -> NDArray[np.bool_]:
    """Object pixels with a pixel that is not of the same object within `line_px` rows and columns."""
    size = 2 * line_px + 1
    mixed = ndimage.minimum_filter(labels, size, mode="nearest") != ndimage.maximum_filter(labels, size, mode="nearest")
    borders: NDArray[np.bool_] = mixed & (labels > 0)
    return borders


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    """Text that fits: names of one series differ at their ends, so the middle gives way to an ellipsis."""
    if font.getlength(text) <= width_px:
        return text

    def without_middle(kept: int) -> str:
        return f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"

    kept = bisect_right(range(1, len(text)), float(width_px), key=lambda each: font.getlength(without_middle(each)))
    return without_middle(kept) if kept else ""
