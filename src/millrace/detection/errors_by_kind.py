"""What is wrong with detections, by kind, and what each kind costs.

Source: TIDE (Bolya et al. 2020, https://arxiv.org/abs/2008.08115), and its published code where the paper leaves the
order open. With t the IoU of the matching, a detection that found nothing is, in this order,

- `localisation`: overlaps a true box of its class by 0.1 to t;
- `classification`: overlaps one of another class by t or more;
- `duplicate`: overlaps one of its class by t or more, which another detection has found;
- `background`: overlaps no true box by more than 0.1;
- `both`: overlaps one of another class by less than t.

`missed` are the boxes that no detection found, but for those that a localisation or classification error stands for.
Boxes to be ignored, and detections on them, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from millrace.detection.matching import NOWHERE_IOU, Floats, Ints, Matches, average_precisions

Kind = Literal["classification", "localisation", "both", "duplicate", "background", "missed"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Errors:
    """Of a set of matched detections.

    Attributes:
        kind: Position in `KINDS` of each detection's error, -1 for those without, (N,).
        truth: Row of the true box that the error is about, the one it overlaps most; -1 where there is none, (N,).
        missed: True boxes that are missed, (M,).
    """

    kind: Ints
    truth: Ints
    missed: NDArray[np.bool_]

    def counts(self) -> dict[Kind, int]:
        """Errors of each kind."""
        found = np.bincount(self.kind[self.kind >= 0], minlength=len(KINDS)).tolist()
        return {kind: int(self.missed.sum()) if kind == "missed" else found[place] for place, kind in enumerate(KINDS)}


def errors_by_kind(matches: Matches, iou: float) -> Errors:
    """Sort the errors of all detections; take `matches.above(threshold)` for those at a score threshold.

    Args:
        matches: Matched at `iou`.
        iou: Overlap from which a box counts as found.
    """
    same = matches.label[matches.pairs.detection] == matches.true_label[matches.pairs.truth]
    counted = ~matches.true_ignored[matches.pairs.truth]
    own_truth, own = _nearest(matches, same & counted)
    other_truth, other = _nearest(matches, ~same & counted)
    wrong = ~matches.hit & ~matches.ignored
    rules: list[tuple[Kind, NDArray[np.bool_], Ints | None]] = [
        ("localisation", (own >= NOWHERE_IOU) & (own < iou), own_truth),
        ("classification", other >= iou, other_truth),
        ("duplicate", own >= iou, own_truth),
        ("background", np.maximum(own, other) <= NOWHERE_IOU, None),
        ("both", np.ones(len(wrong), bool), other_truth),
    ]
    kind, truth = np.full(len(wrong), -1), np.full(len(wrong), -1)
    for name, holds, about in rules:
        chosen = wrong & holds & (kind < 0)
        kind[chosen] = KINDS.index(name)
        if about is not None:
            truth[chosen] = about[chosen]
    missed = matches.missed
    missed[truth[_mendable(kind)]] = False
    return Errors(kind, truth, missed)


def ap_gains(matches: Matches, errors: Errors, classes: int) -> dict[Kind, float]:
    """By how much the mean AP, at the IoU of the matching, would rise if all errors of a kind were mended.

    A classification or localisation error becomes a found box, if its box is still free and no better scored error of
    the two kinds is about the same box; else it goes, as the other kinds do. Missed boxes are no longer to be found; a
    class of which then none is left has an AP of 1. nan where there is no box at all.
    """
    gains: dict[Kind, float] = {}
    base = _mean_ap(matches, matches.label, matches.hit, ~matches.ignored, _boxes(matches, classes))
    mended = _mended(matches, errors)
    for place, kind in enumerate(KINDS):
        label, hit, counted = matches.label.copy(), matches.hit, ~matches.ignored
        boxes = _boxes(matches, classes)
        if kind == "missed":
            boxes -= np.bincount(matches.true_label[errors.missed], minlength=classes)
        own = errors.kind == place
        hit |= own & mended
        counted &= hit | ~own
        label[own & mended] = matches.true_label[errors.truth[own & mended]]
        gains[kind] = _mean_ap(matches, label, hit, counted, boxes) - base
    return gains


def _mended(matches: Matches, errors: Errors) -> NDArray[np.bool_]:
    """Errors that stand for a box that nothing found: of those about one box the one with the highest score."""
    about = np.flatnonzero(_mendable(errors.kind))
    about = about[matches.missed[errors.truth[about]]]
    order = about[np.argsort(-matches.score[about], kind="stable")]
    _, first = np.unique(errors.truth[order], return_index=True)
    mended = np.zeros(len(errors.kind), bool)
    mended[order[first]] = True
    return mended


def _mendable(kind: Ints) -> NDArray[np.bool_]:
    return np.isin(kind, (KINDS.index("localisation"), KINDS.index("classification")))


def _nearest(matches: Matches, chosen: NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """Row of the true box that each detection overlaps most among the chosen pairs, or -1, and the IoU, or 0."""
    detection, truth, iou = (part[chosen] for part in matches.pairs)
    nearest, overlap = np.full(len(matches.label), -1), np.zeros(len(matches.label))
    order = np.lexsort((-truth, iou))
    # Of several values for a place the last one stays: the highest, and of equal ones that of the first box.
    nearest[detection[order]], overlap[detection[order]] = truth[order], iou[order]
    return nearest, overlap


def _boxes(matches: Matches, classes: int) -> Ints:
    return np.bincount(matches.true_label[~matches.true_ignored], minlength=classes)


def _mean_ap(matches: Matches, label: Ints, hit: NDArray[np.bool_], counted: NDArray[np.bool_], boxes: Ints) -> float:
    """Mean over the classes that have boxes."""
    present = _boxes(matches, len(boxes)) > 0
    aps = average_precisions(label[counted], matches.score[counted], hit[counted], boxes)
    return float(np.where(boxes == 0, 1.0, aps)[present].mean()) if present.any() else float("nan")
