"""Boxes drawn on pictures: a colour a class, and the class's name beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from millrace.imagery.pictures import Colour

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
"""Told apart by most people who confuse colours: Okabe and Ito 2008, https://jfly.uni-koeln.de/color/."""
LINE_PX, TEXT_PX, NAME_LETTERS = 2, 11, 24
LINES_A_SIDE, TEXTS_A_SIDE = 320, 55
DARK = 110


def class_colour(label: int) -> Colour:
    """Colour of a class; there are seven, and the eighth class has the first one's again."""
    return PALETTE[label % len(PALETTE)]


def draw_boxes(
    picture: NDArray[np.uint8],
    boxes: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str] | None,
    scores: ArrayLike | None = None,
    *,
    colour: Colour | None = None,
    shown_px: int | None = None,
) -> NDArray[np.uint8]:
    """Copy of a picture with boxes drawn on it, the last ones on top.

    Args:
        picture: RGB, (H, W, 3), uint8.
        boxes: Left, top, right, bottom in pixels of `picture`, (N, 4). They may leave the picture; those with a
            number that is not finite are left out.
        labels: Class numbers, (N,).
        names: Of the classes; None writes no text.
        scores: Written behind the names, (N,).
        colour: Of all boxes; None gives each class its own.
        shown_px: Length of the longer side at which the picture will be seen: it is scaled to that before anything is
            drawn, so that lines and text stay legible. None keeps its size, and draws larger on a larger picture.

    Returns:
        RGB, (H, W, 3), or scaled.
    """
    image = Image.fromarray(picture)
    longest, scale = max(image.size), 1.0
    if shown_px is not None:
        scale = shown_px / longest
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    line = max(LINE_PX, round(max(image.size) / LINES_A_SIDE))
    font = ImageFont.load_default(max(TEXT_PX, max(image.size) // TEXTS_A_SIDE))
    places = np.asarray(boxes, np.float64).reshape(-1, 4) * scale
    texts: list[tuple[float, float, str, Colour]] = []
    numbers = np.asarray(labels, np.int64).tolist()
    shares = [None] * len(numbers) if scores is None else np.asarray(scores, np.float64).tolist()
    for place, label, share in zip(places, numbers, shares, strict=True):
        if not np.isfinite(place).all():
            continue
        left, top, right, bottom = _corners(place, image.size, line)
        own = colour or class_colour(label)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=own, width=line)
        if names is not None:
            texts.append((left, top, _text(names[label], share), own))
    # After all the boxes, so that no line runs through a text.
    for left, top, text, own in texts:
        _write(draw, left, top, text, own, font, image.size)
    return np.asarray(image)


def _corners(place: NDArray[np.float64], size: tuple[int, int], line: int) -> tuple[float, float, float, float]:
    """Corners in order, and near the picture: Pillow takes long over far ones."""
    margin = 4.0 * line
    xs = np.clip(np.sort(place[[0, 2]]), -margin, size[0] + margin)
    ys = np.clip(np.sort(place[[1, 3]]), -margin, size[1] + margin)
    return float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1])


def _text(name: str, score: float | None) -> str:
    line = " ".join(name.split())
    short = line if len(line) <= NAME_LETTERS else f"{line[: NAME_LETTERS - 1]}\u2026"
    return short if score is None else f"{short} {score:.2f}"


def _write(
    draw: ImageDraw.ImageDraw,
    left: float,
    top: float,
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Text on a ground of the box's colour, above the box where there is room, and always within the picture."""
    _, above, right, below = font.getbbox(text)
    width, height = right + 4, below - above + 4
    x = max(0, min(left, size[0] - width))
    y = top - height if top >= height else min(top, size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.text((x + 2, y + 2 - above), text, fill="white" if luminance < DARK else "black", font=font)
