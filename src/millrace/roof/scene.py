"""What a reader of a data set gives: scenes, and the labelled pixels of a window of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.errors import Problem


@dataclass(frozen=True)
class Window:
    """Rows and columns of a scene, in its own pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Georeference:
    """Where a scene lies on the earth.

    Attributes:
        crs: `EPSG:n` or WKT.
        transform: The six numbers a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f, where
            (0, 0) is the outer corner of the first pixel.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """One image of a data set, not yet read.

    Attributes:
        name: Unique in its source: the image's path inside the source's folder without its ending, or a number.
        side: `train`, `validation` or `test` where the source says it.
        group: Scenes of one group never stand on two sides.
        height: Rows.
        width: Columns.
        pixel_size_m: Side of a pixel on the ground; None where nobody says it.
        georeference: None where it has none.
        files: Files that belong to it, by what they are, such as `image`, `segments`.
        position: Its place in a file of many.
    """

    name: str
    side: str | None
    group: str
    height: int
    width: int
    pixel_size_m: float | None
    georeference: Georeference | None = None
    files: dict[str, Path] = field(default_factory=dict)
    position: int = 0


@dataclass(frozen=True)
class Lines:
    """Straight pieces of roof lines.

    Attributes:
        kinds: Places in `classes.LINES`, (N,) uint8.
        ends: (N, 4) float64: row, column of one end, then of the other, in pixels of the window; (0, 0) is the outer
            corner of the first pixel, so the centre of a pixel is at .5. Ends may lie outside of the window.
    """

    kinds: NDArray[np.uint8]
    ends: NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Pixels of a window and all that its data set says about them; what it does not label is None or unknown.

    Attributes:
        image: RGB (H, W, 3) uint8.
        segments: Azimuth classes (H, W) uint8 as `classes.segment_names(azimuths)` numbers them, or UNKNOWN.
        azimuths: How many azimuth classes `segments` has.
        superstructures: Places in `classes.SUPERSTRUCTURES`, (H, W) uint8, or UNKNOWN.
        roof: 1 on a roof, 0 beside, or UNKNOWN, (H, W) uint8.
        lines: Bits of `classes.LINES` (H, W) uint8.
        lines_known: Bits of those kinds that the data set labels at a pixel, (H, W) uint8.
        height: Metres above the ground (H, W) float32, NaN where unknown.
        vectors: The lines as vectors, where they are given as such.
        vector_kinds: Bits of the kinds that `vectors` has all of.
    """

    image: NDArray[np.uint8]
    segments: NDArray[np.uint8] | None = None
    azimuths: int = 16
    superstructures: NDArray[np.uint8] | None = None
    roof: NDArray[np.uint8] | None = None
    lines: NDArray[np.uint8] | None = None
    lines_known: NDArray[np.uint8] | None = None
    height: NDArray[np.float32] | None = None
    vectors: Lines | None = None
    vector_kinds: int = 0


@dataclass(frozen=True)
class Scan:
    """What is in the folder of a source, told without reading its pixels.

    Attributes:
        scenes: Sorted by name.
        problems: What is wrong, all at once; a scene with a problem is not among the scenes.
        notes: What a user should know but need not mend, such as a missing test.txt.
        heads: Those of `classes.HEADS` that the source labels.
    """

    scenes: tuple[Scene, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    heads: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)
