"""What a user would do without a network: thresholds for the roof, edges for the lines, and what is most frequent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line
from skimage.feature import canny
from skimage.filters import threshold_otsu
from skimage.transform import probabilistic_hough_line

from millrace.roof.classes import LINES, NO_SUPERSTRUCTURE, SUPERSTRUCTURES, UNKNOWN, background_class
from millrace.roof.infer import Maps
from millrace.roof.scene import Labelled
from millrace.roof.scores import binary_scores, confusion
from millrace.roof.store import Store
from millrace.roof.vector_lines import VectorLines

TRAINING_TILES = 100
"""At most so many of a source are looked at, evenly over all of its training tiles."""
SMOOTHING_PX = 1.0
CANNY_SIGMA_PX = 2.0
HOUGH_VOTES, LEAST_LINE_PX, GREATEST_GAP_PX = 10, 10, 3

Mask = NDArray[np.bool_]
Rule = Literal["bright", "dark", "any"]


@dataclass(frozen=True)
class Frequent:
    """A class, and how often it is right where it is said."""

    label: int
    share: float


@dataclass(frozen=True)
class Baseline:
    """A mask by thresholds, in it the most frequent classes, the mean height, and the lines of an edge detector.

    Plants are what exceeds Otsu's threshold (1979) of the excess green index 2g - r - b (Woebbecke et al. 1995) where
    that is positive. A roof is what is left and brighter, or darker, than Otsu's threshold of it, or all that is left:
    the training tiles say which. Segments and superstructures are the class that is most frequent there within that
    mask, other than background. Lines are Canny edges (1986) joined by a probabilistic Hough transform and scored by
    their length; what kind an edge is cannot be told, so each line is said to be of every kind. A head that no training
    tile labels is background, or 0.

    Attributes:
        azimuths: How many azimuth classes there are.
        rule: Which pixels besides plants are roof.
        segment: Inside of the mask.
        ground: `background`, outside.
        superstructure: Inside of the mask.
        height_m: Mean of the training pixels.
    """

    azimuths: int
    rule: Rule
    segment: Frequent
    ground: Frequent
    superstructure: Frequent
    height_m: float

    @classmethod
    def fit(cls, stores: Sequence[Store]) -> Baseline:
        """Learn from the training tiles of prepared sources, which have the same azimuth classes."""
        azimuths = int(stores[0].meta["azimuths"])
        rules: tuple[Rule, ...] = get_args(Rule)
        masked = {rule: np.zeros((2, 2), np.int64) for rule in rules}
        heights = np.zeros(2)
        for tile in _training_tiles(stores):
            if tile.roof is not None:
                for rule in rules:
                    masked[rule] += confusion(tile.roof, roof_mask(tile.image, rule).astype(np.uint8), 2)
            if tile.height is not None:
                heights += np.array(
                    [np.nansum(tile.height, dtype=np.float64), np.count_nonzero(~np.isnan(tile.height))]
                )
        rule = max(rules, key=lambda each: float(np.nan_to_num(binary_scores(masked[each])[0])))
        segments = np.zeros((2, azimuths + 2), np.int64)
        superstructures = np.zeros((2, len(SUPERSTRUCTURES)), np.int64)
        for tile in _training_tiles(stores):
            for counts, truth in ((segments, tile.segments), (superstructures, tile.superstructures)):
                if truth is not None:
                    known, mask = truth != UNKNOWN, roof_mask(tile.image, rule)
                    for row, where in enumerate((~mask, mask)):
                        counts[row] += np.bincount(truth[known & where], minlength=counts.shape[1])
        background = background_class(azimuths)
        return cls(
            azimuths=azimuths,
            rule=rule,
            segment=_most_frequent(segments[1], background),
            ground=Frequent(background, float(segments[0, background] / max(1, segments[0].sum()))),
            superstructure=_most_frequent(superstructures[1], NO_SUPERSTRUCTURE),
            height_m=float(heights[0] / max(1.0, heights[1])),
        )

    def predict(self, image: NDArray[np.uint8], pixel_size_m: float) -> tuple[Maps, VectorLines]:
        """Maps and lines of an RGB image (H, W, 3)."""
        mask = roof_mask(image, self.rule)
        ends = hough_lines(image)
        lines = np.zeros((len(LINES), *mask.shape), np.float16)
        for row0, column0, row1, column1 in np.floor(ends).astype(int).tolist():
            lines[:, *line(row0, column0, row1, column1)] = 1
        confidence = np.where(mask, self.segment.share, self.ground.share).astype(np.float16)
        maps = Maps(
            segments=np.where(mask, self.segment.label, self.ground.label).astype(np.uint8),
            confidence=confidence,
            superstructures=np.where(mask, self.superstructure.label, NO_SUPERSTRUCTURE).astype(np.uint8),
            superstructure_confidence=np.where(mask, self.superstructure.share, 1).astype(np.float16),
            roof=mask.astype(np.float16),
            lines=lines,
            height=np.full(mask.shape, self.height_m, np.float32),
        )
        lengths = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
        vectors = VectorLines(
            kinds=np.repeat(np.arange(len(LINES), dtype=np.uint8), len(ends)),
            ends=np.tile(ends, (len(LINES), 1)),
            scores=np.tile(lengths / np.hypot(*mask.shape), len(LINES)),
        )
        return maps, vectors


def roof_mask(image: NDArray[np.uint8], rule: Rule) -> Mask:
    """Pixels (H, W) of an RGB image that are no plants and that `rule` takes for roof; small specks are removed."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32) / 255, SMOOTHING_PX, axes=(0, 1))
    total = smooth.sum(axis=2)
    brightness = total / 3
    excess_green = (3 * smooth[..., 1] - total) / np.maximum(total, 1 / 255)
    left = excess_green <= max(0.0, float(threshold_otsu(excess_green)))
    mask = left
    if rule != "any" and left.any():
        bright = brightness > threshold_otsu(brightness[left])
        mask = left & (bright if rule == "bright" else ~bright)
    opened: Mask = ndimage.binary_opening(mask, np.ones((3, 3), bool))
    return opened


def hough_lines(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Ends (N, 4) of the straight edges of an RGB image, row and column of the pixels' centres."""
    edges = canny(image.astype(np.float32).mean(axis=2) / 255, sigma=CANNY_SIGMA_PX)
    found = probabilistic_hough_line(
        edges, threshold=HOUGH_VOTES, line_length=LEAST_LINE_PX, line_gap=GREATEST_GAP_PX, rng=0
    )
    ends = np.array(found, np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return ends + 0.5


def _training_tiles(stores: Sequence[Store]) -> Iterator[Labelled]:
    for store in stores:
        positions = store.positions("train")
        places = np.linspace(0, len(positions) - 1, min(TRAINING_TILES, len(positions))).round().astype(int)
        yield from (store.tile(positions[place]) for place in places)


def _most_frequent(counts: NDArray[np.int64], background: int) -> Frequent:
    """Of the classes other than background; background itself where none was seen."""
    if not np.delete(counts, background).any():
        return Frequent(background, 1.0)
    label = int(np.where(np.arange(len(counts)) == background, -1, counts).argmax())
    return Frequent(label, float(counts[label] / counts.sum()))
