"""What a user would do without a network: blobs that stand out from the background, and a class for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from millrace.detection.boxes import Detections, Truth, ious
from millrace.detection.store import Store

Plane = NDArray[np.float32]

WORKING_PX = 400
"""Longest side of what is searched: larger pictures are reduced, so that none takes long."""
TRAINING_IMAGES = 100
"""At most so many are fitted to, spread evenly over the training images."""
CHOICE_IMAGES = 24
"""Of these, so many decide which way of looking is best."""
MATCH_IOU = 0.5
SCORE_FLOOR = 0.02
BACKGROUND_SHARE = 2.0
"""Deviations from the background, in units of their median, up to which a pixel counts as background."""


Polarity = Literal["bright", "dark", "any"]
POLARITIES: tuple[Polarity, ...] = ("bright", "dark", "any")
"""Objects are brighter than the background, darker, or of another colour in either direction."""


class Blobs(NamedTuple):
    """Candidates of a picture.

    Attributes:
        boxes: Left, top, right, bottom in pixels of the picture, (N, 4), float32.
        features: What a class is told by, (N, F), float64.
    """

    boxes: NDArray[np.float32]
    features: NDArray[np.float64]


class Sizes(NamedTuple):
    """Of the training boxes, in px: the least and greatest side, and the median of the shorter one."""

    least: float
    greatest: float
    typical: float


@dataclass(frozen=True)
class Gaussians:
    """Classes as independent normal distributions of their features (naive Bayes); the last is the background.

    Attributes:
        means: (C + 1, F).
        deviations: (C + 1, F).
        priors: (C + 1,), 0 for a class that was never seen.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    priors: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> Gaussians:
        """From features (N, F) and class numbers (N,), of which `classes` is the background."""
        overall = features.std(axis=0) + 1e-6 if len(features) else np.ones(features.shape[1])
        means, deviations = np.zeros((classes + 1, features.shape[1])), np.ones((classes + 1, features.shape[1]))
        for label in range(classes + 1):
            own = features[labels == label]
            if len(own):
                means[label] = own.mean(axis=0)
                # A few examples say little about the spread: as many of the whole set stand in.
                deviations[label] = np.sqrt((len(own) * own.var(axis=0) + 5 * overall**2) / (len(own) + 5))
        counts = np.bincount(labels, minlength=classes + 1)
        return cls(means, deviations, counts / max(1, counts.sum()))

    def posterior(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the classes and the background, (N, C + 1)."""
        away = (features[:, None, :] - self.means) / self.deviations
        with np.errstate(divide="ignore"):
            logs = np.log(self.priors) - (away**2 / 2 + np.log(self.deviations)).sum(axis=2)
        top = logs.max(axis=1, keepdims=True)
        shares = np.exp(logs - np.where(np.isfinite(top), top, 0))
        posterior: NDArray[np.float64] = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
        return posterior


@dataclass(frozen=True)
class Baseline:
    """Blob detection with a threshold and a watershed, and a Gaussian classifier of blobs.

    The background is a quadratic surface of each colour channel, fitted to the pixels near it; what differs from it by
    more than Otsu's threshold (1979) is a blob, if its sides are like those of training boxes; so is each part of it
    that a watershed cuts off, because objects touch. Which polarity is best, how large objects are, and what tells the
    classes and false blobs apart, is learned from the training images.
    """

    polarity: Polarity
    sizes: Sizes
    classifier: Gaussians
    classes: int

    @classmethod
    def fit(cls, store: Store) -> Baseline:
        """Fit to the training images of prepared data."""
        positions = _spread(store.positions("train"), TRAINING_IMAGES)
        truths = [_counted(store.truth(position)) for position in positions]
        sizes = _sizes(truths)
        classes = len(store.categories)
        chosen = _spread(range(len(positions)), CHOICE_IMAGES)
        pictures = [store.pixels(positions[index]) for index in chosen]
        pairs = [(picture, truths[index]) for picture, index in zip(pictures, chosen, strict=True)]
        polarity = max(POLARITIES, key=lambda each: _f1(pairs, each, sizes))
        features, labels = [np.zeros((0, FEATURES))], [np.zeros(0, np.int64)]
        for position, truth in zip(positions, truths, strict=True):
            blobs = _blobs(store.pixels(position), polarity, sizes)
            labels.append(_matched(blobs, truth, classes))
            features.append(blobs.features)
        return cls(polarity, sizes, Gaussians.fit(np.concatenate(features), np.concatenate(labels), classes), classes)

    def find(self, picture: NDArray[np.uint8]) -> Detections:
        """Boxes of an RGB picture (H, W, 3): a blob stands for each class with a score, which is its probability."""
        blobs = _blobs(picture, self.polarity, self.sizes)
        scores = self.classifier.posterior(blobs.features)[:, : self.classes]
        rows, labels = np.nonzero(scores >= SCORE_FLOOR)
        order = np.argsort(-scores[rows, labels], kind="stable")
        rows, labels = rows[order], labels[order]
        return Detections(blobs.boxes[rows], labels, scores[rows, labels].astype(np.float32))


def _spread(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, evenly over all of them."""
    return [items[index] for index in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]


def _counted(truth: Truth) -> Truth:
    counted = ~truth.ignored
    return Truth(truth.boxes[counted], truth.labels[counted], truth.ignored[counted])


def _sizes(truths: list[Truth]) -> Sizes:
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(truth.boxes for truth in truths)])
    if len(boxes) == 0:
        return Sizes(8.0, np.inf, 16.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    least, greatest = np.percentile(sides, (1, 99))
    return Sizes(0.7 * float(least), 1.4 * float(greatest), float(np.median(sides.min(axis=1))))


def _matched(blobs: Blobs, truth: Truth, background: int) -> NDArray[np.int64]:
    """Class number of the true box under each blob, or `background`, (N,)."""
    if len(truth.boxes) == 0:
        return np.full(len(blobs.boxes), background)
    overlap = ious(blobs.boxes, truth.boxes)
    return np.where(overlap.max(axis=1) >= MATCH_IOU, truth.labels[overlap.argmax(axis=1)], background)


def _f1(pairs: list[tuple[NDArray[np.uint8], Truth]], polarity: Polarity, sizes: Sizes) -> float:
    """Of blobs against boxes of any class."""
    hits = total = 0
    for picture, truth in pairs:
        blobs = _blobs(picture, polarity, sizes)
        total += len(blobs.boxes) + len(truth.boxes)
        if len(truth.boxes) and len(blobs.boxes):
            hits += int((ious(blobs.boxes, truth.boxes).max(axis=0) >= MATCH_IOU).sum())
    return 2 * hits / max(1, total)


def _blobs(picture: NDArray[np.uint8], polarity: Polarity, sizes: Sizes) -> Blobs:
    """What stands out in an RGB picture (H, W, 3) and has a likely size."""
    height, width = picture.shape[:2]
    factor = max(1.0, max(height, width) / WORKING_PX)
    if factor > 1:
        reduced = (max(1, round(width / factor)), max(1, round(height / factor)))
        picture = np.asarray(Image.fromarray(picture).resize(reduced, Image.Resampling.BOX))
    lab = ndimage.gaussian_filter(rgb2lab(picture).astype(np.float32), 1, axes=(0, 1))
    away = lab - _background(lab)
    contrast = {"bright": away[..., 0], "dark": -away[..., 0], "any": np.linalg.norm(away, axis=2)}[polarity]
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(contrast > threshold_otsu(contrast)))
    wholes, _ = ndimage.label(mask)
    parts = _parts(mask, max(1, round(sizes.typical / factor / 3)))
    areas = np.bincount(wholes.ravel())
    boxes, features = [], []
    for labels in (wholes, parts):
        for number, window in enumerate(ndimage.find_objects(labels), start=1):
            rows, columns = window
            box = np.array((columns.start, rows.start, columns.stop, rows.stop), np.float32) * np.float32(factor)
            sides = box[2:] - box[:2]
            if sides.min() < sizes.least or sides.max() > sizes.greatest:
                continue
            own = labels[window] == number
            share = own.sum() / areas[wholes[window][own][0]]
            if labels is parts and share == 1:
                continue  # it was not cut
            boxes.append(np.minimum(box, np.array((width, height) * 2, np.float32)))
            features.append([*_features(sides, own, away[window], contrast[window]), share])
    return Blobs(np.array(boxes, np.float32).reshape(-1, 4), np.array(features).reshape(-1, FEATURES))


def _parts(mask: NDArray[np.bool_], distance_px: int) -> NDArray[np.int32]:
    """Cut blobs where they are narrow: a watershed from the peaks of the distance to the background, (H, W)."""
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    peaks = peak_local_max(depth, min_distance=distance_px, labels=mask.astype(np.int32), exclude_border=False)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parts: NDArray[np.int32] = watershed(-depth, seeds, mask=mask)
    return parts


def _background(lab: Plane) -> Plane:
    """A quadratic surface of each channel (H, W, 3) through the pixels that are near it."""
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in lab.shape[:2])
    y, x = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1)
    every = max(1, len(x) // 4000)
    some, colours = terms[::every], lab.reshape(-1, 3)[::every]
    surface = np.zeros((6, 3), np.float32)
    surface[0] = np.median(colours, axis=0)
    for _ in range(5):
        off = np.linalg.norm(colours - some @ surface, axis=1)
        near = off <= BACKGROUND_SHARE * np.median(off) + 1e-6
        surface = np.linalg.lstsq(some[near], colours[near], rcond=None)[0].astype(np.float32)
    fitted: Plane = (terms @ surface).reshape(lab.shape)
    return fitted


FEATURES = 11


def _features(sides: NDArray[np.float32], mask: NDArray[np.bool_], away: Plane, contrast: Plane) -> list[float]:
    """Of a blob: its size, slenderness, fill, hole, contrast, and colour beside the background.

    Args:
        sides: Width and height of its box, px of the picture.
        mask: Its pixels within the box, (h, w).
        away: Colour beside the background (CIE L*a*b*), (h, w, 3).
        contrast: What was thresholded, (h, w).
    """
    rows, columns = np.nonzero(mask)
    spread = np.linalg.eigvalsh(np.cov(np.stack((rows, columns))) + np.eye(2) / 12) if len(rows) > 1 else np.ones(2)
    middle = tuple(slice(side // 2 - side // 8, side // 2 + side // 8 + 1) for side in mask.shape)
    colour = away[mask].mean(axis=0)
    return [
        float(np.log(sides[0])),
        float(np.log(sides[1])),
        float(np.log(spread[1] / spread[0]) / 2),
        float(mask.mean()),
        float(len(rows) / (4 * np.pi * np.sqrt(spread[0] * spread[1]))),
        float(contrast[mask].mean()),
        float(contrast[middle].mean() - contrast[mask].mean()),
        *(float(each) for each in colour),
    ]
