"""Which detection found which true box, and what follows from it at a score threshold.

As in COCO: within an image and class the detections choose in the order of their scores, each the true box that it
overlaps most among those that are free and overlap it by the IoU threshold or more; a detection that finds none of them
but lies on an ignored box is itself ignored. So what the detections above a score find does not depend on those below
it, and one matching serves every score threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millrace.detection.boxes import Detections, Truth, ious
from millrace.detection.scores import RECALLS

NOWHERE_IOU = 0.1
"""A detection that overlaps no true box by so much is on the background."""
DEFAULT_THRESHOLD = 0.5
"""Score threshold where none gives an F1 above 0."""
THRESHOLD_DIGITS = 6

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Rates(NamedTuple):
    """Of counts; nan where there is nothing to divide by."""

    precision: Floats
    recall: Floats
    f1: Floats


class Best(NamedTuple):
    """A score threshold and the F1 of the detections with at least that score, nan where there is nothing at all."""

    score: float
    f1: float


class Pairs(NamedTuple):
    """Detections and true boxes of one image that overlap by `NOWHERE_IOU` or more, of any class.

    Attributes:
        detection: Row, (P,).
        truth: Row, (P,).
        iou: As of `boxes.ious`, (P,).
    """

    detection: Ints
    truth: Ints
    iou: Floats


@dataclass(frozen=True)
class Matches:
    """Detections and true boxes of a set of images, in rows, image by image.

    Attributes:
        images: Number of images.
        image: Of each detection, (N,).
        label: Of each detection, (N,).
        score: Of each detection, (N,), float32.
        truth: Row of the true box that a detection found, or of the ignored one that it lies on; -1 for neither, (N,).
        true_image: Of each true box, (M,).
        true_label: Of each true box, (M,).
        true_ignored: Of each true box, (M,).
        pairs: What overlaps.
    """

    images: int
    image: Ints
    label: Ints
    score: NDArray[np.float32]
    truth: Ints
    true_image: Ints
    true_label: Ints
    true_ignored: NDArray[np.bool_]
    pairs: Pairs

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """Detections that are neither right nor wrong, (N,)."""
        return self._on_truth(self.true_ignored)

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Detections that found a box, (N,)."""
        return self._on_truth(~self.true_ignored)

    @property
    def missed(self) -> NDArray[np.bool_]:
        """True boxes that are to be found and were not, (M,)."""
        missed = ~self.true_ignored
        missed[self.truth[self.truth >= 0]] = False
        return missed

    def above(self, threshold: float) -> Matches:
        """With the detections of at least this score alone."""
        kept = self.score >= np.float32(threshold)
        rows = np.cumsum(kept) - 1
        left = kept[self.pairs.detection]
        pairs = Pairs(rows[self.pairs.detection[left]], self.pairs.truth[left], self.pairs.iou[left])
        return replace(
            self,
            image=self.image[kept],
            label=self.label[kept],
            score=self.score[kept],
            truth=self.truth[kept],
            pairs=pairs,
        )

    def counts(self, kind: str, number: int) -> tuple[Ints, Ints, Ints]:
        """Detections that found a box, detections, and boxes, by `label` or by `image` of which there are `number`."""
        own, true = (self.label, self.true_label) if kind == "label" else (self.image, self.true_image)
        selections = own[self.hit], own[~self.ignored], true[~self.true_ignored]
        hits, detections, boxes = (np.bincount(each, minlength=number) for each in selections)
        return hits, detections, boxes

    def curve(self, thresholds: Floats) -> Rates:
        """Over all classes together, at each score threshold."""
        scores, hits = self._ranked()
        kept = np.searchsorted(-scores, -thresholds.astype(np.float32), side="right")
        found = np.concatenate([[0], np.cumsum(hits)])
        return rates(found[kept], kept, np.array(np.count_nonzero(~self.true_ignored)))

    def best_threshold(self) -> Best:
        """Score from which on F1 over all classes together is the highest; of several the highest.

        It has six digits, so that it survives being written. `DEFAULT_THRESHOLD` where no score gives an F1 above 0.
        """
        scores, hits = self._ranked()
        score = DEFAULT_THRESHOLD
        if hits.any():
            candidates = np.unique(scores)[::-1]
            best = candidates[np.argmax(self.curve(candidates.astype(np.float64)).f1)]
            score = round(float(best), THRESHOLD_DIGITS)
            if np.float32(score) > best:
                score = round(score - 10**-THRESHOLD_DIGITS, THRESHOLD_DIGITS)
        return Best(score, float(self.curve(np.array([score])).f1[0]))

    def average_precisions(self, classes: int) -> Floats:
        """AP of each class at the IoU of the matching, (classes,), nan where there is no box."""
        _, _, boxes = self.counts("label", classes)
        counted = ~self.ignored
        return average_precisions(self.label[counted], self.score[counted], self.hit[counted], boxes)

    def confusion(self, classes: int, iou: float) -> Ints:
        """How many boxes of a class (row) were taken for which (column), (classes + 1, classes + 1).

        The last row counts detections of nothing, the last column boxes that were missed. Detections that found a box
        of their class are on the diagonal, which so agrees with every other count; of what is left those pairs are
        counted, one to one, the highest IoU first, that overlap by at least `iou`.
        """
        table = np.zeros((classes + 1, classes + 1), np.int64)
        free, missed = ~self.hit & ~self.ignored, self.missed
        np.add.at(table, (self.label[self.hit], self.label[self.hit]), 1)
        near = free[self.pairs.detection] & missed[self.pairs.truth] & (self.pairs.iou >= iou)
        detections, truths, overlaps = (part[near] for part in self.pairs)
        for place in np.lexsort((truths, detections, -self.score[detections], -overlaps)):
            detection, truth = detections[place], truths[place]
            if free[detection] and missed[truth]:
                free[detection] = missed[truth] = False
                table[self.true_label[truth], self.label[detection]] += 1
        np.add.at(table, (np.full(np.count_nonzero(free), classes), self.label[free]), 1)
        np.add.at(table, (self.true_label[missed], np.full(np.count_nonzero(missed), classes)), 1)
        return table

    def image_scores(self) -> Floats:
        """How well each image went, from 0 to 1, (images,).

        Panoptic quality (Kirillov et al. 2019, https://arxiv.org/abs/1801.00868) over all classes together: F1 times
        the mean IoU of the boxes that were found; 1 where nothing is to be found and nothing was.
        """
        _, detections, boxes = self.counts("image", self.images)
        own = self.hit[self.pairs.detection] & (self.truth[self.pairs.detection] == self.pairs.truth)
        overlaps = np.bincount(self.image[self.pairs.detection[own]], self.pairs.iou[own], minlength=self.images)
        both = detections + boxes
        scores: Floats = np.divide(2 * overlaps, both, out=np.ones(self.images), where=both > 0)
        return scores

    def _ranked(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores, the highest first, and which found a box, of the detections that are not ignored."""
        counted = ~self.ignored
        order = np.argsort(-self.score[counted], kind="stable")
        return self.score[counted][order], self.hit[counted][order]

    def _on_truth(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        on = np.zeros(len(self.truth), bool)
        some = self.truth >= 0
        on[some] = chosen[self.truth[some]]
        return on


def match(truths: Sequence[Truth], found: Sequence[Detections], iou: float) -> Matches:
    """Match the detections of each image with its true boxes.

    Args:
        truths: Of each image.
        found: Of each image; of equal scores the one that stands first chooses first.
        iou: Overlap from which a box counts as found.

    Raises:
        ValueError: There are more or fewer truths than detections.
    """
    image = np.repeat(np.arange(len(found)), [len(each.labels) for each in found])
    label = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in found)])
    score = np.concatenate([np.zeros(0, np.float32), *(each.scores for each in found)])
    true_image = np.repeat(np.arange(len(truths)), [len(each.labels) for each in truths])
    true_label = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in truths)])
    true_ignored = np.concatenate([np.zeros(0, bool), *(each.ignored for each in truths)])
    pairs = _pairs(truths, found, min(iou, NOWHERE_IOU))
    candidates = (label[pairs.detection] == true_label[pairs.truth]) & (pairs.iou >= iou)
    detections, chosen, overlaps = (part[candidates] for part in pairs)
    # Of equal overlaps COCO takes the box that stands last.
    order = np.lexsort((-chosen, -overlaps, true_ignored[chosen], detections, -score[detections]))
    truth, taken = np.full(len(label), -1), np.zeros(len(true_label), bool)
    for detection, box in zip(detections[order].tolist(), chosen[order].tolist(), strict=True):
        if truth[detection] < 0 and not taken[box]:
            truth[detection] = box
            taken[box] = not true_ignored[box]
    return Matches(len(truths), image, label, score, truth, true_image, true_label, true_ignored, pairs)


def best_threshold(truths: Sequence[Truth], found: Sequence[Detections], iou: float = 0.5) -> Best:
    """The score threshold with the highest F1, see `Matches.best_threshold`; to be chosen on validation images."""
    return match(truths, found, iou).best_threshold()


def rates(hits: Ints, detections: Ints, boxes: Ints) -> Rates:
    """Of how many detections found a box, how many there are, and how many boxes are to be found; shapes broadcast."""
    return Rates(_share(hits, detections), _share(hits, boxes), _share(2 * hits, detections + boxes))


def average_precisions(group: Ints, score: NDArray[np.float32], hit: NDArray[np.bool_], boxes: Ints) -> Floats:
    """COCO's average precision of detections by group.

    Args:
        group: Of each detection, (N,), below G.
        score: Of each detection, (N,).
        hit: Whether it found a box, (N,).
        boxes: To be found in each group, (G,).

    Returns:
        (G,); nan where there are no boxes.
    """
    order = np.lexsort((np.arange(len(group)), -score, group))
    starts = np.searchsorted(group[order], np.arange(len(boxes) + 1))
    averages = np.where(boxes > 0, 0.0, np.nan)
    for index in np.flatnonzero((boxes > 0) & (np.diff(starts) > 0)):
        own = hit[order[starts[index] : starts[index + 1]]]
        found = np.cumsum(own)
        precision = found / (np.arange(1, len(own) + 1) + np.spacing(1))
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(found / boxes[index], RECALLS)
        averages[index] = highest[places[places < len(own)]].sum() / len(RECALLS)
    return averages


def _share(part: Ints, whole: Ints) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    share: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share


def _pairs(truths: Sequence[Truth], found: Sequence[Detections], least: float) -> Pairs:
    detections, boxes, overlaps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    first_detection = first_box = 0
    for truth, each in zip(truths, found, strict=True):
        overlap = ious(each.boxes, truth.boxes, truth.ignored)
        rows, columns = np.nonzero(overlap >= least)
        detections.append(rows + first_detection)
        boxes.append(columns + first_box)
        overlaps.append(overlap[rows, columns])
        first_detection += len(each.labels)
        first_box += len(truth.labels)
    return Pairs(np.concatenate(detections), np.concatenate(boxes), np.concatenate(overlaps))
