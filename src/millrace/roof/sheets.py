"""Many small rectangles laid out on a few large ones, to be computed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SIDE_PX = 1024
"""Of a sheet, unless a rectangle is larger."""


@dataclass(frozen=True)
class Sheet:
    """A rectangle with others on it.

    Attributes:
        shape: Rows and columns.
        places: Rows and columns of each rectangle on it, by its key.
    """

    shape: tuple[int, int]
    places: dict[int, tuple[slice, slice]]


def sheets(sizes: Mapping[int, tuple[int, int]], gap: int) -> Iterator[Sheet]:
    """Sheets that hold rectangles, each once, in rows of about the same height.

    Args:
        sizes: Rows and columns of each rectangle by its key.
        gap: Least distance between two on one sheet.
    """
    places: dict[int, tuple[slice, slice]] = {}
    top = left = height = 0
    for key, (rows, columns) in sorted(sizes.items(), key=lambda each: (-each[1][0], each[0])):
        if left and left + columns > SIDE_PX:
            top, left, height = top + height + gap, 0, 0
        if places and top + rows > SIDE_PX:
            yield Sheet(_extent(places), places)
            places, top, left, height = {}, 0, 0, 0
        places[key] = slice(top, top + rows), slice(left, left + columns)
        left, height = left + columns + gap, height or rows  # the first of a row is the highest
    if places:
        yield Sheet(_extent(places), places)


def _extent(places: dict[int, tuple[slice, slice]]) -> tuple[int, int]:
    return max(rows.stop for rows, _ in places.values()), max(columns.stop for _, columns in places.values())
